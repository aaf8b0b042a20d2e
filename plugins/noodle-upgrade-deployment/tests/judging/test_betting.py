import json

import pytest
from arrivals import Traffic, arm, at_share, seen
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_core import Arm, Measurement, Observation
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.staged import LATENCY_BOUNDS, bucket_of
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.judging.counts import Counts
from noodle_upgrade_deployment.judging.metrics import Errors

BEGIN = seen(0.0, (0,), (0,))


def verdict(judge: Betting, traffic: Traffic, seconds: float) -> tuple[str, float]:
    """What the judge says first, and when; "" when it says nothing."""
    for measurement in traffic.moments(seconds):
        said = judge.observe(measurement)
        if said.harm or said.safe:
            return ("harm" if said.harm else "safe"), measurement.at
    return "", seconds


def steady(
    judge: Betting, *, seconds: float, old_bad: float = 0.0, new_bad: float = 0.0, rate: float = 100.0
) -> Observation:
    """Let both versions serve with bad calls at even distances, and return the last that the judge said."""
    said = judge.observe(BEGIN)
    for second in range(1, int(seconds) + 1):
        calls = int(rate * second)
        said = judge.observe(
            at_share(BEGIN, seen(second, (calls, int(calls * old_bad)), (calls, int(calls * new_bad))))
        )
        if said.harm or said.safe:
            break
    return said


def test_a_version_ten_times_as_bad_is_harm_within_a_minute():
    times = [verdict(Betting(metrics=("errors",)), Traffic(worse=10.0, seed=seed), 120) for seed in range(40)]
    assert all(said == "harm" for said, _ in times)
    assert sorted(at for _, at in times)[20] < 45


def test_a_version_that_is_as_good_is_safe():
    said = [verdict(Betting(), Traffic(rate=100.0, seed=seed), 900) for seed in range(20)]
    assert [one for one, _ in said].count("safe") >= 19


@pytest.mark.parametrize("clump", [1.0, 8.0])
def test_good_versions_are_not_called_harmful_however_their_errors_clump(clump):
    judges = [Betting(metrics=("errors",)) for _ in range(200)]
    said = [
        any(
            judge.observe(one).harm
            for one in Traffic(rate=10.0, bad=0.02, clump=clump, seed=seed).moments(300, step=0.5)
        )
        for seed, judge in enumerate(judges)
    ]
    assert sum(said) <= 6  # two would be the average at most


def test_an_incident_that_both_versions_share_is_nobodys_harm():
    judge, counts = Betting(metrics=("errors",)), [0, 0, 0, 0]
    judge.observe(BEGIN)
    for second in range(1, 600):
        bad = 8 if 200 <= second < 400 else 1
        counts = [counts[0] + 100, counts[1] + bad, counts[2] + 100, counts[3] + bad]
        assert not judge.observe(at_share(BEGIN, seen(second, (counts[0], counts[1]), (counts[2], counts[3])))).harm


def test_a_version_without_errors_is_safe_although_nothing_can_be_compared():
    said = steady(Betting(metrics=("errors",)), seconds=600)
    assert said.safe
    assert "no sign of harm" in said.reasons[0]


def test_without_calls_of_the_new_version_nothing_is_said_and_the_evidence_says_how_many_it_takes():
    judge = Betting(metrics=("errors",))
    judge.observe(BEGIN)
    said = judge.observe(at_share(BEGIN, seen(600.0, (60_000, 300), (0,))))
    assert (said.harm, said.safe, said.starved) == (False, False, True)
    assert said.evidence["errors"]["calls_to_safe"] > 100


def test_a_version_whose_calls_cease_is_starved_after_a_while():
    judge = Betting(metrics=("errors",), first=50)
    judge.observe(BEGIN)
    assert not judge.observe(at_share(BEGIN, seen(1.0, (10,), (10,)))).starved
    assert not judge.observe(at_share(BEGIN, seen(20.0, (200,), (10,)))).starved
    assert judge.observe(at_share(BEGIN, seen(32.0, (320,), (10,)))).starved


