"""The import system of a private space: finding, loading and importing its modules by their private names.

What a version puts on `sys.meta_path` itself (`six.moves`, `bottle.ext`) is asked for its own modules, by the public
names that it knows, and only for those: the process goes on with the finders that it has.

This file is named as it is because `warnings.warn(..., stacklevel=2)` counts no frame of a file that has `importlib`
and `_bootstrap` in its name: a module that warns of its own import means whoever imports it, and not us.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from noodle_upgrade_core.errors import ArtifactIncompatibleError
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.shades import solid

if TYPE_CHECKING:
    from noodle_upgrade_runtime.namespace import Space

__all__ = ["FINDER", "Importer"]


# With any names to take from it, an import returns the last module of a dotted name; this one needs no loading.
_JUST_THE_LAST = ("__name__",)


class Importer:
    """Imports as the code of a space sees it."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the signature of builtins.__import__
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - likewise
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Import: this is what the private modules' `__builtins__` hold as `__import__`."""
        space = self._space
        package = _package_of(globals) if level else ""
        if level and not package:
            return builtins.__import__(name, globals, locals, fromlist or (), level)  # it says what is wrong
        # By its public name first: in a namespace that is shared, it may be a module of others.
        sought = space.sought_name(space.public_name(_absolute(name, package, level)) if level else name)
        if space.is_abandoned:
            raise ImportError(f"{name}: this version was given up while it was loaded")
        try:
            if not space.owns(sought):
                module = builtins.__import__(sought, globals, locals, fromlist or ())
            elif fromlist:
                module = self._with(
                    solid(builtins.__import__(sought, globals, locals, _JUST_THE_LAST)), sought, fromlist
                )
            else:
                module = solid(builtins.__import__(sought, globals, locals))
                _bind_parts(sought)
        except ImportError as error:
            self._tell_publicly(error)
            raise
        finally:
            space.fade()
        importer = "" if globals is None else str(globals.get("__name__", ""))
        return space.substitutes.of(module, importer)

    def _with(self, module: Any, package: str, names: Sequence[str]) -> Any:
        """Return what `from package import names` takes the names from; imports submodules among them.

        The import system would look for these under the `__name__` of the package, which is the public one, and so
        would the interpreter for what it does not find in the package.
        """
        space = self._space
        wanted = [one for one in getattr(module, "__all__", ()) if one != "*"] if "*" in names else names
        more: dict[str, Any] = {}
        for name in wanted:
            below = space.private_name(f"{space.public_name(package)}.{name}")  # others may share the namespace
            if _is_there(module, name, below):
                continue
            if hasattr(module, "__path__"):
                try:
                    builtins.__import__(below)
                except ModuleNotFoundError as error:
                    # It is no submodule. Or it is, and was found to be none: then somebody wanted it not to be.
                    if error.name != below or sys.modules.get(below, module) is None:
                        raise
            if "*" in names or hasattr(module, name):
                continue
            if below not in sys.modules:
                raise self._missing(module, name)
            more[name] = solid(sys.modules[below])
        return _Together(module, more) if more else module

    def _missing(self, module: Any, name: str) -> ImportError:
        home, file = str(module.__name__), getattr(module, "__file__", None)
        loading = bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
        of = f"partially initialized module {home!r} (most likely due to a circular import)" if loading else repr(home)
        return ImportError(
            f"cannot import name {name!r} from {of} ({file or 'unknown location'})", name=home, path=file
        )

    def _tell_publicly(self, error: ImportError) -> None:
        """Have an error name the module as the source does, for who looks at it: optional parts are often missing."""
        private = error.name
        if private is not None and (public := self._space.public_name(private)) != private:
            error.name = public
            error.msg = error.msg.replace(private, public)
            error.args = (error.msg, *error.args[1:])


class _Together:
    """A package with modules that it does not bind (yet): what a circle of imports takes its names from."""

    def __init__(self, package: Any, more: Mapping[str, Any]) -> None:
        self._package = package
        self._more = more

    def __getattr__(self, name: str) -> Any:
        return self._more[name] if name in self._more else getattr(self._package, name)


def _is_there(module: Any, name: str, below: str) -> bool:
    """Return whether a package binds a name, and not to a module of that name that is still being loaded."""
    value = getattr(module, name, _NOTHING)
    spec = getattr(value, "__spec__", None) if isinstance(value, ModuleType) else None
    loading = spec is not None and spec.name == below and getattr(spec, "_initializing", False)
    return value is not _NOTHING and not loading


def _bind_parts(name: str) -> None:
    """Have packages bind the modules of a dotted name, which are still being loaded where they do not yet.

    `import package.module as name` in a circle of imports would look them up by public names.
    """
    while "." in name:
        above, _, last = name.rpartition(".")
        package, module = sys.modules.get(above), sys.modules.get(name)
        if package is not None and module is not None and not hasattr(package, last):
            setattr(package, last, module)
        name = above


_NOTHING = object()


def _package_of(module: Mapping[str, Any] | None) -> str:
    """Return the package that relative imports of a module start from; "" where there is none."""
    own = module or {}
    package = own.get("__package__")
    if package is None:
        package = getattr(own.get("__spec__"), "parent", None)
    if package is None:
        name = own.get("__name__") or ""
        package = name if "__path__" in own else name.rpartition(".")[0]
    return package.private if isinstance(package, ModuleName) else str(package)


def _absolute(name: str, package: str, level: int) -> str:
    above = package.split(".")
    if level > len(above):
        raise ImportError("attempted relative import beyond top-level package")
    return ".".join([*above[: len(above) - level + 1], *filter(None, [name])])


