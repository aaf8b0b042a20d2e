"""A new version in which every call raises, deployed by policy under traffic: how long, and how often, callers meet it.

All of it is real: an Upgrader with the plugins for the runtime and for deployments, its journal, a ramp that begins with
a quarter of the calls, and the default judge of deployments.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from attrs import define, field
from measuring import Options, Reading, clock

from noodle_upgrade_core import Upgrader, UpgradeRequest, load_settings
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration
from noodle_upgrade_runtime import handle

__all__ = ["measure"]

THREADS = 4
BUSY, SLOW = 400.0, 10.0
AFTERWARDS_SECONDS = 1.0
LONGEST_SECONDS = 120.0
VERSIONS = {"1.0": "return value", "2.0": "raise RuntimeError('this version is broken')"}
_SOURCE = """
__version__ = {version!r}


class Service:
    def answer(self, value):
        {body}
"""


@define
class _Caller:
    """One thread that calls at a rate of its own; notes when each call that failed began and ended."""

    service: Any
    every: float
    stop: threading.Event = field(factory=threading.Event)
    calls: int = 0
    failed: list[tuple[int, int]] = field(factory=list)

    def run(self) -> None:
        """Call until it is over, by the clock: a slow call makes no later one late."""
        due = time.monotonic()
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            due += self.every
            began = clock()
            self.calls += 1
            try:
                self.service.answer(1)
            except RuntimeError:
                self.failed.append((began, clock()))


def measure(options: Options) -> list[Reading]:
    """Deploy it at two rates of calls: the first says how soon it is gone, the second how many calls it costs."""
    busy = [asyncio.run(_story(options.folder, number, BUSY)) for number in range(options.rounds)]
    slow = [asyncio.run(_story(options.folder, number, SLOW)) for number in range(options.most(options.rounds, 1))]
    seconds, calls = _middle(busy)
    slow_seconds, slow_calls = _middle(slow)
    return [
        Reading(name="crash_back", value=seconds, note=f"{calls:.0f} calls failed, at {BUSY:g} calls a second"),
        Reading(name="crash_back_calls", value=slow_calls, note=f"gone after {slow_seconds:.2f} s"),
    ]


def _middle(found: list[tuple[float, int]]) -> tuple[float, float]:
    return statistics.median(seconds for seconds, _ in found), statistics.median(calls for _, calls in found)


async def _story(folder: Path, number: int, rate: float) -> tuple[float, int]:
    """Return the seconds from the first call that failed to the last one, and how many did."""
    name = f"shop{number}_at_{rate:g}"
    _write(folder / name / "components", name)
    settings = load_settings([], environ={}, overrides=_settings(folder / name))
    async with Upgrader.open(settings) as upgrader:
        service = handle(name, f"{name}:Service")
        back = UpgradeRequest(component_name=name, target_version="1.0", strategy="immediate")
        result = await upgrader.upgrade(await upgrader.plan(back))
        if not result.success:
            raise RuntimeError(f"the old version does not serve: {result.error}")
        callers = [_Caller(service, THREADS / rate) for _ in range(THREADS)]
        threads = [threading.Thread(target=caller.run) for caller in callers]
        for thread in threads:
            thread.start()
        try:
            await _deploy(upgrader, name)
            over = clock()
            await asyncio.sleep(AFTERWARDS_SECONDS)
        finally:
            for caller in callers:
                caller.stop.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
    failed = sorted(one for caller in callers for one in caller.failed)
    if not failed or failed[-1][0] > over:
        raise RuntimeError(f"{len(failed)} calls failed, and the last one after the deployment had ended")
    return (failed[-1][1] - failed[0][0]) / 1e9, len(failed)


async def _deploy(upgrader: Upgrader, name: str) -> None:
    deployments = DeploymentRuntimeUpgradeIntegration.of(upgrader)
    asked = UpgradeRequest(component_name=name, target_version="2.0")
    async with asyncio.timeout(LONGEST_SECONDS):
        state = await deployments.request_deployment_aware_upgrade("broken", asked, environment="production")
        if not state.stage.ended:
            state = await deployments.wait(state.deployment_id)
    if state.stage.value != "rolled_back":
        raise RuntimeError(f"the broken version is {state.stage.value}: {state.why}")


def _write(components: Path, name: str) -> None:
    for version, body in VERSIONS.items():
        place = components / name / version
        place.mkdir(parents=True)
        (place / f"{name}.py").write_text(_SOURCE.format(version=version, body=body))
        (place / "component.toml").write_text(f'entry_point = "{name}:Service"\n')


def _settings(folder: Path) -> dict[str, Any]:
    policy = "deployment.policies.production"
    return {
        "runtime_upgrade.components.registry_path": str(folder / "components"),
        "runtime_upgrade.sources.order": ["directory"],
        "runtime_upgrade.state_directory": str(folder / "state"),
        "runtime_upgrade.approval.automatic": True,
        "runtime_upgrade.plugins.enabled": ["runtime", "deployment"],
        f"{policy}.deployment_mode": "canary",
        f"{policy}.upgrade_strategy": "ramp",
        f"{policy}.health_check_required": False,
        f"{policy}.parameters.start": 25,
    }
