"""Keeping calls fast on 3.13 for functions that get new code in place.

From 3.13 on the interpreter specialises calls of a function by a version number that only `def` gives out; setting
`__code__` takes it away for ever. The number stands for the code, so the number of a function that `def` made from the
new code is the right one for the function that now has this code, and the old number is right again after an undo.
"""

from __future__ import annotations

import ctypes
import sys
import types
from typing import Any

from noodle_upgrade_runtime.operations import Tuning

__all__ = ["CallVersions"]

_WORD = 4


class CallVersions:
    """Reads and writes the version numbers of functions; does nothing where the interpreter needs nothing."""

    def __init__(self) -> None:
        self._offset = _find() if sys.version_info >= (3, 13) else None

    @property
    def needed(self) -> bool:
        """Whether this interpreter gives out versions at `def` only, and where they lie is known."""
        return self._offset is not None

    def tuning(self, live: types.FunctionType, made: types.FunctionType) -> Tuning | None:
        """Return what gives `live` the version of `made`, whose code it gets, and its present one when that goes back.

        None where nothing is to be done.
        """
        if self._offset is None:
            return None
        word = self._word(live)
        return Tuning(
            (_give, live, made.__code__, word, self._word(made).value),
            (_give, live, live.__code__, word, word.value),
            f"calls of {live.__qualname__}",
        )

    def _word(self, function: types.FunctionType) -> ctypes.c_uint32:
        word = ctypes.c_uint32.from_address(id(function) + (self._offset or 0))
        word.function = function  # type: ignore[attr-defined]  # the address is good as long as the function lives
        return word


def _give(function: types.FunctionType, code: types.CodeType, word: ctypes.c_uint32, version: int) -> None:
    """Give a function the version of its code, unless somebody has given it another one meanwhile."""
    if function.__code__ is code:
        word.value = version


def _find() -> int | None:
    """Find where a function keeps its version: not 0 after `def`, the same for one code, 0 after `__code__` is set."""
    namespace: dict[str, Any] = {}
    exec("def pair():\n def made(): pass\n return made\ndef other(): return 1", namespace)  # noqa: S102 - our own text
    one, two, other = namespace["pair"](), namespace["pair"](), namespace["other"]
    before = [_words(function) for function in (one, two, other)]
    one.__code__ = other.__code__
    after = _words(one)
    found = [
        index
        for index, word in enumerate(before[0])
        if word and word == before[1][index] and 0 < before[2][index] - word < _NEAR and after[index] == 0
    ]
    return found[0] * _WORD if len(found) == 1 else None


_NEAR = 1 << 16


def _words(function: types.FunctionType) -> list[int]:
    count = types.FunctionType.__basicsize__ // _WORD
    return list((ctypes.c_uint32 * count).from_address(id(function)))
