"""A small thing that can be deployed: components in memory, an engine that splits their calls, and calls all the time.

Versions come from a folder of components, so that sources, the store and the journal are the core's real ones.
"""

import asyncio
import contextlib
import threading
import time
from datetime import UTC, datetime

from noodle_upgrade_core import (
    Arm,
    ComponentDescriptor,
    Measurement,
    Member,
    Observation,
    Upgrader,
    UpgradeRequest,
    Verdict,
    hookimpl,
    load_settings,
)
from noodle_upgrade_core.staged import COUNTS, MEMBERS, WEIGHTS

VERSIONS = ("1.0", "1.1", "1.2", "2.0")


def fill(folder):
    """Make a folder of components."""
    for name in ("lamp", "book", "desk"):
        place = folder / "components" / name
        place.mkdir(parents=True, exist_ok=True)
        for version in VERSIONS:
            (place / f"{version}.py").write_text(f"__version__ = {version!r}\n")
    return folder


class Shop:
    """The engine: `bad` are versions whose calls fail, at `rate` calls a second in all."""

    def __init__(self, *, bad=(), rate=2000.0, capabilities=(WEIGHTS, MEMBERS, COUNTS), members=("a", "b")):
        self.versions = {"lamp": "1.0", "book": "1.0", "desk": "1.0"}
        self.bad = set(bad)
        self.rate = rate
        self.capabilities = frozenset(capabilities)
        self.members = members
        self.swaps = []
        self.lock = threading.Lock()

    @hookimpl
    def discover(self):
        return [
            ComponentDescriptor(name=name, version=version, hot_swappable=True)
            for name, version in self.versions.items()
        ]

    @hookimpl
    def restore(self, active):
        for one in active:
            self.versions[one.component_name] = one.version
        return []

    @hookimpl
    def assess(self, step):
        return Verdict(feasible=True, mechanism="shop", capabilities=self.capabilities)

    @hookimpl
    def swap(self, steps):
        self.swaps.append(Swap(self, steps))
        return self.swaps[-1]


class Swap:
    """A staged swap whose calls come by the clock, and fail on a bad version."""

    def __init__(self, shop, steps):
        self.shop = shop
        self.steps = steps
        self.capabilities = shop.capabilities
        self.weight = 0.0
        self.log = []
        self.began = self.at = time.monotonic()
        self.calls = [0.0, 0.0]
        self.errors = [0.0, 0.0]

    def _flow(self):
        at = time.monotonic()
        calls, self.at = (at - self.at) * self.shop.rate, at
        step = self.steps[0]
        for arm, (share, version) in enumerate(((1 - self.weight, step.from_version), (self.weight, step.to_version))):
            self.calls[arm] += calls * share
            self.errors[arm] += calls * share * (version in self.shop.bad)

    def shift(self, weight):
        with self.shop.lock:
            self._flow()
            self.weight = weight
            self.log.append(weight)
            for step in self.steps:
                self.shop.versions[step.name] = step.to_version if weight == 1.0 else step.from_version

    def members(self):
        return tuple(Member(name=name) for name in self.shop.members)

    def shift_members(self, names):
        with self.shop.lock:
            self._flow()
            self.weight = len(names) / len(self.shop.members)
            self.log.append(tuple(names))

    def commit(self):
        self.log.append("commit")

    def revert(self):
        self.log.append("revert")
        with self.shop.lock:
            self.weight = 0.0
            for step in self.steps:
                self.shop.versions[step.name] = step.from_version

    def measure(self):
        with self.shop.lock:
            self._flow()
            old, new = (
                Arm(version=version, calls=int(self.calls[arm]), errors=int(self.errors[arm]), last_error="boom")
                for arm, version in enumerate((self.steps[0].from_version, self.steps[0].to_version))
            )
            return Measurement(at=self.at - self.began, weight=self.weight, old=old, new=new)

    def running(self):
        return {step.name: self.shop.versions[step.name] for step in self.steps}


class Quick:
    """A judge for stories that are about something else: harm at any error, safe after fifty calls at a share."""

    def observe(self, seen):
        since = seen.since_shift()
        if seen.new.errors:
            return Observation(harm=True, reasons=("it fails",), evidence={"errors": seen.new.errors})
        if not since.new.calls:
            return Observation(starved=True, reasons=("no calls",))
        return Observation(safe=since.new.calls >= 50)


class Wall:
    """A clock on the wall that only goes when somebody sets it."""

    def __init__(self, at=datetime(2026, 11, 27, 12, 0, tzinfo=UTC)):
        self.at = at

    def __call__(self):
        return self.at


DRIVERS = {"judges": {"quick": Quick}}


@contextlib.asynccontextmanager
async def opened(folder, shop=None, *, plugins=None, **overrides):
    """An Upgrader of a shop, with the settings that are given."""
    plugins = plugins or {}
    values = {
        "runtime_upgrade.components.registry_path": str(folder / "components"),
        "runtime_upgrade.sources.order": ["directory"],
        "runtime_upgrade.state_directory": str(folder / "state"),
        "runtime_upgrade.approval.automatic": True,
        "runtime_upgrade.plugins.enabled": ["shop", *plugins],
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    shop = shop or Shop()
    settings = load_settings([], environ={}, overrides=values)
    async with Upgrader.open(settings, plugins={"shop": shop, **plugins}, drivers=DRIVERS) as upgrader:
        upgrader.shop = shop
        yield upgrader


def ask(version="1.1", name="lamp", **changes):
    return UpgradeRequest(component_name=name, target_version=version, **changes)


def run(coroutine, seconds=30):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


async def until(condition, seconds=15):
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