def test_the_first_calls_that_all_fail_are_harm_at_once():
    judge = Betting()
    judge.observe(BEGIN)
    assert not judge.observe(at_share(BEGIN, seen(0.5, (5,), (5, 5)))).harm
    said = judge.observe(at_share(BEGIN, seen(1.0, (10,), (10, 10))))
    assert said.harm
    assert said.reasons == ("the first 10 calls of the new version failed: HTTP 500",)
    fast = Betting()
    fast.observe(BEGIN)
    assert fast.observe(at_share(BEGIN, seen(0.1, (25,), (25, 25)))).harm


def test_where_the_old_version_fails_too_it_is_not_the_new_ones_fault():
    judge = Betting()
    judge.observe(BEGIN)
    for second in range(1, 30):
        assert not judge.observe(
            at_share(BEGIN, seen(second, (10 * second, 10 * second), (10 * second, 10 * second)))
        ).harm


def test_a_version_that_breaks_later_is_harm_within_a_hundred_calls():
    judge = Betting()
    judge.observe(BEGIN)
    for second in range(1, 100):
        judge.observe(at_share(BEGIN, seen(second, (10 * second,), (10 * second,))))
    for second in range(100, 111):
        new = 10 * second, 10 * (second - 99)
        said = judge.observe(at_share(BEGIN, seen(second, (10 * second,), new)))
        if said.harm:
            break
    assert said.harm
    assert "calls of the new version failed" in said.reasons[0]


def test_calls_that_are_never_answered_are_harm():
    judge = Betting(stall=30.0)
    judge.observe(BEGIN)
    hung = at_share(BEGIN, seen(40.0, (400,), (3,)))
    said = judge.observe(evolve(hung, new=evolve(hung.new, stalled=31.0, in_flight=4)))
    assert said.harm
    assert "31 s none was answered" in said.reasons[0]


