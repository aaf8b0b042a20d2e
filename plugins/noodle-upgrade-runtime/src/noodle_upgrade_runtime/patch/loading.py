"""Importing a version of a package beside the one that runs: under its public names, seen by one thread only.

While an `Isolation` is open, the imports of one thread resolve the names of a `PrivateImports` to its own modules;
every other thread, and every other name, gets what it always got. Nothing is written to the real `sys.modules`.
"""

from __future__ import annotations

import builtins
import collections
import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import itertools
import operator
import re
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from attrs import frozen

from noodle_upgrade_core.errors import SwapRefusedError
from noodle_upgrade_runtime.asking import is_class
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.patch.abstract import ClassBuilder
from noodle_upgrade_runtime.patch.behind import behind
from noodle_upgrade_runtime.patch.finders import belongs, spec_by
from noodle_upgrade_runtime.patch.surroundings import Item
from noodle_upgrade_runtime.patch.views import ListView, ModulesView

_bootstrap: Any = importlib._bootstrap  # noqa: SLF001 - the import system itself

__all__ = ["Isolation", "PrivateImports", "SourceReader", "search_path_of"]


class SourceReader(importlib.machinery.SourceFileLoader):
    """Reads a module's code, from bytecode that is there already or from source, and writes nothing."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Leave the folder as it is: a tree of the content store must stay what its digest says."""


def defined_again(code: types.CodeType) -> frozenset[str]:
    """Return the qualified names that a module or its classes define more than once, in whichever branch."""
    counts: collections.Counter[str] = collections.Counter()
    found = [code]
    while found:
        inner = [one for one in found.pop().co_consts if isinstance(one, types.CodeType)]
        counts.update(one.co_qualname for one in inner)
        found += [one for one in inner if not one.co_flags & inspect.CO_OPTIMIZED]
    return frozenset(name for name, count in counts.items() if count > 1)


def search_path_of(module: ModuleType) -> list[str] | None:
    """Return the entries of `sys.path` that a module was found by, None when it did not come from a file.

    An object that a package has put in its own place, to import lazily, may have no spec: its file says it then.
    """
    own = vars(module)
    spec = own.get("__spec__")
    file, locations = own.get("__file__"), own.get("__path__")
    if spec is not None:
        file, locations = (spec.origin if spec.has_location else None), spec.submodule_search_locations
    elif file is None and isinstance(kept := behind(module, module.__name__), ModuleType):
        return search_path_of(kept)
    if file:
        # By its file, because `six` calls itself a package and is none.
        folder = Path(file).parent
        found = [folder.parent if Path(file).stem == "__init__" else folder]
    elif locations is not None:
        found = [Path(location).parent for location in locations]
    else:
        return None
    above = module.__name__.count(".")
    return [str(folder.parents[above - 1] if above else folder) for folder in found]


class NamespaceView(ModuleType):
    """A namespace package that others share: what is ours in it is private, all else is what it really holds."""

    def __init__(self, name: str, imports: PrivateImports, real: ModuleType, path: Sequence[str]) -> None:
        super().__init__(name, real.__doc__)
        self.__path__ = list(path)
        self.__spec__ = real.__spec__
        self._noodle_ = (imports, real)

    def __getattr__(self, name: str) -> Any:
        imports, real = self.__dict__["_noodle_"]
        full = f"{self.__name__}.{name}"
        if not imports.owns(full):
            return getattr(real, name)
        try:
            return imports.load(full)
        except ModuleNotFoundError as error:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from error


