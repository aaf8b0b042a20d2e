import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from noodle_upgrade_core.errors import (
    ComponentUnknownError,
    ConstraintUnmetError,
    DependencyCycleError,
    DependencyMissingError,
)
from noodle_upgrade_core.model import ComponentDescriptor, Dependency, Severity
from noodle_upgrade_core.registry import Registry, installed_version


def nothing_else(name):
    return None


def component(name, *needs, version="1.0", **fields):
    read = [Requirement(need) for need in needs]
    found = tuple(Dependency(need.name, str(need.specifier)) for need in read)
    return ComponentDescriptor(name=name, version=version, dependencies=found, **fields)


def registry(*components):
    return Registry.of(components, provided=nothing_else)


def test_an_unknown_component_is_refused_with_what_was_probably_meant():
    found = registry(component("markdown-it-py"), component("jinja2"))
    with pytest.raises(ComponentUnknownError) as caught:
        found.get_component("markdown-it")
    assert "'markdown-it-py'" in caught.value.hint
    with pytest.raises(ComponentUnknownError) as caught:
        found.get_component("zzz")
    assert "jinja2, markdown-it-py" in caught.value.hint


def test_an_unknown_component_of_an_empty_registry_says_where_to_look():
    with pytest.raises(ComponentUnknownError) as caught:
        Registry().get_component("")
    assert "noodle components" in caught.value.hint


@pytest.mark.parametrize("name", ["Markdown_It.py", "markdown-it-py", "MARKDOWN--IT__PY"])
def test_a_component_is_found_however_its_name_is_spelled(name):
    found = registry(component("markdown-it-py"))
    assert found.get_component(name).name == "markdown-it-py"
    assert name in found


def test_a_circle_is_named_in_order_and_no_longer_than_it_is():
    found = registry(component("a", "b"), component("b", "c"), component("c", "d", "b"), component("d", "a"))
    with pytest.raises(DependencyCycleError) as caught:
        found.resolve_dependencies(["a"])
    assert caught.value.details["cycle"] == ["b", "c"]
    assert "b -> c -> b" in caught.value.message


def test_a_component_that_needs_itself_is_a_circle_of_one():
    with pytest.raises(DependencyCycleError, match="a -> a"):
        registry(component("a", "a")).resolve_dependencies(["a"])


def test_a_circle_elsewhere_does_not_stop_others():
    found = registry(component("a", "b"), component("b", "a"), component("c", "d"), component("d"))
    assert found.resolve_dependencies(["c"]) == ("d", "c")


def test_what_only_depends_on_a_circle_is_not_named_as_part_of_it():
    found = registry(component("above", "a"), component("a", "b"), component("b", "a", "below"), component("below"))
    with pytest.raises(DependencyCycleError) as caught:
        found.resolve_dependencies(["above"])
    assert caught.value.details["cycle"] == ["a", "b"]


def test_every_missing_dependency_is_named_at_once():
    found = registry(component("a", "gone>=2", "b"), component("b", "lost"))
    with pytest.raises(DependencyMissingError) as caught:
        found.resolve_dependencies(["a"])
    assert caught.value.details["missing"] == [
        {"component": "a", "dependency": "gone>=2"},
        {"component": "b", "dependency": "lost"},
    ]


def test_a_missing_optional_dependency_is_only_an_information():
    found = registry(component("a", "turbo>=1", metadata={"optional_dependencies": ["Turbo"]}))
    assert found.resolve_dependencies(["a"]) == ("a",)
    (finding,) = found.check({"a": "2.0"})
    assert (finding.severity, finding.code) == (Severity.INFO, "dependency.optional_missing")


def test_a_dependency_that_is_installed_but_not_loaded_is_not_missing():
    assert Registry.of([component("a", "pytest")]).resolve_dependencies(["a"]) == ("a",)
    assert installed_version("pytest")
    assert installed_version("no-such-distribution") is None
    assert installed_version("") is None


def test_dependencies_come_first_also_through_components_that_were_not_asked_for():
    found = registry(component("app", "web"), component("web", "core"), component("core"), component("other"))
    assert found.resolve_dependencies(["app", "core"]) == ("core", "web", "app")


def test_of_two_descriptions_the_first_is_believed_and_it_is_said():
    found = registry(component("A_b", version="1.0"), component("a-b", version="2.0"), component("a.b", version="1.0"))
    assert found.names == ("A_b",)
    assert found.get_component("a-b").version == "1.0"
    assert [(f.severity, f.code, f.subject) for f in found.findings] == [
        (Severity.WARNING, "component.duplicate", "A_b"),
        (Severity.INFO, "component.duplicate", "A_b"),
    ]


