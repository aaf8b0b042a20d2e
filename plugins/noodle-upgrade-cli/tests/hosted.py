"""A program for the end-to-end tests: a real Upgrader and a real control server around a component that is a number.

    python hosted.py STATE_DIRECTORY [PLUGIN]…

It ends when its standard input does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from noodle_upgrade_core.blocking import BlockingUpgrader
from noodle_upgrade_core.config import Settings, load_settings
from noodle_upgrade_core.hookspecs import hookimpl
from noodle_upgrade_core.model import ComponentDescriptor, Finding, Severity, Verdict
from noodle_upgrade_core.staged import COUNTS, WEIGHTS, Arm, Measurement
from noodle_upgrade_core.steps import Gate, Shift
from noodle_upgrade_server import serve


class Staged:
    """The new number beside the old one; a version that ends in 13 fails under traffic."""

    capabilities = frozenset({WEIGHTS, COUNTS})

    def __init__(self, plugin: Numbers, old: str, new: str) -> None:
        self.plugin, self.old, self.new, self.weight = plugin, old, new, 0.0

    def shift(self, weight: float) -> None:
        self.weight = weight
        self.plugin.version = self.new if weight == 1.0 else self.old

    def commit(self) -> None:
        self.plugin.version = self.new

    def revert(self) -> None:
        self.weight = 0.0
        self.plugin.version = self.old

    def measure(self) -> Measurement:
        latency = (0,) * 10 + (100,) + (0,) * 18
        errors = 60 if self.new.endswith(".13") and self.weight else 0
        new = Arm(version=self.new, calls=100, errors=errors, latency=latency, last_error="boom" if errors else "")
        old = Arm(version=self.old, calls=100, errors=0, latency=latency)
        return Measurement(at=0.0, weight=self.weight, old=old, new=new)

    def running(self) -> dict[str, str]:
        return {"greeter": self.plugin.version}


class Numbers:
    def __init__(self) -> None:
        self.version = "1.0"

    @hookimpl
    def discover(self):
        return [ComponentDescriptor(name="greeter", version=self.version, hot_swappable=True)]

    @hookimpl
    def restore(self, active):
        for one in active:
            self.version = one.version

    @hookimpl
    def validate(self, plan, stage):
        if stage == "before" and any(step.to_version.endswith(".99") for step in plan.steps):
            yield Finding(
                severity=Severity.ERROR, code="tests.ugly", message="Too ugly.", subject="greeter", hint="Wash it."
            )

    @hookimpl
    def assess(self, step):
        if step.to_version.startswith("9"):
            return Verdict(feasible=False, mechanism="number", blockers=("nine is too much",))
        return Verdict(
            feasible=True, mechanism="number", reasons=("a number can be replaced",), capabilities=Staged.capabilities,
            expected_seconds=0.1, pause_seconds=1e-5,
        )  # fmt: skip

    @hookimpl
    def swap(self, steps):
        return Staged(self, steps[0].from_version, steps[0].to_version)


class Gated:
    def rollout(self, plan):
        yield Shift(0.5)
        yield Gate("after lunch")
        yield Shift(1.0)


def numbers_of(state: Path, **more: object) -> Settings:
    """Put the versions of the number where they are found, and return the settings of a program that has it."""
    components = state.parent / "components" / "greeter"
    components.mkdir(parents=True, exist_ok=True)
    for version in ("1.0", "2.0", "2.13", "2.99", "3.0", "9.0"):
        (components / f"{version}.py").write_text(f"__version__ = {version!r}\n")
    overrides = {
        "runtime_upgrade.components.registry_path": str(components.parent),
        "runtime_upgrade.sources.wheel.index": False,
        "runtime_upgrade.plugins.enabled": ("numbers",),
        **more,
    }
    return load_settings(overrides=overrides)


def main() -> None:
    state = Path(sys.argv[1])
    settings = numbers_of(state, **{"runtime_upgrade.plugins.enabled": ("numbers", *sys.argv[2:])})
    with (
        BlockingUpgrader.open(
            settings, plugins={"numbers": Numbers()}, drivers={"strategies": {"gated": Gated}}, directory=state
        ) as upgrader,
        serve(upgrader, program="hosted"),
    ):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
