"""Running probes: many at once, as a set of components that is upgraded in one step."""

from __future__ import annotations

import gc
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Any

from matrix.probing import Probe, state_of
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.patch import PatchEngine

__all__ = ["Outcome", "refused", "upgraded"]


class Outcome:
    """What one probe has seen, and what of it was not what it should be.

    `since` is about what was taken from the new version and is looked at after going back.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.wrong: list[str] = []
        self.since: list[str] = []
        self.named: list[str] = []


class _Trial:
    """One probe under way: its package, and what it holds."""

    def __init__(self, probe: Probe, package: Any) -> None:
        self.outcome = Outcome(probe)
        self.probe, self.package = probe, package
        self._open: list[Any] = []
        self.module: types.ModuleType = package.load(probe.old, probe.new, **probe.files)
        self.look = self.hold()
        self.later: Callable[[], Any] | None = None
        self.expect("with the old version", self.look, probe.before)
        self.known = state_of(package.name)

    def hold(self) -> Callable[[], Any]:
        held = self.probe.hold(self.module)
        if inspect.isgenerator(held):
            self._open.append(held)
            return next(held)
        return held

    def expect(self, when: str, look: Callable[[], Any], wanted: Any, *, since: bool = False) -> None:
        try:
            seen = look()
        except Exception:
            seen = traceback.format_exc()
        if seen != wanted:
            (self.outcome.since if since else self.outcome.wrong).append(f"{when}: {seen!r} and not {wanted!r}")

    def committed(self) -> None:
        self.expect("after the commit", self.look, self.probe.after)
        if not self.probe.once:
            try:
                self.later = self.hold()
            except Exception:
                self.outcome.wrong.append(traceback.format_exc())
            self.expect("taken from the new version", self.later, self.probe.fresh)

    def gone_back(self) -> None:
        self.expect("after going back", self.look, self.probe.before)
        if not self.probe.once:
            self.expect("taken from the new version, after going back", self.later, self.probe.later, since=True)
        self.check_state("after going back")

    def check_state(self, when: str) -> None:
        now = state_of(self.package.name)
        differing = sorted(key for key in now.keys() | self.known.keys() if now.get(key) != self.known.get(key))
        if differing:
            self.outcome.wrong.append(f"{when}: not as it was: {', '.join(differing)}")

    def let_go(self) -> None:
        del self.look, self.later
        while self._open:
            next(self._open.pop(), None)
        for name in [name for name in sys.modules if name == f"program_of_{self.package.name}"]:
            del sys.modules[name]


def upgraded(probes: Sequence[Probe], packages: Callable[[], Any]) -> list[Outcome]:
    """Upgrade the packages of these probes in one step, go back, and do both once more."""
    trials = [_Trial(probe, packages()) for probe in probes]
    try:
        prepared = PatchEngine().stage(tuple(trial.package.change() for trial in trials), cancelled=lambda: False)
    except UpgradeError as error:
        for trial in trials:
            trial.let_go()
        if len(trials) > 1:
            # One of them is refused: each by itself tells which one.
            return [outcome for probe in probes for outcome in upgraded([probe], packages)]
        trials[0].outcome.wrong.append(f"refused: {error}")
        return [trials[0].outcome]
    for again in (False, True):
        _there_and_back(trials, prepared, again=again)
    for trial in trials:
        told = trial.probe.told.replace("PKG", trial.package.name)
        if told and not any(told in warning for warning in prepared.warnings):
            trial.outcome.wrong.append(f"nobody was told: {told}")
        trial.let_go()
    prepared.release()
    return [trial.outcome for trial in trials]


def _there_and_back(trials: Sequence[_Trial], prepared: Any, *, again: bool) -> None:
    script = Script(prepared.operations())
    script.apply()
    for trial in trials:
        if again:
            trial.expect("after the second commit", trial.look, trial.probe.after)
        else:
            trial.committed()
    if again:
        prepared.settle()
        if prepared.sweeper is not None:
            prepared.sweeper.join()
    script.revert()
    left = prepared.went_back()
    for trial in trials:
        if named := [what for what in left if trial.package.name in what]:
            trial.outcome.named += named
        if again:
            trial.expect("after going back again", trial.look, trial.probe.before)
            trial.check_state("after going back again")
        else:
            trial.gone_back()


def refused(probe: Probe, package: Any) -> Outcome:
    """Plan an upgrade that has to be refused; nothing may have changed then."""
    trial = _Trial(probe, package)
    before = trial.look()
    trial.outcome.wrong.clear()
    _refused(trial, probe.refused.replace("PKG", package.name))
    trial.expect("after the refusal", trial.look, before)
    trial.check_state("after the refusal")
    del before
    trial.let_go()
    gc.collect()
    trial.known = state_of(package.name)
    if probe.let_go:
        try:
            package.upgrade()
        except UpgradeError as error:
            trial.outcome.wrong.append(f"refused although nothing is held any more: {error}")
        else:
            package.rollback()
            trial.check_state("after going back")
    else:
        _refused(trial, "")
    return trial.outcome


def _refused(trial: _Trial, reason: str) -> None:
    try:
        trial.package.stage()
    except UpgradeError as error:
        if reason not in str(error):
            trial.outcome.wrong.append(f"refused for another reason: {error}")
    else:
        warnings = trial.package.prepared.warnings
        trial.outcome.wrong.append(f"it is not refused ({', '.join(warnings) or 'nobody is told anything'})")
