"""The import system of a private space: finding, loading and importing its modules by their private names.

What a version puts on `sys.meta_path` itself (`six.moves`, `bottle.ext`) is asked for its own modules, by the public
names that it knows, and only for those: the process goes on with the finders that it has.

This file is named as it is because `warnings.warn(..., stacklevel=2)` counts no frame of a file that has `importlib`
and `_bootstrap` in its name: a module that warns of its own import means whoever imports it, and not us.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from noodle_upgrade_core.errors import ArtifactIncompatibleError
from noodle_upgrade_runtime.modulename import ModuleName

if TYPE_CHECKING:
    from noodle_upgrade_runtime.namespace import Space

__all__ = ["Finder", "Importer", "codes_of"]


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
        sought = space.private_name(_absolute(name, package, level) if level else name)
        is_ours = bool(level) or sought != str(name)
        if is_ours:
            space.wake()
        if space.is_abandoned:
            raise ImportError(f"{name}: this version was given up while it was loaded")
        try:
            if is_ours and fromlist:
                module = builtins.__import__(sought, globals, locals, _JUST_THE_LAST)
                self._load_below(module, fromlist)
            else:
                module = builtins.__import__(sought, globals, locals, fromlist or ())
        except ImportError as error:
            self._tell_publicly(error)
            raise
        importer = "" if globals is None else str(globals.get("__name__", ""))
        return space.substitutes.of(module, importer)

    def _load_below(self, module: ModuleType, names: Iterable[str]) -> None:
        """Import the submodules among these names, as `from package import submodule` does.

        The import system would join them to the `__name__` of the package, which is the public one.
        """
        if not hasattr(module, "__path__"):
            return
        package = self._space.private_name(module.__name__)
        for name in names:
            if name == "*":
                self._load_below(module, [one for one in getattr(module, "__all__", ()) if one != "*"])
            elif not hasattr(module, name):
                below = f"{package}.{name}"
                try:
                    builtins.__import__(below)
                except ModuleNotFoundError as error:
                    # It is no submodule. Or it is, and was found to be none: then somebody wanted it not to be.
                    if error.name != below or sys.modules.get(below, module) is None:
                        raise

    def _tell_publicly(self, error: ImportError) -> None:
        """Have an error name the module as the source does, for who looks at it: optional parts are often missing."""
        private = error.name
        if private is not None and (public := self._space.public_name(private)) != private:
            error.name = public
            error.msg = error.msg.replace(private, public)
            error.args = (error.msg, *error.args[1:])


def _package_of(module: Mapping[str, Any] | None) -> str:
    """Return the package that relative imports of a module start from, by its private name; "" where there is none."""
    own = module or {}
    package = own.get("__package__")
    if package is None:
        package = getattr(own.get("__spec__"), "parent", None) or ""
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
    """Answers for the private names of one space, on `sys.meta_path`."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._folders: dict[str, importlib.machinery.FileFinder] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module by its private name."""
        del target
        folder = self._space.where(name) if "@" in name else None
        if folder is None:
            return None
        public = self._space.public_name(name)
        found = self._found(public, [folder] if path is None else path, folder)
        if found is None:
            return self._asked_of_its_own(name, public, path)
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
            loader=_Loader(name, found.origin, self._space),
            submodule_search_locations=found.submodule_search_locations,
        )

    def _found(self, public: str, path: Sequence[str], inside: str) -> importlib.machinery.ModuleSpec | None:
        """Look in these folders as the import system does.

        It would keep what it knows of each folder for as long as the process runs, and every version has its own.
        """
        parts: list[str] = []
        for folder in path:
            found = self._in_folder(public, folder, inside)
            if found is not None and found.loader is not None:
                return found
            parts += (found.submodule_search_locations or ()) if found is not None else ()
        if not parts:
            return None
        shared = importlib.machinery.ModuleSpec(public, None, is_package=True)
        shared.submodule_search_locations = parts
        return shared

    def _in_folder(self, public: str, folder: str, inside: str) -> importlib.machinery.ModuleSpec | None:
        if not folder.startswith(inside):
            return importlib.machinery.PathFinder.find_spec(public, [folder])
        if folder not in self._folders:
            self._folders[folder] = importlib.machinery.FileFinder(folder, *_KINDS)
        return self._folders[folder].find_spec(public)

    def _asked_of_its_own(
        self, name: str, public: str, path: Sequence[str] | None
    ) -> importlib.machinery.ModuleSpec | None:
        for finder in self._space.substitutes.own_finders():
            find = getattr(finder, "find_spec", None)
            found = None if find is None else find(public, path, None)
            if found is not None:
                return _spec_like(found, name, None if found.loader is None else _Adopted(found, self._space))
        return None


def _spec_like(found: importlib.machinery.ModuleSpec, name: str, loader: Any) -> importlib.machinery.ModuleSpec:
    locations = found.submodule_search_locations
    spec = importlib.machinery.ModuleSpec(name, loader, origin=found.origin, is_package=locations is not None)
    if locations is not None:
        spec.submodule_search_locations = list(locations)
    return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a source file with the builtins of its space."""

    def __init__(self, name: str, path: str, space: Space) -> None:
        super().__init__(name, path)
        self._space = space

    def exec_module(self, module: ModuleType) -> None:
        own = vars(module)
        own["__builtins__"] = self._space.builtins
        own["__name__"] = ModuleName(self._space.public_name(self.name), self.name)
        if own.get("__package__"):
            own["__package__"] = ModuleName(self._space.public_name(own["__package__"]), own["__package__"])
        with _known_above(self.name, module):
            super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        if code is not None:
            self._space.note_code(code, self._space.public_name(fullname))
        return code


class _Adopted:
    """The loader that a finder of the version's own has named: it hears public names, and loads private modules."""

    def __init__(self, found: importlib.machinery.ModuleSpec, space: Space) -> None:
        self._found = found
        self._loader: Any = found.loader
        self._space = space

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        del spec
        create = getattr(self._loader, "create_module", None)
        made: ModuleType | None = None if create is None else create(self._found)
        return made

    def exec_module(self, module: ModuleType) -> None:
        own, name = vars(module), self._found.name
        # It may be somebody else's module, under one more name.
        if own.get("__name__") in {name, self._space.private_name(name)}:
            own["__name__"] = ModuleName(name, self._space.private_name(name))
            own.setdefault("__builtins__", self._space.builtins)
        self._loader.exec_module(module)


@contextlib.contextmanager
def _known_above(name: str, module: ModuleType) -> Iterator[None]:
    """Have the package above know a module from the beginning of its loading, and not only from the end.

    `from package import module` in a circle of imports looks for what is loading in `sys.modules`, by the `__name__` of
    the package, which is the public one.
    """
    above, _, last = name.rpartition(".")
    package = getattr(sys.modules.get(above), "__dict__", {})
    if last in package:
        yield
        return
    package[last] = module
    try:
        yield
    except BaseException:
        if package.get(last) is module:
            del package[last]
        raise


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)
