"""A program whose upgrades a person steers: real calls, routed by share, and a judge that never makes up its mind.

    python steered.py STATE_DIRECTORY

It ends when its standard input does.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from pathlib import Path

from attrs import frozen
from hosted import Numbers, Staged, numbers_of

from noodle_upgrade_core.blocking import BlockingUpgrader
from noodle_upgrade_core.hookspecs import hookimpl
from noodle_upgrade_core.staged import Arm, Measurement, bucket_of
from noodle_upgrade_core.steps import Gate, Judge, Observation, Probe, Shift
from noodle_upgrade_server import serve


class Counted:
    """One version and what it did."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.calls = self.errors = 0
        self.latency = [0] * 29

    def call(self) -> None:
        begun = time.perf_counter()
        self.calls += 1
        # A version that ends in 13 fails in one call of ten.
        self.errors += self.version.endswith(".13") and self.calls % 10 == 0
        self.latency[bucket_of(time.perf_counter() - begun)] += 1

    def arm(self) -> Arm:
        error = "the tenth is unlucky" if self.errors else ""
        return Arm(
            version=self.version, calls=self.calls, errors=self.errors, latency=tuple(self.latency), last_error=error
        )


class Routed(Staged):
    """The new number beside the old one, under real calls."""

    def __init__(self, plugin: Busy, old: str, new: str) -> None:
        super().__init__(plugin, old, new)
        self.arms = (Counted(old), Counted(new))
        plugin.routed = self

    def call(self, number: int) -> None:
        self.arms[number * 7 % 100 < self.weight * 100].call()

    def measure(self) -> Measurement:
        old, new = self.arms
        return Measurement(at=time.monotonic(), weight=self.weight, old=old.arm(), new=new.arm())


class Busy(Numbers):
    """The plugin, and its clients, who never stop."""

    def __init__(self) -> None:
        super().__init__()
        self.routed: Routed | None = None

    @hookimpl
    def swap(self, steps):
        return Routed(self, steps[0].from_version, steps[0].to_version)

    def clients(self) -> None:
        for number in itertools.count():
            if self.routed is not None:
                self.routed.call(number)
            time.sleep(0.004)


@frozen(kw_only=True)
class Doubtful:
    """Says harm when half of the new version's calls fail, and else that it is not sure yet, with numbers."""

    def observe(self, seen: Measurement) -> Observation:
        new, old = seen.new, seen.old
        share = new.errors / new.calls if new.calls else 0.0
        numbers = {
            "old": old.errors / old.calls if old.calls else None,
            "new": share,
            "ratio": 1.25 if new.calls else None,
            "low": 0.5 if new.calls else None,
            "high": None,
            "harm": share * 2,
            "safe": new.calls / 10_000,
            "calls_to_safe": max(0, 10_000 - new.calls),
        }
        return Observation(
            harm=share >= 0.5,
            reasons=("the evidence is not enough yet",),
            evidence={"errors": numbers, "latency": numbers},
        )


class Stepwise:
    """Waits for evidence that never comes: only people get it further."""

    def rollout(self, plan):
        for weight in (0.25, 0.5):
            yield Shift(weight)
            yield Probe()
            yield Judge(until="safe", budget=300.0)
        yield Gate("after lunch")
        yield Shift(1.0)
        yield Judge(until="safe", budget=300.0)


def main() -> None:
    state = Path(sys.argv[1])
    busy = Busy()
    threading.Thread(target=busy.clients, daemon=True).start()
    drivers = {"strategies": {"stepwise": Stepwise}, "judges": {"doubtful": Doubtful}}
    settings = numbers_of(state, **{"runtime_upgrade.drivers.judge": "doubtful"})
    with (
        BlockingUpgrader.open(settings, plugins={"numbers": busy}, drivers=drivers, directory=state) as upgrader,
        serve(upgrader, program="steered"),
    ):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
