"""A real, small thing to upgrade: a shelf holds components as values in memory, and a plugin that swaps them.

Versions come from a folder of single-file components, so that sources, the store and the journal are the real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from noodle_upgrade_core import (
    ComponentDescriptor,
    Finding,
    Receipt,
    Severity,
    Upgrader,
    UpgradeRequest,
    Verdict,
    Vote,
    hookimpl,
    load_settings,
)

VERSIONS = ("0.9", "1.0", "1.1", "2.0", "13.0")


def fill(folder):
    """Make a folder of components that a shelf can hold."""
    for name in ("lamp", "book", "desk"):
        place = folder / "components" / name
        place.mkdir(parents=True)
        for version in VERSIONS:
            (place / f"{version}.py").write_text(f"__version__ = {version!r}\n")
    return folder


@contextlib.asynccontextmanager
async def opened(folder, shelf=None, *, drivers=None, plugins=None, environ=None, **overrides):
    """An Upgrader of a shelf, with the settings that are given: `runtime_upgrade__soak__seconds=3`."""
    plugins = plugins or {}
    values = {
        "runtime_upgrade.components.registry_path": str(folder / "components"),
        "runtime_upgrade.sources.order": ["directory"],
        "runtime_upgrade.state_directory": str(folder / "state"),
        "runtime_upgrade.approval.automatic": True,
        "runtime_upgrade.drivers.strategy": "immediate",
        "runtime_upgrade.plugins.enabled": ["shelf", *plugins],  # whatever else is installed where this runs
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    settings = load_settings([], environ=environ or {}, overrides=values)
    shelf = shelf or Shelf(lamp="1.0", book="1.0")
    async with Upgrader.open(settings, plugins={"shelf": shelf, **plugins}, drivers=drivers) as upgrader:
        upgrader.shelf = shelf
        yield upgrader


def ask(version="1.1", name="lamp", **changes):
    changes.setdefault("strategy", "immediate")
    return UpgradeRequest(component_name=name, target_version=version, **changes)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def until(condition):
    """Wait until something is so."""
    while not condition():
        await asyncio.sleep(0.001)


def gate_at(shelf, place):
    """Make a place of the shelf block: returns what is set when it is reached, and what lets it go on."""
    entered, go_on = threading.Event(), threading.Event()
    shelf.wait[place] = (entered, go_on)
    return entered, go_on


class ShelfSwap:
    """A staged swap over the shelf: all or nothing, under one lock."""

    capabilities = frozenset()

    def __init__(self, shelf, steps):
        self.shelf = shelf
        self.steps = steps
        self.log = []

    def shift(self, weight):
        self.shelf.fail_at("shift")
        self.log.append(("shift", weight))
        with self.shelf.lock:
            for step in self.steps:
                self.shelf.versions[step.name] = step.to_version if weight else step.from_version

    def commit(self):
        self.shelf.fail_at("commit")
        self.log.append(("commit",))

    def revert(self):
        self.log.append(("revert",))
        self.shelf.fail_at("revert")
        with self.shelf.lock:
            for step in self.steps:
                if self.shelf.versions[step.name] == step.to_version:
                    self.shelf.versions[step.name] = step.from_version

    def measure(self):
        self.shelf.fail_at("measure")

    def running(self):
        self.shelf.fail_at("running")
        with self.shelf.lock:
            return {step.name: self.shelf.versions[step.name] for step in self.steps}


class Shelf:
    """The plugin: `fail["swap"] = SomeError()` makes that hook raise; `wait["swap"] = Event()` makes it block."""

    def __init__(self, **versions):
        self.versions = dict(versions)
        self.dependencies = {}
        self.critical = set()
        self.lock = threading.Lock()
        self.fail = {}
        self.wait = {}
        self.swaps = []
        self.undone = []
        self.findings = []
        self.vote = None
        self.restored = None

    def fail_at(self, place):
        if place in self.wait:
            entered, go_on = self.wait[place]
            entered.set()
            go_on.wait(30)
        if place in self.fail:
            raise self.fail[place]

    @hookimpl
    def discover(self):
        self.fail_at("discover")
        with self.lock:
            return [
                ComponentDescriptor(
                    name=name,
                    version=version,
                    hot_swappable=True,
                    critical=name in self.critical,
                    dependencies=tuple(self.dependencies.get(name, ())),
                )
                for name, version in self.versions.items()
            ]

    @hookimpl
    def restore(self, active):
        self.restored = active
        for one in active:
            if one.component_name in self.versions:
                self.versions[one.component_name] = one.version
        return []

    @hookimpl
    def assess(self, step):
        self.fail_at("assess")
        if step.name not in self.versions:
            return None
        if step.to_version.startswith("13"):
            return Verdict(feasible=False, mechanism="shelf", blockers=("13 brings bad luck",))
        return Verdict(feasible=True, mechanism="shelf", reasons=("a shelf can hold anything",))

    @hookimpl
    def validate(self, stage):
        self.fail_at(f"validate {stage}")
        return [
            Finding(severity=Severity(severity), code="shelf.test", message=message, subject=subject)
            for at, severity, message, subject in self.findings
            if at == stage
        ]

    @hookimpl
    def decide(self):
        self.fail_at("decide")
        return None if self.vote is None else Vote(**self.vote)

    @hookimpl
    def swap(self, steps):
        self.fail_at("swap")
        swap = ShelfSwap(self, steps)
        self.swaps.append(swap)
        return swap

    @hookimpl
    def recompile(self):
        self.fail_at("recompile")
        return []

    @hookimpl
    def rollback(self, reached):
        self.undone.append(reached)
        self.fail_at("rollback")
        return Receipt(undone=("the dust",))
