"""What carries the steps of a strategy out against a staged swap, on a real clock or a virtual one.

The strategy decides, the judge reads the evidence, and everything that has an effect is here.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from attrs import define, evolve, field, frozen

from noodle_upgrade_core.clocks import Clock, RealClock
from noodle_upgrade_core.controls import Controls
from noodle_upgrade_core.errors import InvalidRequestError, PluginBrokenError, UpgradeError, UpgradeTimeoutError
from noodle_upgrade_core.hookspecs import Outcome
from noodle_upgrade_core.model import Finding, Severity
from noodle_upgrade_core.staged import LATENCY_BOUNDS, MEMBERS, SHADOW, WEIGHTS, Arm, Measurement, StagedSwap, settle
from noodle_upgrade_core.steps import (
    Gate,
    Judge,
    JudgeDriver,
    Observation,
    Probe,
    Revert,
    Rollout,
    Shift,
    Step,
    Wait,
)

__all__ = ["Conductor", "arm_summary", "quantile"]

MOST_STEPS = 100_000
"""A strategy that yields more steps than this without ending is broken: nothing real needs a tenth of it."""


TELL_SECONDS = 0.5
"""How often what was measured is told while the judge says the same."""


async def _no_gate(gate: Gate) -> bool:
    raise PluginBrokenError(
        f"The strategy asks for the gate {gate.name!r}, and nothing here can ask a person.",
        hint="Run it under an Upgrader, or choose a strategy without gates.",
    )


async def _no_findings() -> tuple[Finding, ...]:
    return ()


@contextlib.asynccontextmanager
async def _at_once() -> AsyncIterator[Callable[[], int]]:
    yield lambda: 0


def _nobody(_calls: int) -> None:
    """Count no calls."""


def _silent(_kind: str, **_: Any) -> None:
    """Tell nobody."""


def _never(_step: Shift) -> str:
    """Hold nothing back."""
    return ""


@frozen(kw_only=True)
class Conductor:
    """Carries out one rollout, or only watches, with `staged` None: nothing can be shifted then.

    `measure(at, weight)` gives counts where the staged swap itself has none. `probe` returns findings about the new
    version, errors are harm; `gate` asks people. `interval` is how often a judge looks, in seconds. `deadline` is on
    the clock of this conductor. `quiet` gives a moment between calls for a change that is all or nothing; `across` is
    told how many calls it did not wait for. `ask` calls the strategy, which may be slow, in another
    thread; without it that is done here.

    `hold(step)` is asked before each increase of traffic, and again at every look: what it returns is why that has to
    wait, "" when it has not to. Meanwhile the judge goes on. `standing` is entered for as long as
    that lasts: it is not the rollout's time.
    """

    staged: StagedSwap | None
    judge: JudgeDriver
    clock: Clock = field(factory=RealClock)
    controls: Controls = field(factory=Controls)
    emit: Callable[..., Any] = _silent
    gate: Callable[[Gate], Awaitable[bool]] = _no_gate
    probe: Callable[[], Awaitable[tuple[Finding, ...]]] = _no_findings
    measure: Callable[[float, float], Measurement | None] | None = None
    turned: Callable[[bool], None] | None = None
    quiet: Callable[[], contextlib.AbstractAsyncContextManager[Callable[[], int]]] = _at_once
    across: Callable[[int], None] = _nobody
    ask: Callable[..., Awaitable[Any]] | None = None
    hold: Callable[[Shift], str] = _never
    standing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    interval: float = 0.1
    deadline: float = float("inf")

    async def carry_out(self, rollout: Rollout) -> Outcome:
        """Run the strategy to its end.

        Returns an outcome with `promoted` only when the strategy ended of its own will with all traffic on the new
        version. Never reverts by itself: whoever called owns the staged swap and takes it back on any other outcome.
        Raises what a step raised, and `PluginBrokenError` for a strategy that breaks the rules.
        """
        state = _State(started=self.clock.now())
        try:
            step = await self._advance(rollout, None)
            while step is not None:
                self._check(state)
                state.steps.append(str(step))
                self.emit(
                    "upgrade.step", message=state.steps[-1], data={"step": type(step).__name__, "weight": state.weight}
                )
                if isinstance(step, Revert):
                    return state.outcome(promoted=False, reasons=step.reasons or ("the strategy gave up",))
                seen = await self._with_members(await self._perform(step, state))
                if self.controls.aborted:
                    return state.outcome(promoted=False, reasons=(self.controls.aborted,))
                if state.held_harm:
                    return state.outcome(promoted=False, reasons=state.held_harm)
                step = await self._advance(rollout, seen)
        finally:
            # One that hangs is still running, and one that refuses to be closed has nothing to say any more.
            with contextlib.suppress(Exception):
                await self.ask(rollout.close) if self.ask is not None else rollout.close()
        if state.weight < 1.0:
            return state.outcome(
                promoted=False, reasons=(f"the strategy ended with {state.weight:.0%} of the traffic moved",)
            )
        return state.outcome(promoted=True)

    async def _advance(self, rollout: Rollout, seen: Observation | None) -> Step | None:
        if self.ask is None:
            return _advance(rollout, seen)
        step: Step | None = await self.ask(_advance, rollout, seen)
        return step

    async def watch(self, step: Judge, *, weight: float = 1.0) -> Observation:
        """Watch with the judge while nothing moves: what a committed version does while it soaks."""
        return await self._watch(step, _State(started=self.clock.now(), weight=weight))

    def _check(self, state: _State) -> None:
        if len(state.steps) >= MOST_STEPS:
            raise PluginBrokenError(f"The strategy yielded {MOST_STEPS} steps without coming to an end.")
        if self.clock.now() - state.waited > self.deadline:
            raise UpgradeTimeoutError(
                "The rollout took longer than the request allows.", hint="Raise timeout_seconds, or use shorter steps."
            )

    async def _perform(self, step: Step, state: _State) -> Observation:
        match step:
            case Shift():
                rises = step.weight > state.weight
                if await self._may_rise(step, state):
                    await self._shift(step, state)
                    if rises:
                        self.controls.reached()
                return self._observation(state)
            case Wait():
                await self._wait(step.seconds)
                return self._observation(state)
            case Judge():
                return await self._watch(step, state)
            case Probe():
                return await self._ask(state)
            case Gate():
                return await self._open(step, state)
            case _:
                raise PluginBrokenError(
                    f"A strategy yielded {step!r}, which is not a step.",
                    hint="Yield Shift, Wait, Gate, Judge, Probe or Revert from noodle_upgrade_core.",
                )

    def _observation(self, state: _State) -> Observation:
        return Observation(elapsed=self.clock.now() - state.started, weight=state.weight)

    async def _with_members(self, seen: Observation) -> Observation:
        """Name the members there are by now: some may have gone, others have come."""
        staged: Any = self.staged
        if staged is None or MEMBERS not in staged.capabilities:
            return seen
        return evolve(seen, members=await settle(staged.members()))

    async def _wait(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        while (left := until - self.clock.now()) > 0 and not self.controls.aborted:
            if self.controls.take_promotion():
                return
            await self.clock.sleep(left, self.controls)

    async def _may_rise(self, step: Shift, state: _State) -> bool:
        """Wait until traffic may be raised; returns False when it must not be any more: aborted, or seen to do harm."""
        if step.weight <= state.weight and not state.adds(step):
            return True
        told = ""
        with contextlib.ExitStack() as stack:
            while not self.controls.aborted:
                why = self.controls.paused or self.hold(step)
                if not why:
                    if told:
                        self.emit("upgrade.released", message="traffic may move on")
                    return True
                if not told:
                    stack.enter_context(self.standing())
                if why != told:
                    self.emit("upgrade.held", message=f"held before {step}: {why}", data={"why": why})
                    told = why
                seen = await self._look(state)
                if seen.harm:
                    state.held_harm = seen.reasons or ("it did harm while it was held",)
                    return False
                since = self.clock.now()
                await self.clock.sleep(self.interval, self.controls)
                state.waited += self.clock.now() - since
        return False

    async def _shift(self, step: Shift, state: _State) -> None:
        staged = self.staged
        if staged is None:
            raise PluginBrokenError("Nothing is staged that could be shifted.")
        if state.shadowed and not step.shadow:
            # Copies are counted by themselves, and real calls anew: for who judges, counts only grow.
            state.counted = await self._measured(state)
        if step.members is not None or step.shadow:
            await self._shift_otherwise(step, staged)
            state.weight, state.otherwise, state.shadowed = step.weight, True, step.shadow > 0.0
            state.members = frozenset(step.members or ())
            if self.turned is not None and not step.shadow:
                self.turned(step.weight > 0.0)
            state.base = await self._measured(state)
            return
        # All or nothing: the first share above none is everything, and the rest has then nothing left to move.
        by_share = WEIGHTS in staged.capabilities
        target = step.weight if by_share or step.weight == 0.0 else 1.0
        if target == state.weight and not state.otherwise:
            return
        state.otherwise = state.shadowed = False
        state.members = frozenset()
        # With weights every call is routed, and stays where it began. Without, the change is made between calls.
        async with _at_once() if by_share else self.quiet() as under_way:
            await settle(staged.shift(target))
            calls = under_way()
            state.weight = target
            if self.turned is not None:
                self.turned(target > 0.0)
        if not by_share:
            self.across(calls)
        state.base = await self._measured(state)

    async def _shift_otherwise(self, step: Shift, staged: Any) -> None:
        """Have members serve the new version, or copies of calls run on it: where the swap can."""
        wanted, what = (SHADOW, "copies of calls") if step.shadow else (MEMBERS, "single members")
        if wanted not in staged.capabilities:
            raise InvalidRequestError(
                f"This change cannot be given {what}, and the strategy asks for that.",
                hint=f"Choose a strategy that does not need {wanted!r}; it is for components behind handles.",
                details={"wanted": wanted, "capabilities": sorted(staged.capabilities)},
            )
        await settle(staged.shadow(step.shadow) if step.shadow else staged.shift_members(step.members))

    async def _measured(self, state: _State) -> Measurement | None:
        seen = None if self.staged is None else await settle(self.staged.measure())
        if seen is None and self.measure is not None:
            seen = self.measure(self.clock.now() - state.started, state.weight)
        if seen is not None and state.counted is not None and not state.shadowed:
            before = state.counted
            seen = evolve(seen, old=seen.old.after(before.old), new=seen.new.after(before.new))
        return seen

    async def _watch(self, step: Judge, state: _State) -> Observation:
        until = self.clock.now() + step.budget
        while True:
            seen = await self._look(state)
            left = until - self.clock.now()
            if seen.harm or (seen.safe and step.until == "safe") or left <= 0 or self.controls.aborted:
                return seen
            if who := self.controls.take_promotion():
                # A person's word stands for the evidence that there is not yet; harm was ruled out just before.
                return evolve(seen, safe=True, starved=False, reasons=(f"promoted by {who}",))
            asked = getattr(self.judge, "next_look", None)
            next_look = None if asked is None or seen.measured is None else asked - seen.measured.at
            seconds = self.clock.until_next_look(self.interval, left, next_look)
            await self._sleep(seconds, state)
            self._check(state)

    async def _sleep(self, seconds: float, state: _State) -> None:
        """Let seconds pass between two looks: they are not the rollout's time while somebody has paused it."""
        if not self.controls.paused:
            await self.clock.sleep(seconds, self.controls)
            return
        since = self.clock.now()
        with self.standing():
            await self.clock.sleep(seconds, self.controls)
        state.waited += self.clock.now() - since

    async def _look(self, state: _State) -> Observation:
        """Ask the judge once, and tell what it says."""
        state.last = seen = await self._judged(await self._measured(state), state)
        verdict = (seen.weight, seen.harm, seen.safe, seen.starved)
        if self.emit is not _silent and (verdict != state.told or seen.elapsed - state.told_at >= TELL_SECONDS):
            # A judge looks ten times a second; whoever looks on would find little else among what happened.
            state.told, state.told_at = verdict, seen.elapsed
            self.emit("upgrade.measured", data=_report(seen))
        return seen

    async def _judged(self, measured: Measurement | None, state: _State) -> Observation:
        elapsed = self.clock.now() - state.started
        if measured is None:
            return Observation(
                starved=True, reasons=("nothing counts calls here",), elapsed=elapsed, weight=state.weight
            )
        measured = evolve(measured, base=state.base)
        seen = await settle(self.judge.observe(measured))
        return Observation(
            harm=seen.harm,
            safe=seen.safe and not seen.harm,
            starved=seen.starved and not seen.harm and not seen.safe,
            reasons=seen.reasons,
            evidence=seen.evidence,
            elapsed=elapsed,
            weight=state.weight,
            measured=measured,
        )

    async def _ask(self, state: _State) -> Observation:
        findings = await self.probe()
        bad = tuple(finding.message for finding in findings if finding.severity is Severity.ERROR)
        return Observation(
            harm=bool(bad),
            safe=not bad,
            reasons=bad,
            elapsed=self.clock.now() - state.started,
            weight=state.weight,
        )

    async def _open(self, step: Gate, state: _State) -> Observation:
        asked = self.clock.now()
        opened = await self.gate(step)
        # What people take is not the rollout's time.
        state.waited += self.clock.now() - asked
        return Observation(
            harm=not opened,
            safe=opened,
            reasons=() if opened else (f"the gate {step.name!r} was not opened",),
            elapsed=self.clock.now() - state.started,
            weight=state.weight,
        )


