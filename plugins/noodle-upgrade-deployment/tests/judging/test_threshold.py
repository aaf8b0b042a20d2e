import pytest
from arrivals import at_share, seen
from attrs import evolve

from noodle_upgrade_core import Observation
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.judging.threshold import Threshold

BEGIN = seen(0.0, (0,), (0,))


def after(judge: Threshold, *windows: tuple[int, int], slow: int = 0) -> list[Observation]:
    """What the judge says at the end of each minute, in which the new version had these calls and errors."""
    calls = errors = slower = 0
    said = [judge.observe(BEGIN)]
    for minute, (more, bad) in enumerate(windows, 1):
        calls, errors, slower = calls + more, errors + bad, slower + (slow if more else 0)
        said.append(judge.observe(at_share(BEGIN, seen(60.0 * minute, (1000,), (calls, errors, slower)))))
    return said[1:]


def test_one_failed_check_is_harm_where_none_may_fail():
    said = after(Threshold(error_share=0.01), (600, 6), (600, 7))
    assert [one.harm for one in said] == [False, True]
    assert "7" not in said[0].reasons[0]
    assert said[1].reasons == ("1.17% of 600 calls failed, more than 1.00% (failed check 1, 0 may fail)",)


def test_as_many_checks_may_fail_as_are_allowed_and_no_more():
    said = after(Threshold(failures=3), *[(100, 50), (100, 0)] * 3, (100, 50))
    assert [one.harm for one in said] == [False] * 6 + [True]


def test_where_only_checks_in_a_row_count_a_good_one_forgives():
    said = after(Threshold(failures=1, consecutive=True), *[(100, 50), (100, 0)] * 3, (100, 50), (100, 50))
    assert [one.harm for one in said] == [False] * 7 + [True]


def test_a_number_of_good_checks_is_safe():
    said = after(Threshold(passes=3), *[(100, 0)] * 3)
    assert [one.safe for one in said] == [False, False, True]


def test_a_window_without_calls_neither_fails_nor_passes():
    said = after(Threshold(passes=2), (100, 0), (0, 0), (0, 0), (100, 0))
    assert [one.starved for one in said] == [False, True, True, False]
    assert [one.safe for one in said] == [False, False, False, True]


def test_between_checks_it_says_what_it_said():
    judge = Threshold(error_share=0.5)
    judge.observe(BEGIN)
    half = at_share(BEGIN, seen(30.0, (0,), (100, 100)))
    assert not judge.observe(half).harm
    assert judge.observe(evolve(half, at=60.0)).harm
    assert judge.observe(evolve(half, at=60.1)).harm


def test_slow_calls_fail_a_check():
    said = after(Threshold(latency=0.5), (100, 0), slow=2)
    assert said[0].harm
    assert "the latency at 99% is" in said[0].reasons[0]


def test_another_share_has_to_be_safe_for_itself():
    judge = Threshold(passes=1)
    assert after(judge, (100, 0))[0].safe
    other = seen(60.0, (1000,), (100,), weight=0.8)
    assert not judge.observe(at_share(other, evolve(other, at=61.0))).safe


@pytest.mark.parametrize(
    "wrong", [{"failures": -1}, {"failures": True}, {"interval": float("inf")}, {"error_share": 2}]
)
def test_limits_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
        Drivers().make("judges", "threshold", **wrong)
