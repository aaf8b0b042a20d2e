import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import versions
from noodle_upgrade_core.errors import ConstraintUnmetError, VersionInvalidError, VersionUnknownError

numbers = st.builds(
    "{}.{}.{}{}".format,
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["", "", "", "rc1", ".post1", ".dev1", "+local"]),
)


@pytest.mark.parametrize(
    "text", ["", "latest", "1..2", "1.0; rm", "../1.0", "1.0\n\n2.0", "1" * 5000, ".".join("1" * 400), None, 3, b"1.0"]
)
def test_what_is_no_version_is_refused_with_the_way_to_write_one(text):
    with pytest.raises(VersionInvalidError) as caught:
        versions.parse(text)
    assert "PEP 440" in caught.value.hint
    assert len(caught.value.message) < 300
    assert versions.is_version(text) is False


@pytest.mark.parametrize("text", ["", "3.0.0", "latest", "dist/x-1.0-py3-none-any.whl", ">=abc", "/tmp"])
def test_only_specifiers_count_as_specifiers(text):
    assert versions.is_specifier(text) is False


def test_several_specifiers_in_one_string_count_as_specifiers():
    assert versions.is_specifier(">=2,<3")
    assert versions.is_specifier("==3.0.*")


@pytest.mark.parametrize(("a", "b", "order"), [("1.0", "1.0.0", 0), ("1.0rc1", "1.0", -1), ("1!0.1", "9.0", 1)])
def test_versions_compare_as_pep_440_says(a, b, order):
    assert versions.compare(a, b) == order


@given(numbers, numbers)
def test_comparing_the_other_way_round_gives_the_opposite(a, b):
    assert versions.compare(a, b) == -versions.compare(b, a)


@given(st.lists(numbers | st.just("junk")))
def test_ordered_goes_upwards_without_doubles_or_junk(available):
    found = versions.ordered(available)
    assert all(versions.compare(a, b) < 0 for a, b in itertools.pairwise(found))
    assert set(found) <= set(available) - {"junk"}


def test_the_matrix_decides_what_may_follow_a_version_that_it_names():
    matrix = {"1.0": ("1.1", ">=2.5,<3"), "1.1": ()}
    assert versions.check_compatibility("1.0.0", "1.1.0", matrix=matrix).compatible
    assert versions.check_compatibility("1.0", "2.6", matrix=matrix).compatible
    assert not versions.check_compatibility("1.0", "2.0", matrix=matrix).compatible
    assert not versions.check_compatibility("1.1", "1.2", matrix=matrix).compatible


def test_a_version_that_the_matrix_does_not_name_is_unrestricted():
    assert versions.check_compatibility("2.0", "9.0", matrix={"1.0": ("1.1",)}).compatible


def test_the_matrix_closes_a_downgrade_too():
    assert not versions.check_compatibility("1.1", "1.0", matrix={"1.1": ("2.0",)}).compatible


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1.9", "2.0", "major version changes from 1 to 2"),
        ("0.1", "0.2", "minor version changes from 0.1 to 0.2"),
        ("9.0", "1!1.0", "epoch"),
        ("1.0", "1.1rc1", "pre-release"),
        ("1.1", "1.0", "downgrade"),
    ],
)
def test_a_breaking_change_is_reported_and_not_refused(old, new, words):
    found = versions.check_compatibility(old, new)
    assert found.compatible
    assert any(words in change for change in found.breaking_changes)


@pytest.mark.parametrize(("old", "new"), [("1.0", "1.9"), ("0.1.1", "0.1.2"), ("2.0", "2.0.0"), ("1.0", "1.0.post1")])
def test_a_small_step_breaks_nothing(old, new):
    assert versions.check_compatibility(old, new).breaking_changes == ()


def test_an_unmet_constraint_is_named_and_a_met_one_is_not():
    versions.validate_constraints("3.0.0", (">=2", "<4"))
    with pytest.raises(ConstraintUnmetError) as caught:
        versions.validate_constraints("3.0.0", (">=2", "<3", "!=3.0.0"))
    assert caught.value.details["unmet"] == ["!=3.0.0", "<3"]
    assert "<3" in caught.value.message
    assert ">=2" not in caught.value.message


def test_a_single_string_is_one_constraint_and_not_a_list_of_letters():
    with pytest.raises(ConstraintUnmetError):
        versions.validate_constraints("3.0.0", "<3")


def test_a_pre_release_that_was_asked_for_is_judged_by_its_place():
    versions.validate_constraints("3.1.0rc1", (">=3.0",))
    with pytest.raises(ConstraintUnmetError):
        versions.validate_constraints("3.0.0rc1", (">=3.0",))


@pytest.mark.parametrize("specifier", [">=abc", "3.0", "> =2 <3", "=" * 400])
def test_a_broken_specifier_is_refused(specifier):
    with pytest.raises(VersionInvalidError, match="specifier"):
        versions.validate_constraints("3.0.0", (specifier,))


