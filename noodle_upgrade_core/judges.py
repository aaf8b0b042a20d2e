"""The judge that the core brings: a kill switch without statistics.

It sees a version that is plainly broken within its first calls. Small differences need a judge that weighs evidence:
install one, and name it in the settings.
"""

from __future__ import annotations

from attrs import field, frozen

from noodle_upgrade_core import checks
from noodle_upgrade_core.staged import Measurement
from noodle_upgrade_core.steps import Observation

__all__ = ["KillSwitch"]


@frozen(kw_only=True)
class KillSwitch:
    """Harm after `errors` failed calls when they are more than `ratio` times the old version's share.

    Harm, too, when calls of the new version are under way and for `stall` seconds none was answered.

    Safe after `calls` calls at the present share without harm; starved while the new version had no call at all. What
    went well at a small share says nothing about a larger one.
    """

    errors: int = field(default=5, validator=checks.count)
    ratio: float = field(default=2.0, validator=checks.between(0.0, 1e9))
    stall: float = field(default=30.0, validator=checks.seconds)
    calls: int = field(default=200, validator=checks.count)

    def observe(self, seen: Measurement) -> Observation:
        """Compare error shares."""
        new, old = seen.new, seen.old
        if new.stalled > self.stall:
            reason = f"calls of the new version are under way, and for {new.stalled:.0f} s none was answered"
            return Observation(harm=True, reasons=(reason,), evidence={"stalled": new.stalled})
        if new.calls == 0 and new.stalled:
            return Observation(reasons=(f"{new.in_flight} call(s) are under way, none was answered yet",))
        if new.calls == 0:
            return Observation(starved=True, reasons=("the new version has had no calls yet",))
        share = new.errors / new.calls
        before = old.errors / old.calls if old.calls else 0.0
        evidence = {"new_error_share": share, "old_error_share": before, "new_calls": new.calls}
        if new.errors >= self.errors and share > self.ratio * before:
            reason = (
                f"{new.errors} of {new.calls} calls of the new version failed ({share:.1%}; before: {before:.1%});"
                f" the last: {new.last_error}"
            )
            return Observation(harm=True, reasons=(reason,), evidence=evidence)
        here = seen.since_shift().new.calls
        if here >= self.calls:
            return Observation(safe=True, reasons=(f"{here} calls, {new.errors} failed",), evidence=evidence)
        return Observation(reasons=(f"{here} of {self.calls} calls seen at this share",), evidence=evidence)
