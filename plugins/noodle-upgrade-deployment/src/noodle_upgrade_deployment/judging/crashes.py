"""A version that is plainly broken, seen without statistics: they need more bad calls than anybody should bear."""

from __future__ import annotations

from attrs import frozen

from noodle_upgrade_core.staged import Arm, Measurement

__all__ = ["Crashes", "Limits"]

_HALF = 0.5
_STRETCH_SECONDS, _STRETCH_WINDOWS, _TIMES_AS_MANY = 5.0, 4, 4.0
"""Failures that do not cease would be one incident after the other; no client tries again so often for so long."""
_CLUMP_SECONDS, _CLUMP_CALLS = 1.0, 5
"""A client that tries again and again may make the first few calls of any version."""


@frozen(kw_only=True)
class Limits:
    """When a version is broken.

    All calls at a share failed, `first` of them in a second or longer, or five times as many at once; or of `window`
    calls in a row more than `failing` did; or of all calls in some seconds, four windows at least, more than `steady`
    did, and four times as large a part as of the old version's; or calls are under way, and none was answered for
    `stall` seconds. Failures do not count while half of the old version's calls fail, too.
    """

    first: int = 5
    window: int = 50
    failing: float = 0.8
    steady: float = 0.25
    stall: float = 30.0


class Crashes:
    """Watches the new version's calls at one share: the first calls at it are telling."""

    def __init__(self, limits: Limits, begin: Measurement) -> None:
        self._limits = limits
        self._begin = self._window = self._stretch = begin
        self._due = begin.at + _STRETCH_SECONDS

    def look(self, seen: Measurement) -> str:
        """Return why the new version is broken, in words; "" when it is not."""
        limits, new, begin = self._limits, seen.new, self._begin
        if new.stalled > limits.stall:
            return f"calls of the new version are under way, and for {new.stalled:.0f} s none was answered"
        calls, errors = new.calls - begin.new.calls, new.errors - begin.new.errors
        if calls == errors >= limits.first:
            first = limits.first if seen.at - begin.at >= _CLUMP_SECONDS else _CLUMP_CALLS * limits.first
            if calls >= first and not _failing(seen.old, begin.old):
                return f"the first {calls} calls of the new version failed: {new.last_error}"
        if seen.at >= self._due and (reason := self._steadily(seen)):
            return reason
        window = self._window
        if (calls := new.calls - window.new.calls) < limits.window:
            return ""
        self._window = seen
        errors = new.errors - window.new.errors
        if errors > limits.failing * calls and not _failing(seen.old, window.old):
            return f"{errors} of {calls} calls of the new version failed: {new.last_error}"
        return ""

    def _steadily(self, seen: Measurement) -> str:
        """Return that a large part of a stretch of calls failed, if that is so; the next stretch begins then."""
        stretch, limits = self._stretch, self._limits
        calls, errors = seen.new.calls - stretch.new.calls, seen.new.errors - stretch.new.errors
        if calls < _STRETCH_WINDOWS * limits.window:
            return ""
        self._stretch, self._due = seen, seen.at + _STRETCH_SECONDS
        old, bad = seen.old.calls - stretch.old.calls, seen.old.errors - stretch.old.errors
        if errors <= limits.steady * calls or bad * calls * _TIMES_AS_MANY > errors * old:
            return ""
        return (
            f"{errors} of {calls} calls of the new version failed, {bad} of {old} of the old one: {seen.new.last_error}"
        )


def _failing(arm: Arm, earlier: Arm) -> bool:
    return arm.errors - earlier.errors > _HALF * (arm.calls - earlier.calls)