def test_the_latest_version_is_never_a_pre_release_unless_it_is_named():
    available = ["1.0", "2.0rc1", "junk", "1.5"]
    assert versions.latest(available) == "1.5"
    assert versions.latest(available, ">=1.9") is None
    assert versions.latest(available, "==2.0rc1") == "2.0rc1"
    assert versions.latest(available, [">=1", "<1.5"]) == "1.0"


def test_without_rules_the_way_is_direct():
    assert versions.get_upgrade_path("1.0", "3.0", ["1.0", "2.0", "3.0"]) == ("1.0", "3.0")


def test_a_version_that_must_be_passed_is_passed_in_order():
    available = ["1.0", "1.1", "1.2", "2.0"]
    way = versions.get_upgrade_path("1.0", "2.0", available, must_pass=("1.2", "1.1", "0.9", "2.0"))
    assert way == ("1.0", "1.1", "1.2", "2.0")


def test_the_matrix_leads_the_shortest_way_through_the_newest_stops():
    matrix = {"1.0": ("1.1", "1.2", "1.3"), "1.1": ("2.0",), "1.2": ("2.0",), "1.3": ("1.4",)}
    available = ["1.0", "1.1", "1.2", "1.3", "1.4", "2.0"]
    assert versions.get_upgrade_path("1.0", "2.0", available, matrix=matrix) == ("1.0", "1.2", "2.0")


def test_a_closed_way_says_which_hop_is_closed_and_what_is_open():
    matrix = {"1.0": ("1.1",), "1.1": ("1.2",), "1.2": ()}
    with pytest.raises(ConstraintUnmetError) as caught:
        versions.get_upgrade_path("1.0", "2.0", ["1.0", "1.1", "1.2", "2.0"], matrix=matrix)
    assert caught.value.details == {"closed": ["1.0", "2.0"], "open": ["1.1", "1.2"]}
    assert "1.2, 1.1" in caught.value.hint


def test_the_closed_hop_is_the_one_behind_the_last_stop_that_could_be_reached():
    matrix = {"1.1": ("1.2",), "1.2": ()}
    with pytest.raises(ConstraintUnmetError) as caught:
        versions.get_upgrade_path("1.0", "2.0", ["1.0", "1.1", "1.2", "2.0"], must_pass=["1.1"], matrix=matrix)
    assert caught.value.details["closed"] == ["1.1", "2.0"]


def test_a_downgrade_is_one_hop_and_the_matrix_may_close_it():
    available = ["1.0", "1.1", "2.0"]
    assert versions.get_upgrade_path("2.0", "1.0", available, must_pass=("1.1",)) == ("2.0", "1.0")
    with pytest.raises(ConstraintUnmetError) as caught:
        versions.get_upgrade_path("2.0", "1.0", available, matrix={"2.0": ("1.1",)})
    assert caught.value.details == {"closed": ["2.0", "1.0"], "open": ["1.1"]}


def test_a_target_that_nobody_has_is_unknown():
    with pytest.raises(VersionUnknownError) as caught:
        versions.get_upgrade_path("1.0", "9.0", ["1.0", "2.0"])
    assert "2.0, 1.0" in caught.value.hint


def test_a_stop_that_nobody_has_is_unknown_before_anything_is_fetched():
    with pytest.raises(VersionUnknownError, match=r"1\.5"):
        versions.get_upgrade_path("1.0", "2.0", ["1.0", "2.0"], must_pass=("1.5",))


def test_a_pre_release_is_no_stop_on_the_way_but_may_be_the_target():
    matrix = {"1.0": ("1.5rc1",)}
    with pytest.raises(ConstraintUnmetError):
        versions.get_upgrade_path("1.0", "2.0", ["1.0", "1.5rc1", "2.0"], matrix=matrix)
    assert versions.get_upgrade_path("1.0", "1.5rc1", ["1.0", "1.5rc1"], matrix=matrix) == ("1.0", "1.5rc1")


def test_a_way_keeps_the_spelling_that_it_was_given():
    assert versions.get_upgrade_path("v1.0", "2.0.0", ["1.0.0", "2.0"]) == ("v1.0", "2.0.0")


@given(st.data())
def test_every_hop_of_a_way_is_allowed_and_no_shorter_way_exists(data):
    available = [f"1.{minor}" for minor in range(7)]
    followers = st.lists(st.sampled_from(available), max_size=3)
    matrix = data.draw(st.dictionaries(st.sampled_from(available), followers))
    lengths = {"1.0": 1}
    for here in available:  # upward hops only, so one pass over the ascending versions settles every length
        for there in available[available.index(here) + 1 :]:
            if here in lengths and versions.check_compatibility(here, there, matrix=matrix).compatible:
                lengths[there] = min(lengths.get(there, 99), lengths[here] + 1)
    try:
        way = versions.get_upgrade_path("1.0", "1.6", available, matrix=matrix)
    except ConstraintUnmetError:
        assert "1.6" not in lengths
        return
    assert len(way) == lengths["1.6"]
    for here, there in itertools.pairwise(way):
        assert versions.compare(here, there) < 0
        assert versions.check_compatibility(here, there, matrix=matrix).compatible
