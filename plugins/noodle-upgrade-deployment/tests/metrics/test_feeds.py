import asyncio
import gc
import subprocess
import sys
import threading
import time

import pytest
from answering import hang, json_answer
from arrivals import at_share, seen

from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.metrics import Feed, Metric, Pair
from noodle_upgrade_deployment.metrics.prometheus import Prometheus


class Source:
    """A source of this test; `numbers` are what it says of each version, or what it does."""

    def __init__(self, **numbers) -> None:
        self.numbers = {"1": numbers.get("old", 1.0), "2": numbers.get("new", 1.0)}
        self.asked: list[str] = []

    def read(self, version):
        self.asked.append(version)
        number = self.numbers[version]
        return number() if callable(number) else number


def metric(source, **more) -> Metric:
    return Metric(**{"name": "depth", "source": source, "every": 0.02, "timeout": 0.2} | more)


@pytest.fixture
def feed():
    feeds = []

    def make(source, *, both=True, **more):
        made = Feed(metric(source, **more))
        feeds.append(made)
        made.begin("1", "2", both=both)
        return made

    yield make
    for one in feeds:
        one.close()


def until(what, seconds=5.0):
    """Wait until something is so; what is never so fails."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)
    return found


def pairs_of(feed, count=1):
    got = []

    def enough():
        got.extend(feed.take().pairs)
        return len(got) >= count

    until(enough)
    return got


def raising(error):
    def raise_it():
        raise error

    return raise_it


def threads(name="depth"):
    return [one for one in threading.enumerate() if one.name == f"noodle metric {name}"]


def test_pairs_of_both_versions_come_again_and_again(feed):
    made = feed(Source(old=2.0, new=3))
    assert pairs_of(made, 3)[:3] == [Pair(2.0, 3.0)] * 3
    assert made.take().problem == ""


def test_a_source_may_be_asynchronous(feed):
    class Async(Source):
        async def read(self, version):
            await asyncio.sleep(0.001)
            return super().read(version)

    assert pairs_of(feed(Async(new=4.0)))[0] == Pair(1.0, 4.0)


def test_neither_version_is_always_read_first(feed):
    source = Source()
    pairs_of(feed(source, every=0.01), 40)
    assert {"1", "2"} == set(source.asked[::2])


def test_the_new_version_alone_is_read_where_it_is_alone(feed):
    source = Source(new=5.0)
    assert pairs_of(feed(source, both=False))[0] == Pair(None, 5.0)
    assert set(source.asked) == {"2"}


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (raising(OSError("the disk is gone")), "OSError: the disk is gone"),
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
        (float("nan"), "it gave nan"),
        (float("-inf"), "it gave -inf"),
        ("7", "which is no number"),
        (True, "which is no number"),
        (None, "which is no number"),
        (10**400, "OverflowError"),
    ],
)
def test_what_gives_no_number_says_so_until_it_does_again(feed, number, problem):
    source = Source(new=number)
    made = feed(source)
    assert problem in until(lambda: made.take().problem)
    assert made.take().pairs == ()
    source.numbers["2"] = 8.0
    assert pairs_of(made)[0] == Pair(1.0, 8.0)
    assert until(lambda: not made.take().problem)


def test_one_version_that_cannot_be_read_makes_no_half_pair(feed):
    made = feed(Source(old=raising(ValueError("gone")), new=5.0))
    until(lambda: made.take().problem)
    time.sleep(0.1)
    assert made.take().pairs == ()


def test_a_reading_that_comes_too_late_is_none(feed):
    late = threading.Event()
    made = feed(Source(new=lambda: late.wait(0.3) or 5.0), timeout=0.1)
    assert "has not answered for" in until(lambda: made.take().problem)
    assert "to answer, longer than 0.1 s" in until(lambda: said if "took" in (said := made.take().problem) else "")
    assert made.take().pairs == ()


def test_an_asynchronous_source_that_is_late_is_cut_short(feed):
    class Slow:
        async def read(self, version):
            await asyncio.sleep(30)

    made = feed(Slow(), timeout=0.05)
    assert until(lambda: said if "within" in (said := made.take().problem) else "") == "it did not answer within 0.05 s"


def test_a_source_that_hangs_holds_nobody_up_and_is_read_by_one_thread_only(feed):
    over = threading.Event()
    source = Source(new=lambda: over.wait(30) and 1.0)
    made = feed(source, name="hung", timeout=0.05)
    try:
        until(lambda: made.take().problem)
        began = time.monotonic()
        for _ in range(1000):
            made.begin("1", "2", both=True)
            assert "has not answered" in made.take().problem
        made.close()
        assert time.monotonic() - began < 1.0
        assert len(threads("hung")) == 1
        assert source.asked.count("2") == 1
    finally:
        over.set()
    until(lambda: not threads("hung"))


def test_a_thread_ends_when_nobody_has_its_feed_any_more():
    made = Feed(metric(Source(), name="left"))
    made.begin("1", "2", both=True)
    pairs_of(made)
    del made
    gc.collect()
    until(lambda: not threads("left"))


def test_readings_that_nobody_takes_are_kept_up_to_a_thousand(feed):
    source = Source()
    made = feed(source, every=0.01)
    for _ in range(1100):
        made._handed.put(1.0, 1.0)
    assert len(made.take().pairs) == 1000


def test_a_program_ends_although_a_metric_hangs():
    program = """
