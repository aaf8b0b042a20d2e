from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_deployment.judging.incidents import Incident, Incidents

streams = st.lists(st.tuples(st.floats(0.0, 60.0), st.integers(0, 3), st.integers(0, 3)), max_size=60)


def grouped(stream: list[tuple[float, int, int]]) -> list[tuple[float, Incident]]:
    incidents, over, at = Incidents(0.0), [], 0.0
    for pause, old, new in stream:
        at += pause
        if (one := incidents.close(at)) is not None:
            over.append((at, one))
        if old or new:
            incidents.take(at, old, new)
    due = incidents.due
    if (last := incidents.close(due)) is not None:
        over.append((due, last))
    return over


@given(streams)
def test_every_bad_event_is_in_one_incident_and_in_no_other(stream):
    over = [incident for _, incident in grouped(stream)]
    assert sum(one.new for one in over) == sum(new for _, _, new in stream)
    assert sum(one.bad for one in over) == sum(old + new for _, old, new in stream)


@given(streams)
def test_how_events_are_grouped_does_not_depend_on_whose_they_were(stream):
    swapped = [(pause, new, old) for pause, old, new in stream]
    assert [(at, one.bad) for at, one in grouped(stream)] == [(at, one.bad) for at, one in grouped(swapped)]


@given(streams, st.lists(st.floats(0.0, 1.0), min_size=60, max_size=60))
def test_looking_more_often_changes_no_incident(stream, looks):
    often = []
    for (pause, old, new), part in zip(stream, looks, strict=False):
        often += [(pause * part, 0, 0), (pause - pause * part, old, new)]
    assert [one for _, one in grouped(often)] == [one for _, one in grouped(stream)]


def test_a_client_that_tries_again_is_one_incident():
    tries = [(50.0, 0, 1), (0.3, 0, 1), (0.4, 0, 1), (0.5, 0, 1)]
    assert [one for _, one in grouped([*tries, (40.0, 1, 0)])] == [Incident(4, 4), Incident(1, 0)]


def test_events_that_are_as_far_apart_as_events_usually_are_stay_apart():
    assert len(grouped([(5.0, 1, 0)] * 20)) == 20


def test_where_bad_events_come_in_clumps_it_takes_a_longer_silence_to_end_one():
    tries = [(pause, 1, 0) for pause in (4.0, 0.1, 0.1, 0.1, 0.8)]  # of one client, the last of them late
    over = [one.bad for _, one in grouped(tries * 4)]
    assert over[:2] == [4, 1]
    assert over[-1] == 5
    by_chance = [(0.5 + 0.3 * (number % 6), 1, 0) for number in range(16)]
    assert [one.bad for _, one in grouped([*by_chance, (5.0, 1, 0), (0.8, 1, 0)])][-2:] == [1, 1]


def test_an_incident_that_does_not_cease_is_cut():
    over = grouped([(0.1, 1, 1)] * 600)
    assert max(one.bad for _, one in over) <= 2 * 60
    assert len(over) >= 10
