"""A real, small program to control: a shop that sells goods from a dict, and the plugin that changes its entries."""

from __future__ import annotations

import contextlib
import os
import pwd
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from noodle_upgrade_core import BlockingUpgrader, ComponentDescriptor, Settings, Verdict, hookimpl, load_settings
from noodle_upgrade_server import ControlServer, Limits, serve

VERSIONS = ("1.0", "1.1", "2.0", "13.0")


class ShopSwap:
    capabilities = frozenset()

    def __init__(self, shop, steps):
        self.shop = shop
        self.steps = steps

    def shift(self, weight):
        self.shop.pass_by("shift")
        for step in self.steps:
            self.shop.goods[step.name] = step.to_version if weight else step.from_version

    def commit(self):
        self.shop.pass_by("commit")

    def revert(self):
        for step in self.steps:
            self.shop.goods[step.name] = step.from_version

    def measure(self):
        return None

    def running(self):
        return {step.name: self.shop.goods[step.name] for step in self.steps}


class Shop:
    """The plugin: `hold["swap"]` makes that hook wait until the test opens the door."""

    def __init__(self, **goods):
        self.goods = dict(goods)
        self.hold: dict[str, Door] = {}
        self.plans = []

    def pass_by(self, place):
        if place in self.hold:
            self.hold[place].wait()

    @hookimpl
    def discover(self):
        self.pass_by("discover")
        return [ComponentDescriptor(name=name, version=version) for name, version in self.goods.items()]

    @hookimpl
    def assess(self, step):
        if step.to_version.startswith("13"):
            return Verdict(feasible=False, mechanism="dict", blockers=("13 brings bad luck",))
        return Verdict(feasible=True, mechanism="dict")

    @hookimpl
    def validate(self, plan, stage):
        self.plans.append((stage, plan))

    @hookimpl
    def swap(self, steps):
        self.pass_by("swap")
        return ShopSwap(self, steps)


class Door:
    """Closed until it is opened; says when somebody stands before it."""

    def __init__(self):
        self._reached = threading.Event()
        self._open = threading.Event()

    def wait(self):
        self._reached.set()
        assert self._open.wait(30)

    def reached(self):
        assert self._reached.wait(30)

    def open(self):
        self._open.set()


def shop_settings(folder: Path, **changes: Any) -> Settings:
    for name in ("lamp", "book", "desk"):
        place = folder / "components" / name
        place.mkdir(parents=True, exist_ok=True)
        for version in VERSIONS:
            (place / f"{version}.py").write_text(f"__version__ = {version!r}\n")
    values = {
        "runtime_upgrade.components.registry_path": str(folder / "components"),
        "runtime_upgrade.sources.order": ["directory"],
        "runtime_upgrade.state_directory": str(folder / "state"),
        "runtime_upgrade.drivers.strategy": "immediate",
        "runtime_upgrade.plugins.enabled": ["shop"],
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return load_settings([], environ={}, overrides=values)


class Running:
    """A program that runs, its Upgrader, its control server, and a client."""

    def __init__(self, shop: Shop, upgrader: BlockingUpgrader, control: ControlServer) -> None:
        self.shop = shop
        self.upgrader = upgrader
        self.control = control
        self.client = client_of(control)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(f"/v1/{path}", **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.client.post(f"/v1/{path}", json={} if body is None else body, **more)

    def plan(self, component_name="lamp", target_version="1.1", **more: Any) -> dict[str, Any]:
        asked = {"component_name": component_name, "target_version": target_version, **more}
        return good(self.post("plans", {"requests": [asked]}))

    def start(self, component_name="lamp", target_version="1.1", *, approve=True, **more: Any) -> str:
        plan_id = self.plan(component_name, target_version, **more)["plan"]["plan_id"]
        return good(self.post("upgrades", {"plan_id": plan_id, "approve": approve}), 202)["upgrade_id"]

    def ended(self, upgrade_id: str) -> dict[str, Any]:
        return good(self.get(f"upgrades/{upgrade_id}", params={"wait": "30"}))


def good(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return response.json()


def refused(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint", "safe", "details"}
    assert error["message"]
    return error


def client_of(control: ControlServer, **headers: str) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=None if control.socket is None else str(control.socket))
    base = control.url or "http://localhost"
    return httpx.Client(transport=transport, base_url=base, headers=headers, timeout=30, trust_env=False)


@contextlib.contextmanager
def running(
    folder: Path, shop: Shop | None = None, *, limits: Limits | None = None, served: Any = None, **changes: Any
) -> Iterator[Running]:
    shop = shop or Shop(lamp="1.0", book="1.0")
    settings = shop_settings(folder, **changes)
    with (
        BlockingUpgrader.open(settings, plugins={"shop": shop}) as upgrader,
        serve(upgrader, limits=limits, program="shop", **(served or {})) as control,
    ):
        made = Running(shop, upgrader, control)
        with made.client:
            yield made


def user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
