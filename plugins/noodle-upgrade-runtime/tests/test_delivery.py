"""A strategy that tries a new version on copies of calls, and then gives it to members one by one, through an Upgrader."""

import asyncio
import contextlib
import gc
import sys
import threading
import time

import pytest

from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.errors import HarmDetectedError, InvalidRequestError
from noodle_upgrade_core.model import Phase, UpgradeRequest, UpgradeStatus
from noodle_upgrade_core.steps import Judge, Revert, Shift
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_runtime import handle
from noodle_upgrade_runtime.handles import process_handles

COUNTER = """
__version__ = {version!r}
class Counter:
    def __init__(self): self.hits = 0
    def hit(self):
        self.hits += 1
        return __version__
    def greet(self, name): return {greeting}
    def export_state(self): return self.hits
    def import_state(self, hits): self.hits = hits
"""


class ShadowThenMembers:
    """What a third party would write."""

    def __init__(self):
        self.seen = []

    def rollout(self, plan):
        members = (yield Shift(0.0, shadow=0.5)).members
        seen = yield Judge(until="safe", budget=20.0)
        self.seen.append(seen.measured)
        if not seen.safe:
            yield Revert(seen.reasons)
            return
        for number in range(1, len(members) + 1):
            yield Shift(number / len(members), members=tuple(member.name for member in members[:number]))
            seen = yield Judge(until="safe", budget=20.0)
            self.seen.append(seen.measured)
            if not seen.safe:
                yield Revert(seen.reasons)
                return


@pytest.fixture
def upgrader(announced, tmp_path):
    """Return a maker of an Upgrader whose components directory has `tally` in 1.0 and 2.0, and which has the strategy."""
    path, strategies = list(sys.path), []

    def strategy():
        strategies.append(ShadowThenMembers())
        return strategies[-1]

    @contextlib.asynccontextmanager
    async def opened(greeting):
        for version, says in (("1.0", "'hi ' + name"), ("2.0", greeting)):
            folder = tmp_path / "components" / "tally" / version
            folder.mkdir(parents=True)
            (folder / "tally_of_fable.py").write_text(COUNTER.format(version=version, greeting=says))
            (folder / "component.toml").write_text('entry_point = "tally_of_fable:Counter"\n')
        settings = load_settings(
            environ={},
            overrides={
                "runtime_upgrade.components.registry_path": str(tmp_path / "components"),
                "runtime_upgrade.approval.automatic": True,
                "runtime_upgrade.plugins.enabled": ["runtime"],
                "runtime.rehearsal": False,
            },
        )
        drivers = {"strategies": {"shadow-then-members": strategy}}
        async with Upgrader.open(settings, directory=tmp_path / "state", drivers=drivers) as one:
            one.strategies_made = strategies
            yield one

    yield opened
    process_handles()._held.clear()
    sys.path[:] = path


def private_names():
    gc.collect()
    return [name for name in sys.modules if name.startswith("tally_of_fable@")]


def asked(version, **parameters):
    return UpgradeRequest(
        component_name="tally",
        target_version=version,
        strategy="shadow-then-members",
        parameters={"judge.calls": 20, "judge.errors": 3, **parameters},
    )


async def on_the_old_version(upgrader):
    """Have 1.0 serve, whatever is newer."""
    first = handle("tally", member="first")
    back = UpgradeRequest(component_name="tally", target_version="1.0", strategy="immediate")
    result = await upgrader.upgrade(await upgrader.plan(back))
    assert result.success, result.error
    return [first, *(handle("tally", member=f"worker-{n}", domain=f"zone-{n}", shadow=("greet",)) for n in range(3))]


@contextlib.contextmanager
def traffic(workers):
    """Call all of them from four threads; yields what was answered, how often each was hit, and what went wrong."""
    stop, answers, hits, wrong, lock = threading.Event(), set(), [0] * len(workers), [], threading.Lock()

    def work(n):
        number = n
        while not stop.is_set():
            one = number % len(workers)
            try:
                answers.add(workers[one].greet("Ann"))
                workers[one].hit()
            except BaseException as error:
                wrong.append(error)
                raise
            with lock:
                hits[one] += 1
            number += 1
            time.sleep(0.0005)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answers, hits, wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_version_is_tried_on_copies_and_then_given_to_members_with_their_state_one_by_one(upgrader):
    async def main():
        async with upgrader("'hi ' + name") as one:
            workers = await on_the_old_version(one)
            plan = await one.plan(asked("2.0"))
            verdict = plan.steps[0].verdict
            assert {"members", "shadow"} <= verdict.capabilities
            assert [member["name"] for member in verdict.evidence["members"]] == [
                "first", "worker-0", "worker-1", "worker-2"
            ]  # fmt: skip
            with traffic(workers) as (answers, hits, wrong):
                result = await one.upgrade(plan)
                assert result.success, result.error
                await asyncio.sleep(0.05)
            assert (answers, wrong) == ({"hi Ann"}, [])
            assert [worker.hits for worker in workers] == hits
            assert {worker.hit() for worker in workers} == {"2.0"}
            shadow, *members = one.strategies_made[-1].seen
            assert (shadow.weight, shadow.shadow.different) == (pytest.approx(1 / 3), 0)
            assert shadow.new.calls >= 20
            assert [seen.weight for seen in members] == [0.25, 0.5, 0.75, 1.0]
            assert [seen.shadow for seen in members] == [None] * 4
            assert members[0].new.calls < shadow.old.calls + members[0].old.calls
            back = await one.rollback("tally")
            assert back.success, back.error
            assert [worker.hits for worker in workers] == [n + 1 for n in hits]
            assert {worker.hit() for worker in workers} == {"1.0"}

    asyncio.run(main())


def test_a_version_that_answers_otherwise_is_found_out_by_copies_and_serves_nobody(upgrader):
    async def main():
        async with upgrader("'hello ' + name") as one:
            workers = await on_the_old_version(one)
            private = private_names()
            with traffic(workers) as (answers, hits, wrong):
                result = await one.upgrade(await one.plan(asked("2.0")))
                await asyncio.sleep(0.05)
            assert isinstance(result.error, HarmDetectedError), result
            assert "greet answered 'hello Ann', and the old version answered 'hi Ann'" in str(result.error)
            assert (result.status, result.phase) == (UpgradeStatus.ROLLED_BACK, Phase.ROLLED_BACK)
            assert (answers, wrong) == ({"hi Ann"}, [])
            assert [worker.hits for worker in workers] == hits
            assert {worker.hit() for worker in workers} == {"1.0"}
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("noodle shadow of tally")]
            assert private_names() == private

    asyncio.run(main())


def test_a_strategy_that_asks_for_what_the_handles_do_not_allow_is_told_so_and_nothing_has_changed(upgrader):
    async def main():
        async with upgrader("'hi ' + name") as one:
            workers = (await on_the_old_version(one))[:1]
            gc.collect()
            result = await one.upgrade(await one.plan(asked("2.0")))
            assert isinstance(result.error, InvalidRequestError), result
            assert result.error.details["wanted"] == "shadow"
            assert {worker.hit() for worker in workers} == {"1.0"}

    asyncio.run(main())
