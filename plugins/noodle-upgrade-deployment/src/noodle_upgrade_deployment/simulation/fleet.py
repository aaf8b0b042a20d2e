"""A fleet of up to a million replicas in domains, which change one by one, a few at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

from attrs import asdict, field, frozen

from noodle_upgrade_core import Measurement, Member, checks
from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.errors import InvalidRequestError, StageError
from noodle_upgrade_core.staged import MEMBERS
from noodle_upgrade_deployment.simulation.changing import Change, Flux, Starts, State
from noodle_upgrade_deployment.simulation.records import Record
from noodle_upgrade_deployment.simulation.staging import BY_SHARES, NEW, OLD, CommandedClock
from noodle_upgrade_deployment.simulation.traffic import Calls

__all__ = ["Fleet", "FleetModel", "FleetReport"]

_MOST_REPLICAS = 1_000_000
_TICKS_A_START = 50
_SHORTEST_TICK = 0.02


@frozen(kw_only=True)
class FleetModel:
    """Replicas, and how they change.

    `replicas` belong to `domains` in turn. One takes `start` seconds to begin to serve, give or take the part `spread`
    of it. A start of the new version fails with the chance `fails`, and is tried `attempts` times; then the replica
    goes back to the old version, and when more than the share `tolerated` of those that were to change did, the shift
    fails. At most the share `surge` of all replicas may be added while others change, and at most the share
    `unavailable` may be missing, each rounded up.
    """

    replicas: int = field(default=10, validator=[checks.count, checks.between(1, _MOST_REPLICAS)])
    domains: int = field(default=3, validator=checks.count)
    start: float = field(default=30.0, validator=checks.seconds)
    spread: float = field(default=0.5, validator=checks.between(0.0, 1.0))
    fails: float = field(default=0.0, validator=checks.between(0.0, 1.0))
    attempts: int = field(default=3, validator=checks.count)
    tolerated: float = field(default=0.01, validator=checks.between(0.0, 1.0))
    surge: float = field(default=0.1, validator=checks.between(0.0, 1.0))
    unavailable: float = field(default=0.0, validator=checks.between(0.0, 1.0))

    def __attrs_post_init__(self) -> None:
        if not self.surge and not self.unavailable:
            raise InvalidRequestError(
                "surge and unavailable are both 0: no replica could ever change.", hint="Raise one of them."
            )
        if self.missing >= self.replicas:
            raise InvalidRequestError(
                f"unavailable lets all {self.replicas} replicas be missing at once: nobody would serve.",
                hint="Lower it, or use surge.",
            )

    @property
    def extra(self) -> int:
        """How many replicas may be added."""
        return math.ceil(self.surge * self.replicas)

    @property
    def missing(self) -> int:
        """How many replicas may be missing."""
        return math.ceil(self.unavailable * self.replicas)


@frozen(kw_only=True)
class FleetReport:
    """What a rollout did to a fleet.

    `capacity` is the smallest share of the replicas that served at any moment. `in_flux` is how many were changing at
    once at most, and `across` the same of the moments at which replicas of more than one domain were. `changed` serve
    the new version in the end; of all starts `failed` failed, and `given_up` replicas could not be changed.
    """

    replicas: int
    domains: int
    capacity: float
    in_flux: int
    across: int
    changed: int
    failed: int
    given_up: int

    def to_wire(self) -> dict[str, float | int]:
        """Return it as JSON values."""
        return asdict(self)


class Fleet:
    """A staged swap over replicas: a shift ends when all that were to change serve, or were given up.

    By shares it takes one domain after the other, by members those that are named. Calls are spread evenly over the
    replicas that serve; a replica that is added while another changes serves from when it is up.
    """

    capabilities = BY_SHARES | {MEMBERS}

    def __init__(
        self, model: FleetModel, calls: Calls, *, clock: CommandedClock, controls: Controls, rng: Random, shares: Record
    ) -> None:
        self.model = model
        self.shares = shares
        self.largest = 0.0
        self._calls, self._clock, self._controls = calls, clock, controls
        count, self._domains = model.replicas, min(model.domains, model.replicas)
        self._state = State(
            version=bytearray(count),
            serving=[count, 0],
            free=[model.extra, model.missing],
            flux=Flux([0] * self._domains),
        )
        self._tick = max(_SHORTEST_TICK, model.start / _TICKS_A_START)
        usual = model.start / self._tick
        self._starts = Starts(
            shortest=usual * (1.0 - model.spread),
            longer=2.0 * usual * model.spread,
            fails=model.fails,
            attempts=model.attempts,
            rng=rng,
        )
        self._fewest = count
        self._asked = 0.0
        self._members: tuple[Member, ...] = ()
        self._numbers: dict[str, int] = {}
        self._route()

    def members(self) -> tuple[Member, ...]:
        """Return every replica; the same tuple each time, for a million take their time."""
        if not self._members:
            digits, domains = len(str(self.model.replicas - 1)), self._domains
            names = [f"domain-{number}" for number in range(domains)]
            self._members = tuple(
                [Member(name=f"replica-{i:0{digits}}", domain=names[i % domains]) for i in range(self.model.replicas)]
            )
            self._numbers = {member.name: number for number, member in enumerate(self._members)}
        return self._members

    async def shift(self, weight: float) -> None:
        """Have this share of the replicas serve the new version, one domain after the other.

        Raises `StageError` when too many of them could not be changed.
        """
        wanted = round(weight * self.model.replicas)
        self._asked = weight
        for domain in range(self._domains):
            numbers = range(domain, self.model.replicas, self._domains)
            await self._move(numbers, (b"\1" * min(wanted, len(numbers))).ljust(len(numbers), b"\0"))
            wanted -= min(wanted, len(numbers))

    async def shift_members(self, names: Iterable[str]) -> None:
        """Have exactly these replicas serve the new version; raises as `shift` does, and for a name there is not."""
        self.members()
        on_new = bytearray(self.model.replicas)
        try:
            for number in map(self._numbers.__getitem__, names):
                on_new[number] = 1
        except KeyError as error:
            raise InvalidRequestError(
                f"There is no replica {error.args[0]!r}.", hint="Name those that were observed."
            ) from None
        self._asked = on_new.count(1) / self.model.replicas
        await self._move(range(self.model.replicas), on_new)

    def shadow(self, share: float) -> None:
        """Run copies of this share of the calls on the new version: on replicas that serve nobody."""
        if share:
            self._calls.shadow(share)
        else:
            self._route()

    def measure(self) -> Measurement:
        """Return what both versions did so far."""
        return self._calls.measure()

    async def revert(self) -> None:
        """Have every replica serve the old version, all domains at once, as fast as surge and unavailable allow."""
        self._controls = Controls()
        self._asked = 0.0
        await self._move(range(self.model.replicas), bytes(self.model.replicas))

    def commit(self) -> None:
        """Let the new version have it: nothing more moves."""

    def running(self) -> dict[str, str]:
        """Return the version that every replica serves; the old one while some do."""
        return {"simulated": OLD if 0 in self._state.version else NEW}

    def report(self) -> FleetReport:
        """Return what became of the replicas."""
        state = self._state
        return FleetReport(
            replicas=self.model.replicas,
            domains=self._domains,
            capacity=self._fewest / self.model.replicas,
            in_flux=state.flux.most,
            across=state.flux.across,
            changed=state.version.count(1),
            failed=state.failed,
            given_up=state.given_up,
        )

    async def _move(self, numbers: range, on_new: bytes | bytearray) -> None:
        """Have those of these replicas serve the new version whose byte says so, and the others the old one."""
        served = self._state.version[numbers.start : numbers.stop : numbers.step]
        if served == on_new:
            self._route()
            return
        moves: tuple[list[int], list[int]] = ([], [])
        for number, is_on, wanted in zip(numbers, served, on_new, strict=True):
            if is_on != wanted:
                moves[wanted].append(number)
        for to, moving in enumerate(moves):
            change = Change(self._state, self._starts, to, iter(moving))
            await change.carry_out(self._pass, self._may_begin, self._route)
            if change.given_up > self.model.tolerated * len(moving):
                raise StageError(
                    f"{change.given_up} of {len(moving)} replicas could not begin the new version.",
                    hint="Look at why it does not start, or tolerate more.",
                    details={"given_up": change.given_up, "of": len(moving)},
                )

    def _may_begin(self) -> bool:
        # What has begun to change when somebody aborts comes to its end, and goes back after that.
        return not self._controls.aborted

    async def _pass(self, ticks: int) -> None:
        """Let time pass; people may say something meanwhile, but what has begun goes on."""
        until = self._clock.now() + ticks * self._tick
        while (left := until - self._clock.now()) > 0:
            await self._clock.sleep(left, Controls() if self._controls.aborted else self._controls)

    def _route(self) -> None:
        """Spread the calls evenly over the replicas that serve."""
        old, new = self._state.serving
        self._fewest = min(self._fewest, old + new)
        share = new / (old + new)
        self.largest = max(self.largest, share)
        self._calls.split(share, asked=self._asked)
        self.shares.add(self._calls.at, share)
