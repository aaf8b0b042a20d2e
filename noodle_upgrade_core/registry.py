"""Components as one immutable value: look-up, the order of dependencies, and what a change would break."""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import evolve, field, frozen
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from noodle_upgrade_core import graph, versions
from noodle_upgrade_core.errors import (
    ComponentUnknownError,
    DependencyCycleError,
    DependencyMissingError,
    VersionInvalidError,
)
from noodle_upgrade_core.model import ComponentDescriptor, Dependency, Finding, Severity

__all__ = ["Registry", "installed_version"]

OPTIONAL = "optional_dependencies"
"""The key of a descriptor's metadata that lists the dependencies which it can do without."""

_SHOWN = 8


def installed_version(name: str) -> str | None:
    """Return the version of a distribution that the environment has, or None."""
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        return None


@frozen(slots=False)  # without slots: the two tables are made when they are first needed, and kept
class Registry:
    """A snapshot of the components that exist, sorted by name: a value, so any thread may hold it.

    Names are compared as PEP 503 says: `Markdown_It.py` and `markdown-it-py` are one. `findings` tell what was odd
    about the components. `provided(name)` gives the version of what is no component but is there all the same: by
    default, of an installed distribution that nobody has loaded.
    """

    components: tuple[ComponentDescriptor, ...] = ()
    findings: tuple[Finding, ...] = ()
    provided: Callable[[str], str | None] = field(default=installed_version, eq=False, repr=False)

    @classmethod
    def of(
        cls, components: Iterable[ComponentDescriptor], *, provided: Callable[[str], str | None] = installed_version
    ) -> Registry:
        """Make a snapshot; of two descriptions of one name the first is believed, and a finding says so."""
        first: dict[str, ComponentDescriptor] = {}
        findings: list[Finding] = []
        for component in components:
            known = first.setdefault(_key(component.name), component)
            if known is not component:
                findings.append(_duplicate(known, component))
        return cls(components=tuple(first[key] for key in sorted(first)), findings=tuple(findings), provided=provided)

    def with_components(self, *components: ComponentDescriptor) -> Registry:
        """Return a snapshot with these components added, each in the place of the one of its name."""
        coming = {_key(component.name) for component in components}
        rest = (known for key, known in self._by_key.items() if key not in coming)
        made = Registry.of((*components, *rest), provided=self.provided)
        return evolve(made, findings=self.findings)

    @property
    def names(self) -> tuple[str, ...]:
        """The components' names as they spell them, in order."""
        return tuple(component.name for component in self.components)

    def __len__(self) -> int:
        return len(self.components)

    def __iter__(self) -> Iterator[ComponentDescriptor]:
        return iter(self.components)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in self._by_key

    def get_component(self, name: str) -> ComponentDescriptor:
        """Return the component, however its name is spelled; raises `ComponentUnknownError`."""
        found = self._by_key.get(_key(name))
        if found is None:
            raise ComponentUnknownError(
                f"there is no component {name!r}.", hint=self._suggestion(name), details={"component_name": name}
            )
        return found

    def resolve_dependencies(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return these components and all that they need, dependencies first, else by name.

        A dependency that is no component counts as met when `provided` knows it, and is passed over when its
        component lists it under `metadata["optional_dependencies"]`. Otherwise raises `DependencyMissingError`, with
        every missing one in `details["missing"]`. Components that need one another in a circle raise
        `DependencyCycleError`: `details["cycle"]` names them, each needing the next and the last the first.
        """
        needs = self._closure([_key(self.get_component(name).name) for name in names])
        found, circling = graph.order(needs)
        if circling:
            self._raise_cycle({key: [n for n in needs[key] if n in circling] for key in circling})
        return tuple(self._by_key[key].name for key in found)

    def dependents(self, name: str) -> tuple[str, ...]:
        """Return every component that needs this one, directly or not: nearest first, else by name."""
        start = _key(self.get_component(name).name)
        seen = {start}
        found: list[str] = []
        edge = [start]
        while edge:
            edge = sorted({user for key in edge for user, _ in self._used_by.get(key, ())} - seen)
            seen.update(edge)
            found += edge
        return tuple(self._by_key[key].name for key in found)

    def check(self, changes: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
        """Say which constraints between components would be unmet after these changes, `{name: new version}`.

        Errors are about components that stay as they are and could not take the new version of another. A component
        that changes itself is bound by what its *new* version needs, which is not known here: where its running
        version would not fit, that is an information. Without changes every constraint is checked as things are.
        """
        planned = {_key(self.get_component(name).name): v for name, v in (changes or {}).items()}
        rules = _Constraints()
        found: list[Finding] = []
        for key in sorted(planned or self._by_key):
            version = planned.get(key, self._by_key[key].version)
            for user_key, need in self._used_by.get(key, ()):
                finding = rules.check(self._by_key[user_key], need, self._by_key[key].name, version)
                if finding is not None:
                    found.append(_superseded(finding) if user_key in planned else finding)
            if key in planned:
                found += self._outside(self._by_key[key])
        return tuple(dict.fromkeys(found))

    def get_upgrade_path(self, name: str, target: str, available: Iterable[str]) -> tuple[str, ...]:
        """Return the versions from the running one to the target, by the component's own rules; see `versions`."""
        component = self.get_component(name)
        return versions.get_upgrade_path(
            component.version,
            target,
            available,
            must_pass=component.upgrade_path,
            matrix=component.compatibility_matrix,
        )

    @functools.cached_property
    def _by_key(self) -> dict[str, ComponentDescriptor]:
        return {_key(component.name): component for component in self.components}

    @functools.cached_property
    def _used_by(self) -> dict[str, list[tuple[str, Dependency]]]:
        found: dict[str, list[tuple[str, Dependency]]] = {}
        for key, component in self._by_key.items():
            for need in component.dependencies:
                found.setdefault(_key(need.name), []).append((key, need))
        return found

    def _closure(self, keys: list[str]) -> dict[str, list[str]]:
        needs: dict[str, list[str]] = {}
        missing: list[tuple[ComponentDescriptor, Dependency]] = []
        while keys:
            key = keys.pop()
            if key in needs:
                continue
            component = self._by_key[key]
            wanted = [(_key(need.name), need) for need in component.dependencies]
            needs[key] = [other for other, _ in wanted if other in self._by_key]
            keys += needs[key]
            missing += [
                (component, n) for other, n in wanted if other not in self._by_key and self._misses(component, n)
            ]
        if missing:
            self._raise_missing(missing)
        return needs

    def _misses(self, component: ComponentDescriptor, need: Dependency) -> bool:
        return not _optional(component, need) and self.provided(need.name) is None

    def _outside(self, component: ComponentDescriptor) -> list[Finding]:
        """Tell which optional dependencies of a component that changes are not there."""
        return [
            Finding(
                severity=Severity.INFO,
                code="dependency.optional_missing",
                message=f"{component.name} can use {need}, which is not there.",
                subject=component.name,
            )
            for need in component.dependencies
            if need.name not in self and _optional(component, need) and self.provided(need.name) is None
        ]

    def _raise_missing(self, missing: list[tuple[ComponentDescriptor, Dependency]]) -> None:
        missing.sort(key=lambda pair: (pair[0].name, pair[1].name))
        needs = [f"{component.name} needs {need}" for component, need in missing]
        raise DependencyMissingError(
            f"{'; '.join(needs[:_SHOWN])}: neither a component nor installed.",
            hint=self._suggestion(missing[0][1].name),
            details={"missing": [{"component": c.name, "dependency": str(need)} for c, need in missing]},
        )

    def _raise_cycle(self, needs: Mapping[str, list[str]]) -> None:
        names = [self._by_key[key].name for key in graph.shortest_cycle(needs)]
        raise DependencyCycleError(
            f"these components need one another in a circle: {' -> '.join([*names, names[0]])}.",
            hint="Take one of these dependencies away, or list it as optional.",
            details={"cycle": names},
        )

    def _suggestion(self, name: str) -> str:
        close = difflib.get_close_matches(_key(name), self._by_key, n=3, cutoff=0.6)
        if close:
            return f"Did you mean {' or '.join(repr(self._by_key[key].name) for key in close)}?"
        if 0 < len(self) <= _SHOWN:
            return f"There are: {', '.join(self.names)}."
        return "Look at `noodle components`; a component must be loaded in the running process."


class _Constraints:
    """Constraints that were read once: thousands of components share a few hundred of them."""

    def __init__(self) -> None:
        self._read: dict[str, SpecifierSet | None] = {}

    def check(self, user: ComponentDescriptor, need: Dependency, name: str, version: str) -> Finding | None:
        if not need.constraint:
            return None
        if need.constraint not in self._read:
            self._read[need.constraint] = _specifiers(need.constraint)
        allowed = self._read[need.constraint]
        if allowed is None:
            return Finding(
                severity=Severity.WARNING,
                code="constraint.unreadable",
                message=f"{user.name} {user.version} needs {need}, which is no constraint that can be read.",
                subject=name,
                hint="Write it as PEP 440 says: >=2,<3.",
            )
        try:
            if allowed.contains(versions.parse(version), prereleases=True):
                return None
        except VersionInvalidError as error:
            return Finding(
                severity=Severity.WARNING,
                code=error.code,
                message=f"{user.name} {user.version} needs {need}, and {version!r}, of {name}, is no version.",
                subject=name,
                hint=error.hint,
            )
        return Finding(
            severity=Severity.ERROR,
            code="constraint.unmet",
            message=f"{user.name} {user.version} needs {need}, not {name} {version}.",
            subject=name,
            hint=f"Upgrade {user.name} in the same plan, or choose another version of {name}.",
        )


def _key(name: str) -> str:
    return canonicalize_name(name)


def _specifiers(text: str) -> SpecifierSet | None:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def _superseded(finding: Finding) -> Finding:
    return evolve(
        finding,
        severity=Severity.INFO,
        code="constraint.superseded",
        hint="It changes in the same plan: what its new version needs is what counts.",
    )


def _optional(component: ComponentDescriptor, need: Dependency) -> bool:
    listed = component.metadata.get(OPTIONAL, ())
    return _key(need.name) in {_key(str(name)) for name in listed}


def _duplicate(known: ComponentDescriptor, other: ComponentDescriptor) -> Finding:
    same = known.version == other.version
    return Finding(
        severity=Severity.INFO if same else Severity.WARNING,
        code="component.duplicate",
        message=(
            f"{known.name} is described twice: {known.version} ({known.location or known.component_type}) is believed,"
            f" {other.version} ({other.location or other.component_type}) is not."
        ),
        subject=known.name,
        hint="" if same else "Let only one plugin describe it, or name the right one first with `before`.",
    )
