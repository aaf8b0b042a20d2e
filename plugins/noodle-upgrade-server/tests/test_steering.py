"""What people say to an upgrade that runs, and what plugins are asked for by name, over the control API."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from shop import Shop, good, refused, running, user

from noodle_upgrade_core import hookimpl
from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_core.hookspecs import Operation
from noodle_upgrade_server import Limits


class Office(Shop):
    """A shop that can be asked for things."""

    def __init__(self, **goods: str) -> None:
        super().__init__(**goods)
        self.asked: list[tuple[dict[str, Any], str]] = []
        self.cancelled = threading.Event()
        self.let_go = threading.Event()
        self.went_on = threading.Event()

    @hookimpl
    def operations(self):
        return [
            Operation(name="shop.count", call=self.count, help="Count the goods."),
            Operation(name="shop.refuse", call=self.refuse, changes=True),
            Operation(name="shop.fall", call=self.fall),
            Operation(name="shop.sleep", call=self.sleep, seconds=60.0),
            Operation(name="shop.work", call=self.work, seconds=60.0),
            Operation(name="shop.late", call=self.sleep, seconds=0.05),
        ]

    def count(self, arguments, by):
        self.asked.append((arguments, by))
        return {"goods": len(self.goods), "arguments": arguments}

    async def refuse(self, arguments, by):
        raise InvalidRequestError("Not today.", hint="Come back tomorrow.")

    def fall(self, arguments, by):
        raise RuntimeError("the shelf fell down")

    async def sleep(self, arguments, by):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def work(self, arguments, by):
        assert self.let_go.wait(30)
        self.went_on.set()


@pytest.fixture
def office(tmp_path: Path):
    with running(tmp_path, Office(lamp="1.0", book="1.0")) as made:
        yield made


def until(true, what):
    end = time.monotonic() + 20
    while not (found := true()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)
    return found


# --- pause, resume, promote --------------------------------------------------------------------------------------


def test_a_paused_upgrade_moves_no_traffic_until_somebody_resumes_it(shop):
    upgrade_id = shop.start(approve=False)
    said = good(shop.post(f"upgrades/{upgrade_id}/pause"))
    assert said == {"upgrade_id": upgrade_id, "paused": True, "by": user()}
    good(shop.post(f"upgrades/{upgrade_id}/approve"))
    held = until(lambda: good(shop.get(f"upgrades/{upgrade_id}"))["held"], "held")
    assert held == good(shop.get(f"upgrades/{upgrade_id}"))["paused"] == f"paused by {user()}"
    assert shop.shop.goods["lamp"] == "1.0"
    assert good(shop.post(f"upgrades/{upgrade_id}/resume"))["paused"] is False
    assert shop.ended(upgrade_id)["result"]["success"]
    assert shop.shop.goods["lamp"] == "1.1"


@pytest.mark.parametrize("full", [False, True])
def test_a_promotion_ends_the_wait_for_evidence_and_the_journal_has_who_promoted(shop, full):
    upgrade_id = shop.start(parameters={"bake": 300})
    until(lambda: shop.shop.goods["lamp"] == "1.1", "shifted")
    said = good(shop.post(f"upgrades/{upgrade_id}/promote", {"full": full}))
    assert said == {"upgrade_id": upgrade_id, "promoted": True, "full": full, "by": user()}
    assert shop.ended(upgrade_id)["result"]["success"]
    (row,) = good(shop.get("history"))["history"]
    assert f"'by': '{user()}'" in str(row["audit"])


@pytest.mark.parametrize("verb", ["pause", "resume", "promote"])
def test_who_pauses_or_promotes_is_never_taken_from_the_body(shop, verb):
    upgrade_id = shop.start(approve=False)
    error = refused(shop.post(f"upgrades/{upgrade_id}/{verb}", {"by": "the queen"}), 400)
    assert "by" in error["message"]
    assert good(shop.get(f"upgrades/{upgrade_id}"))["paused"] == ""


@pytest.mark.parametrize("verb", ["pause", "resume", "promote"])
def test_what_does_not_run_can_be_neither_paused_nor_promoted(shop, verb):
    assert refused(shop.post(f"upgrades/up-none/{verb}"), 404)["code"] == "upgrade.unknown"


@pytest.mark.parametrize("body", [{"full": "yes"}, {"full": 1}, {"fully": True}, [], "full"])
def test_a_promotion_of_another_shape_promotes_nothing(shop, body):
    upgrade_id = shop.start(approve=False)
    assert refused(shop.post(f"upgrades/{upgrade_id}/promote", body), 400)["code"] == "request.invalid"


# --- operations --------------------------------------------------------------------------------------------------


def test_operations_are_listed_with_what_they_are_for_and_how_long_they_may_take(tmp_path):
    with running(tmp_path, Office(lamp="1.0"), limits=Limits(work_seconds=40.0)) as office:
        listed = {one["name"]: one for one in good(office.get("operations"))["operations"]}
    assert listed["shop.count"] == {
        "name": "shop.count", "help": "Count the goods.", "changes": False, "seconds": 30.0,
    }  # fmt: skip
    assert listed["shop.refuse"]["changes"] is True
    assert listed["shop.sleep"]["seconds"] == 40.0
    assert listed["shop.late"]["seconds"] == 0.05


def test_an_operation_gets_its_arguments_and_the_name_of_the_peer(office):
    arguments = {"words": ["a", None, 1.5], "deep": {"er": True}}
    assert good(office.post("operations/shop.count", {"arguments": arguments})) == {
        "result": {"goods": 2, "arguments": arguments}
    }
    good(office.post("operations/shop.count"))
    assert office.shop.asked == [(arguments, user()), ({}, user())]


def test_an_unknown_operation_is_not_found_and_the_like_is_named(office):
    error = refused(office.post("operations/shop.cuont"), 404)
    assert (error["code"], error["hint"]) == ("operation.unknown", "Did you mean 'shop.count'?")
    assert refused(office.post("operations/nothing.like%20it"), 404)["code"] == "operation.unknown"


def test_what_an_operation_raises_is_the_answer(office):
    error = refused(office.post("operations/shop.refuse"), 400)
    assert (error["message"], error["hint"]) == ("Not today.", "Come back tomorrow.")
    error = refused(office.post("operations/shop.fall"), 500)
    assert error["code"] == "plugin.broken"
    assert "the shelf fell down" in error["message"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("shop.unknown", 404),
        ("shop.order.conflict", 409),
        ("shop.refused", 422),
        ("shop.invalid", 400),
        ("shop.burnt", 500),
    ],
)
def test_the_status_of_a_plugins_own_error_is_by_the_last_word_of_its_code(tmp_path, code, status):
    own = type("OwnError", (UpgradeError,), {"code": code})

    class Closed(Office):
        def count(self, arguments, by):
            raise own("Not here.", hint="Go there.")

    with running(tmp_path, Closed(lamp="1.0")) as shop:
        error = refused(shop.post("operations/shop.count"), status)
    assert (error["code"], error["message"], error["hint"]) == (code, "Not here.", "Go there.")


@pytest.mark.parametrize(
    "body",
    [
        {"arguments": []},
        {"arguments": "x"},
        {"arguments": None},
        {"by": "the queen"},
        {"arguments": {}, "name": "shop.fall"},
        [{}],
    ],
)
def test_arguments_of_another_shape_ask_for_nothing(office, body):
    assert refused(office.post("operations/shop.count", body), 400)["code"] == "request.invalid"
    assert office.shop.asked == []


def test_arguments_are_bounded_in_size_and_depth(office):
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert refused(office.post("operations/shop.count", {"arguments": {"deep": deep}}), 400)
    large = {"arguments": {"text": "x" * (1 << 20)}}
    assert refused(office.post("operations/shop.count", large), 413)["code"] == "control.too_large"
    assert office.shop.asked == []


def test_an_operations_own_time_limit_ends_it(office):
    assert refused(office.post("operations/shop.late"), 500)["code"] == "plugin.timeout"
    assert office.shop.cancelled.wait(20)


def test_an_operation_that_outlives_the_servers_limit_is_a_timeout_that_says_what_became_of_it(tmp_path):
    with running(tmp_path, Office(lamp="1.0"), limits=Limits(work_seconds=0.2)) as office:
        error = refused(office.post("operations/shop.sleep"), 504)
        assert error["code"] == "operation.timeout"
        assert "An asynchronous operation was cancelled" in error["safe"]
        assert office.shop.cancelled.wait(20)
        assert refused(office.post("operations/shop.work"), 504)["code"] == "operation.timeout"
        office.shop.let_go.set()
        assert office.shop.went_on.wait(20)
        good(office.get("health"))


def test_operations_are_no_business_of_another_user(tmp_path):
    with running(tmp_path, Office(lamp="1.0"), served={"port": 0}) as office:
        assert refused(office.post("operations/shop.count"), 401)["code"] == "control.unauthorized"
        assert office.shop.asked == []
