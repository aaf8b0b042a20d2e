"""Taking a `__new__` away so that nothing is left of it: a class that never had one calls `object.__new__` otherwise.

CPython notes in a class's `tp_new` that there is a `__new__` to be looked up, and goes on to do so when it is taken
away; `object.__new__` then refuses the arguments that `__init__` takes. `classes.plain_new` stands in for it until the
note itself can be put right, where it is known where that lies.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from noodle_upgrade_runtime.asking import deleter_of, namespace_of, subclasses_of
from noodle_upgrade_runtime.operations import Call, Operation, Script
from noodle_upgrade_runtime.patch.classes import effective_new, is_plain_new

__all__ = ["take_away_stand_ins"]

_WORD = ctypes.sizeof(ctypes.c_size_t)


def take_away_stand_ins(classes: Iterable[type]) -> None:
    """Leave those of the classes without a `__new__` that have only one which does what having none does."""
    offset = _offset()
    if offset is None:
        return
    for cls in classes:
        if not is_plain_new(namespace_of(cls).get("__new__")):
            continue
        plain = _word(object, offset).value
        inherited = effective_new(cls.__mro__[1:])
        noted = [one for one in (cls, *subclasses_of(cls)) if inherited is object.__new__ is effective_new(one.__mro__)]
        # Each step means what the one before it did; in one go, so that no class is derived between them.
        calls: list[Call] = [(setattr, _word(one, offset), "value", plain) for one in noted]
        calls.append((deleter_of(cls), cls, "__new__"))
        Script([Operation(call, (id, None)) for call in calls]).apply()


def _word(cls: type, offset: int) -> ctypes.c_size_t:
    word = ctypes.c_size_t.from_address(id(cls) + offset)
    word.cls = cls  # type: ignore[attr-defined]  # the address is good as long as the class lives
    return word


def _find() -> int | None:
    """Find where a class keeps the note: that of `object`, or another one, which stays when its `__new__` is gone."""

    def __new__(cls: type) -> object:  # noqa: N807 - it becomes one
        return object.__new__(cls)

    plain, made, lost = type("Plain", (), {}), type("Made", (), {"__new__": __new__}), type("Lost", (), {})
    lost.__new__ = __new__  # type: ignore[assignment,method-assign]
    del lost.__new__
    words = [_words(one) for one in (object, plain, made, lost)]
    found = [
        index
        for index, (of_object, of_plain, of_made, of_lost) in enumerate(zip(*words, strict=True))
        if of_object and of_object == of_plain != of_made == of_lost
    ]
    return found[0] * _WORD if len(found) == 1 else None


def _words(cls: type) -> list[int]:
    count = int(vars(type)["__basicsize__"].__get__(type)) // _WORD
    return list((ctypes.c_size_t * count).from_address(id(cls)))


_found: list[int | None] = []


def _offset() -> int | None:
    if not _found:
        _found.append(_find())
    return _found[0]
