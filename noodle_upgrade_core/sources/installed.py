"""The source `installed`: the version that runs now, taken from the environment, so that there is a way back to it."""

from __future__ import annotations

import email.parser
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from noodle_upgrade_core import versions
from noodle_upgrade_core.model import ArtifactRef, ComponentDescriptor
from noodle_upgrade_core.sources.directory import module_name
from noodle_upgrade_core.sources.trees import (
    Contents,
    check_limits,
    is_made_by_tools,
    is_regular,
    module_facts,
    total_size,
    walk,
)
from noodle_upgrade_core.sources.wheel import distribution_name
from noodle_upgrade_core.store.content import ContentStore

__all__ = ["InstalledSource"]

_INSTALLERS_OWN = {"direct_url.json", "INSTALLER", "REQUESTED"}


class InstalledSource:
    """What is installed here, as files: distributions, editable ones too, and modules that belong to none.

    Nothing is imported for it, and bytecode and scripts are left out. It has the installed version only, and that only
    as long as the files on the disk are still that version.
    """

    name = "installed"

    def __init__(self, *, store: ContentStore, **_others: Any) -> None:
        self._store = store

    def versions(self, component: ComponentDescriptor) -> tuple[str, ...]:
        """Return the version that is installed, or of several along `sys.path` all, newest last."""
        installed = [_stated(dist, "Version") for dist in _distributions(component)]
        if not installed and self._module_files(component):
            installed = [component.version]
        return versions.ordered(installed)

    def fetch(self, component: ComponentDescriptor, version: str) -> ArtifactRef | None:
        """Store the installed files, if they are of this version."""
        if not versions.is_version(version):
            return None
        found = list(_distributions(component))
        for dist in found:
            if versions.compare(_stated(dist, "Version"), version) == 0:
                return self._keep_distribution(component, dist)
        if found or not versions.is_version(component.version) or versions.compare(component.version, version) != 0:
            return None
        files = self._module_files(component)
        return self._keep(component, version, files, requirements=(), requires_python="") if files else None

    def capture(self, component: ComponentDescriptor) -> ArtifactRef | None:
        """Store the files of the version that runs now; None when there are none, or when they are of another."""
        return self.fetch(component, component.version)

    def _keep_distribution(
        self, component: ComponentDescriptor, dist: importlib.metadata.Distribution
    ) -> ArtifactRef | None:
        files = dict(_listed(dist))
        if _is_editable(dist) or not Contents.of(files).top_levels:
            for name in _names_of(dist):
                files |= self._files_of(name)
        if not Contents.of(files).top_levels:
            return None
        return self._keep(
            component,
            _stated(dist, "Version"),
            files,
            requirements=tuple(dist.requires or ()),
            requires_python=_stated(dist, "Requires-Python"),
        )

    def _keep(
        self,
        component: ComponentDescriptor,
        version: str,
        files: Mapping[str, Path],
        *,
        requirements: tuple[str, ...],
        requires_python: str,
    ) -> ArtifactRef:
        size = total_size(files)
        check_limits(f"{component.name} {version}", size, len(files), limits=self._store.limits)
        contents = Contents.of(files)
        digest = self._store.put_tree(files)
        return ArtifactRef(
            name=component.name,
            version=version,
            digest=digest,
            kind="tree",
            size=size,
            tree=self._store.tree(digest).relative_to(self._store.root).as_posix(),
            source="installed",
            top_levels=contents.top_levels,
            requirements=requirements,
            requires_python=requires_python,
            extension_modules=contents.extension_modules,
            metadata=contents.metadata(),
        )

    def _module_files(self, component: ComponentDescriptor) -> dict[str, Path]:
        """Return the files of a component that belongs to no distribution; {} when they state another version."""
        module = module_name(component)
        place = Path(component.location) if component.location and "://" not in component.location else None
        if place is not None and place.is_dir() and (place / "__init__.py").is_file():
            files = self._package(module, place)
        elif place is not None and place.name == "__init__.py" and is_regular(place):
            files = self._package(module, place.parent)
        elif place is not None and place.suffix == ".py" and is_regular(place):
            files = {f"{_path_of(module)}.py": place.resolve()}
        else:
            files = self._files_of(module)
        path = _path_of(module)
        source = files.get(f"{path}/__init__.py") or files.get(f"{path}.py")
        stated = module_facts(source).version if source is not None else ""
        differs = versions.is_version(stated) and versions.is_version(component.version)
        return {} if differs and versions.compare(stated, component.version) != 0 else files

    def _files_of(self, module: str) -> dict[str, Path]:
        """Return the files of a module or package as the interpreter finds them, without importing anything."""
        origin, folders = _find(module)
        if origin is not None and origin.name == "__init__.py":
            return self._package(module, origin.parent)
        if origin is not None and is_regular(origin):
            return {"/".join((*module.split(".")[:-1], origin.name)): origin.resolve()}
        files: dict[str, Path] = {}
        for folder in folders:  # a namespace package: every part of it
            if folder.is_dir():
                files |= self._package(module, folder)
        return files

    def _package(self, module: str, folder: Path) -> dict[str, Path]:
        found = walk(folder.resolve(), limits=self._store.limits, links=True)
        return {f"{_path_of(module)}/{name}": path for name, path in found.items()}


