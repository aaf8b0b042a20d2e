"""Strategies, judges and recordings that tests of simulations need."""

from array import array

from noodle_upgrade_core import Observation
from noodle_upgrade_core.steps import Judge, Revert, Shift
from noodle_upgrade_deployment.simulation.recordings import Recording


class Steps:
    """A strategy that yields these steps, and gives up on harm."""

    def __init__(self, *steps):
        self.steps = steps

    def rollout(self, plan):
        for step in self.steps:
            seen = yield step
            if seen.harm:
                yield Revert(seen.reasons)
                return


class ByMembers:
    """A strategy that changes so many members at a time, domain by domain, or as they come."""

    def __init__(self, batch, *, by_domain=True, bake=20.0):
        self.batch = batch
        self.by_domain = by_domain
        self.bake = bake

    def rollout(self, plan):
        seen = yield Shift(0.0)
        members = sorted(seen.members, key=lambda one: one.domain) if self.by_domain else list(seen.members)
        names = [member.name for member in members]
        for end in range(self.batch, len(names) + self.batch, self.batch):
            done = tuple(names[:end])
            yield Shift(len(done) / len(names), members=done)
            seen = yield Judge(until="safe", budget=self.bake)
            if seen.harm:
                yield Revert(seen.reasons)
                return


class Calm:
    """A judge that says safe at once."""

    def observe(self, seen):
        return Observation(safe=True, evidence={"calls": seen.new.calls})


class Undecided:
    """A judge that never says anything."""

    def observe(self, seen):
        return Observation()


class HarmAt:
    """A judge that says harm from a moment on."""

    def __init__(self, at):
        self.next_look = at

    def observe(self, seen):
        return Observation(harm=seen.at >= self.next_look, reasons=("it is late",))


class Slow:
    async def observe(self, seen):
        return Observation()


class Broken:
    def observe(self, seen):
        raise ZeroDivisionError("by zero")


def recorded(calls, *, keys=None):
    """Return a recording of `(at, seconds, bad)`, with the key of each."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys or ()))}
    first = calls[0][0]
    return Recording(
        at=array("d", [at - first for at, _, _ in calls]),
        seconds=array("d", [seconds for _, seconds, _ in calls]),
        bad=bytes(bad for _, _, bad in calls),
        key=array("q", [numbers[key] for key in keys or ()]),
        keys=len(numbers),
    )
