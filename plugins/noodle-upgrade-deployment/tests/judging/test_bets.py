import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_deployment.judging.bets import Bets, SoloBets, fair_share

shares = st.floats(0.001, 0.999)
bounds = st.floats(0.1, 10.0)
incidents = st.lists(st.tuples(st.integers(1, 40), st.floats(0.0, 1.0)), max_size=30)
sides = st.sampled_from([{2.0: 0.2, 4.0: 0.2, 12.0: 0.6}, {0.9: 0.8, 0.5: 0.2}])


def bets_on(bound: float, ratios: dict[float, float]) -> Bets:
    return Bets(bound, {ratio * bound: part for ratio, part in ratios.items()})


@given(bounds, sides, shares, incidents, st.integers(1, 100))
def test_a_bet_is_fair_whatever_was_won_before_and_however_many_events_an_incident_has(bound, ratios, share, past, bad):
    def capital_after(new: int) -> float:
        bets = bets_on(bound, ratios)
        for events, part in past:
            bets.settle(round(part * events), events, share)
        before = bets.log_capital
        bets.settle(new, bad, share)
        return math.exp(bets.log_capital - before)

    fair = fair_share(share, bound)
    # The worst clump: all events of one version. What is fair for it is fair for every other, since stakes are linear.
    assert fair * capital_after(bad) + (1 - fair) * capital_after(0) == pytest.approx(1.0)


@given(bounds, sides, shares, st.lists(st.tuples(st.integers(1, 40), st.floats(0.0, 1.0)), max_size=60))
def test_nobody_is_ever_ruined_so_that_a_late_change_can_be_noticed(bound, ratios, share, past):
    bets = bets_on(bound, ratios)
    for events, part in past:
        bets.settle(round(part * events), events, share)
        assert math.isfinite(bets.log_capital)
    before = bets.log_capital
    side = 1 if max(ratios) > 1 else 0
    for _ in range(200):
        bets.settle(side * 3, 3, share)
    assert bets.log_capital > before


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_is_bet_while_only_one_version_serves(share):
    bets = bets_on(1.0, {2.0: 1.0})
    bets.settle(5, 5, share)
    assert bets.log_capital == 0.0


def test_a_clump_counts_as_one_event_and_not_as_many():
    one_clump, many = bets_on(1.0, {12.0: 1.0}), bets_on(1.0, {12.0: 1.0})
    one_clump.settle(10, 10, 0.5)
    for _ in range(10):
        many.settle(1, 1, 0.5)
    assert one_clump.log_capital < math.log(2.0)
    assert many.log_capital > math.log(100.0)


@given(st.floats(1e-4, 0.4), st.booleans(), st.integers(0, 500), st.integers(0, 20))
def test_bets_on_one_version_are_fair_at_the_limit(limit, above, good, bad):
    bets = SoloBets(limit, above=above)

    def capital(events: int, bad: int) -> float:
        return math.exp(bets.log_capital(events, bad))

    now = capital(good + bad, bad)
    later = limit * capital(good + bad + 1, bad + 1) + (1 - limit) * capital(good + bad + 1, bad)
    assert later == pytest.approx(now, rel=1e-9)


def test_bets_on_one_version_win_on_the_side_that_they_are_for():
    below, above = SoloBets(0.01), SoloBets(0.01, above=True)
    assert below.log_capital(2000, 0) > math.log(100) > below.log_capital(2000, 40)
    assert above.log_capital(2000, 100) > math.log(100) > above.log_capital(2000, 15)