def test_a_version_that_is_slower_than_nearly_all_old_calls_were_is_harm():
    judge, slow = Betting(metrics=("latency",)), 0
    judge.observe(BEGIN)
    for second in range(1, 300):
        calls = 20 * second
        slow = max(0, calls // 4 - 100)
        said = judge.observe(at_share(BEGIN, seen(second, (calls, 0, calls // 100), (calls, 0, slow))))
        if said.harm:
            break
    assert said.harm
    assert said.reasons[0].startswith("latency: ")


def test_safe_is_for_one_share_and_harm_for_all():
    judge = Betting(metrics=("errors",), calls=200)
    assert steady(judge, seconds=600).safe
    half = seen(600.0, (60_000,), (60_000,), weight=0.8)
    assert not judge.observe(at_share(half, evolve(half, at=600.1))).safe


def test_what_was_as_good_at_one_share_has_to_be_so_again_at_the_next():
    judge = Betting(metrics=("errors",))
    assert steady(judge, seconds=900, old_bad=0.02, new_bad=0.02).safe
    more = seen(900.0, (90_000, 1800), (90_000, 1800), weight=0.8)
    assert not judge.observe(at_share(more, evolve(seen(901.0, (90_020, 1801), (90_080, 1801)), weight=0.8))).safe


def test_slow_calls_from_before_it_was_known_what_is_slow_are_not_judged():
    judge = Betting(metrics=("latency",))
    judge.observe(BEGIN)
    said = judge.observe(at_share(BEGIN, seen(10.0, (200, 0, 2), (200, 0, 150))))
    assert (said.evidence["latency"]["old"], said.evidence["latency"]["new"]) == (None, None)
    assert not judge.observe(at_share(BEGIN, seen(60.0, (600, 0, 2), (600, 0, 150)))).harm


def test_once_all_calls_are_the_new_versions_a_number_of_them_is_enough():
    judge = Betting(metrics=("errors",), calls=200)
    begin = seen(0.0, (5_000, 5), (0,), weight=1.0)
    assert judge.observe(at_share(begin, begin)).starved
    assert not judge.observe(at_share(begin, seen(1.0, (5_000, 5), (199,), weight=1.0))).safe
    assert judge.observe(at_share(begin, seen(2.0, (5_000, 5), (200,), weight=1.0))).safe


def test_a_version_that_has_all_calls_is_harm_when_incidents_are_much_more_frequent_than_before():
    judge = Betting(metrics=("errors",), calls=10**9)
    for second in range(100):
        judge.observe(at_share(BEGIN, seen(second, (100 * second, second // 20), (0,), weight=0.0)))
    begin = seen(100.0, (10_000, 5), (0,), weight=1.0)
    for second in range(1, 200):
        said = judge.observe(
            at_share(begin, seen(100.0 + second, (10_000, 5), (100 * second, second // 2), weight=1.0))
        )
        if said.harm:
            break
    assert said.harm
    assert second < 60


def test_a_burst_of_errors_after_all_calls_went_over_is_one_incident():
    judge = Betting(metrics=("errors",), calls=10**9)
    for second in range(100):
        judge.observe(at_share(BEGIN, seen(second, (100 * second, second // 20), (0,), weight=0.0)))
    begin = seen(100.0, (10_000, 5), (0,), weight=1.0)
    for second in range(1, 60):
        said = judge.observe(
            at_share(begin, seen(100.0 + second, (10_000, 5), (100 * second, 15 * (second > 30)), weight=1.0))
        )
        assert not said.harm


def test_a_version_that_soaks_is_watched_although_nothing_was_shifted():
    judge = Betting(metrics=("errors",), calls=200)
    for second in range(1, 21):
        said = judge.observe(seen(second, (0,), (10 * second,), weight=1.0))
    assert not said.safe
    assert judge.observe(seen(21.0, (0,), (210,), weight=1.0)).safe


def test_traffic_that_is_split_otherwise_than_asked_for_is_never_safe():
    judge = Betting(metrics=("errors",))
    begin = seen(0.0, (0,), (0,), weight=0.1)
    judge.observe(begin)
    for second in range(1, 300):
        said = judge.observe(at_share(begin, seen(second, (70 * second,), (30 * second,), weight=0.1)))
        assert not said.safe
    assert said.reasons == ("the new version got 30.0% of 29900 calls, where 10.0% was asked for",)


class Lost(Errors):
    name = "lost"

    def read(self, seen: Measurement) -> Counts:
        if seen.at > 5.0:
            raise OSError("the metric is gone")
        return super().read(seen)


def test_a_metric_that_disappears_holds_and_does_not_pass():
    said = steady(Betting(metrics=(Lost(),)), seconds=600)
    assert (said.harm, said.safe) == (False, False)
    assert said.reasons == ("the metric 'lost' cannot be read: OSError: the metric is gone",)


def test_several_metrics_share_the_chance_to_be_wrong():
    traffic = [Traffic(worse=4.0, seed=seed) for seed in range(10)]
    alone, beside = (
        [verdict(Betting(metrics=metrics), one, 600)[1] for one in traffic]
        for metrics in (("errors",), ("errors", "latency"))
    )
    assert all(one <= other for one, other in zip(alone, beside, strict=True))
    assert sum(alone) < sum(beside)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1.0, 3.0]))
def test_looking_more_often_changes_what_is_said_by_nothing_but_the_looks(seed, worse):
    moments = list(Traffic(worse=worse, seed=seed, bad=0.01).moments(200))
    often, rarely = Betting(metrics=("errors",)), Betting(metrics=("errors",))
    said_often = [(one.at, often.observe(one)) for one in moments]
    # Where nothing bad happened, and no incident was over, a look tells nothing.
    telling = [
        one
        for one, before in zip(moments[1:], moments, strict=False)
        if one.new.errors + one.old.errors > before.new.errors + before.old.errors
    ]
    said_rarely = [(one.at, rarely.observe(one)) for one in [moments[0], *telling, moments[-1]]]
    numbers = [said[-1][1].evidence["errors"] for said in (said_often, said_rarely)]
    assert numbers[0] == pytest.approx(numbers[1], nan_ok=True)


def test_the_evidence_is_plain_numbers_for_json():
    said = steady(Betting(), seconds=30, old_bad=0.01, new_bad=0.015)
    numbers = json.loads(json.dumps(dict(said.evidence), allow_nan=False))
    assert set(numbers) == {"errors", "latency"}
    errors = numbers["errors"]
    assert errors["old"] == pytest.approx(0.01)
    assert errors["new"] == pytest.approx(0.015)
    assert errors["ratio"] == pytest.approx(1.5)
    assert errors["low"] < 1.5
    assert errors["high"] is None or errors["high"] > 1.5
    assert 0.0 < errors["harm"] < 1.0


def test_the_interval_of_the_ratio_holds_the_truth_and_shrinks():
    judge = Betting(metrics=("errors",), alpha=1e-9)
    widths = []
    for measurement in Traffic(rate=100.0, worse=3.0, seed=5).moments(900, step=1.0):
        errors = judge.observe(measurement).evidence["errors"]
        if errors["high"] is not None:
            assert errors["low"] <= 3.0 <= errors["high"]
            widths.append(errors["high"] / max(errors["low"], 1e-3))
    assert widths[-1] < 4.0 < widths[0]


def test_it_is_installed_as_a_judge_and_refuses_what_makes_no_sense():
    drivers = Drivers()
    assert isinstance(drivers.make("judges", "betting", alpha=0.001), Betting)
    for wrong in ({"alpha": 0.0}, {"alpha": 1.0}, {"beta": -1}, {"margin": 1.0}, {"calls": 0}, {"stall": float("nan")}):
        with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
            drivers.make("judges", "betting", **wrong)
    with pytest.raises(InvalidRequestError, match="there is no metric 'eror'") as refused:
        drivers.make("judges", "betting", metrics=("eror",))
    assert "'errors'" in refused.value.hint
    with pytest.raises(InvalidRequestError, match="at least one metric"):
        drivers.make("judges", "betting", metrics=())


def test_a_version_that_is_slower_by_less_than_twice_is_not_slow_wherever_the_bounds_of_buckets_lie():
    judge, bound = Betting(metrics=("latency",)), bucket_of(0.01)
    judge.observe(BEGIN)

    def latency(calls, above):
        counts = [0] * (len(LATENCY_BOUNDS) + 1)
        counts[bound], counts[bound + 1] = calls - above, above
        return tuple(counts)

    for second in range(1, 300):
        calls = 20 * second
        # Most calls of the old version take as long as a bound, and a third of the new one's take a little longer.
        old = Arm(version="1", calls=calls, latency=latency(calls, calls // 30))
        new = Arm(version="2", calls=calls, latency=latency(calls, calls // 3))
        said = judge.observe(at_share(BEGIN, Measurement(at=second, weight=0.5, old=old, new=new)))
        assert not said.harm


def test_a_worse_version_does_no_harm_as_long_as_hardly_any_of_its_calls_are_bad():
    for share, harm in ((100, False), (25, True)):
        judge, said = Betting(metrics=("latency",)), None
        judge.observe(BEGIN)
        for second in range(1, 900):
            calls = 20 * second
            slow = max(0, calls - 200) // share
            said = judge.observe(at_share(BEGIN, seen(second, (calls, 0, slow // 5), (calls, 0, slow))))
            if said.harm:
                break
        assert said.harm == harm, share


def test_calls_of_less_than_a_millisecond_are_never_slow():
    judge = Betting(metrics=("latency",))
    judge.observe(BEGIN)
    for second in range(1, 300):
        calls = 20 * second
        quick, cold = (arm(name, calls, seconds=seconds) for name, seconds in (("1", 2e-5), ("2", 8e-4)))
        said = judge.observe(at_share(BEGIN, Measurement(at=second, weight=0.5, old=quick, new=cold)))
        assert not said.harm
    assert said.evidence["latency"]["new"] == 0.0


def test_members_may_get_other_shares_of_the_calls_than_they_are_of_the_members():
    def judged(routed):
        judge = Betting(metrics=("errors",))
        judge.observe(BEGIN)
        for second in range(1, 200):
            now = seen(second, (90 * second,), (10 * second,), weight=0.5, routed=routed)
            said = judge.observe(at_share(evolve(BEGIN, routed=routed), now))
        return said

    assert "where 50.0% was asked for" in judged(True).reasons[0]
    assert not any("asked for" in reason for reason in judged(False).reasons)


@pytest.mark.parametrize(
    ("part", "old", "harm"), [(0.57, 0.0, True), (0.57, 0.5, False), (0.2, 0.0, False), (0.3, 0.01, True)]
)
def test_a_large_part_of_calls_that_fails_steadily_is_harm_within_seconds_unless_the_old_version_is_ill_too(
    part, old, harm
):
    judge, said = Betting(metrics=("errors",)), None
    judge.observe(BEGIN)
    for tenth in range(1, 101):
        calls = 5 * tenth
        said = judge.observe(at_share(BEGIN, seen(tenth / 10, (calls, int(old * calls)), (calls, int(part * calls)))))
        if said.harm:
            break
    assert (said.harm and "failed" in said.reasons[0]) == harm
    assert not harm or tenth <= 60
