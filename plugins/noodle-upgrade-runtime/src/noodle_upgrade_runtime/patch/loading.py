"""Importing a version of a package beside the one that runs: under its public names, seen by one thread only.

While an `Isolation` is open, the imports of one thread resolve the names of a `PrivateImports` to its own modules;
every other thread, and every other name, gets what it always got. Nothing is written to the real `sys.modules`.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import itertools
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from noodle_upgrade_core.errors import SwapRefusedError
from noodle_upgrade_runtime.names import Names

_bootstrap: Any = importlib._bootstrap  # noqa: SLF001 - the import system itself

__all__ = ["Isolation", "ModulesView", "PrivateImports", "SourceReader", "search_path_of"]


class SourceReader(importlib.machinery.SourceFileLoader):
    """Reads a module's code, from bytecode that is there already or from source, and writes nothing."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Leave the folder as it is: a tree of the content store must stay what its digest says."""


def search_path_of(module: ModuleType) -> list[str] | None:
    """Return the entries of `sys.path` that a module was found by, None when it did not come from a file."""
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return None
    if spec.origin and spec.has_location:
        folder = Path(spec.origin).parent
        found = [folder.parent if spec.submodule_search_locations is not None else folder]
    elif spec.submodule_search_locations is not None:
        found = [Path(location).parent for location in spec.submodule_search_locations]
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
    name, views of such namespaces too; `own` only what is ours. `distributions` maps normalised distribution names to
    the folder with their metadata.
    """

    def __init__(self, homes: Mapping[str, Sequence[str]], distributions: Mapping[str, str] | None = None) -> None:
        self.homes = {name: list(path) for name, path in homes.items()}
        self.distributions = dict(distributions or {})
        self.modules: dict[str, ModuleType] = {}
        self.current = ""
        self._names = Names(self.homes)
        self._namespaces = self._names.namespaces() - self._names.roots

    @property
    def own(self) -> dict[str, ModuleType]:
        """What has been imported, without the namespaces that others share."""
        return {name: module for name, module in self.modules.items() if name not in self._namespaces}

    def shared(self) -> dict[str, ModuleType]:
        """Return the views of namespaces that others share, by name."""
        return {name: self.modules[name] for name in self._namespaces if name in self.modules}

    def owns(self, name: object) -> bool:
        """Return whether a module of this name belongs to these packages, or leads to them."""
        return name in self._names or name in self._namespaces

    def find(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module; imports its parents."""
        parent, _, _ = name.rpartition(".")
        if parent and (name not in self.homes or parent in self._names):
            path = getattr(self.load(parent), "__path__", None)
            return None if path is None else importlib.machinery.PathFinder.find_spec(name, path)
        if parent:
            self.load(parent)
        return importlib.machinery.PathFinder.find_spec(name, self._folders(name))

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
        module = importlib.util.module_from_spec(spec)
        parent, _, child = name.rpartition(".")
        early = bool(parent) and child not in vars(self.modules[parent])
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
        module = self.modules.pop(name)
        self.modules[name] = module
        if parent:
            setattr(self.modules[parent], child, module)
        return module

    def _run(self, module: ModuleType, spec: importlib.machinery.ModuleSpec) -> None:
        loader = spec.loader
        if type(loader) is importlib.machinery.SourceFileLoader:
            code = SourceReader(loader.name, loader.path).get_code(loader.name)
            if code is not None:
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


class ModulesView(dict[str, Any]):
    """What `sys.modules` is while an isolation is open: the real one, but for one thread and the staged names.

    It goes on showing the real one for ever after, because somebody may have kept it.
    """

    def __init__(self, real: dict[str, Any], imports: PrivateImports, thread: int) -> None:
        super().__init__()
        self.real = real
        self._imports: PrivateImports | None = imports
        self._thread = thread

    def close(self) -> None:
        """Show the real modules to everybody from now on."""
        self._imports = None

    def _home(self, name: object) -> dict[str, Any]:
        imports = self._imports
        if imports is not None and threading.get_ident() == self._thread and imports.owns(name):
            return imports.modules
        return self.real

    def _all(self) -> dict[str, Any]:
        imports = self._imports
        if imports is None or threading.get_ident() != self._thread:
            return self.real
        return {k: v for k, v in self.real.items() if not imports.owns(k)} | imports.modules

    def __getitem__(self, name: str) -> Any:
        return self._home(name)[name]

    def __setitem__(self, name: str, module: Any) -> None:
        self._home(name)[name] = module

    def __delitem__(self, name: str) -> None:
        del self._home(name)[name]

    def __contains__(self, name: object) -> bool:
        return name in self._home(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())

    def __eq__(self, other: object) -> bool:
        return self._all() == other

    __hash__ = None

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        return self._home(name).get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """As of a dict."""
        return self._home(name).pop(name, *default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        return self._home(name).setdefault(name, default)

    def keys(self) -> Any:
        """As of a dict."""
        return self._all().keys()

    def values(self) -> Any:
        """As of a dict."""
        return self._all().values()

    def items(self) -> Any:
        """As of a dict."""
        return self._all().items()

    def copy(self) -> dict[str, Any]:
        """As of a dict."""
        return dict(self._all())

    def update(self, *others: Any, **names: Any) -> None:
        """As of a dict."""
        for name, module in dict(*others, **names).items():
            self[name] = module


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


class Isolation:
    """Shows a `PrivateImports` to the thread that opens it; `close` may be called from any thread, and twice."""

    # The import system belongs to the process: two isolations would take each other's hooks for the originals.
    _only_one: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, imports: PrivateImports) -> None:
        self._imports = imports
        self._open = False
        self._closing = threading.Lock()

    def __enter__(self) -> Self:
        Isolation._only_one.acquire()
        thread = threading.get_ident()
        self._real_import = builtins.__import__
        self._real_gcd = _bootstrap._gcd_import  # noqa: SLF001 - importlib.import_module goes through it
        self._view = ModulesView(sys.modules, self._imports, thread)
        self._finder = _Finder(self._imports, thread)
        self._import = _dispatcher(self._imports, thread, self._real_import)
        self._gcd = _gcd_dispatcher(self._imports, thread, self._real_gcd)
        builtins.__import__ = self._import
        _bootstrap._gcd_import = self._gcd  # noqa: SLF001 - as above
        sys.meta_path.insert(0, self._finder)
        sys.modules = self._view
        self._open = True
        return self

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
        if _bootstrap._gcd_import is self._gcd:  # noqa: SLF001 - as above
            _bootstrap._gcd_import = self._real_gcd  # noqa: SLF001 - as above
        if sys.modules is self._view:
            sys.modules = self._view.real
        self._view.close()
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
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
