import itertools
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_deployment.judging.pairs import PairBets, lead
from noodle_upgrade_deployment.judging.repeats import Repeats

readings = st.floats(0.0, 1e300) | st.sampled_from([0.0, 5e-324, 1.7e308])
any_readings = readings | st.floats(-1e300, 0.0)
bounds = st.floats(0.1, 1000.0)
leads = st.floats(-1.0, 1.0)
SURE = math.log(100.0)


def capital(won: list[float], block: int = 1) -> list[float]:
    bets, after = PairBets(), []
    for one in won:
        bets.take(one, block)
        after.append(bets.log_capital)
    return after


@given(any_readings, any_readings)
def test_exchanging_the_versions_turns_the_lead_round_also_below_zero_and_at_the_ends_of_numbers(one, other):
    assert -1.0 <= lead(one, other) <= 1.0
    assert lead(one, other) == -lead(other, one)


@given(readings, readings, bounds)
def test_what_is_exactly_as_many_times_as_high_as_the_bound_says_has_no_lead(one, other, bound):
    ahead = lead(one, other, bound)
    assert -1.0 <= ahead <= 1.0
    if 1e-200 < one < 1e200 and 1e-200 < other < 1e200:
        assert ahead == pytest.approx((one - bound * other) / (one + bound * other), abs=1e-9)
        assert lead(bound * other, other, bound) == pytest.approx(0.0, abs=1e-9)
    assert lead(0.0, 0.0, bound) == pytest.approx(0.0, abs=1e-9)


@given(st.lists(leads, max_size=40), leads, st.integers(1, 5))
def test_a_bet_is_fair_whatever_was_won_before_and_however_long_a_block_is(past, ahead, block):
    """A block of leads and the same block turned round: exchangeable versions show both as often."""

    def grown(last: list[float]) -> float:
        bets = PairBets()
        for one in past:
            bets.take(one, 1)
        before = bets.log_capital
        for one in last:
            bets.take(one, block)
        return math.exp(bets.log_capital - before)

    ahead_for_all = [ahead] * block
    assert grown(ahead_for_all) / 2 + grown([-one for one in ahead_for_all]) / 2 == pytest.approx(1.0)


@given(st.lists(leads, max_size=60))
def test_nobody_is_ever_ruined_so_that_a_late_change_can_be_noticed(past):
    after = capital([*past, *[0.5] * 200])
    assert all(math.isfinite(one) for one in after)
    assert after[-1] > SURE


def test_a_version_that_gets_worse_late_is_found_nearly_as_soon_as_one_that_is_so_from_the_beginning():
    """After sixty pairs that went to and fro the bold gambler has nothing left but what was lent to him."""
    after = capital([*[0.9, -0.9] * 30, *[0.9] * 25])
    assert after[59] < 0.0
    assert after[-1] > SURE


def test_seven_readings_of_a_hundred_against_one_and_three_alike_are_harm_in_each_order():
    """Kayenta's vector, where Mann and Whitney's test lets the version pass."""
    ahead = lead(100.0, 1.0)
    for sevens in itertools.combinations(range(10), 7):
        after = capital([ahead if place in sevens else 0.0 for place in range(10)])
        assert after[-1] >= SURE


def test_three_readings_that_are_a_little_lower_may_cost_the_verdict_when_they_come_early():
    """What does not hold: the vector with readings that are not exactly alike. Late ones cost nothing, early ones do."""
    ahead, behind = lead(100.0, 1.0), lead(1.0, 1.1)
    assert max(capital([ahead] * 7 + [behind] * 3)) >= SURE
    assert max(capital([behind] * 3 + [ahead] * 7)) < SURE


def test_six_readings_of_ten_are_not_enough():
    assert max(capital([lead(100.0, 1.0)] * 6 + [0.0] * 4)) < SURE


# --- readings that repeat one another --------------------------------------------------------------------------------


def walk(rng: Random, kept: float) -> list[float]:
    place, places = rng.gauss(0.0, 1.0), []
    for _ in range(400):
        place = kept * place + math.sqrt(1.0 - kept * kept) * rng.gauss(0.0, 1.0)
        places.append(math.exp(0.5 * place))
    return places


def block_after(old: list[float], new: list[float]) -> int:
    repeats = Repeats()
    for one, other in zip(old, new, strict=True):
        repeats.add(one, lead(other, one))
    return repeats.block


@pytest.mark.parametrize("seed", range(10))
def test_readings_that_repeat_one_another_make_blocks_and_the_more_so_the_longer(seed):
    rng = Random(seed)
    some, most = (block_after(walk(rng, kept), walk(rng, kept)) for kept in (0.5, 0.95))
    assert 3 <= some <= 12
    assert most >= 15


def test_readings_of_their_own_what_both_versions_share_and_a_step_make_no_blocks():
    rng = Random(1)
    shared = walk(rng, 0.95)
    apart = [[math.exp(rng.gauss(0.0, 0.2)) for _ in shared] for _ in range(2)]
    together = [[one * other for one, other in zip(shared, each, strict=True)] for each in apart]
    stepped = [one * (3.0 if place > 200 else 1.0) for place, one in enumerate(apart[1])]
    assert block_after(*apart) <= 3
    assert block_after(*together) <= 3
    assert block_after(apart[0], stepped) <= 3


def test_readings_that_are_all_alike_make_no_blocks():
    assert block_after([0.0] * 9, [0.0] * 9) == 1
    assert block_after([4.0] * 9, [8.0] * 9) == 1
    assert Repeats().block == 1


@given(st.lists(st.tuples(readings, readings), max_size=60))
def test_a_block_has_between_one_and_thirty_readings(pairs):
    repeats = Repeats()
    for old, new in pairs:
        repeats.add(old, lead(new, old))
        assert 1 <= repeats.block <= 30