@define
class _State:
    """Where a rollout stands."""

    started: float
    weight: float = 0.0
    steps: list[str] = field(factory=list)
    last: Observation | None = None
    base: Measurement | None = None
    waited: float = 0.0
    otherwise: bool = False
    shadowed: bool = False
    counted: Measurement | None = None
    members: frozenset[str] = frozenset()
    held_harm: tuple[str, ...] = ()
    told: tuple[Any, ...] = ()
    told_at: float = 0.0

    def adds(self, step: Shift) -> bool:
        """Whether a step gives members to the new version, whatever share of all those that there are by now it is."""
        return 0.0 < self.weight < 1.0 and not self.members.issuperset(step.members or ())

    def outcome(self, *, promoted: bool, reasons: tuple[str, ...] = ()) -> Outcome:
        last = self.last
        return Outcome(
            promoted=promoted,
            reasons=reasons,
            steps=tuple(self.steps),
            evidence=dict(last.evidence) if last else {},
            measured=last.measured if last else None,
        )


def _advance(rollout: Rollout, seen: Observation | None) -> Step | None:
    """Get the next step, or None at the end; what a strategy raises, if not typed, becomes an error that names it."""
    try:
        return next(rollout) if seen is None else rollout.send(seen)
    except StopIteration:
        return None
    except UpgradeError:
        raise
    except Exception as error:
        raise PluginBrokenError(
            f"The strategy raised {type(error).__name__}: {error}",
            hint="Mend the strategy, or choose another one with --strategy.",
        ) from error


