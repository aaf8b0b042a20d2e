"""The `__name__` of a private module: it reads as the source has it, and leads to the private module.

Classes, functions and loggers take the name of their module from there. People and other processes know the public
name: in what is printed, in names of tasks and metrics, in pickles. Whoever looks a class's module up in `sys.modules`
(dataclasses, typing, enum, pickle, inspect) must find the private one, or it would mix versions.
"""

from __future__ import annotations

import sys
from typing import Any, Self, SupportsIndex

__all__ = ["ModuleName"]


class ModuleName(str):
    """A string that equals a public name, and is found in `sys.modules` under a private one.

    Compared, printed, cut or joined it is the public name, and what comes of that is a plain string, but for a copy of
    the whole (`name[0:]`, by which `importlib.import_module` begins). Only its hash, which leads a dict's lookup, is
    that of `private`, for everybody but the code of private modules: theirs are tables of public names, and they ask
    another `sys.modules`. For all others it is no key for a dict or a set that has public names.
    """

    __slots__ = ("private",)

    private: str

    def __new__(cls, public: str, private: str) -> Self:
        """Return the name of a module that the source calls `public` and `sys.modules` has as `private`."""
        self = super().__new__(cls, public)
        self.private = private
        return self

    def __hash__(self) -> int:
        asker = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - nothing else tells who asks
        return str.__hash__(self if type(asker) is ModuleName else self.private)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True or self.private == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        found = super().__getitem__(key)
        return self if found == str(self) else found

    def partition(self, sep: str) -> tuple[str, str, str]:
        """Split at the first separator."""
        return str(self).partition(sep)

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        """Split at the last separator."""
        return str(self).rpartition(sep)

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        # A pickle of a class names its module: whoever reads it may know nothing of this class. But what goes to a
        # process that was forked from this one must lead to the same version there.
        writer: Any = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - nothing else tells who pickles
        return str, (self.private if writer == "multiprocessing.reduction" else str(self),)