class PrivateImports:
    """One version of some packages: `homes` maps each of their names to the entries of `sys.path` where it is found.

    A name with dots lies in namespaces that others share. `modules` holds what has been imported so far, by public
    name, views of such namespaces too; `own` only what is ours, with `aliases`: what its code has put into
    `sys.modules` under names of others. `several` has the qualified names that a module defines more than once, as it
    may do with `_`, by the module's name. `behind` has the modules whose code has put another object in their place, by
    name. `distributions` maps normalised distribution names to the folder with their metadata.
    """

    def __init__(self, homes: Mapping[str, Sequence[str]], distributions: Mapping[str, str] | None = None) -> None:
        self.homes = {name: list(path) for name, path in homes.items()}
        self.distributions = dict(distributions or {})
        self.modules: dict[str, ModuleType] = {}
        self.aliases: dict[str, Any] = {}
        self.several: dict[str, frozenset[str]] = {}
        self.behind: dict[str, ModuleType] = {}
        self.hooks: list[Item] = []
        self.views: list[tuple[Any, Any]] = []
        self.meta_path: list[Any] = []
        self.known: frozenset[int] = frozenset()
        self.current = ""
        self._names = Names(self.homes)
        self._namespaces = self._names.namespaces() - self._names.roots

    @property
    def own(self) -> dict[str, ModuleType]:
        """What has been imported, without the namespaces that others share."""
        return {name: module for name, module in self.modules.items() if name not in self._namespaces} | self.aliases

    def shared(self) -> dict[str, ModuleType]:
        """Return the views of namespaces that others share, by name."""
        return {name: self.modules[name] for name in self._namespaces if name in self.modules}

    def owns(self, name: object) -> bool:
        """Return whether a module of this name belongs to these packages, or leads to them."""
        return name in self._names or name in self._namespaces

    def has_made(self, value: Any, *, made: Callable[[Any], bool]) -> bool:
        """Return whether a function, a class, an object of such a class, or a module is of this load."""
        if type(value) is types.FunctionType:
            home = self.modules.get(str(value.__globals__.get("__name__")))
            return home is not None and vars(home) is value.__globals__
        if type(value) is ModuleType:
            return any(value is module for module in self.modules.values())
        kind = value if is_class(value) else type(value)
        return self.owns(type.__getattribute__(kind, "__module__")) and made(kind)

    def find(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module; imports its parents."""
        parent, _, _ = name.rpartition(".")
        if parent and (name not in self.homes or parent in self._names):
            path = getattr(self.load(parent), "__path__", None)
            return None if path is None else self._ask(name, path, path)
        if parent:
            self.load(parent)
        return self._ask(name, self._folders(name), None)

    def _ask(
        self, name: str, folders: Sequence[str], path: Sequence[str] | None
    ) -> importlib.machinery.ModuleSpec | None:
        """Ask for a spec along the folders, and the finders that the loaded code has put before or behind that."""
        before: list[Any] = []
        behind: list[Any] = []
        finders = before
        for finder in list(self.meta_path):
            if isinstance(finder, _Finder):
                finders = behind
            elif id(finder) not in self.known:
                finders.append(finder)
        asked = (
            *(functools.partial(spec_by, finder, name, path) for finder in before),
            functools.partial(importlib.machinery.PathFinder.find_spec, name, folders),
            *(functools.partial(spec_by, finder, name, path) for finder in behind),
        )
        return next((spec for ask in asked if (spec := ask()) is not None), None)

    def _folders(self, name: str) -> list[str]:
        """Return the folders that a name is looked up in, without importing what is above it."""
        above = name.split(".")[:-1]
        leading = [path for root, path in self.homes.items() if root == name or root.startswith(f"{name}.")]
        homes = dict.fromkeys(itertools.chain.from_iterable(leading))
        return [str(Path(home, *above)) for home in homes]

    def _load_namespace(self, name: str) -> ModuleType:
        parent, _, child = name.rpartition(".")
        if parent:
            self.load(parent)
        folders = [str(Path(folder, child or name)) for folder in self._folders(name)]
        real = sys.modules.real.get(name) if isinstance(sys.modules, ModulesView) else sys.modules.get(name)
        if real is None:
            raise SwapRefusedError(
                f"The namespace {name} is not imported yet.",
                hint="Restart on the new version.",
                details={"blockers": [f"the namespace {name} is not imported yet"]},
            )
        self.modules[name] = made = NamespaceView(name, self, real, folders)
        return made

    def load(self, name: str) -> Any:
        """Import a module, its parents first; raises what the import statement would."""
        if name in self.modules:
            return self.modules[name]
        if name in self._namespaces:
            return self._load_namespace(name)
        spec = self.find(name)
        if name in self.modules:  # the parent imported it
            return self.modules[name]
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return self._execute(name, spec)

    def _execute(self, name: str, spec: importlib.machinery.ModuleSpec) -> Any:
        if spec.loader is not None and not hasattr(spec.loader, "exec_module"):
            return self._bind(name, _bootstrap._load_backward_compatible(spec))  # noqa: SLF001 - it puts it into our modules
        module = _module_for(spec)
        parent, _, child = name.rpartition(".")
        early = bool(parent) and child not in vars(self.modules[parent]) and not _is_foreign(self.modules[parent])
        if early:
            # In a circular import the interpreter would look the submodule up in the real sys.modules.
            setattr(self.modules[parent], child, module)
        self.modules[name] = module
        before, self.current = self.current, name
        spec._initializing = True  # type: ignore[attr-defined]  # noqa: SLF001 - what the import system does
        try:
            self._run(module, spec)
        except BaseException:
            self.modules.pop(name, None)
            if early:
                vars(self.modules[parent]).pop(child, None)
            raise
        finally:
            spec._initializing = False  # type: ignore[attr-defined]  # noqa: SLF001 - likewise
        self.current = before
        stands = self.modules.pop(name)
        if stands is not module:
            self.behind[name] = module
        return self._bind(name, stands)

    def _bind(self, name: str, module: Any) -> Any:
        """Put a module that is complete behind all others, and into its parent."""
        self.modules.pop(name, None)
        self.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent and not _is_foreign(self.modules[parent]):
            setattr(self.modules[parent], child, module)
        return module

    def _run(self, module: ModuleType, spec: importlib.machinery.ModuleSpec) -> None:
        loader = spec.loader
        if type(loader) is importlib.machinery.SourceFileLoader:
            code = SourceReader(loader.name, loader.path).get_code(loader.name)
            if code is not None:
                self.several[module.__name__] = defined_again(code)
                exec(code, vars(module))  # noqa: S102 - this is what importing is
        elif loader is not None:
            loader.exec_module(module)

    def import_from(self, module: ModuleType, names: Iterable[str]) -> None:
        """Import the submodules among `names`, as `from module import names` does."""
        for name in names:
            if name == "*":
                self.import_from(module, [x for x in getattr(module, "__all__", ()) if x != "*"])
                continue
            full = f"{module.__name__}.{name}"
            if not hasattr(module, name):
                try:
                    self.load(full) if self.owns(full) else importlib.import_module(full)
                except ModuleNotFoundError as error:
                    if error.name != full:
                        raise
            if full in self.modules and not hasattr(module, name):
                setattr(module, name, self.modules[full])


def _module_for(spec: importlib.machinery.ModuleSpec) -> Any:
    """Return the module for a spec; one that is not new, as another name for a module of others, stays as it is."""
    create = getattr(spec.loader, "create_module", None)
    made = create(spec) if create is not None else None
    if made is None:
        made = ModuleType(spec.name)
    if not _is_foreign(made):
        _bootstrap._init_module_attrs(spec, made)  # noqa: SLF001 - what the import system does
    return made


def _is_foreign(module: Any) -> bool:
    """Return whether a module is one of the process's, and not one of a private load."""
    real = sys.modules.real if isinstance(sys.modules, ModulesView) else sys.modules
    found = real.get(getattr(module, "__name__", ""))
    return found is module or True in map(operator.is_, list(real.values()), itertools.repeat(module))


class _Finder:
    """Stands first on `sys.meta_path` while an isolation is open, and knows the staged names for one thread."""

    def __init__(self, imports: PrivateImports, thread: int) -> None:
        self._imports = imports
        self._thread = thread

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if threading.get_ident() != self._thread or not self._imports.owns(name):
            return None
        return self._imports.find(name)

    def find_distributions(self, context: Any = None) -> Iterator[importlib.metadata.Distribution]:
        if threading.get_ident() != self._thread or context is None or context.name is None:
            return
        tree = self._imports.distributions.get(re.sub(r"[-_.]+", "-", context.name).lower())
        if tree is not None:
            inner = importlib.metadata.DistributionFinder.Context(name=context.name, path=[tree])
            yield from importlib.metadata.MetadataPathFinder.find_distributions(inner)


@frozen(kw_only=True, eq=False)
class _Watched:
    """A list of the process, and what stands for it while a version is loaded."""

    name: str
    real: list[Any]
    private: list[Any]
    before: list[Any]
    view: ListView

    def added(self) -> list[Item]:
        """Return what the loaded code has put there, also where it has bound another list to the name."""
        found = getattr(sys, self.name)
        now = self.private if found is self.view else list(found)
        known = set(map(id, self.before))
        first = next((place for place, one in enumerate(now) if id(one) in known), 0)
        return [Item(self.real, one, in_front=place < first) for place, one in enumerate(now) if id(one) not in known]


class Isolation:
    """Shows a `PrivateImports` to the thread that opens it; `close` may be called from any thread, and twice."""

    # The import system belongs to the process: two isolations would take each other's hooks for the originals.
    _only_one: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, imports: PrivateImports, classes: ClassBuilder | None = None) -> None:
        self._imports = imports
        self._classes = classes
        self._open = False
        self._closing = threading.Lock()

    def __enter__(self) -> Self:
        Isolation._only_one.acquire()
        thread = threading.get_ident()
        self._real_import = builtins.__import__
        self._real_build = self._build = builtins.__build_class__
        if self._classes is not None:
            self._build = self._classes.around(self._real_build)
        self._real_gcd = _bootstrap._gcd_import  # noqa: SLF001 - importlib.import_module goes through it
        self._view = ModulesView(sys.modules, self._imports, thread)
        self._import = _dispatcher(self._imports, thread, self._real_import)
        self._gcd = _gcd_dispatcher(self._imports, thread, self._real_gcd)
        self._cached = set(sys.path_importer_cache)
        self._lists = [self._list_for(name, thread) for name in ("meta_path", "path_hooks")]
        builtins.__import__ = self._import
        builtins.__build_class__ = self._build
        _bootstrap._gcd_import = self._gcd  # noqa: SLF001 - as above
        self._imports.views += [(self._view, self._view.real), *((one.view, one.real) for one in self._lists)]
        self._imports.views += [(self._import, self._real_import), (self._build, self._real_build)]
        for one in self._lists:
            setattr(sys, one.name, one.view)
        sys.modules = self._view
        self._open = True
        return self

    def _list_for(self, name: str, thread: int) -> _Watched:
        """Return a list of the process with the one that the loaded code shall see: as it was before the package."""
        real = getattr(sys, name)
        foreign = [one for one in real if not belongs(one, self._imports.owns)]
        private = list(foreign)
        if name == "meta_path":
            private.insert(0, _Finder(self._imports, thread))
            self._imports.meta_path, self._imports.known = private, frozenset(map(id, foreign))
        return _Watched(
            name=name, real=real, private=private, before=list(private), view=ListView(real, private, thread)
        )

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the import system back as it was."""
        with self._closing:
            if not self._open:
                return
            self._open = False
        if builtins.__import__ is self._import:
            builtins.__import__ = self._real_import
        if builtins.__build_class__ is self._build:
            builtins.__build_class__ = self._real_build
        if _bootstrap._gcd_import is self._gcd:  # noqa: SLF001 - as above
            _bootstrap._gcd_import = self._real_gcd  # noqa: SLF001 - as above
        if sys.modules is self._view:
            sys.modules = self._view.real
        self._view.close()
        for one in self._lists:
            self._imports.hooks += one.added()
            setattr(sys, one.name, one.real)
            one.view.close()
        for path in set(sys.path_importer_cache) - self._cached:
            # Made by whatever hooks the loaded code has put there; nobody misses what is only remembered.
            sys.path_importer_cache.pop(path, None)
        Isolation._only_one.release()

    @property
    def view(self) -> ModulesView:
        """The view that stands for `sys.modules`."""
        return self._view


def _dispatcher(imports: PrivateImports, thread: int, real: Callable[..., Any]) -> Callable[..., Any]:
    get_ident = threading.get_ident

    def dispatch(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the builtin's own names
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - likewise
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if get_ident() != thread:
            return real(name, globals, locals, fromlist, level)
        absolute = name
        if level > 0:
            package = _bootstrap._calc___package__(globals or {})  # noqa: SLF001 - what the builtin uses
            absolute = importlib.util.resolve_name("." * level + name, package)
        if not imports.owns(absolute):
            found = real(name, globals, locals, fromlist, level)
            # `import zope.interface` binds `zope`, through which what is ours can be reached as well.
            return found if fromlist else imports.shared().get(getattr(found, "__name__", ""), found)
        module = imports.load(absolute)
        if fromlist:
            if hasattr(module, "__path__"):
                imports.import_from(module, fromlist)
            return module
        if level == 0:
            return imports.load(name.partition(".")[0])
        if not name:
            return module
        cut = len(name) - len(name.partition(".")[0])
        return imports.modules[absolute[: len(absolute) - cut]]

    return dispatch


def _gcd_dispatcher(imports: PrivateImports, thread: int, real: Callable[..., Any]) -> Callable[..., Any]:
    get_ident = threading.get_ident

    def _gcd_import(name: str, package: str | None = None, level: int = 0) -> Any:
        if get_ident() != thread:
            return real(name, package, level)
        absolute = importlib.util.resolve_name("." * level + name, package) if level > 0 else name
        return imports.load(absolute) if imports.owns(absolute) else real(name, package, level)

    return _gcd_import