_KINDS = (
    (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
    (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
)


class Finder:
    """Answers for the private names of all spaces, on `sys.meta_path`: the first there is asked first.

    Others find a module of a private package, too, in the folders of that, and would load it as one of theirs.
    """

    def __init__(self) -> None:
        self._spaces: weakref.WeakValueDictionary[str, Space] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()

    def add(self, space: Space, tops: Iterable[str]) -> None:
        """Answer for a space, which has these private packages, for as long as somebody holds it."""
        with self._lock:
            self._spaces.update(dict.fromkeys(tops, space))
        weakref.finalize(space, self._leave).atexit = False

    def remove(self, tops: Iterable[str]) -> None:
        """Answer for these private packages no more."""
        with self._lock:
            for top in tops:
                self._spaces.pop(top, None)
        self._leave()

    def come_first(self) -> None:
        """See that nobody is asked before."""
        if not sys.meta_path or sys.meta_path[0] is not self:
            with self._lock:
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                sys.meta_path.insert(0, self)

    def _leave(self) -> None:
        with self._lock:
            if not tuple(self._spaces.values()) and self in sys.meta_path:
                sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module by its private name."""
        del target
        space = self._spaces.get(name.partition(".")[0]) if "@" in name else None
        folder = None if space is None else space.where(name)
        if space is None or folder is None:
            return None
        public = space.public_name(name)
        found = _found(space, public, [folder] if path is None else path, folder)
        if found is None:
            return _asked_of_its_own(space, name, path)
        if found.loader is None or found.origin is None:
            return _spec_like(found, name, None)
        if not isinstance(found.loader, importlib.machinery.SourceFileLoader):
            raise ArtifactIncompatibleError(
                f"{public} is not Python source: {Path(found.origin).name}.",
                hint="Two versions of an extension module cannot live in one process: restart with the new one.",
            )
        return importlib.util.spec_from_file_location(
            name,
            found.origin,
            loader=_Loader(name, found.origin, space),
            submodule_search_locations=found.submodule_search_locations,
        )


FINDER = Finder()


def _found(space: Space, public: str, path: Sequence[str], inside: str) -> importlib.machinery.ModuleSpec | None:
    """Look in these folders as the import system does.

    It would keep what it knows of each folder for as long as the process runs, and every version has its own.
    """
    parts: list[str] = []
    for folder in path:
        found = _in_folder(space, public, folder, inside)
        if found is not None and found.loader is not None:
            return found
        parts += (found.submodule_search_locations or ()) if found is not None else ()
    if not parts:
        return None
    shared = importlib.machinery.ModuleSpec(public, None, is_package=True)
    shared.submodule_search_locations = parts
    return shared


def _in_folder(space: Space, public: str, folder: str, inside: str) -> importlib.machinery.ModuleSpec | None:
    if not folder.startswith(inside):
        return importlib.machinery.PathFinder.find_spec(public, [folder])
    if folder not in space.folders:
        space.folders[folder] = importlib.machinery.FileFinder(folder, *_KINDS)
    return space.folders[folder].find_spec(public)


def _asked_of_its_own(space: Space, name: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    for finder in space.substitutes.own_finders():
        find = getattr(finder, "find_spec", None)
        found = None if find is None else find(space.public_name(name), path, None)
        if found is not None:
            return _spec_like(found, name, None if found.loader is None else _Adopted(found, space))
    return None


def _spec_like(found: importlib.machinery.ModuleSpec, name: str, loader: Any) -> importlib.machinery.ModuleSpec:
    locations = found.submodule_search_locations
    spec = importlib.machinery.ModuleSpec(name, loader, origin=found.origin, is_package=locations is not None)
    if locations is not None:
        spec.submodule_search_locations = list(locations) if loader is not None else _NamespacePath(locations)
    return spec


class _NamespacePath(list[str]):
    """The folders of a package that is none but for them: `importlib.resources` tells it by how it shows itself."""

    def __repr__(self) -> str:
        return f"_NamespacePath({list.__repr__(self)})"


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a source file with the builtins of its space, which it does not hold: many things hold a loader."""

    def __init__(self, name: str, path: str, space: Space) -> None:
        super().__init__(name, path)
        self._of = weakref.ref(space)

    def exec_module(self, module: ModuleType) -> None:
        space = _living(self._of)
        vars(module)["__builtins__"] = space.builtins
        _named(module, space, self.name)
        super().exec_module(module)

    def get_filename(self, name: str | None = None) -> str:
        """Return the file; by either name of the module, as whoever asks its `__loader__` knows the public one."""
        del name
        return str(self.path)

    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        if code is not None and (space := self._of()) is not None:
            space.note_code(code, space.public_name(fullname))
        return code


class _Adopted:
    """The loader that a finder of the version's own has named: it hears public names, and loads private modules."""

    def __init__(self, found: importlib.machinery.ModuleSpec, space: Space) -> None:
        self._found = found
        self._loader: Any = found.loader
        self._of = weakref.ref(space)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        del spec
        create = getattr(self._loader, "create_module", None)
        made: ModuleType | None = None if create is None else create(self._found)
        return made

    def exec_module(self, module: ModuleType) -> None:
        space, own = _living(self._of), vars(module)
        private = space.private_name(self._found.name)
        # It may be somebody else's module, under one more name.
        if own.get("__name__") in {self._found.name, private}:
            own.setdefault("__builtins__", space.builtins)
            _named(module, space, private)
        self._loader.exec_module(module)


def _named(module: ModuleType, space: Space, private: str) -> None:
    own = vars(module)
    own["__name__"] = ModuleName(space.public_name(private), private)
    if package := own.get("__package__"):
        private = space.private_name(package)
        own["__package__"] = ModuleName(space.public_name(private), private)


def _living(space: weakref.ref[Space]) -> Space:
    found = space()
    if found is None:
        raise ImportError("this version has left the process")
    return found
