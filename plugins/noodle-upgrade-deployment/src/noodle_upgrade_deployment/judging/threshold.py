"""The judge by fixed limits, as most tools have one: so that policies that were written for them can be taken over."""

from __future__ import annotations

from attrs import define, field

from noodle_upgrade_core import Arm, Measurement, Observation, checks
from noodle_upgrade_core.rollout import quantile
from noodle_upgrade_deployment.judging.windows import Windows

__all__ = ["Threshold"]


@define(kw_only=True)
class Threshold:
    """Checks the new version alone every `interval` seconds, against limits that somebody has set.

    A check fails when more than `error_share` of the window's calls failed, or when their latency at `quantile` is more
    than `latency` seconds, if that is given. More than `failures` failed checks are harm: that is Argo Rollouts'
    `failureLimit`, which Flagger calls `threshold` and counts from one. With `consecutive` only those in a row count.
    `passes` good checks at a share make it safe. A window without calls is no check: neither failed nor passed.
    """

    error_share: float = field(default=0.01, validator=checks.between(0.0, 1.0))
    latency: float = field(default=0.0, validator=checks.seconds)
    quantile: float = field(default=0.99, validator=checks.between(0.0, 1.0, inclusive=False))
    interval: float = field(default=60.0, validator=checks.seconds)
    failures: int = field(default=0, validator=checks.count_or_none)
    passes: int = field(default=5, validator=checks.count)
    consecutive: bool = False
    _windows: Windows = field(init=False)
    _failed: int = field(default=0, init=False)
    _passed: int = field(default=0, init=False)
    _said: Observation = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._windows = Windows(self.interval)
        self._said = Observation(reasons=("no window is over yet",))

    def observe(self, seen: Measurement) -> Observation:
        """Check the window that is over, if one is; between the checks it says what it said."""
        if self._windows.turned(seen):
            self._passed = 0
            self._said = Observation(reasons=("no window is over yet",))
        if (window := self._windows.over(seen)) is not None:
            self._said = self._checked(window.new)
        return self._said

    @property
    def next_look(self) -> float | None:
        """When a check is due."""
        return self._windows.due

    def _checked(self, arm: Arm) -> Observation:
        if not arm.calls:
            return Observation(starved=True, reasons=(f"no calls of the new version in {self.interval:g} s",))
        evidence = {"error_share": arm.errors / arm.calls, "latency": quantile(arm, self.quantile)}
        if wrong := self._wrong(arm):
            self._failed += 1
        else:
            self._passed += 1
            self._failed = 0 if self.consecutive else self._failed
        evidence |= {"failed": self._failed, "passed": self._passed}
        if wrong:
            reason = f"{wrong} (failed check {self._failed}, {self.failures} may fail)"
            return Observation(harm=self._failed > self.failures, reasons=(reason,), evidence=evidence)
        reason = f"{self._passed} of {self.passes} checks passed"
        return Observation(safe=self._passed >= self.passes, reasons=(reason,), evidence=evidence)

    def _wrong(self, arm: Arm) -> str:
        share, slow = arm.errors / arm.calls, quantile(arm, self.quantile)
        if share > self.error_share:
            return f"{share:.2%} of {arm.calls} calls failed, more than {self.error_share:.2%}"
        if self.latency and slow is not None and slow > self.latency:
            return f"the latency at {self.quantile:.0%} is {slow:.3g} s, more than {self.latency:g} s"
        return ""
