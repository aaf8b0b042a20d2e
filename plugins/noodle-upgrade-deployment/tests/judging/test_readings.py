import json
import math
from random import Random

import pytest
from arrivals import at_share, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_core import Observation
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.judging.readings import Readings
from noodle_upgrade_deployment.metrics import Handed, Metric

BEGIN = seen(0.0, (0,), (0,))


class Nobody:
    def read(self, version):
        raise AssertionError("what is handed over is read by nobody")


def handed(name="depth", **more) -> Handed:
    return Handed(Metric(name=name, source=Nobody(), **more))


class Course:
    """A judge, both versions' calls in virtual time, and the readings that come meanwhile."""

    def __init__(self, *supplies: Handed, weight: float = 0.5, counts: tuple[str, ...] = (), **more) -> None:
        self.supplies = supplies
        self.judge = Betting(metrics=(*counts, *(Readings(one) for one in supplies)), **more)
        self.base = seen(0.0, (0,), (0,), weight=weight)
        self.at = 0.0
        self.said = self.judge.observe(at_share(self.base, self.base))

    def go(self, *pairs: tuple[float | None, float], new_bad: float = 0.0) -> Observation:
        """Ten seconds with a thousand calls of each version, and a reading of each supply."""
        for supply, (old, new) in zip(self.supplies, pairs, strict=True):
            supply.put(old, new)
        return self.pass_by(new_bad=new_bad)

    def pass_by(self, *, new_bad: float = 0.0) -> Observation:
        self.at += 10.0
        calls = int(100 * self.at)
        now = seen(self.at, (calls,), (calls, int(calls * new_bad)), weight=self.base.weight)
        self.said = self.judge.observe(at_share(self.base, now))
        return self.said

    def turn(self) -> None:
        """The share is set anew, to what it was."""
        calls = int(100 * self.at)
        self.base = seen(self.at, (calls,), (calls,), weight=self.base.weight)


def noisy(rng: Random, spread: float, ratio: float = 1.0) -> tuple[float, float]:
    return rng.lognormvariate(0.0, spread), ratio * rng.lognormvariate(0.0, spread)


# --- harm ------------------------------------------------------------------------------------------------------------


def test_kayentas_vector_is_harm_at_one_percent():
    course = Course(handed())
    said = [course.go((1.0, new)) for new in [100.0] * 7 + [1.0] * 3]
    assert [one.harm for one in said[:6]] == [False] * 6
    assert said[-1].harm
    assert said[-1].reasons == ("depth: 70.3 of the new version, 1 of the old one, on average of 10 readings",)


def test_beside_errors_and_latency_the_same_takes_two_readings_more():
    """Three metrics share the chance to be wrong, so that each must be surer."""
    course = Course(handed(), counts=("errors", "latency"))
    said = [course.go((1.0, 100.0)).harm for _ in range(9)]
    assert said == [False] * 8 + [True]


@pytest.mark.parametrize(
    ("worse", "new", "harm"), [("higher", 9, True), ("higher", 1, False), ("lower", 1, True), ("lower", 9, False)]
)
def test_which_way_is_worse_is_said_by_the_metric(worse, new, harm):
    course = Course(handed(worse=worse))
    for _ in range(40):
        course.go((3.0, float(new)))
    assert (course.said.harm, course.said.safe) == (harm, not harm)


@pytest.mark.parametrize("new", [1.0, 9.0])
def test_where_either_way_is_worse_both_are_harm_and_neither_is_safe(new):
    course = Course(handed(worse="either"))
    for _ in range(40):
        course.go((3.0, new))
    assert course.said.harm
    alike = Course(handed(worse="either"))
    for _ in range(60):
        alike.go((3.0, 3.0))
    assert alike.said.safe


def test_harm_found_once_stays_whatever_comes_then():
    course = Course(handed())
    for _ in range(12):
        course.go((1.0, 50.0))
    for _ in range(100):
        assert course.go((1.0, 0.5)).harm


def test_what_is_allowed_is_no_harm_and_more_than_it_is():
    for new, harm in ((1.9, False), (4.0, True)):
        course = Course(handed(allowed=2.0, margin=3.0))
        for _ in range(100):
            course.go((1.0, new))
        assert course.said.harm is harm


