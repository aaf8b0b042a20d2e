"""How a call ended, and in what two ends differ: asked of other people's objects, which may raise, or answer oddly.

Everything here may take for ever: it is for a thread that nobody waits for.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from noodle_upgrade_runtime.links import Compare

__all__ = ["Answered", "Outcome", "Raised", "difference"]

_MOST_TEXT = 200


@frozen(eq=False)
class Answered:
    """A call that returned, with a value that nobody else holds."""

    value: Any = field(repr=False)


@frozen
class Raised:
    """A call that raised: the type's names, which are the same in every version, and what it said."""

    kind: str
    text: str = ""

    @classmethod
    def by(cls, error: BaseException) -> Raised:
        """Note how a call failed, and keep nothing of it."""
        kind = type(error)
        return cls(f"{kind.__module__}.{kind.__qualname__}", _text(str, error))


Outcome = Answered | Raised


def difference(old: Outcome, new: Outcome, compare: Compare | None = None) -> str:
    """Say in what the new version's outcome differs from the old one's, in a few words; "" where it does not.

    The same type of exception is the same outcome. Answers that cannot be compared differ.
    """
    if isinstance(old, Answered) and isinstance(new, Answered):
        return _compared(old, new, compare)
    if isinstance(old, Raised) and isinstance(new, Raised) and old.kind == new.kind:
        return ""
    return f"{_told(new)}, and the old version {_told(old)}"


def _compared(old: Answered, new: Answered, compare: Compare | None) -> str:
    try:
        same = _same(old.value, new.value) if compare is None else bool(compare(old.value, new.value))
    except BaseException as error:  # noqa: BLE001 - whatever a comparison raises is an answer here
        why = _told(Raised.by(error))
        return f"{_told(new)}, which could not be compared with what the old version {_told(old)}: that {why}"
    if same:
        return ""
    found = f"{_told(new)}, and the old version {_told(old)}"
    if compare is None and _are_namesakes(type(old.value), type(new.value)):
        return f"{found}: objects of two versions of one class, which need handle(…, compare=…) to be equal"
    return found


def _same(old: Any, new: Any) -> bool:
    """Compare two answers; arrays are the same when all their items are."""
    if isinstance(old, float) and isinstance(new, float) and old != old and new != new:  # noqa: PLR0124 - not a number
        return True
    found = old == new
    if isinstance(found, bool) or not callable(every := getattr(found, "all", None)):
        return bool(found)
    return bool(every())


def _are_namesakes(old: type, new: type) -> bool:
    return old is not new and (str(old.__module__), old.__qualname__) == (str(new.__module__), new.__qualname__)


def _told(one: Outcome) -> str:
    if isinstance(one, Answered):
        return f"answered {_text(repr, one.value)}"
    name = one.kind.removeprefix("builtins.")
    return f"raised {name}: {one.text}" if one.text else f"raised {name}"


def _text(show: Any, value: Any) -> str:
    try:
        text = str(show(value))
    except BaseException:  # noqa: BLE001 - what cannot even be shown is told by its type
        return f"<{type(value).__name__}>"
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…"
