import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import graph

NODES = "abcdefgh"
graphs = st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=4)).map(
    lambda needs: {node: needs.get(node, []) for node in NODES}
)


def is_cycle(cycle, needs):
    return all(there in needs[here] for here, there in zip(cycle, (*cycle[1:], *cycle[:1]), strict=True))


def cycles_of(needs):
    """Every circle, by trying all: the reference that the quick search is held against."""
    for length in range(1, len(needs) + 1):
        for nodes in itertools.permutations(sorted(needs), length):
            if nodes[0] == min(nodes) and is_cycle(nodes, needs):
                yield nodes


@given(graphs)
def test_what_is_needed_always_comes_first(needs):
    found, circling = graph.order(needs)
    place = {node: number for number, node in enumerate(found)}
    assert set(found) | circling == set(needs)
    assert not set(found) & circling
    for node in found:
        assert all(place[other] < place[node] for other in needs[node])


@given(graphs, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_the_graph_was_put_together(needs, chance):
    nodes = list(needs)
    chance.shuffle(nodes)
    mixed = {node: chance.sample(needs[node], len(needs[node])) for node in nodes}
    assert graph.order(mixed) == graph.order(needs)
    assert graph.shortest_cycle(mixed) == graph.shortest_cycle(needs)


@given(graphs)
def test_a_circle_is_real_and_exists_exactly_where_there_is_no_order(needs):
    cycle = graph.shortest_cycle(needs)
    _, circling = graph.order(needs)
    assert bool(cycle) == bool(circling)
    assert set(cycle) <= circling
    assert is_cycle(cycle, needs)
    assert not cycle or cycle[0] == min(cycle)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), max_size=9))
def test_no_circle_is_shorter_than_the_one_that_is_named(edges):
    needs = {node: [there for here, there in edges if here == node] for node in "abcde"}
    shortest = next(cycles_of(needs), ())
    assert len(graph.shortest_cycle(needs)) == len(shortest)


def test_a_ring_of_ten_thousand_is_named_whole():
    needs = {f"n{i:05}": [f"n{(i + 1) % 10_000:05}"] for i in range(10_000)}
    assert graph.shortest_cycle(needs) == tuple(sorted(needs))


def test_a_longer_circle_that_is_found_later_does_not_replace_a_shorter_one():
    assert graph.shortest_cycle({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["e"], "e": ["c"]}) == ("a", "b")


def test_a_hidden_small_circle_is_found_behind_a_large_one():
    needs = {f"n{i:04}": [f"n{(i + 1) % 2000:04}"] for i in range(2000)}
    needs["n1500"] = ["n1501", "n1499"]
    assert graph.shortest_cycle(needs) == ("n1499", "n1500")


def test_a_large_tangle_still_names_a_real_circle():
    chance = random.Random(7)
    needs = {f"n{i}": [f"n{(i + chance.randrange(1, 900)) % 3000}" for _ in range(60)] for i in range(3000)}
    cycle = graph.shortest_cycle(needs)
    assert cycle
    assert is_cycle(cycle, needs)
