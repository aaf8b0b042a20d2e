"""A stage for strategies: what they yield is carried out by the core's own conductor, in virtual time."""

import asyncio

from attrs import define, field

from noodle_upgrade_core import Member, Observation
from noodle_upgrade_core.clocks import VirtualClock
from noodle_upgrade_core.rollout import Conductor
from noodle_upgrade_core.staged import MEMBERS, SHADOW, WEIGHTS, Arm, Measurement

EVERYTHING = frozenset({WEIGHTS, MEMBERS, SHADOW})


class PlanWith:
    """A plan, as far as strategies look at it."""

    def __init__(self, *capabilities):
        verdict = type("Verdict", (), {"capabilities": frozenset(capabilities)})
        self.steps = (type("PlanStep", (), {"verdict": verdict, "name": "lamp"}),)


@define
class Scene:
    """A staged swap that writes down what is done with it; `members` are pairs of a name and a domain."""

    capabilities: frozenset = EVERYTHING
    members_: tuple = ()
    clock: VirtualClock = field(factory=VirtualClock)
    weight: float = 0.0
    shadowed: float = 0.0
    on_new: frozenset = frozenset()
    log: list = field(factory=list)

    def shift(self, weight):
        self.weight, self.shadowed = weight, 0.0
        self.on_new = frozenset(name for name, _ in self.members_) if weight == 1.0 else frozenset()
        self.log.append(("shift", weight))

    def shift_members(self, names):
        known = {name for name, _ in self.members_}
        assert set(names) <= known, "a member that is not there was shifted"
        self.log.append(("members", tuple(sorted(set(names) - self.on_new))))
        self.on_new = frozenset(names)

    def shadow(self, share):
        self.shadowed = share
        self.log.append(("shadow", share))

    def members(self):
        return tuple(Member(name=name, domain=domain) for name, domain in self.members_)

    def measure(self):
        return Measurement(at=self.clock.now(), weight=self.weight, old=Arm(version="1"), new=Arm(version="2"))


class Says:
    """A judge: safe after so many seconds at a share, harm when the function says so."""

    def __init__(self, scene, *, safe_after=5.0, harm=lambda scene: False):
        self._scene = scene
        self._safe_after = safe_after
        self._harm = harm
        self._since = (None, 0.0)

    def observe(self, seen):
        scene = self._scene
        at = (scene.weight, scene.shadowed, scene.on_new)
        if at != self._since[0]:
            self._since = (at, seen.at)
        if self._harm(scene):
            return Observation(harm=True, reasons=("it burns",))
        return Observation(safe=seen.at - self._since[1] >= self._safe_after)


def play(strategy, scene, *, probe=None, gate=None, **judge):
    """Carry a strategy out; returns the outcome."""

    async def well():
        return ()

    async def open_gate(asked):
        scene.log.append(("gate", asked.name))
        return True

    conductor = Conductor(
        staged=scene,
        judge=Says(scene, **judge),
        clock=scene.clock,
        probe=probe or well,
        gate=gate or open_gate,
        deadline=100_000.0,
        interval=1.0,
    )
    return asyncio.run(conductor.carry_out(strategy.rollout(PlanWith(*scene.capabilities))))
