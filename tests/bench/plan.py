"""Plans over ten thousand components that depend on one another."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Sequence

from measuring import Options, Reading, clock, collector_off

from noodle_upgrade_core import (
    ComponentDescriptor,
    Dependency,
    Upgrader,
    UpgradeRequest,
    Verdict,
    hookimpl,
    load_settings,
)
from noodle_upgrade_core.model import ArtifactRef, PlanStep

__all__ = ["measure"]

DEPENDENCIES = 3
SET = 100


class Warehouse:
    """A plugin that finds many components; each depends on a few of those before it."""

    def __init__(self, count: int) -> None:
        chance = random.Random(count)
        self.components = tuple(
            ComponentDescriptor(
                name=f"part-{number:05}",
                version="1.0",
                hot_swappable=True,
                dependencies=tuple(
                    Dependency(name=f"part-{other:05}", constraint=">=1.0")
                    for other in sorted(chance.sample(range(number), min(number, DEPENDENCIES)))
                ),
            )
            for number in range(count)
        )

    @hookimpl
    def discover(self) -> Sequence[ComponentDescriptor]:
        """Return them as they were found."""
        return self.components

    @hookimpl
    def assess(self, step: PlanStep) -> Verdict:
        """Say yes."""
        return Verdict(feasible=True, mechanism="warehouse", reasons=(f"{step.name} fits",))


class Shop:
    """A source that has version 2.0 of everything, without a file behind it."""

    name = "shop"

    def __init__(self, **_: object) -> None:
        pass

    def versions(self, component: ComponentDescriptor) -> tuple[str, ...]:
        """Return what there is."""
        return ("1.0", "2.0") if component.name.startswith("part-") else ()

    def fetch(self, component: ComponentDescriptor, version: str) -> ArtifactRef:
        """Return the same bytes for everything."""
        digest = "0" * 64
        return ArtifactRef(
            name=component.name, version=version, digest=digest, kind="tree", size=1, tree=f"trees/{digest}"
        )


def measure(options: Options) -> list[Reading]:
    """Plan the component at the top, on which everything it depends on hangs, and a set of a hundred."""
    count = options.most(10_000, 500)
    single, many = asyncio.run(_plans(options, count))
    value = statistics.median(single)
    told = f"one of {count:,} components; {SET} of them in one plan {statistics.median(many):.3f} s"
    return [Reading(name="plan_10k", value=value, note=told)]


async def _plans(options: Options, count: int) -> tuple[list[float], list[float]]:
    settings = load_settings(
        [],
        environ={},
        overrides={
            "runtime_upgrade.state_directory": str(options.folder / "state"),
            "runtime_upgrade.sources.order": ["shop"],
            "runtime_upgrade.plugins.enabled": ["warehouse"],
        },
    )
    plugins, drivers = {"warehouse": Warehouse(count)}, {"sources": {"shop": Shop}}
    single: list[float] = []
    many: list[float] = []
    async with Upgrader.open(settings, plugins=plugins, drivers=drivers) as upgrader:
        for _ in range(options.most(min(options.rounds, 7), 2)):
            single.append(await _seconds(upgrader, [count - 1], count))
            many.append(await _seconds(upgrader, range(count - SET, count), count))
    return single, many


async def _seconds(upgrader: Upgrader, numbers: Sequence[int], count: int) -> float:
    requests = [
        UpgradeRequest(component_name=f"part-{number:05}", target_version="2.0", strategy="immediate")
        for number in numbers
    ]
    with collector_off():
        started = clock()
        plan = await upgrader.plan(requests)
        took = (clock() - started) / 1e9
    if len(plan.steps) != len(numbers) or not plan.feasible:
        raise RuntimeError(f"the plan over {count} components is not what was asked for: {plan.findings[:3]}")
    return took
