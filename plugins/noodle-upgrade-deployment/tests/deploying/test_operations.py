"""What the plugin can be asked for by name."""

import pytest
from shop import Shop, fill, run, until
from test_integration import QUICK, deploying, settings, slow

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.deploying.records import Stage


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def wanted(deployment_id="dep-1", version="1.1", **more):
    request = {"component_name": "lamp", "target_version": version, "requested_by": "mallory"}
    return {"deployment_id": deployment_id, "requests": [request], "environment": "prod", **more}


def test_a_deployment_is_asked_for_shown_and_listed_in_the_name_of_who_asked(folder):
    async def story():
        async with deploying(folder, settings(prod=QUICK)) as deployments:
            asked = await deployments.upgrader.operate("deployment.start", wanted(), by="alice")
            assert asked["requested_by"] == "alice"
            await until(lambda: deployments.state("dep-1").stage is Stage.SUCCEEDED)
            one = await deployments.upgrader.operate("deployment.show", {"deployment_id": "dep-1"}, by="bob")
            assert one["stage"] == "succeeded"
            assert one["events"][0]["who"] == "alice"
            several = await deployments.upgrader.operate("deployment.list", {}, by="bob")
            assert [each["deployment_id"] for each in several["deployments"]] == ["dep-1"]
            status = await deployments.upgrader.operate("deployment.status", by="bob")
            assert status["policies_count"] == 1

    run(story())


def test_every_command_is_an_operation(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            operate = deployments.upgrader.operate
            await operate("deployment.start", wanted(trigger="manual"), by="alice")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            one = {"deployment_id": "dep-1"}
            await operate("deployment.pause", one, by="alice")
            await operate("deployment.resume", one, by="alice")
            await operate("deployment.approve", one, by="alice")
            await operate("deployment.promote", {**one, "full": False}, by="alice")
            ended = await operate("deployment.abort", {**one, "why": "enough"}, by="bob")
            assert (ended["stage"], ended["why"]) == ("rolled_back", "enough")
            said = {event.why for event in deployments.events("dep-1")}
            assert {"paused by alice", "resumed by alice", "approved by alice", "promoted by a step by alice"} <= said

    run(story())


def test_what_is_asked_for_wrongly_is_refused_with_the_place(folder):
    async def story():
        async with deploying(folder, settings(prod=QUICK)) as deployments:
            with pytest.raises(InvalidRequestError, match="deployment_id"):
                await deployments.upgrader.operate("deployment.show", {"deploymentid": "dep-1"}, by="alice")
            with pytest.raises(InvalidRequestError, match="requests"):
                await deployments.upgrader.operate("deployment.start", wanted(requests=[{}]), by="alice")
            with pytest.raises(InvalidRequestError, match="at least one"):
                await deployments.upgrader.operate("deployment.start", wanted(requests=[]), by="alice")

    run(story())
