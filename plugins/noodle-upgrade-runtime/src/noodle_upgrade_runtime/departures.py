"""The end of a version's service: the calls that are still inside it, and who has taken something of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.errors import DrainTimeoutError
from noodle_upgrade_runtime.quiescence import Alone

__all__ = ["Leaving", "leading_back"]

_MOST_TRIES = 6


@frozen(kw_only=True)
class Leaving:
    """How long a commit waits for the calls inside the old version; with `force` it is then made, and told."""

    within: float
    force: bool = False
    forced: Callable[[Sequence[str]], Any] = field(default=lambda _: None)

    def wait(self, parts: Sequence[Any]) -> None:
        """Wait for them. Raises `DrainTimeoutError` that names who stays."""
        until = time.monotonic() + self.within
        for part in parts:
            old = getattr(part, "in_flight", None)
            inside = old().wait(max(0.0, until - time.monotonic())) if old is not None else ()
            if not inside:
                continue
            names = [str(one) for one in inside]
            if not self.force:
                raise DrainTimeoutError(
                    f"After {self.within:g} s calls are still inside the old version: {'; '.join(names)}.",
                    hint="Wait for them, raise runtime.drain_timeout, or set runtime.on_drain_timeout to extend or"
                    " force: they then end in the old version, which stays until they have.",
                    details={"blockers": names},
                )
            self.forced(names)


def leading_back(parts: Sequence[Any], alone: Alone, noted: list[str]) -> Callable[[], bool]:
    """Return what leads back whoever has taken something of the version that was left, and notes what it could not.

    It is to be called again while it returns False, because others have run meanwhile.
    """
    left = [went_back for part in parts if (went_back := getattr(part, "went_back", None)) is not None]
    tries = itertools.count(1)

    def lead_back() -> bool:
        # It is carried through: where no time is long enough, in the one that there is.
        is_over = alone.is_over if next(tries) < _MOST_TRIES else _never
        while left:
            said = left[0](is_over)
            if said is None:
                return False
            noted.extend(said)
            del left[0]
        return True

    return lead_back


def _never() -> bool:
    return False
