"""Stand-ins for the few standard modules through which a package can reach itself by a name in a string.

Code of a private space that says `importlib.import_module("jinja2.ext")` means its own version. So within a space these
modules are replaced by ones that translate own names and hand everything else on.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from noodle_upgrade_runtime import pickling
from noodle_upgrade_runtime.metadata import Metadata
from noodle_upgrade_runtime.shades import solid

__all__ = ["Substitutes"]

_BY_MODULE_NAME = {
    "importlib": ("import_module",),
    "importlib.util": ("find_spec",),
    "importlib.resources": (
        "contents",
        "files",
        "is_resource",
        "open_binary",
        "open_text",
        "path",
        "read_binary",
        "read_text",
    ),
    "importlib_resources": ("files",),
    "pkgutil": ("get_data", "get_loader", "find_loader"),
}


_own: Callable[[ModuleType], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__


class _Substitute(ModuleType):
    """Looks like the real module, except for the names that are replaced."""

    def __init__(self, real: ModuleType, replaced: Mapping[str, Any], table: Substitutes) -> None:
        super().__init__(real.__name__, real.__doc__)
        own = _own(self)
        own.update(replaced)
        own["_noodle_real"] = real
        own["_noodle_table"] = table
        for name in ("__loader__", "__package__", "__spec__", "__path__", "__file__", "__all__"):
            if hasattr(real, name):
                own[name] = getattr(real, name)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # a copy
        # What patches a name and puts it back asks here whether the module itself has it.
        own = _own(self)
        return {**vars(own["_noodle_real"]), **{k: v for k, v in own.items() if not k.startswith("_noodle_")}}

    def __getattr__(self, name: str) -> Any:
        own = _own(self)
        value = getattr(own["_noodle_real"], name)
        return own["_noodle_table"].of(value, "") if isinstance(value, ModuleType) else value

    def __setattr__(self, name: str, value: Any) -> None:
        own = _own(self)
        if name == "meta_path" and name in own:
            own[name][:] = value
        else:
            setattr(own["_noodle_real"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_own(self)["_noodle_real"], name)

    def __dir__(self) -> list[str]:
        return dir(_own(self)["_noodle_real"])


class _Modules(MutableMapping[str, Any], dict):  # type: ignore[misc, type-arg, metaclass]  # both are mappings
    """`sys.modules` as code of the space sees it: own names lead to the private modules, and to no others.

    It is a dict for those who ask, and holds nothing itself.
    """

    def __init__(self, private: Callable[[str], str], public: Callable[[str], str]) -> None:
        super().__init__()
        self._private = private
        self._public = public

    def __getitem__(self, name: str) -> Any:
        return solid(sys.modules[self._private(name)])

    def __setitem__(self, name: str, module: Any) -> None:
        sys.modules[self._private(name)] = module

    def __delitem__(self, name: str) -> None:
        del sys.modules[self._private(name)]

    def __iter__(self) -> Iterator[str]:
        for name in tuple(sys.modules):
            if (public := self._public(name)) != name or self._private(name) == name:
                yield public

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, Any]:
        """Return a dict of all."""
        return {name: solid(sys.modules.get(self._private(name))) for name in self}

    def __or__(self, other: dict[str, Any]) -> dict[str, Any]:
        return {**self.copy(), **other}

    def __ror__(self, other: dict[str, Any]) -> dict[str, Any]:
        return {**other, **self.copy()}

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        for name, module in other.items():
            self[name] = module
        return self

    def __repr__(self) -> str:
        return repr(self.copy())


class Substitutes:
    """The stand-ins of one space: made when they are first imported."""

    def __init__(
        self,
        *,
        private: Callable[[str], str],
        public: Callable[[str], str],
        trees: Mapping[str, Path],
        import_: Callable[..., Any],
    ) -> None:
        self._private = private
        self._public = public
        self._import = import_
        self._metadata = Metadata(private=private, public=public, trees=trees)
        self._made: dict[str, ModuleType] = {}
        self._readers: set[str] = set()
        self._others: tuple[Any, ...] = ()
        self._meta_path: list[Any] = []

    def reads_import_system(self, module: str) -> None:
        """Note that this module, by its public name, looks at `sys.modules` or `sys.meta_path`."""
        self._readers.add(module)

    def own_finders(self) -> Iterator[Any]:
        """Yield what code of the space has put on `sys.meta_path`, as it sees it."""
        for finder in tuple(self._meta_path):
            if not any(finder is other for other in self._others):
                yield finder

    def of(self, module: Any, importer: str) -> Any:
        """Return what the code of module `importer` gets for this imported module: mostly the module itself."""
        if not isinstance(module, ModuleType) or isinstance(module, _Substitute):
            return module
        name = module.__name__
        if name == "sys" and importer not in self._readers:
            return module
        if name == "shelve" and name not in self._made:
            self._made[name] = self._copied(module)
        if name not in self._made:
            replaced = self._replaced(module)
            if not replaced:
                return module
            self._made[name] = _Substitute(module, replaced, self)
        return self._made[name]

    def _replaced(self, module: ModuleType) -> dict[str, Any]:
        name = module.__name__
        if name == "sys":
            # A list of its own: what it takes out there stays for the others.
            self._others = tuple(module.meta_path)
            self._meta_path[:] = self._others
            return {"modules": _Modules(self._private, self._public), "meta_path": self._meta_path}
        if name == "logging":
            return {"getLogger": lambda name=None: module.getLogger(name and self._public(name))}
        if name in {"pickle", "_pickle"}:
            return {**self._unpickling(module), **self._pickling(module)}
        if name in {"importlib.metadata", "importlib_metadata"}:
            return self._metadata.replaced(module)
        made = {n: self._by_module(getattr(module, n)) for n in _BY_MODULE_NAME.get(name, ()) if hasattr(module, n)}
        if name == "pkgutil":
            made |= {"resolve_name": self._resolving(module), "walk_packages": self._walking(module)}
        if name == "importlib":
            made["__import__"] = self._import
        return made

    def _walking(self, module: ModuleType) -> Callable[..., Iterator[Any]]:
        """Import the packages on the way by their private names, as `pkgutil` does by those that it yields."""

        def walk_packages(
            path: Any = None, prefix: str = "", onerror: Callable[[str], object] | None = None
        ) -> Iterator[Any]:
            seen: set[str] = set()

            def below(path: Any, prefix: str) -> Iterator[Any]:
                for info in module.iter_modules(path, prefix):
                    yield info
                    if not info.ispkg:
                        continue
                    try:
                        package = importlib.import_module(self._private(info.name))
                    except Exception as error:
                        if onerror is not None:
                            onerror(info.name)
                        elif not isinstance(error, ImportError):
                            raise
                    else:
                        further = [one for one in getattr(package, "__path__", None) or () if one not in seen]
                        seen.update(further)
                        yield from below(further, info.name + ".")

            return below(path, prefix)

        return walk_packages

    def _resolving(self, module: ModuleType) -> Callable[[str], Any]:
        """Find what a dotted name leads to: `pkgutil` itself takes none that has a version in it."""

        def resolve_name(name: str) -> Any:
            package, colon, below = name.partition(":")
            first, *rest = package.split(".")
            if self._private(first) == first and self._private(package) == package:
                return module.resolve_name(name)
            found, loaded = importlib.import_module(self._private(first)), first
            while rest:
                try:
                    found, loaded = importlib.import_module(self._private(f"{loaded}.{rest[0]}")), f"{loaded}.{rest[0]}"
                except ImportError:
                    if colon:
                        raise
                    break
                del rest[0]
            return functools.reduce(getattr, [*rest, *filter(None, below.split("."))], found)

        return resolve_name

    def _copied(self, module: ModuleType, **more: Any) -> ModuleType:
        """Return a module that deals with pickles once more, as one that imports as the space does."""
        spec = module.__spec__
        if spec is None or spec.loader is None:
            return module
        made = importlib.util.module_from_spec(spec)
        vars(made).update(more, __builtins__={**vars(builtins), "__import__": self._import})
        spec.loader.exec_module(made)
        return made

    def _pickling(self, module: ModuleType) -> dict[str, Any]:
        """Write pickles as code of this space, and not of its package."""
        made = vars(self._copied(pickling, real=module))
        return {name: made[name] for name in pickling.__all__}

    def _unpickling(self, module: ModuleType) -> dict[str, Any]:
        """Read pickles, which name classes by public names, with the classes of the space."""
        private, real = self._private, vars(module)["Unpickler"]

        class Unpickler(real):  # type: ignore[misc, valid-type]  # the base is the one that the module has now
            def find_class(self, module_name: str, name: str) -> Any:
                return super().find_class(private(module_name), name)

        Unpickler.__module__, Unpickler.__qualname__ = real.__module__, real.__qualname__

        def load(file: Any, **options: Any) -> Any:
            return Unpickler(file, **options).load()

        def loads(data: Any, /, **options: Any) -> Any:
            return Unpickler(io.BytesIO(data), **options).load()

        return {"Unpickler": Unpickler, "load": load, "loads": loads}

    def _by_module(self, real: Callable[..., Any]) -> Callable[..., Any]:
        names = 2 if real.__name__ in {"import_module", "find_spec"} else 1

        def translated(*args: Any, **kwargs: Any) -> Any:
            if not args and not kwargs:
                # `files()` means the caller, which it finds on the stack: that would be this function.
                args = (sys._getframe(1).f_globals["__package__"],)  # noqa: SLF001 - as importlib.resources itself does
            named = {
                k: self._private(v) if isinstance(v, str) and k in _NAME_ARGUMENTS else v for k, v in kwargs.items()
            }
            return solid(
                real(
                    *(self._private(v) if i < names and isinstance(v, str) else v for i, v in enumerate(args)), **named
                )
            )

        return translated


_NAME_ARGUMENTS = frozenset({"anchor", "name", "package", "fullname"})
