"""The reference matrix: every kind of reference is right after a live upgrade and after going back, or refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from matrix import GROUPS
from matrix.running import refused, upgraded

PROBES = [(group, probe) for group in GROUPS for probe in group.probes]


def parameters(wanted):
    return [pytest.param(group, probe, id=f"{group.title}: {probe.name}") for group, probe in PROBES if wanted(probe)]


@pytest.fixture(scope="module")
def outcomes(packages):
    """Return what the probes of a group have seen, which are upgraded in one step."""
    found = {}

    def of(group):
        if group.title not in found:
            probes = [probe for probe in group.probes if not probe.refused]
            found[group.title] = dict(zip(probes, upgraded(probes, packages), strict=True))
        return found[group.title]

    return of


@pytest.mark.parametrize(("group", "probe"), parameters(lambda probe: not probe.refused))
def test_what_is_held_sees_the_upgrade_and_the_way_back(outcomes, group, probe):
    assert probe.before != probe.after, "a probe that sees no difference proves nothing"
    assert outcomes(group)[probe].wrong == []


@pytest.mark.parametrize(
    ("group", "probe"),
    parameters(lambda probe: not (probe.refused or probe.once or probe.since)),
)
def test_what_was_taken_from_the_new_version_goes_back_too(outcomes, group, probe):
    assert outcomes(group)[probe].since == []
    assert outcomes(group)[probe].named == []


@pytest.mark.parametrize(("group", "probe"), parameters(lambda probe: probe.since))
def test_what_cannot_be_led_back_is_named_by_the_way_back(outcomes, group, probe):
    assert outcomes(group)[probe].since != []
    assert outcomes(group)[probe].named != []


@pytest.mark.parametrize(("group", "probe"), parameters(lambda probe: probe.refused))
def test_what_could_not_follow_is_refused_beforehand_by_name(packages, group, probe):
    assert refused(probe, packages()).wrong == []


def test_there_are_many_probes_and_each_has_a_name_of_its_own():
    names = [(group.title, probe.name) for group, probe in PROBES]
    assert len(set(names)) == len(names) >= 90