import threading
from noodle_upgrade_deployment.metrics import Feed, Metric
class Hangs:
    def read(self, version):
        threading.Event().wait()
feed = Feed(Metric(name="depth", source=Hangs(), every=0.1, timeout=0.1))
feed.begin("1", "2", both=True)
print("end")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert (ended.stdout, ended.stderr) == ("end\n", "")


# --- with the judge --------------------------------------------------------------------------------------------------


def watched(judge, *, weight=0.5, seconds=5.0):
    """Show the judge good traffic in quick motion until it says something; readings come in real time."""
    base = seen(0.0, (0,), (0,), weight=weight)
    said, at, end = judge.observe(at_share(base, base)), 0.0, time.monotonic() + seconds
    while not (said.harm or said.safe) and time.monotonic() < end:
        at += 10.0
        time.sleep(0.01)
        said = judge.observe(at_share(base, seen(at, (int(100 * at),), (int(100 * at),), weight=weight)))
    return said


def test_a_judge_that_is_only_made_reads_nothing():
    source = Source()
    Betting(metrics={"unread": {"callable": source.read}})
    assert source.asked == []
    assert threads("unread") == []


@pytest.mark.parametrize(("new", "verdict"), [(1.0, "safe"), (30.0, "harm")])
def test_a_judge_decides_by_what_a_function_tells_it(new, verdict):
    source = Source(new=new)
    judge = Betting(metrics={"depth": {"callable": source.read, "every": 0.01}, "latency": False})
    said = watched(judge)
    judge.close()
    assert getattr(said, verdict), said
    assert {"errors", "depth"} == set(said.evidence)


def test_a_judge_is_never_safe_while_a_metric_hangs_and_still_finds_harm():
    over = threading.Event()
    hung, high = Source(new=lambda: over.wait(30) and 1.0), Source(new=40.0)
    table = {"hung": {"callable": hung.read, "every": 0.01, "timeout": 0.05}}
    try:
        said = watched(held := Betting(metrics=table), seconds=1.0)
        assert (said.harm, said.safe) == (False, False)
        assert said.reasons[0].startswith("the metric 'hung' cannot be read: it has not answered for")
        said = watched(harmed := Betting(metrics=table | {"depth": {"callable": high.read, "every": 0.01}}))
        assert said.harm
        held.close()
        harmed.close()
    finally:
        over.set()


def test_a_metric_that_disappears_half_way_holds(server):
    server.answer = lambda request: json_answer(
        request, {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "3"]}]}}
    )
    table = {"p99": {"prometheus": 'p99{version="{version}"}', "url": server.url, "every": 0.05, "timeout": 0.3}}
    judge = Betting(metrics=table)
    base = seen(0.0, (0,), (0,))
    judge.observe(at_share(base, base))
    until(lambda: judge.observe(at_share(base, base)).evidence["p99"]["readings"] >= 2)
    server.answer = hang(server)
    said = until(
        lambda: one if (one := judge.observe(at_share(base, base))).reasons[0].startswith("the metric 'p99'") else None
    )
    assert (said.harm, said.safe) == (False, False)
    judge.close()


def test_a_query_is_read_of_both_versions_by_a_feed(server, feed):
    server.answer = lambda request: json_answer(
        request, {"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}
    )
    made = feed(Prometheus(query='x{version="{version}"}', url=server.url), every=1.0, timeout=5.0)
    assert pairs_of(made)[0] == Pair(2.0, 2.0)
    assert {one["query"] for _, one, _ in server.asked} == {'x{version="1"}', 'x{version="2"}'}
