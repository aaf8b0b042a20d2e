"""Health checks, resources and metrics of a policy, in real deployments."""

import sys
import types

import pytest
from shop import Shop, ask, fill, run, until
from test_integration import QUICK, deploying, settings, slow

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_deployment.deploying.records import Stage
from noodle_upgrade_deployment.policies.policy import ResourceThreshold


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


@pytest.fixture
def clinic(monkeypatch):
    """A module with a check, whose answer a test sets, and a metric."""
    module = types.ModuleType("clinic")
    module.well, module.asked, module.readings = True, 0, {}

    def check():
        module.asked += 1
        return module.well

    module.check = check
    module.queue = lambda version: module.readings.get(version, 1.0)
    monkeypatch.setitem(sys.modules, "clinic", module)
    return module


def checked(kind="ready", **more):
    return {"one": {"callable": "clinic:check", "kind": kind, "every": 0.01, "failures": 2, **more}}


def test_a_program_that_is_not_ready_is_not_deployed_to_until_it_is(folder, clinic):
    async def story():
        clinic.well = False
        policy = {**QUICK, "deployment_mode": "asynchronous", "health_check_required": True}
        async with deploying(folder, settings(prod={**policy, "health_checks": checked()})) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: "the check 'one' (ready)" in deployments.state("dep-1").why)
            clinic.well = True
            assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED

    run(story())


def test_a_new_version_that_does_not_say_that_it_is_well_is_taken_back(folder, clinic):
    async def story():
        policy = {**QUICK, "health_check_required": True, "health_checks": checked()}
        async with deploying(folder, settings(prod=policy), Shop()) as deployments:
            shop = deployments.upgrader.shop
            clinic.check = lambda: shop.versions["lamp"] == "1.0"
            state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            assert state.stage is Stage.ROLLED_BACK
            assert "the check 'one'" in state.why

    run(story())


def test_a_program_that_stops_living_is_harm_whatever_its_calls_say(folder, clinic):
    async def story():
        made = settings(prod=slow(health_checks=checked("live")))
        async with deploying(folder, made, Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            clinic.well = False
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.ROLLED_BACK
            assert "the check 'one' (live)" in state.why

    run(story())


def test_a_check_that_begins_to_fail_triggers_who_waits_for_that_once(folder, clinic):
    async def story():
        policy = {**QUICK, "deployment_mode": "asynchronous", "auto_trigger": True, "health_checks": checked("live")}
        async with deploying(folder, settings(prod=policy)) as deployments:
            await deployments.request_deployment_aware_upgrade(
                "dep-1", ask(), environment="prod", trigger="health_degradation"
            )
            await until(lambda: clinic.asked >= 2)
            assert deployments.state("dep-1").stage is Stage.PENDING
            clinic.well = False
            await until(lambda: deployments.state("dep-1").stage is not Stage.PENDING)
            assert deployments.events("dep-1")[1].who == "health_degradation"

    run(story())


def test_resources_beyond_their_threshold_keep_a_deployment_waiting_and_trigger_who_waits_for_that(folder):
    async def story():
        automatic = {**QUICK, "deployment_mode": "asynchronous", "auto_trigger": True}
        # Something of this machine's memory is always in use.
        tight = {**automatic, "resource_threshold": {"memory_usage": 0.1}}
        async with deploying(folder, settings(prod=tight)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: "memory" in deployments.state("dep-1").why)
            assert deployments.upgrader.shop.swaps == []
            await deployments.request_deployment_aware_upgrade(
                "dep-2", ask("1.1", "book"), environment="prod", trigger="resource_pressure"
            )
            await until(lambda: deployments.state("dep-2").stage is Stage.QUEUED)
            assert deployments.events("dep-2")[1].who == "resource_pressure"

    run(story())


def test_a_metric_from_elsewhere_takes_a_version_back_that_is_worse_in_it(folder, clinic):
    async def story():
        clinic.readings = {"1.1": 100.0}
        metric = {"callable": "clinic:queue", "worse": "higher", "every": 0.05}
        policy = {**slow(), "judge": "betting", "metrics": {"queue": metric, "latency": False}}
        async with deploying(folder, settings(prod=policy)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.ROLLED_BACK
            assert state.why.startswith("The new version was taken back: queue")

    run(story())


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"judge": "betting", "metrics": {"queue": {"callable": "nowhere:nothing"}}}, "nowhere"),
        ({"judge": "judas"}, "installed: betting"),
        ({"judge_parameters": {"sure": 1}}, "sure"),
    ],
)
def test_a_judge_that_cannot_be_made_is_told_to_who_asks_and_no_version_is_blamed_for_it(folder, policy, words):
    async def story():
        async with deploying(folder, settings(prod={**slow(), **policy})) as deployments:
            with pytest.raises(UpgradeError, match=words):
                await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            assert deployments.states() == ()

    run(story())


def test_a_strategy_that_is_not_there_takes_nothing_with_it(folder):
    async def story():
        policy = {**slow(), "upgrade_strategy": "canry", "parameters": {}}
        async with deploying(folder, settings(prod=policy)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.REJECTED
            assert "canary" in state.why
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"

    run(story())


def test_thresholds_that_are_negative_or_absurd_cannot_be_made():
    for wrong in (-1.0, 101.0, float("nan")):
        with pytest.raises(UpgradeError):
            ResourceThreshold(cpu_usage=wrong)