def quantile(arm: Arm, share: float) -> float | None:
    """Return the latency in seconds that this share of calls did not exceed, as a bucket's upper bound."""
    total = sum(arm.latency)
    if not total:
        return None
    seen = 0
    for index, count in enumerate(arm.latency):
        seen += count
        if seen >= share * total:
            return LATENCY_BOUNDS[min(index, len(LATENCY_BOUNDS) - 1)]
    return LATENCY_BOUNDS[-1]


def arm_summary(arm: Arm) -> Mapping[str, Any]:
    """Return an arm as numbers for people and JSON: counts, and latencies in milliseconds."""
    p50, p99 = quantile(arm, 0.5), quantile(arm, 0.99)
    return {
        "version": arm.version,
        "calls": arm.calls,
        "errors": arm.errors,
        "in_flight": arm.in_flight,
        "p50_ms": None if p50 is None else p50 * 1000,
        "p99_ms": None if p99 is None else p99 * 1000,
        "last_error": arm.last_error,
    }


def _report(seen: Observation) -> dict[str, Any]:
    report: dict[str, Any] = {
        "weight": seen.weight,
        "harm": seen.harm,
        "safe": seen.safe,
        "starved": seen.starved,
        "reasons": list(seen.reasons),
        "evidence": dict(seen.evidence),
    }
    if seen.measured is not None:
        report["old"] = arm_summary(seen.measured.old)
        report["new"] = arm_summary(seen.measured.new)
        if (shadow := seen.measured.shadow) is not None:
            report["shadow"] = {
                "share": shadow.share,
                "ran": shadow.ran,
                "different": shadow.different,
                "skipped": shadow.skipped,
                "last_difference": shadow.last_difference,
            }
    return report
