import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core.errors import InvalidRequestError, RollbackFailedError
from noodle_upgrade_core.staged import COUNTS, LATENCY_BOUNDS, WEIGHTS, SwapSet, bucket_of, settle_now


class Part:
    def __init__(self, name, log, *, capabilities=(), fail=()):
        self.name = name
        self.log = log
        self.capabilities = frozenset(capabilities)
        self.fail = set(fail)

    def _do(self, what):
        self.log.append((self.name, what))
        if what in self.fail:
            raise RuntimeError(f"{self.name} cannot {what}")

    def shift(self, weight):
        self._do("shift")

    async def commit(self):
        self._do("commit")

    def revert(self):
        self._do("revert")

    def measure(self):
        return None

    def running(self):
        return {self.name: "2"}


def test_a_part_that_cannot_shift_takes_the_earlier_ones_back():
    log = []
    parts = SwapSet((Part("a", log), Part("b", log), Part("c", log, fail={"shift"})))
    with pytest.raises(RuntimeError, match="c cannot shift"):
        asyncio.run(parts.shift(1.0))
    assert log == [("a", "shift"), ("b", "shift"), ("c", "shift"), ("b", "revert"), ("a", "revert")]


def test_taking_back_goes_on_past_a_part_that_fails_and_names_every_failure():
    log = []
    parts = SwapSet((Part("a", log, fail={"revert"}), Part("b", log), Part("c", log, fail={"revert"})))
    with pytest.raises(RollbackFailedError) as caught:
        asyncio.run(parts.revert())
    assert [name for name, _ in log] == ["c", "b", "a"]
    assert len(caught.value.details["errors"]) == 2


def test_a_set_can_only_do_what_every_part_can():
    parts = SwapSet((Part("a", [], capabilities={WEIGHTS, COUNTS}), Part("b", [], capabilities={COUNTS})))
    assert parts.capabilities == {COUNTS}
    assert asyncio.run(parts.running()) == {"a": "2", "b": "2"}
    assert asyncio.run(parts.measure()) is None


def test_plain_and_async_parts_commit_alike_in_order():
    log = []
    asyncio.run(SwapSet((Part("a", log), Part("b", log))).commit())
    assert log == [("a", "commit"), ("b", "commit")]


@given(st.floats(min_value=0, max_value=1e6))
def test_a_bucket_holds_what_is_not_above_its_bound(seconds):
    bucket = bucket_of(seconds)
    if bucket < len(LATENCY_BOUNDS):
        assert seconds <= LATENCY_BOUNDS[bucket]
    if bucket:
        assert seconds > LATENCY_BOUNDS[bucket - 1]


def test_in_virtual_time_what_is_there_is_taken_and_what_must_be_awaited_is_refused():
    async def later():
        return 5

    assert settle_now(5) == 5
    with pytest.raises(InvalidRequestError, match="virtual time"):
        settle_now(later())
