"""What `sys.modules`, `sys.meta_path` and `sys.path_hooks` are while a version is loaded privately.

For one thread they are that version's own, for every other one they are the real ones. What one thread puts there
never is where another could find it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noodle_upgrade_runtime.patch.loading import PrivateImports

__all__ = ["ListView", "ModulesView"]


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
        imports = self._ours()
        if imports is not None and imports.owns(name):
            return imports.modules
        return imports.aliases if imports is not None and name in imports.aliases else self.real

    def _home_for(self, name: object, module: Any) -> dict[str, Any]:
        """Return where a module goes that is put there; what our own code puts there by hand is always private."""
        imports = self._ours()
        if imports is None or imports.owns(name):
            return self._home(name)
        by = sys._getframe(2).f_globals.get("__name__")  # noqa: SLF001 - the import system puts modules here, too
        if imports.owns(by) or any(module is one for one in imports.modules.values()):
            return imports.aliases
        return self._home(name)

    def _ours(self) -> PrivateImports | None:
        return self._imports if threading.get_ident() == self._thread else None

    def _all(self) -> dict[str, Any]:
        imports = self._ours()
        if imports is None:
            return self.real
        return {k: v for k, v in self.real.items() if not imports.owns(k)} | imports.aliases | imports.modules

    def __getitem__(self, name: str) -> Any:
        return self._home(name)[name]

    def __setitem__(self, name: str, module: Any) -> None:
        self._home_for(name, module)[name] = module

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
        if name not in self:
            self._home_for(name, default)[name] = default
        return self[name]

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
            self._home_for(name, module)[name] = module


class ListView(list[Any]):
    """What a list of the process is while an isolation is open: the real one, but for one thread, which has its own.

    It goes on showing the real one for ever after, because somebody may have kept it.
    """

    def __init__(self, real: list[Any], private: list[Any], thread: int) -> None:
        super().__init__()
        self._real = real
        self._private: list[Any] | None = private
        self._thread = thread

    def close(self) -> None:
        """Show the real list to everybody from now on."""
        self._private = None

    def home(self) -> list[Any]:
        """Return the list that the calling thread means."""
        private = self._private
        return private if private is not None and threading.get_ident() == self._thread else self._real

    def __iadd__(self, items: Any) -> Any:  # type: ignore[misc]  # as it is for a list
        self.home().extend(items)
        return self

    def __radd__(self, items: list[Any]) -> list[Any]:
        return items + self.home()

    __hash__ = None


def _delegated(name: str) -> Callable[..., Any]:
    def method(self: ListView, *arguments: Any, **keywords: Any) -> Any:
        return getattr(self.home(), name)(*arguments, **keywords)

    method.__name__ = name
    return method


for _name in (
    "__add__", "__contains__", "__delitem__", "__eq__", "__getitem__", "__iter__", "__len__", "__mul__", "__repr__",
    "__reversed__", "__setitem__", "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove",
    "reverse", "sort",
):  # fmt: skip
    setattr(ListView, _name, _delegated(_name))
