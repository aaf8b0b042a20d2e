"""Settings as the core makes them of a file, for the tests of policies."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_deployment.policies.stages import Staged
from noodle_upgrade_deployment.settings import DeploymentSettings

DOCUMENT = Path(__file__).parent / "deployment.json"
DRIVERS = Drivers(extra={"strategies": {"staged": Staged}})
"""The installed drivers, and the strategy of these very sources."""


def document():
    return json.loads(DOCUMENT.read_text())


def whole(section, **environ):
    """All settings of a program with this section, the plugin being loaded after the file is read."""
    loaded = load_settings(overrides={"deployment": section}, environ=environ)
    return loaded.claim({"deployment": DeploymentSettings})


def settings_of(section):
    return whole(section).section("deployment")


def with_policy(**policy):
    """The settings of a program with one policy, `production`."""
    return settings_of({"policies": {"production": policy}})


def policy_of(**policy):
    return with_policy(**policy).policies["production"]


def refused(section):
    """The words of the only problem that this section has."""
    with pytest.raises(SettingsError) as caught:
        settings_of(section)
    (problem,) = caught.value.details["problems"]
    return f"{problem['key']} {problem['problem']} {problem['hint']}"


def policy_refused(**policy):
    return refused({"policies": {"production": policy}})


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