def _distributions(component: ComponentDescriptor) -> Iterator[importlib.metadata.Distribution]:
    """Yield the distributions of the component's name in the order of `sys.path`; broken ones are passed over."""
    name = distribution_name(component)
    for dist in importlib.metadata.distributions(name=name):
        if versions.is_version(_stated(dist, "Version")):
            yield dist


def _stated(dist: importlib.metadata.Distribution, field: str) -> str:
    text = dist.read_text("METADATA") or dist.read_text("PKG-INFO") or ""
    return str(email.parser.Parser().parsestr(text, headersonly=True).get(field) or "")


def _listed(dist: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the files that the installer recorded and that exist, below the folder that is on `sys.path`."""
    for file in dist.files or ():
        name = file.as_posix()
        if file.is_absolute() or ".." in file.parts or is_made_by_tools(name):
            continue
        if file.name in _INSTALLERS_OWN or file.name.startswith("__editable__"):
            continue
        path = Path(str(file.locate()))
        if is_regular(path):
            yield name, path.resolve()


def _is_editable(dist: importlib.metadata.Distribution) -> bool:
    text = dist.read_text("direct_url.json")
    try:
        told = json.loads(text) if text else {}
    except ValueError:
        return False
    folder = told.get("dir_info") if isinstance(told, dict) else None
    return isinstance(folder, dict) and folder.get("editable") is True


def _names_of(dist: importlib.metadata.Distribution) -> tuple[str, ...]:
    """Return the import names of a distribution that lists no modules: as it says, else as it is called."""
    told = (dist.read_text("top_level.txt") or "").split()
    name = canonicalize_name(_stated(dist, "Name")).replace("-", "_")
    return tuple(part for part in told or [name] if part.isidentifier())


def _find(module: str) -> tuple[Path | None, tuple[Path, ...]]:
    """Return a module's file and its package's folders; a parent is never imported to find its child."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        folders = tuple(Path(str(part)) for part in getattr(loaded, "__path__", ()))
        return (Path(file) if isinstance(file, str) else None), folders
    parent, _, last = module.rpartition(".")
    try:
        if not parent:
            spec = importlib.util.find_spec(module)
        else:
            _, search = _find(parent)
            spec = importlib.machinery.PathFinder.find_spec(last, [str(folder) for folder in search])
    except (ImportError, ValueError, AttributeError):
        return None, ()
    if spec is None:
        return None, ()
    origin = Path(spec.origin) if spec.has_location and spec.origin else None
    return origin, tuple(Path(folder) for folder in spec.submodule_search_locations or ())


def _path_of(module: str) -> str:
    return module.replace(".", "/")
