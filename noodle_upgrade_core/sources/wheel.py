"""The source `wheel`: a wheel by its path, folders of wheels, and the package index."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from noodle_upgrade_core import versions
from noodle_upgrade_core.errors import ArtifactDamagedError, InvalidRequestError, UpgradeError, VersionUnknownError
from noodle_upgrade_core.model import ArtifactRef, ComponentDescriptor
from noodle_upgrade_core.sources.index import PackageIndex
from noodle_upgrade_core.sources.trees import is_regular
from noodle_upgrade_core.sources.wheels import WheelName, read_wheel, supported_tags
from noodle_upgrade_core.store.content import ContentStore

__all__ = ["WheelSource", "distribution_name", "names_file"]

DISTRIBUTION = "distribution"
"""The key of a descriptor's metadata that names the distribution which a component of another name comes from."""


def names_file(target: str) -> bool:
    """Return whether a target is the path of a wheel rather than a version."""
    return target.endswith(".whl")


def distribution_name(component: ComponentDescriptor) -> str:
    """Return the normalised name of the distribution that a component comes from."""
    return canonicalize_name(str(component.metadata.get(DISTRIBUTION) or component.name))


class WheelSource:
    """Wheels at `locations` (files, or folders of them), by path, and from the index that pip is configured for.

    Local wheels win over the index; of several that fit the most specific is taken, as pip would. The index is asked
    only for what is installed here as a distribution: a component of that name in a public index need not be ours.
    """

    name = "wheel"

    def __init__(
        self,
        *,
        store: ContentStore,
        locations: Sequence[str | Path] = (),
        index: bool = True,
        pip_timeout: float = 120.0,
        **_others: Any,
    ) -> None:
        self._store = store
        self._locations = tuple(Path(location).expanduser() for location in locations)
        self._index = PackageIndex(timeout=pip_timeout, max_bytes=store.limits.max_bytes) if index else None
        # What an index has published under a version does not change: a second plan need not ask again.
        self._fetched: dict[tuple[str, Version], ArtifactRef] = {}
        self._lock = threading.Lock()

    def versions(self, component: ComponentDescriptor) -> tuple[str, ...]:
        """Return the versions of the local wheels that fit this interpreter; the index is not asked."""
        supported = supported_tags()
        local = self._local(distribution_name(component))
        return versions.ordered(str(wheel.version) for _, wheel in local if wheel.rank(supported) is not None)

    def resolve(self, component: ComponentDescriptor, target: str) -> str | None:
        """Return the version that a wheel's file name says."""
        if not names_file(target):
            return None
        path = self._find(target)
        wheel = WheelName.of(path.name)
        _check_owner(component, wheel.name, path)
        return str(wheel.version)

    def confirm(self, component: ComponentDescriptor, version: str) -> bool:
        """Ask the index, if it may be asked; raises `VersionUnknownError` with what it has instead."""
        name = distribution_name(component)
        index = self._index if _is_installed(component) else None
        if index is None:
            return False
        index.confirm(name, version)
        return True

    def fetch(self, component: ComponentDescriptor, version: str) -> ArtifactRef | None:
        """Store the wheel of a version, or the one whose path is given."""
        if names_file(version):
            path = self._find(version)
            return self._keep(component, path, f"file:{path}")
        wanted = versions.parse(version)
        supported = supported_tags()
        local = [(path, wheel) for path, wheel in self._local(distribution_name(component)) if wheel.version == wanted]
        fitting = [
            (rank, _newest_build(w), str(path), path) for path, w in local if (rank := w.rank(supported)) is not None
        ]
        if fitting:
            path = min(fitting)[-1]
            return self._keep(component, path, f"file:{path}")
        if self._index is not None and _is_installed(component):
            return self._from_index(self._index, component, wanted)
        for _, wheel in local:
            wheel.check_tags(supported)
        if lost := [str(location) for location in self._locations if not location.exists()]:
            raise VersionUnknownError(f"{', '.join(lost)} does not exist.")
        return None

    def _from_index(self, index: PackageIndex, component: ComponentDescriptor, version: Version) -> ArtifactRef:
        name = distribution_name(component)
        with self._lock:
            known = self._fetched.get((name, version))
        if known is not None and self._is_whole(known):
            return known
        with index.download(name, str(version)) as path:
            found = self._keep(component, path, f"index:{name}=={version}")
        with self._lock:
            self._fetched[(name, version)] = found
        return found

    def _is_whole(self, artifact: ArtifactRef) -> bool:
        if not (self._store.has(artifact.digest) and self._store.tree(artifact.digest).is_dir()):
            return False
        try:
            self._store.verify(artifact.digest)
        except ArtifactDamagedError:
            return False  # it is fetched anew
        return True

    def _keep(self, component: ComponentDescriptor, path: Path, source: str) -> ArtifactRef:
        wheel = read_wheel(path, limits=self._store.limits, supported=supported_tags())
        _check_owner(component, canonicalize_name(wheel.name), path)
        known = self._store.has(wheel.digest)
        digest = self._store.put_file(path, expected=wheel.digest)
        try:
            tree = self._store.unpack_wheel(digest)
        except UpgradeError:
            if not known:
                self._store.discard(digest)
            raise
        return ArtifactRef(
            name=component.name,
            version=wheel.version,
            digest=digest,
            kind="wheel",
            size=wheel.size,
            tree=tree.relative_to(self._store.root).as_posix(),
            source=source,
            top_levels=wheel.contents.top_levels,
            requirements=wheel.requirements,
            requires_python=wheel.requires_python,
            extension_modules=wheel.contents.extension_modules,
            metadata={
                "distribution": wheel.name,
                "file": path.name,
                "tags": list(wheel.tags),
                **wheel.contents.metadata(),
            },
        )

    def _find(self, target: str) -> Path:
        """Return the path; a bare file name is looked for in the folders of wheels too."""
        path = Path(target).expanduser()
        if not is_regular(path) and path.name == target:
            path = next((found for found in self._files() if found.name == target), path)
        return path.absolute()

    def _local(self, name: str) -> list[tuple[Path, WheelName]]:
        found: list[tuple[Path, WheelName]] = []
        for path in self._files():
            # Only what belongs to this component is read: a folder may hold thousands, and odd ones.
            if canonicalize_name(path.name.partition("-")[0]) == name:
                try:
                    found.append((path, WheelName.of(path.name)))
                except ArtifactDamagedError:
                    continue  # no version can be read from it, so nobody can ask for it
        return found

    def _files(self) -> Iterator[Path]:
        for location in self._locations:
            yield from _wheels_in(location) if location.is_dir() else iter((location,))


def _wheels_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".whl")


def _newest_build(wheel: WheelName) -> tuple[int, str]:
    """Sort a higher build number first."""
    number, text = wheel.build or (0, "")
    return (-number, text)


def _is_installed(component: ComponentDescriptor) -> bool:
    try:
        importlib.metadata.distribution(distribution_name(component))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
    return True


def _check_owner(component: ComponentDescriptor, name: str, path: Path) -> None:
    if name != distribution_name(component):
        raise InvalidRequestError(
            f"{path.name} is a wheel of {name}, not of {component.name}.",
            hint="Name the component that the wheel belongs to.",
            details={"component_name": component.name, "wheel": path.name},
        )
