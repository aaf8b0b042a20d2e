"""What references lead to is compared with what they lead to in a process that was never upgraded."""

from __future__ import annotations

from fidelity.holds import Told, compare_held

CLASS = ["class", "pkg", "A", True]


def test_what_differs_is_wrong_and_what_the_other_version_has_not_is_gone():
    found = compare_held({"pkg:f|alias": 1, "pkg:g|alias": 2}, {"pkg:f|alias": 1, "pkg:g|alias": 3, "pkg:h|alias": 4})
    assert (found.right, list(found.wrong), found.gone) == (1, ["pkg:g|alias"], 1)


def test_an_instance_may_have_kept_more_than_a_new_one_has():
    wanted, found = {"subset": ["a"]}, {"subset": ["a", "old"]}
    assert compare_held({"pkg:A|fields": wanted}, {"pkg:A|fields": found}).wrong == {}
    assert compare_held({"pkg:A|fields": found}, {"pkg:A|fields": wanted}).wrong


def test_a_function_that_had_two_names_may_be_either_of_them_now():
    before = {"pkg:A|unbound old": "f", "pkg:A|unbound new": "f", "pkg:A|unbound other": "g"}
    control = {"pkg:A|unbound old": "wrapper", "pkg:A|unbound new": "F", "pkg:A|unbound other": "G"}
    live = {"pkg:A|unbound old": "F", "pkg:A|unbound new": "F", "pkg:A|unbound other": "F"}
    assert list(compare_held(control, live, before).wrong) == ["pkg:A|unbound other"]


def test_an_instance_stays_what_it_is_where_the_constructor_makes_another_one_now():
    before = {"pkg:A|type of an instance": CLASS, "pkg:A|bound m": 1, "pkg:A|alias": 1}
    control = {"pkg:A|type of an instance": ["class", "pkg", "B", True], "pkg:A|bound m": 2, "pkg:A|alias": 2}
    found = compare_held(control, before, before)
    assert (list(found.wrong), found.gone) == (["pkg:A|alias"], 2)


def test_what_a_class_binds_for_all_its_instances_is_told_and_anything_else_is_not():
    control, live = {"pkg:A|shape": {"m": 1}}, {"pkg:A|shape": {"m": 1, "limit": "int"}}
    told = Told.by({"shared": {"pkg.A": ["limit"]}})
    assert compare_held(control, live).wrong
    assert compare_held(control, live, told=told).told == ("pkg:A|shape",)
    assert compare_held(control, {"pkg:A|shape": {"m": 2, "limit": "int"}}, told=told).wrong
    assert compare_held(control, {"pkg:A|shape": {"m": 1, "more": "int"}}, told=told).wrong


def test_an_abstract_class_that_has_kept_its_metaclass_is_told_and_its_methods_are_not_excused():
    base = ["abc", "ABC", True]
    control = {"pkg:A|shape": {"the bases": [CLASS, base], "m": 1}, "pkg:A|super().m": ["raises", "TypeError"]}
    live = {"pkg:A|shape": {"the bases": [CLASS], "m": 1}, "pkg:A|super().m": ["function"]}
    assert set(compare_held(control, live).wrong) == set(live)
    assert compare_held(control, live, told=Told.by({"plain": True, "abstract": ["pkg.A"]})).wrong == {}
    assert compare_held(control, live, told=Told.by({"plain": False, "abstract": ["pkg.A"]})).wrong
    live["pkg:A|shape"]["m"] = 2
    assert compare_held(control, live, told=Told.by({"plain": True, "abstract": ["pkg.A"]})).wrong


def test_a_function_that_stays_for_what_became_an_object_is_told_and_any_other_thing_is_not():
    told = Told.by({"parted": ["pkg.f: it becomes an object"]})
    control = {"pkg:f|context variable": ["object", "pkg", "F", True]}
    function = {"pkg:f|context variable": ["function", "pkg", "digest", [], {}]}
    assert compare_held(control, function, told=told).told == ("pkg:f|context variable",)
    assert compare_held(control, function).wrong
    assert compare_held(control, {"pkg:f|context variable": ["object", "pkg", "G", True]}, told=told).wrong
