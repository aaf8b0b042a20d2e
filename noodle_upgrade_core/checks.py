"""Checks of the parameters that steps, strategies and judges are made with: attrs validators with helpful words.

    @frozen(kw_only=True)
    class Careful:
        bake: float = field(default=60.0, validator=seconds)
        percentage: float = field(default=5.0, validator=between(0.1, 100))

What is not allowed raises `InvalidRequestError`: a parameter comes from a request, and it is that which must change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from noodle_upgrade_core.errors import InvalidRequestError

__all__ = ["between", "count", "count_or_none", "seconds"]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def seconds(_: Any, attribute: Any, value: Any) -> None:
    """Let only finite numbers pass that are not negative."""
    if not _number(value) or value < 0:
        raise InvalidRequestError(f"{attribute.name} must be a number of seconds, 0 or more, got {value!r}.")


def count(_: Any, attribute: Any, value: Any) -> None:
    """Let only whole numbers above 0 pass."""
    if not _number(value) or not isinstance(value, int) or value < 1:
        raise InvalidRequestError(f"{attribute.name} must be a whole number above 0, got {value!r}.")


def count_or_none(_: Any, attribute: Any, value: Any) -> None:
    """Let only whole numbers pass that are not negative."""
    if not _number(value) or not isinstance(value, int) or value < 0:
        raise InvalidRequestError(f"{attribute.name} must be a whole number, 0 or more, got {value!r}.")


def between(least: float, most: float, *, inclusive: bool = True) -> Callable[[Any, Any, Any], None]:
    """Return a check that lets only numbers from `least` to `most` pass, or only those between when not `inclusive`."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        within = _number(value) and (least <= value <= most if inclusive else least < value < most)
        if not within:
            wanted = f"at least {least:g} and at most {most:g}" if inclusive else f"above {least:g} and below {most:g}"
            raise InvalidRequestError(f"{attribute.name} must be {wanted}, got {value!r}.")

    return check
