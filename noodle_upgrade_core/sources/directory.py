"""The source `directory`: versions of components that lie unpacked in a folder, without being built.

<registry_path>/<name>/<version>/        modules and packages as they lie on `sys.path`, or the files of one package
<registry_path>/<name>/<version>/component.toml    optional: the descriptor's fields (or component.json)
<registry_path>/<name>/<version>.py      a component that is one module
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from noodle_upgrade_core import versions
from noodle_upgrade_core.errors import ArtifactDamagedError, InvalidRequestError, UpgradeError
from noodle_upgrade_core.model import ArtifactRef, ComponentDescriptor, Finding, Severity
from noodle_upgrade_core.sources.trees import Contents, ModuleFacts, module_facts, total_size, walk
from noodle_upgrade_core.store.content import ContentStore

__all__ = ["DirectorySource", "Survey", "module_name"]

_FILES = ("component.toml", "component.json")
_LONGEST = 1 << 20


@frozen(kw_only=True)
class Survey:
    """Every version that a folder declares, and what could not be read in it."""

    components: tuple[ComponentDescriptor, ...]
    findings: tuple[Finding, ...]


def module_name(component: ComponentDescriptor) -> str:
    """Return the module that a component is: that of its entry point, else its name with `_` for `-`."""
    return component.entry_point.partition(":")[0] or component.name.replace("-", "_")


class DirectorySource:
    """Components under `registry_path`; a folder that does not exist holds none.

    Folder names are compared as PEP 503 says, names that are no versions are passed over.
    """

    name = "directory"

    def __init__(
        self, *, store: ContentStore, registry_path: str | Path = "runtime_components", **_others: Any
    ) -> None:
        self._store = store
        self._root = Path(registry_path).expanduser()

    def versions(self, component: ComponentDescriptor) -> tuple[str, ...]:
        """Return the versions that lie there, newest last."""
        return versions.ordered(version for version, _ in self._places(component.name))

    def fetch(self, component: ComponentDescriptor, version: str) -> ArtifactRef | None:
        """Store the files of a version.

        Raises `ArtifactDamagedError` when its descriptor cannot be read or contradicts where it lies, when its module
        states another version of itself, or when it holds links.
        """
        if not versions.is_version(version):
            return None
        for found, place in self._places(component.name):
            if versions.compare(found, version) == 0:
                return self._keep(component, found, place)
        return None

    def components(self) -> tuple[ComponentDescriptor, ...]:
        """Return a descriptor of every version that can be read, by name and oldest first; see also `survey`."""
        return self.survey().components

    def survey(self) -> Survey:
        """Return every version's descriptor; one that cannot be read is a finding and does not hide the others."""
        components: list[ComponentDescriptor] = []
        findings: list[Finding] = []
        for folder in sorted(_folders(self._root)):
            for version, place in sorted(_versions_in(folder), key=lambda found: versions.parse(found[0])):
                base = ComponentDescriptor(name=folder.name, version=version, location=str(place))
                try:
                    components.append(_declared(base, place) or base)
                except UpgradeError as error:
                    finding = Finding(
                        severity=Severity.WARNING,
                        code=error.code,
                        message=error.message,
                        subject=folder.name,
                        hint=error.hint,
                        source=self.name,
                    )
                    findings.append(finding)
        return Survey(components=tuple(components), findings=tuple(findings))

    def _places(self, name: str) -> Iterator[tuple[str, Path]]:
        key = canonicalize_name(name)
        for folder in sorted(_folders(self._root), key=lambda folder: (folder.name != name, folder.name)):
            if canonicalize_name(folder.name) == key:
                yield from _versions_in(folder)

    def _keep(self, component: ComponentDescriptor, version: str, place: Path) -> ArtifactRef:
        declared = _declared(evolve(component, version=version), place)
        about = declared or component
        module = module_name(about)
        files = _files(place, module, self._store)
        stated = _stated(files, module)
        if stated.version and versions.is_version(stated.version) and versions.compare(stated.version, version) != 0:
            raise _damaged(place, f"its module says that it is {stated.version}")
        contents = Contents.of(files)
        digest = self._store.put_tree(files)
        needs = tuple(str(need) for need in declared.dependencies) if declared is not None else stated.dependencies
        return ArtifactRef(
            name=component.name,
            version=version,
            digest=digest,
            kind="tree",
            size=total_size(files),
            tree=self._store.tree(digest).relative_to(self._store.root).as_posix(),
            source=f"file:{place.absolute()}",
            top_levels=contents.top_levels,
            requirements=needs,
            extension_modules=contents.extension_modules,
            # What a version says of itself goes with its files.
            metadata={
                **(declared.metadata if declared is not None else {}),
                **({"entry_point": about.entry_point} if about.entry_point else {}),
                **contents.metadata(),
            },
        )


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _versions_in(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        name = path.name if path.is_dir() else path.name.removesuffix(".py")
        if (path.is_dir() or path.suffix == ".py") and versions.is_version(name):
            yield name, path


def _files(place: Path, module: str, store: ContentStore) -> dict[str, Path]:
    """Return the files under the names that they have on `sys.path`."""
    package = module.replace(".", "/")
    if not place.is_dir():
        return {f"{package}.py": place}
    files = walk(place, limits=store.limits)
    if "__init__.py" in files:
        return {name if name in _FILES else f"{package}/{name}": path for name, path in files.items()}
    if not any(name not in _FILES for name in files):
        raise _damaged(place, "it holds no files")
    return files


def _stated(files: Mapping[str, Path], module: str) -> ModuleFacts:
    path = module.replace(".", "/")
    source = files.get(f"{path}/__init__.py") or files.get(f"{path}.py")
    return ModuleFacts() if source is None else module_facts(source)


def _declared(component: ComponentDescriptor, place: Path) -> ComponentDescriptor | None:
    """Return the component as its descriptor file says, or None without one."""
    found = [place / name for name in _FILES if (place / name).is_file()] if place.is_dir() else []
    if not found:
        return None
    if len(found) > 1:
        raise _damaged(place, f"it has {' and '.join(_FILES)}: keep one")
    from noodle_upgrade_core.wire import from_wire  # noqa: PLC0415 - brings cattrs, which few runs need

    data = _read(found[0])
    if isinstance(data.get("dependencies"), list):
        data["dependencies"] = [_dependency(need, found[0]) for need in data["dependencies"]]
    try:
        told = from_wire(ComponentDescriptor, {"name": component.name, "version": component.version, **data})
    except InvalidRequestError as error:
        raise ArtifactDamagedError(
            f"{found[0]}: {error.message}", hint=error.hint, details={"path": str(found[0]), **error.details}
        ) from error
    if canonicalize_name(told.name) != canonicalize_name(component.name) or not _same(told.version, component.version):
        raise _damaged(found[0], f"it describes {told.name} {told.version}")
    return evolve(told, location=told.location or str(place))


def _read(path: Path) -> dict[str, Any]:
    from noodle_upgrade_core.wire import loads  # noqa: PLC0415 - as above

    try:
        text = path.read_bytes()
        if len(text) > _LONGEST:
            raise _damaged(path, f"it has {len(text):,} bytes: that is no descriptor")
        data = tomllib.loads(text.decode()) if path.suffix == ".toml" else loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, InvalidRequestError, RecursionError) as error:
        raise _damaged(path, f"it cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise _damaged(path, "it must hold the fields of one descriptor")
    return data


def _dependency(need: Any, path: Path) -> Any:
    """Return `lexer>=1` as the fields of a `Dependency`; what is no string is left for the model to judge."""
    if not isinstance(need, str):
        return need
    try:
        read = Requirement(need)
    except InvalidRequirement as error:
        raise _damaged(path, f"the dependency {need!r} cannot be read") from error
    if read.marker or read.extras or read.url:
        raise _damaged(path, f"the dependency {need!r} may have a name and versions only")
    return {"name": read.name, "constraint": str(read.specifier)}


def _same(a: str, b: str) -> bool:
    return versions.is_version(a) and versions.compare(a, b) == 0


def _damaged(place: Path, what: str) -> ArtifactDamagedError:
    return ArtifactDamagedError(
        f"{place} cannot be used: {what}.", hint="Correct it, or remove it.", details={"path": str(place)}
    )
