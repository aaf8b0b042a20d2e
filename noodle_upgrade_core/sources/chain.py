"""Where versions come from: folders, wheels, the package index, and what is installed.

A source is a driver of the group `noodle_upgrade.sources`. It is made with keywords (`store`, a `ContentStore`, and the
settings `locations`, `index`, `pip_timeout` and `registry_path`), takes those that it needs and ignores the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from attrs import field, frozen
from packaging.utils import canonicalize_name

from noodle_upgrade_core import versions
from noodle_upgrade_core.errors import (
    ArtifactDamagedError,
    ArtifactUnavailableError,
    UpgradeError,
    VersionUnknownError,
)
from noodle_upgrade_core.model import ArtifactRef, ComponentDescriptor
from noodle_upgrade_core.sources.directory import DirectorySource
from noodle_upgrade_core.sources.installed import InstalledSource
from noodle_upgrade_core.sources.wheel import WheelSource, names_file

__all__ = ["DirectorySource", "InstalledSource", "Source", "Sources", "WheelSource", "names_file"]

T = TypeVar("T")


@runtime_checkable
class Source(Protocol):
    """What every source can do.

    It may do more, and is then asked for it:

    - `resolve(component, target) -> str | None`: the version of the file that `target` names, None when it is not mine;
    - `confirm(component, version) -> bool`: whether `fetch` would find it, where `versions` does not list all;
    - `capture(component) -> ArtifactRef | None`: the version that runs now, as bytes.
    """

    name: str

    def versions(self, component: ComponentDescriptor) -> tuple[str, ...]:
        """Return the versions that it can list cheaply, newest last; () when it knows nothing of the component."""

    def fetch(self, component: ComponentDescriptor, version: str) -> ArtifactRef | None:
        """Put this version into the store and return what it is.

        Returns None when it does not have it, and raises a typed error when what it has is damaged, too large or for
        another platform.
        """


@frozen
class Sources:
    """All sources as one, in the configured order: the first that has a version delivers it.

    A component whose versions are nobody else's business names its own, in `metadata["sources"]`: only these are asked,
    and never an index, where somebody may have published another thing under its name. `make` makes those that are not
    configured.
    """

    sources: tuple[Source, ...] = ()
    make: Callable[[str], Source] | None = field(default=None, eq=False)
    _own: dict[str, Source] = field(factory=dict, init=False, eq=False, repr=False)

    def of(self, component: ComponentDescriptor) -> tuple[Source, ...]:
        """Return the sources that are asked for a component. Raises `DriverUnknownError` for one that there is not."""
        named = component.metadata.get("sources")
        return self.sources if not named else tuple(self._named(str(name)) for name in named)

    def _named(self, name: str) -> Source:
        for source in self.sources:
            if source.name == name:
                return source
        if name not in self._own:
            if self.make is None:
                raise ArtifactUnavailableError(
                    f"there is no source {name!r} here.", hint="Open an Upgrader: it can make the installed ones."
                )
            self._own[name] = self.make(name)
        return self._own[name]

    def versions(self, component: ComponentDescriptor) -> tuple[str, ...]:
        """Return the versions that any source lists, newest last, each once as its first source spells it."""
        listed = (self._ask(source, source.versions, component) for source in self.of(component))
        return versions.ordered(version for found in listed for version in found)

    def resolve(self, component: ComponentDescriptor, target: str) -> str:
        """Return the version that `target` means: a version, `latest`, specifiers such as `>=3,<4`, or a wheel's path.

        A version is taken at its word; `confirm` and `fetch` find out whether it exists. Raises `VersionInvalidError`,
        `VersionUnknownError` when nothing that is listed meets it, or what is wrong with the file.
        """
        if names_file(target):
            return self._resolve_file(component, target)
        if target == "latest" or versions.is_specifier(target):
            listed = self.versions(component)
            newest = versions.latest(listed, () if target == "latest" else target)
            if newest is None:
                raise VersionUnknownError(
                    f"no source lists a version of {component.name} that is {target}.",
                    hint=f"Listed: {versions.listing(listed) or 'none'}. An index is only asked for exact versions.",
                    details={"component_name": component.name, "target": target, "listed": list(listed)},
                )
            return newest
        wanted = versions.parse(target)
        return next((v for v in self.versions(component) if versions.parse(v) == wanted), target)

    def confirm(self, component: ComponentDescriptor, version: str) -> None:
        """Raise as `fetch` does unless some source has this version; nothing is stored."""
        wanted = versions.parse(version)
        said: list[str] = []
        for source in self.of(component):
            listed = self._ask(source, source.versions, component)
            if any(versions.parse(v) == wanted for v in listed if versions.is_version(v)):
                return
            ask = getattr(source, "confirm", None)
            try:
                if ask is not None and self._ask(source, ask, component, version):
                    return
            except VersionUnknownError as error:
                said.append(_refusal(source, error))
            else:
                said.append(_statement(source, listed))
        raise _unknown(component, version, said)

    def fetch(self, component: ComponentDescriptor, version: str) -> ArtifactRef:
        """Put a version, or the wheel whose path is given, into the store and return what it is.

        Raises `VersionUnknownError` with what each source had to say, or the error of the source that has it but cannot
        deliver it: the next one is not tried then, its bytes would be others.
        """
        refusals: list[str] = []
        for source in self.of(component):
            try:
                found = self._ask(source, source.fetch, component, version)
            except VersionUnknownError as error:
                refusals.append(_refusal(source, error))
                continue
            if found is not None:
                _check_answer(source, component, version, found)
                return found
            refusals.append("")
        said = [
            refusal or _statement(source, self._ask(source, source.versions, component))
            for source, refusal in zip(self.of(component), refusals, strict=True)
        ]
        raise _unknown(component, version, said)

    def capture(self, component: ComponentDescriptor) -> ArtifactRef | None:
        """Put the version that runs now into the store, as a point to go back to.

        Returns None where its bytes cannot be had: it was never a file, or its files are of another version by now.
        """
        for source in self.of(component):
            ask: Callable[[ComponentDescriptor], ArtifactRef | None] | None = getattr(source, "capture", None)
            found = self._ask(source, ask, component) if ask is not None else None
            if found is not None:
                return found
        return None

    def _resolve_file(self, component: ComponentDescriptor, target: str) -> str:
        for source in self.of(component):
            ask: Callable[[ComponentDescriptor, str], str | None] | None = getattr(source, "resolve", None)
            version = self._ask(source, ask, component, target) if ask is not None else None
            if version is not None:
                return version
        raise VersionUnknownError(
            f"no source reads files such as {target!r}.",
            hint="Configure the source `wheel`, or name a version.",
            details={"component_name": component.name, "target": target},
        )

    def _ask(self, source: Source, question: Callable[..., T], *args: object) -> T:
        """Ask one source; whatever a third party's raises becomes an error with its name."""
        try:
            return question(*args)
        except UpgradeError:
            raise
        except Exception as error:
            raise ArtifactUnavailableError(
                f"the source {source.name!r} failed: {type(error).__name__}: {error}",
                hint="Take it out of `runtime_upgrade.sources.order`, or report it to its authors.",
                details={"source": source.name},
            ) from error


def _check_answer(source: Source, component: ComponentDescriptor, version: str, found: ArtifactRef) -> None:
    if names_file(version) or versions.compare(found.version, version) == 0:
        return
    raise ArtifactDamagedError(
        f"the source {source.name!r} gave {found.name} {found.version} for {component.name} {version}.",
        hint="Report it to the authors of the source.",
        details={"source": source.name, "asked": version, "given": found.version},
    )


def _statement(source: Source, listed: tuple[str, ...]) -> str:
    return f"{source.name}: has {versions.listing(listed)}" if listed else f"{source.name}: has nothing of it"


def _refusal(source: Source, error: VersionUnknownError) -> str:
    # A part of a list that is one sentence: its own full stop would be a second one.
    return f"{source.name}: {error.message} {error.hint}".rstrip(" .")


def _unknown(component: ComponentDescriptor, version: str, said: list[str]) -> VersionUnknownError:
    return VersionUnknownError(
        f"no source has {component.name} {version}.",
        hint=f"Looked at: {'; '.join(said)}." if said else "No source is configured.",
        details={"component_name": canonicalize_name(component.name), "version": version, "sources": said},
    )
