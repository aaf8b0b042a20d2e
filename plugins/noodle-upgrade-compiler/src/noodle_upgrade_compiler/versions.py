"""Versions of phases: what one is, how it is loaded beside others, and where they are found.

A version is a folder with a module or a package in it that imports nothing of its own by an absolute name, and
`component.toml`, which names the entry point. It is imported under a private name: any number of versions live side by
side, and none is found by an import.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import field, frozen

from noodle_upgrade_compiler.contract import ENTRY_POINTS, PHASES
from noodle_upgrade_compiler.errors import PhaseFailedError
from noodle_upgrade_core import versions
from noodle_upgrade_core.errors import InvalidRequestError, StageError, VersionUnknownError
from noodle_upgrade_core.wire import loads

__all__ = ["BUNDLED", "Library", "PhaseVersion", "load_version"]

BUNDLED = Path(__file__).parent / "bundled"
"""The versions that come with this package."""
_DIGEST = 16


@frozen(kw_only=True, eq=False)
class PhaseVersion:
    """One version of a phase, loaded. `digest` is of its files: two versions that say the same number differ by it."""

    phase: str
    version: str
    digest: str
    call: Callable[..., Any] = field(repr=False)
    features: tuple[str, ...] = ()
    module: str = ""
    folder: Path | None = None
    affects: tuple[str, ...] | None = None
    """The kinds of tokens that it is about; None for any: a source without one of them comes out as before."""

    @property
    def key(self) -> str:
        """What it is called in keys of the cache: its number and its content."""
        return f"{self.phase} {self.version} {self.digest}"

    def forget(self) -> None:
        """Take its modules out of `sys.modules`; whoever still calls it can."""
        if self.module:
            for name in [name for name in sys.modules if name == self.module or name.startswith(f"{self.module}.")]:
                sys.modules.pop(name, None)


_loading = threading.Lock()


def load_version(phase: str, version: str, folder: Path) -> PhaseVersion:
    """Import a version from its folder.

    Raises `StageError` when it has no such entry point, or cannot be imported, and has then left nothing behind.
    """
    told = _declared(folder)
    entry = str(told.get("entry_point", ""))
    module_name, _, function = entry.partition(":")
    if not module_name or not function:
        raise StageError(
            f"{phase} {version} names no entry point.",
            hint=f'Put entry_point = "module:{ENTRY_POINTS.get(phase, "function")}" into its component.toml.',
        )
    digest = _digest_of(folder)
    private = f"{module_name}@{version.replace('.', '_')}~{digest}"
    with _loading:
        module = sys.modules.get(private) or _imported(private, module_name, folder, f"{phase} {version}")
    call = getattr(module, function, None)
    if not callable(call):
        raise StageError(f"{phase} {version}: {entry} is not there, or cannot be called.")
    stated = getattr(module, "__version__", version)
    if not versions.is_version(stated) or versions.compare(stated, version) != 0:
        raise StageError(f"{phase} {version}: its module says that it is {stated}.")
    features = tuple(map(str, told.get("metadata", {}).get("features", ())))
    return PhaseVersion(
        phase=phase, version=version, digest=digest, call=call, features=features, module=private, folder=folder,
        affects=_affects(told),
    )  # fmt: skip


def _affects(told: dict[str, Any]) -> tuple[str, ...] | None:
    named = told.get("metadata", {}).get("affects")
    return None if named is None else tuple(map(str, named))


def _imported(private: str, name: str, folder: Path, what: str) -> ModuleType:
    package = folder / name / "__init__.py"
    single = folder / f"{name}.py"
    place, inside = (package, [str(package.parent)]) if package.is_file() else (single, None)
    spec = importlib.util.spec_from_file_location(private, place, submodule_search_locations=inside)
    if not place.is_file() or spec is None or spec.loader is None:
        raise StageError(f"{what}: there is no module {name} in its folder.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        for made in [one for one in sys.modules if one == private or one.startswith(f"{private}.")]:
            sys.modules.pop(made, None)
        if not isinstance(error, Exception):
            raise
        raise StageError(f"{what} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _declared(folder: Path) -> dict[str, Any]:
    """Return what a version says of itself, in `component.toml` or `component.json`."""
    place = folder / "component.toml"
    if not place.is_file() and (folder / "component.json").is_file():
        place = folder / "component.json"
    try:
        text = place.read_text(encoding="utf-8")
        found = loads(text) if place.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError, InvalidRequestError) as error:
        raise StageError(f"{place} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise StageError(f"{place} is no table.")
    return found


def _digest_of(folder: Path) -> str:
    """Return a digest of the files that decide what a version does."""
    total = hashlib.blake2b(digest_size=_DIGEST // 2)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            data = path.read_bytes()
            total.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode())
            total.update(data)
    return total.hexdigest()


class Library:
    """Finds versions of phases: those that come along, and folders `<name>/<version>/` under others."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self._folders = (*folders, BUNDLED)
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, str], PhaseVersion] = {}
        self._placed: dict[tuple[str, str], Path] = {}

    def adopt(self, version: PhaseVersion, folder: Path) -> None:
        """Take a version in that was loaded from a folder elsewhere: it is found by its number from now on."""
        with self._lock:
            self._placed[version.phase, version.version] = folder
            self._loaded[version.phase, str(versions.parse(version.version))] = version

    def versions(self, phase: str) -> tuple[str, ...]:
        """Return the versions that there are, newest last."""
        _check_phase(phase)
        with self._lock:
            placed = [version for name, version in self._placed if name == phase]
        found = [path.name for folder in self._folders for path in _children(folder / phase)]
        return versions.ordered(version for version in {*placed, *found} if versions.is_version(version))

    def get(self, phase: str, version: str) -> PhaseVersion:
        """Return a version, loaded. Raises `VersionUnknownError`, and what loading raises."""
        _check_phase(phase)
        if not versions.is_version(version):
            raise VersionUnknownError(f"{version!r} is no version of {phase}.", hint=self._listed(phase))
        key = (phase, str(versions.parse(version)))
        with self._lock:
            if key in self._loaded:
                return self._loaded[key]
        made = load_version(phase, version, self._find(phase, version))
        with self._lock:
            return self._loaded.setdefault(key, made)

    def newest(self, phase: str, constraint: str = "") -> str:
        """Return the newest version that meets a constraint. Raises `VersionUnknownError`."""
        found = versions.latest(self.versions(phase), constraint or ())
        if found is None:
            raise VersionUnknownError(f"There is no {phase} that is {constraint}.", hint=self._listed(phase))
        return found

    def _find(self, phase: str, version: str) -> Path:
        with self._lock:
            for (name, number), folder in self._placed.items():
                if name == phase and versions.compare(number, version) == 0:
                    return folder
        for root in self._folders:
            for path in _children(root / phase):
                if versions.is_version(path.name) and versions.compare(path.name, version) == 0:
                    return path
        raise VersionUnknownError(f"There is no {phase} {version}.", hint=self._listed(phase))

    def _listed(self, phase: str) -> str:
        return f"There are: {', '.join(self.versions(phase)) or 'none'}."


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _check_phase(phase: str) -> None:
    if phase not in PHASES:
        raise PhaseFailedError(f"There is no phase {phase!r}.", hint=f"The phases are {', '.join(PHASES)}.")