def test_a_registry_is_a_value_and_a_changed_one_is_another():
    first = registry(component("a"))
    second = first.with_components(component("b", "a")).with_components(component("A", version="2.0"))
    assert first.names == ("a",)
    assert first.dependents("a") == ()
    assert second.names == ("A", "b")
    assert second.get_component("a").version == "2.0"
    assert second.dependents("a") == ("b",)
    with pytest.raises(AttributeError):
        first.components = ()


def test_dependents_are_told_nearest_first():
    found = registry(component("base"), component("z", "base"), component("y", "base"), component("a", "z"))
    assert found.dependents("base") == ("y", "z", "a")


def test_a_component_that_stays_and_cannot_take_the_new_version_is_an_error_about_what_changes():
    found = registry(component("lib", version="1.0"), component("app", "lib>=1,<2"), component("free", "lib"))
    (finding,) = found.check({"lib": "2.0"})
    assert (finding.severity, finding.code, finding.subject) == (Severity.ERROR, "constraint.unmet", "lib")
    assert "app 1.0 needs lib<2,>=1, not lib 2.0" in finding.message
    assert "app" in finding.hint
    assert found.check({"lib": "1.9"}) == ()


def test_a_component_that_changes_too_is_not_bound_by_what_its_old_version_needed():
    found = registry(component("lib"), component("app", "lib<2"))
    (finding,) = found.check({"lib": "2.0", "app": "2.0"})
    assert (finding.severity, finding.code) == (Severity.INFO, "constraint.superseded")


def test_what_was_unmet_before_and_is_not_touched_is_not_this_plans_affair():
    found = registry(component("lib", version="3.0"), component("app", "lib<2"), component("other"))
    assert found.check({"other": "2.0"}) == ()
    assert [f.code for f in found.check()] == ["constraint.unmet"]


def test_a_constraint_or_a_version_that_cannot_be_read_is_a_warning():
    broken = ComponentDescriptor(name="app", version="1.0", dependencies=(Dependency("lib", "about 2"),))
    (finding,) = registry(component("lib"), broken).check({"lib": "2.0"})
    assert (finding.severity, finding.code) == (Severity.WARNING, "constraint.unreadable")
    (finding,) = registry(component("lib", version="unknown"), component("app", "lib<2")).check()
    assert (finding.severity, finding.code) == (Severity.WARNING, "version.invalid")


def test_a_change_of_an_unknown_component_cannot_be_checked():
    with pytest.raises(ComponentUnknownError):
        registry(component("a")).check({"b": "1.0"})


def test_the_way_to_a_version_follows_the_components_own_rules():
    found = registry(component("a", upgrade_path=("1.5",), compatibility_matrix={"1.5": ("2.0",)}))
    assert found.get_upgrade_path("A", "2.0", ["1.5", "2.0", "3.0"]) == ("1.0", "1.5", "2.0")
    with pytest.raises(ConstraintUnmetError):
        found.get_upgrade_path("a", "3.0", ["1.5", "2.0", "3.0"][::2])


NAMES = [f"c{number}" for number in range(8)]
needs = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3))


@given(needs, st.permutations(NAMES), st.lists(st.sampled_from(NAMES), min_size=1))
def test_the_order_respects_every_dependency_and_not_the_order_of_insertion(needs, insertion, asked):
    upwards = {n: [m for m in needs.get(n, []) if m < n] for n in NAMES}
    found = registry(*(component(n, *upwards[n]) for n in insertion))
    assert found == registry(*(component(n, *upwards[n]) for n in NAMES))
    order = found.resolve_dependencies(asked)
    assert order == registry(*(component(n, *upwards[n]) for n in NAMES)).resolve_dependencies(asked[::-1])
    assert set(asked) <= set(order)
    for name in order:
        assert all(order.index(need) < order.index(name) for need in upwards[name])


@given(needs, st.sampled_from(NAMES))
def test_a_graph_either_has_an_order_or_names_a_real_circle(needs, asked):
    found = registry(*(component(n, *needs.get(n, [])) for n in NAMES))
    try:
        found.resolve_dependencies([asked])
    except DependencyCycleError as error:
        cycle = error.details["cycle"]
        for here, there in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert there in needs[here]


@given(needs, st.sampled_from(NAMES))
def test_a_dependent_is_who_reaches_the_component_by_its_dependencies(needs, name):
    found = registry(*(component(n, *needs.get(n, [])) for n in NAMES))

    def reaches(start):
        seen, edge = set(), [start]
        while edge:
            fresh = set(needs.get(edge.pop(), [])) - seen
            seen |= fresh
            edge += fresh
        return name in seen

    assert set(found.dependents(name)) == {other for other in NAMES if other != name and reaches(other)}
