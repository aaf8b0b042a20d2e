import asyncio
import sys
import threading

import pytest

from noodle_upgrade_core.errors import DrainTimeoutError

SOURCE = """
class Service:
    def stay(self, inside, leave): inside.set(); leave.wait()
    async def later(self, leave): await leave.wait()
    def stream(self): yield 1; yield 2
    def fail(self): raise ValueError
    def hold(self): return self.stay
"""


@pytest.fixture
def moved(fable):
    """A service on 2.0 that is about to leave for 3.0: what is held of 2.0 keeps it."""
    fable.run("1.0")
    for version in ("1.0", "2.0", "3.0"):
        fable.write(version, SOURCE)
    service = fable.handle()
    swap = fable.stage("1.0", "2.0")
    swap.shift(1.0)
    swap.commit()
    swap.release()

    def leave():
        nxt = fable.stage("2.0", "3.0")
        nxt.shift(1.0)
        nxt.commit()
        (drain,) = nxt.release()
        return drain

    return service, leave


def test_a_version_that_nobody_uses_is_drained_at_once(moved):
    _, leave = moved
    drain = leave()
    assert drain.wait(10.0)
    assert drain.finished
    assert drain.holders() == ()


def test_a_thread_inside_is_named_and_the_drain_ends_when_it_leaves(moved):
    service, leave = moved
    inside, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=service.stay, args=(inside, go), name="worker-3")
    thread.start()
    inside.wait()
    drain = leave()
    try:
        assert not drain.wait(0.0)
        assert [(held.kind, held.what) for held in drain.holders()] == [("thread", "'worker-3'")]
        with pytest.raises(DrainTimeoutError, match="worker-3") as caught:
            drain.require(0.0)
        assert "stay" in caught.value.details["blockers"][0]
    finally:
        go.set()
        thread.join()
        del thread
    assert drain.wait(10.0)


def test_suspended_coroutines_and_generators_are_named(moved):
    service, leave = moved

    async def main():
        go = asyncio.Event()
        task = asyncio.create_task(service.later(go))
        await asyncio.sleep(0)
        stream = service.stream()
        next(stream)
        drain = leave()
        assert sorted((held.kind, held.what) for held in drain.holders()) == [
            ("coroutine", "Service.later"),
            ("generator", "Service.stream"),
        ]
        go.set()
        await task
        stream.close()
        del task, stream
        return drain

    assert asyncio.run(main()).wait(10.0)


def test_a_kept_traceback_and_a_kept_method_are_reported_as_leaks_with_their_holder(moved, monkeypatch):
    service, leave = moved
    holder = type(sys)("the_holder")
    monkeypatch.setitem(sys.modules, "the_holder", holder)
    holder.__dict__["method"] = service.stay
    drain = leave()
    assert not drain.wait(0.0)
    assert [str(held) for held in drain.holders()] == ["leak bound method Service.stay at the_holder.method"]
    del holder.method
    assert drain.wait(10.0)


def test_a_kept_traceback_is_reported(moved):
    service, leave = moved
    kept = []
    try:
        service.fail()
    except ValueError as error:
        kept.append(error)
    drain = leave()
    assert not drain.wait(0.0)
    assert any("kept traceback of Service.fail" in str(held) for held in drain.holders())
    kept.clear()
    assert drain.wait(10.0)