def courses(count: int, length: int, pair, **more) -> int:
    """How many of so many courses of pairs are ever called harm."""
    wrong = 0
    for seed in range(count):
        rng, supply = Random(seed), handed(**more)
        compared = Betting(metrics=(Readings(supply),))._comparisons[0][1]
        for _ in range(length):
            supply.put(*pair(rng))
            compared.take(0.0, supply.take().pairs)
            if compared.harm:
                wrong += 1
                break
    return wrong


def test_versions_that_are_alike_are_called_harmful_in_one_of_a_hundred_rollouts_at_most():
    """400 courses of 100 readings each; at 1 % more than 11 have a chance of one in a thousand."""
    assert courses(400, 100, lambda rng: noisy(rng, 0.7)) <= 11
    assert courses(400, 100, lambda rng: (rng.paretovariate(0.5), rng.paretovariate(0.5))) <= 11
    assert courses(400, 100, lambda rng: (float(rng.random() < 0.1), float(rng.random() < 0.1))) <= 11
    assert courses(400, 100, lambda rng: (rng.gauss(0, 1), rng.gauss(0, 1)), worse="either") <= 11


# --- safe ------------------------------------------------------------------------------------------------------------


def test_versions_that_are_alike_are_safe_and_evidence_says_beforehand_how_many_readings_it_takes():
    course = Course(handed(), counts=("errors",))
    for _ in range(12):
        course.go((5.0, 5.0))
    left = course.said.evidence["depth"]["readings_to_safe"]
    more = 0
    while not course.said.safe:
        more += 1
        course.go((5.0, 5.0))
    assert abs(left - more) <= 2


def test_a_version_at_its_margin_is_hardly_ever_safe():
    wrong = 0
    for seed in range(200):
        rng, course = Random(seed), Course(handed(margin=1.5, allowed=1.4))
        for _ in range(60):
            if course.go(noisy(rng, 0.5, 1.5)).safe:
                wrong += 1
                break
    assert wrong <= 11  # four would be the average at most


def test_without_readings_a_version_is_not_safe_and_waits_for_so_many():
    course = Course(handed(), counts=("errors",))
    for _ in range(80):
        course.pass_by()
    assert (course.said.harm, course.said.safe, course.said.starved) == (False, False, True)
    assert course.said.reasons == ("depth: about 22 more readings are needed (220 s)",)


def test_readings_that_are_all_zero_tell_nothing():
    course = Course(handed(), counts=("errors",))
    for _ in range(80):
        course.go((0.0, 0.0))
    assert course.said.starved
    assert course.said.evidence["depth"]["readings_to_safe"] is None
    assert "no end is in sight" in course.said.reasons[0]


def test_safe_is_for_one_share_and_harm_for_all():
    course = Course(handed())
    for _ in range(40):
        course.go((5.0, 5.0))
    assert course.said.safe
    course.turn()
    for _ in range(3):
        assert not course.go((5.0, 5.0)).safe
    for _ in range(40):
        course.go((5.0, 5.0))
    assert course.said.safe


def test_readings_from_before_a_shift_count_for_the_share_at_which_they_were_made():
    course = Course(handed())
    for _ in range(40):
        course.go((5.0, 5.0))
    for _ in range(40):
        course.supplies[0].put(5.0, 5.0)
    course.turn()
    assert not course.pass_by().safe
    assert not course.go((5.0, 5.0)).safe


def test_the_new_version_alone_is_not_compared_but_must_be_readable():
    course = Course(handed(), weight=1.0)
    for _ in range(5):
        course.go((None, 70.0))
    assert course.said.safe
    assert course.said.evidence["depth"]["new"] == 70.0
    course.supplies[0].fail("it is gone")
    assert not course.pass_by().safe


def test_who_waits_for_calls_of_the_new_version_alone_does_not_wait_for_readings():
    course = Course(handed(), weight=1.0, calls=10**6)
    said = course.go((None, 70.0))
    assert (said.safe, said.starved) == (False, False)


# --- what cannot be read ---------------------------------------------------------------------------------------------


