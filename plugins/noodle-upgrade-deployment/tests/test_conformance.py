"""The core's conformance kit on this plugin and its strategies."""

import pytest

from noodle_upgrade_core.testing import conformance_checks_of_strategy, parametrize_with_checks
from noodle_upgrade_deployment.plugin import DeploymentPlugin
from noodle_upgrade_deployment.settings import DeploymentSettings
from noodle_upgrade_deployment.strategies.blue_green import BlueGreen
from noodle_upgrade_deployment.strategies.canary import Canary, Ramp
from noodle_upgrade_deployment.strategies.rolling import Rolling
from noodle_upgrade_deployment.strategies.shadow import Shadow


@parametrize_with_checks(DeploymentPlugin, settings=DeploymentSettings())
def test_the_plugin_keeps_its_contract(check):
    check()


@pytest.mark.parametrize("strategy", [BlueGreen, Canary, Ramp, Rolling, Shadow])
def test_a_strategy_keeps_its_contract(strategy):
    for check in conformance_checks_of_strategy(strategy):
        check()
