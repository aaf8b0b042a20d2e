import pytest
from policy_files import document, settings_of, utc

from noodle_upgrade_core.errors import UpgradeError, UpgradeRejectedError
from noodle_upgrade_deployment.policies.choice import (
    EnvironmentUnknownError,
    calendar_for,
    policy_for,
    policy_name_for,
)


def test_an_environment_has_its_own_policy():
    settings = settings_of(document()["deployment"])
    assert policy_for(settings, "staging") == settings.policies["staging"]
    assert policy_name_for(settings, "staging") == "staging"


def test_an_environment_without_a_policy_has_the_default_one_which_then_is_for_it():
    settings = settings_of({"policies": {"default": {"bake": 5}, "production": {}}})
    assert policy_name_for(settings, "qa") == policy_name_for(settings, "") == "default"
    policy = policy_for(settings, "qa")
    assert (policy.deployment_environment, policy.bake) == ("qa", 5)
    assert policy_for(settings, "production").bake == 0


def test_an_environment_without_a_policy_and_without_a_default_is_refused_with_those_known():
    settings = settings_of(document()["deployment"])
    with pytest.raises(EnvironmentUnknownError) as caught:
        policy_for(settings, "prodution")
    assert str(caught.value) == (
        "there is no policy for the environment 'prodution'. Did you mean 'production'?"
        " Policies: development, production, staging. Add one, or one that is called 'default'."
    )
    assert caught.value.details == {"environment": "prodution", "known": ["development", "production", "staging"]}
    assert isinstance(caught.value, UpgradeRejectedError)
    assert type(UpgradeError.from_wire(caught.value.to_wire())) is EnvironmentUnknownError


def test_a_program_that_is_no_environment_is_refused_where_there_is_no_default():
    with pytest.raises(EnvironmentUnknownError, match=r"a program without an environment\. Policies: none"):
        policy_for(settings_of({}), "")


def windows_of(section, environment):
    return [str(window) for window in calendar_for(settings_of(section), environment).windows]


def test_a_policy_s_own_windows_win_over_those_of_its_environment():
    section = document()["deployment"]
    assert windows_of(section, "production") == ["02:00-04:00", "22:00-23:59"]
    assert windows_of(section, "staging") == ["06:00-08:00 on sunday"]
    assert windows_of(section, "development") == []


def test_an_environment_s_window_wins_over_that_of_the_default_policy():
    section = {
        "policies": {"default": {}},
        "maintenance_windows": {
            "default": {"start": "01:00", "end": "02:00"},
            "qa": {"start": "03:00", "end": "04:00"},
        },
    }
    assert windows_of(section, "qa") == ["03:00-04:00"]
    assert windows_of(section, "ops") == ["01:00-02:00"]


@pytest.mark.parametrize(
    ("section", "policy", "opens"),
    [("UTC", "", "02:00"), ("Europe/Berlin", "", "00:00"), ("Europe/Berlin", "America/New_York", "06:00")],
)
@pytest.mark.parametrize("own", [True, False])
def test_times_are_those_of_the_policy_s_zone_else_of_the_section_s(section, policy, opens, own):
    window = {"timing_constraints": {"maintenance_windows": ["02:00-03:00"]}} if own else {}
    settings = settings_of(
        {
            "timezone": section,
            "policies": {"production": {"timezone": policy, **window}},
            "maintenance_windows": {"production": {"start": "02:00", "end": "03:00"}},
        }
    )
    assert f"{calendar_for(settings, 'production').opens(utc('2026-07-01T00:00')):%H:%M}" == opens