def test_a_metric_that_is_lost_holds_until_it_is_back_and_says_so():
    course = Course(handed())
    for _ in range(40):
        course.go((5.0, 5.0))
    course.supplies[0].fail("the server is gone")
    held = course.pass_by()
    assert (held.harm, held.safe, held.starved) == (False, False, False)
    assert held.reasons == ("the metric 'depth' cannot be read: the server is gone",)
    assert course.go((5.0, 5.0)).safe


def test_readings_from_before_a_metric_was_lost_still_count():
    course = Course(handed())
    for _ in range(12):
        course.supplies[0].put(1.0, 100.0)
    course.supplies[0].fail("the server is gone")
    assert course.pass_by().harm


def test_others_go_on_where_one_is_lost_and_the_harm_that_they_find_counts():
    course = Course(handed("lost"), handed("depth"), counts=("errors",))
    for _ in range(20):
        course.supplies[0].fail("it has gone")
        course.supplies[1].put(1.0, 50.0)
        course.pass_by()
    assert course.said.harm
    assert course.said.reasons[0].startswith("depth: ")


def test_counts_find_harm_beside_readings_that_are_fine():
    course = Course(handed(), counts=("errors",))
    for _ in range(60):
        if course.go((5.0, 5.0), new_bad=0.02).harm:
            break
    assert course.said.harm
    assert "failed" in course.said.reasons[0] or course.said.reasons[0].startswith("errors: ")


def test_readings_below_zero_can_do_harm_and_are_never_safe():
    course = Course(handed())
    for _ in range(60):
        course.go((-5.0, -5.0))
    assert not course.said.safe
    assert "below 0" in course.said.reasons[0]
    for _ in range(60):
        course.go((-5.0, 4.0))
    assert course.said.harm


def test_where_more_than_alike_is_allowed_readings_below_zero_prove_nothing():
    course = Course(handed(allowed=1.2))
    for _ in range(60):
        course.go((-5.0, 4.0))
    assert not course.said.harm


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_the_evidence_has_the_same_numbers_as_that_of_counts_and_says_how_many_readings():
    rng, course = Random(4), Course(handed(), counts=("errors",), alpha=1e-9)
    for _ in range(200):
        course.go(noisy(rng, 0.3, 2.0))
    numbers = json.loads(json.dumps(dict(course.said.evidence), allow_nan=False))
    assert numbers["errors"].keys() <= numbers["depth"].keys()
    depth = numbers["depth"]
    assert depth["ratio"] == pytest.approx(2.0, rel=0.1)
    assert depth["low"] <= 2.0 <= depth["high"]
    assert depth["high"] / depth["low"] < 1.6
    assert depth["new"] / depth["old"] == pytest.approx(2.0, rel=0.2)
    assert (depth["readings"], depth["calls_to_safe"]) == (200, None)
    assert depth["harm"] > 0.5 > depth["safe"]


extreme = st.floats(0.0, 1.7e308) | st.sampled_from([0.0, 5e-324, 1.7e308, -1.7e308, -1.0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(extreme, extreme), max_size=40), st.sampled_from(["higher", "lower", "either"]))
def test_whatever_numbers_come_the_evidence_is_plain_numbers_for_json(pairs, worse):
    course = Course(handed(worse=worse), alpha=1e-9)
    for pair in pairs:
        course.go(pair)
        json.dumps(dict(course.said.evidence), allow_nan=False)
        assert not (course.said.harm and course.said.safe)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=60))
def test_looking_more_often_changes_nothing(pairs):
    often, rarely = Course(handed(), alpha=1e-9), Course(handed(), alpha=1e-9)
    for pair in pairs:
        often.go(pair)
        dict(often.said.evidence)
        often.pass_by()
        rarely.supplies[0].put(*pair)
    rarely.pass_by()
    assert dict(rarely.said.evidence) == dict(often.said.evidence)


def test_a_margin_that_is_not_above_what_is_allowed_is_refused():
    with pytest.raises(InvalidRequestError, match=r"allowed \(2\) must be below margin \(1\.5\)"):
        Course(handed(allowed=2.0))


def test_a_number_that_is_none_cannot_be_handed_over():
    for wrong in (math.nan, math.inf, "7", None, True):
        with pytest.raises(Exception, match="it gave"):
            handed().put(1.0, wrong)
