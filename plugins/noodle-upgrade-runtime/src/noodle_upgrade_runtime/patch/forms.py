"""What tables hold, compared between two imports: the same contents, or at least the same form.

Instances that live were built from the old version's table. The new version's code can go on with what they have when
everything that the old table could give is of a form that the new one has as well: strings where there are strings,
pairs where there are pairs, patterns with the same groups.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

from noodle_upgrade_runtime.asking import is_a, is_class

__all__ = ["TABLES", "contents_of", "fits"]

TABLES = (list, dict, set, frozenset, tuple)
_DEEPEST = 6
_LONGEST = 2000
_VALUES = (str, bytes, int, float, complex, type(None))
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
_STARS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_ANYTHING = "anything"


# --- contents ----------------------------------------------------------------------------------------------------


def contents_of(value: Any, depth: int = _DEEPEST) -> Any:
    """Return a value in a form that is equal for equal contents of two separate imports."""
    if is_a(value, _VALUES):
        return value
    if is_a(value, (type, *_FUNCTIONS)):
        return (value.__module__, value.__qualname__)
    if is_a(value, re.Pattern):
        return (value.pattern, value.flags)
    if is_a(value, TABLES) and depth:
        return _contents_of_table(value, depth - 1)
    return (type(value).__module__, type(value).__qualname__)


def _contents_of_table(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_LONGEST]
        return ("mapping", [(contents_of(k, depth), contents_of(v, depth)) for k, v in pairs])
    if is_a(value, (list, tuple)):
        return ("sequence", [contents_of(item, depth) for item in value[:_LONGEST]])
    return ("set", sorted(repr(contents_of(item, depth)) for item in value))


# --- form --------------------------------------------------------------------------------------------------------


def fits(base: Any, staged: Any) -> bool:
    """Return whether whoever works with `staged` can work with what was made of `base`."""
    if type(base) is not type(staged):
        return False
    if is_a(base, dict):
        both = base.keys() & staged.keys()
        if not all(_within(_form(base[key]), [_form(staged[key])]) for key in both):
            return False
        return _all_within([*base, *base.values()], [*staged, *staged.values()])
    return _all_within(base, staged)


def _all_within(before: Iterable[Any], after: Iterable[Any]) -> bool:
    known = {_form(item) for item in after}
    return all(_within(form, known) for form in {_form(item) for item in before})


def _within(form: Any, known: Iterable[Any]) -> bool:
    return form == _ANYTHING or any(one == _ANYTHING or _suits(form, one) for one in known)


def _suits(one: Any, other: Any) -> bool:
    """Whether a form is one that another allows: the parts of a collection are some of the other's."""
    if one == other or _ANYTHING in (one, other):
        return True
    if not (is_a(one, tuple) and is_a(other, tuple) and one[0] == other[0] and len(one) == len(other)):
        return False
    return all(
        all(_within(part, theirs) for part in mine)
        if is_a(mine, frozenset) and is_a(theirs, frozenset)
        else _suits(mine, theirs)
        for mine, theirs in zip(one[1:], other[1:], strict=True)
    )


def _form(value: Any, depth: int = _DEEPEST) -> Any:
    """Return what kind of thing a value is; None may stand for any: it is how tables say that there is nothing."""
    if value is None or not depth:
        return _ANYTHING
    if is_a(value, (dict, list, set, frozenset)) or type(value) is tuple:
        return _form_of_table(value, depth)
    if is_class(value):
        return "a class"
    if is_a(value, types.FunctionType):
        return ("a function", value.__code__.co_argcount, value.__code__.co_flags & _STARS)
    if is_a(value, re.Pattern):
        return ("a pattern", value.groups, tuple(sorted(value.groupindex)))
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _form_of_table(value: Any, depth: int) -> Any:
    if is_a(value, dict):
        keys, values = ({_form(one, depth - 1) for one in part} for part in (value, value.values()))
        return ("a dict", frozenset(keys), frozenset(values))
    if is_a(value, tuple):
        return ("a tuple", *(_form(one, depth - 1) for one in value))
    return (type(value).__name__, frozenset(_form(one, depth - 1) for one in value))
