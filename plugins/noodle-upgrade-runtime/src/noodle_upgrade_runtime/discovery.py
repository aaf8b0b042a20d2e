"""Which components there are: read from what is loaded, with the version that really runs.

A component is a distribution of which something is imported, a module that follows the conventions (`__version__`,
`__hot_swappable__`, `__critical__`, `__dependencies__`), or what handles stand for. What is not loaded is not listed.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import field, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from noodle_upgrade_core.model import ComponentDescriptor, ComponentType, Dependency
from noodle_upgrade_runtime.distributions import Distributions, Installed
from noodle_upgrade_runtime.handles import Handles, process_handles
from noodle_upgrade_runtime.links import common_bound, link_of
from noodle_upgrade_runtime.overlay import Overlay
from noodle_upgrade_runtime.settings import RuntimeSettings
from noodle_upgrade_runtime.trees import declared

__all__ = ["Discovery", "Ledger"]

OUR_BRANCH = frozenset(
    {"attrs", "cattrs", "packaging", "pip", "pluggy", "setuptools", "stevedore", "typing-extensions"}
)
"""What the upgrader itself stands on: it cannot change that while it runs."""

Ledger = dict[str, str]
"""The version that each changed component runs, by canonical name: written by the swaps themselves, atomically."""


@frozen(kw_only=True)
class Discovery:
    """Reads what this process has loaded."""

    settings: RuntimeSettings
    overlay: Overlay
    ledger: Ledger
    critical: frozenset[str] = frozenset()
    handles: Handles = field(factory=process_handles)
    distributions: Distributions = field(factory=Distributions)
    opened_at: float = field(factory=time.time)
    _first_seen: dict[str, str] = field(factory=dict)
    _declared: dict[Path, Mapping[str, Any]] = field(factory=dict)

    def components(self) -> tuple[ComponentDescriptor, ...]:
        """Return every component, by name; the first that describes a name is believed."""
        loaded = _loaded()
        installed = [d for d in self.distributions.along() if _is_loaded(d, loaded)]
        behind = {str(canonicalize_name(name)) for name in self.handles.components()}
        names = {str(canonicalize_name(d.name)) for d in installed} | behind
        found: dict[str, ComponentDescriptor] = {}
        owned = {top for d in installed for top in d.top_levels}
        for dist in installed:
            key = canonicalize_name(dist.name)
            if self.settings.components.auto_discovery or key in behind or _declares(_first_module(dist, loaded)):
                found[key] = self._distribution(dist, loaded, names)
        for name in self.handles.components():
            if canonicalize_name(name) not in found:
                found[canonicalize_name(name)] = self._behind_handles(name)
        for module in self._conventional(owned):
            found.setdefault(canonicalize_name(module.__name__), self._module(module, names))
        if self.settings.components.auto_discovery:
            found.setdefault("python", _python())
        return tuple(found[key] for key in sorted(found))

    # --- distributions -------------------------------------------------------------------------------------------

    def _distribution(self, dist: Installed, loaded: Mapping[str, ModuleType], names: set[str]) -> ComponentDescriptor:
        key = canonicalize_name(dist.name)
        module = _first_module(dist, loaded)
        swappable, why = self._swappable(key, module, dist.top_levels)
        links = [link_of(one) for one in self.handles.of(dist.name)]
        metadata: dict[str, Any] = {
            "top_levels": [top for top in dist.top_levels if top in loaded],
            "from": "overlay" if self.overlay.tree_of(dist.name) else "environment",
            "root": dist.root,
        }
        if any(top in loaded and _is_namespace(loaded[top]) for top in dist.top_levels):
            metadata["import_names"] = [name for name in dist.import_names if name in sys.modules]
        if links:
            metadata["handles"] = len(links)
        if why:
            metadata["reason"] = why
        return ComponentDescriptor(
            name=dist.name,
            version=self._running(key, dist, module),
            description=_doc(module),
            component_type=ComponentType.RUNTIME,
            dependencies=_dependencies(dist.requires(), names),
            hot_swappable=swappable,
            critical=self._critical(key, module),
            location=getattr(module, "__file__", None) or dist.root,
            entry_point=links[0].entry_point if links else "",
            metadata=metadata,
        )

    def _running(self, key: str, dist: Installed, module: ModuleType | None) -> str:
        """Return the version that runs, which need not be the one on the disk."""
        links = [link_of(one) for one in self.handles.of(key)]
        if links and (version := common_bound(links).version):
            return version
        if key in self.ledger:
            return self.ledger[key]
        if (restored := self._restored(key, module)) is not None:
            return restored
        told = vars(module).get("__version__") if module is not None else None
        first = self._first_seen.setdefault(key, dist.version)
        if isinstance(told, str) and _differ(told, dist.version) and dist.changed_at > self.opened_at:
            # Somebody installed another version under the running program: what is loaded says so.
            return told
        return first if dist.changed_at > self.opened_at else dist.version

    def _restored(self, key: str, module: ModuleType | None) -> str | None:
        """Return the version that was put in place at the start, where the module came from there.

        Its metadata may be gone since, with the store: the environment's would be found in its place.
        """
        tree, file = self.overlay.tree_of(key), getattr(module, "__file__", None)
        inside = tree is not None and isinstance(file, str) and Path(file).is_relative_to(tree)
        return self.overlay.versions.get(key) if inside else None

    # --- modules and handles -------------------------------------------------------------------------------------

    def _conventional(self, owned: set[str]) -> Iterable[ModuleType]:
        for name, module in tuple(sys.modules.items()):
            if not isinstance(module, ModuleType) or "@" in name or name == "__main__" or module.__name__ != name:
                continue
            top, dot, _ = name.partition(".")
            own = vars(module)
            if top in sys.stdlib_module_names or not _is_version(own.get("__version__")):
                continue
            declared = "__hot_swappable__" in own
            if declared or (not dot and top not in owned and self.settings.components.auto_discovery):
                yield module

    def _module(self, module: ModuleType, names: set[str]) -> ComponentDescriptor:
        own = vars(module)
        key = canonicalize_name(module.__name__)
        swappable, why = self._swappable(key, module, (module.__name__,))
        version = self.ledger.get(key, own["__version__"])
        needs = own.get("__dependencies__", ())
        return self._with_declared(
            self.overlay.tree_of(module.__name__),
            name=module.__name__,
            version=version,
            description=_doc(module),
            dependencies=_dependencies(
                map(str, needs if isinstance(needs, list | tuple) else ()), names, all_of_them=True
            ),
            hot_swappable=swappable,
            critical=self._critical(key, module),
            location=getattr(module, "__file__", None) or "",
            metadata={"top_levels": [module.__name__], **({"reason": why} if why else {})},
        )

    def _behind_handles(self, name: str) -> ComponentDescriptor:
        links = [link_of(one) for one in self.handles.of(name)]
        bound, entry = common_bound(links), links[0].entry_point
        key = canonicalize_name(name)
        public = entry.partition(":")[0]
        module = sys.modules.get(public if bound.space is None else bound.space.private_name(public))
        own = vars(module) if module is not None else {}
        told = own.get("__version__")
        swappable, why = self._swappable(key, module, (public.partition(".")[0],))
        trees = [] if bound.space is None else [m.tree for m in bound.space.members if canonicalize_name(m.name) == key]
        return self._with_declared(
            trees[0] if trees else self.overlay.tree_of(name),
            name=name,
            version=bound.version or self.ledger.get(key) or (str(told) if _is_version(told) else "0"),
            description=_doc(module),
            hot_swappable=swappable,
            critical=self._critical(key, module),
            location=getattr(module, "__file__", None) or "",
            entry_point=entry,
            metadata={
                "top_levels": [public.partition(".")[0]],
                "handles": len(links),
                **({"reason": why} if why else {}),
            },
        )

    def _with_declared(self, tree: Path | None, **read: Any) -> ComponentDescriptor:
        """Describe a component by what was read of it and what its descriptor file says."""
        if tree is not None and tree not in self._declared:
            self._declared[tree] = declared(tree)
        told = {} if tree is None else self._declared[tree]
        for name in ("health_check", "description"):
            if isinstance(told.get(name), str):
                read[name] = told[name]
        if isinstance(path := told.get("upgrade_path"), list):
            read["upgrade_path"] = tuple(map(str, path))
        if isinstance(matrix := told.get("compatibility_matrix"), dict):
            read["compatibility_matrix"] = {str(v): tuple(map(str, after)) for v, after in matrix.items()}
        if isinstance(needs := told.get("dependencies"), list):
            read["dependencies"] = _dependencies((str(n) for n in needs), set(), all_of_them=True)
        read["critical"] = read["critical"] or told.get("critical") is True
        if told.get("hot_swappable") is False:
            read["hot_swappable"] = False
            read["metadata"] = {**read["metadata"], "reason": "its descriptor says so: hot_swappable = false"}
        return ComponentDescriptor(**read)

    # --- what is said of a component -----------------------------------------------------------------------------

    def _critical(self, key: str, module: ModuleType | None) -> bool:
        named = {canonicalize_name(name) for name in (*self.settings.components.critical_components, *self.critical)}
        return key in named or (module is not None and vars(module).get("__critical__") is True)

    def _swappable(self, key: str, module: ModuleType | None, top_levels: Iterable[str]) -> tuple[bool, str]:
        if (
            key in OUR_BRANCH
            or key.startswith("noodle-upgrade")
            or any(t.startswith("noodle_upgrade") for t in top_levels)
        ):
            return False, "the upgrader itself stands on it"
        if any(top in sys.stdlib_module_names for top in top_levels):
            return False, "it belongs to Python itself"
        told = vars(module).get("__hot_swappable__") if module is not None else None
        if told is not None:
            return bool(told), "" if told else "it says so itself: __hot_swappable__ = False"
        if not self.settings.components.hot_swappable_default:
            return False, "runtime.components.hot_swappable_default is false"
        return True, ""


def _loaded() -> dict[str, ModuleType]:
    return {name: m for name, m in tuple(sys.modules.items()) if isinstance(m, ModuleType) and "." not in name}


def _is_loaded(dist: Installed, loaded: Mapping[str, ModuleType]) -> bool:
    """Whether something of a distribution is imported; a namespace that it shares says nothing of it."""
    for top in dist.top_levels:
        module = loaded.get(top)
        if module is not None and (not _is_namespace(module) or any(n in sys.modules for n in dist.import_names)):
            return True
    return False


def _is_namespace(module: ModuleType) -> bool:
    return getattr(module, "__file__", None) is None and hasattr(module, "__path__")


def _first_module(dist: Installed, loaded: Mapping[str, ModuleType]) -> ModuleType | None:
    """Return the top-level module that stands for a distribution: one that knows its version, if any does."""
    modules = [loaded[top] for top in dist.top_levels if top in loaded]
    return next((m for m in modules if "__version__" in vars(m)), modules[0] if modules else None)


def _declares(module: ModuleType | None) -> bool:
    return module is not None and "__hot_swappable__" in vars(module)


def _doc(module: ModuleType | None) -> str:
    text = (module.__doc__ or "").strip() if module is not None else ""
    return text.splitlines()[0] if text else ""


def _dependencies(lines: Iterable[str], names: set[str], *, all_of_them: bool = False) -> tuple[Dependency, ...]:
    found: dict[str, Dependency] = {}
    for line in lines:
        try:
            need = Requirement(line)
        except InvalidRequirement:
            continue
        key = canonicalize_name(need.name)
        wanted = need.marker is None or need.marker.evaluate({"extra": ""})
        if wanted and (all_of_them or key in names):
            found.setdefault(key, Dependency(need.name, str(need.specifier)))
    return tuple(found.values())


def _is_version(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        Version(value)
    except InvalidVersion:
        return False
    return True


def _differ(one: str, other: str) -> bool:
    return _is_version(one) and _is_version(other) and Version(one) != Version(other)


def _python() -> ComponentDescriptor:
    return ComponentDescriptor(
        name="python",
        version=platform.python_version(),
        description="The interpreter and its standard library",
        component_type=ComponentType.SYSTEM,
        location=sys.executable,
        metadata={"reason": "the interpreter cannot be changed while it runs"},
    )
