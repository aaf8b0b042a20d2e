"""The document of the specification, as it is: a policy of each environment carried out from end to end."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shop import Quick, Shop, Wall, ask, fill, run, until

from noodle_upgrade_core import Upgrader, load_settings
from noodle_upgrade_deployment.deploying.records import Stage
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration
from noodle_upgrade_deployment.plugin import DeploymentPlugin
from noodle_upgrade_deployment.resources import Usage

DOCUMENT = Path(__file__).parents[1] / "policies" / "deployment.json"
IN_WINDOW = datetime(2026, 11, 29, 2, 30, tzinfo=UTC)
"""A Sunday: production and staging take turns at 02:00 and 06:00."""


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


class Calm:
    """A machine of which little is in use, whatever the one is doing that runs the tests."""

    async def read(self):
        return Usage(cpu_usage=10.0, memory_usage=10.0, disk_usage=10.0)


def documented(folder, story, *, wall, shop=None):
    """Run a story with the integration of an Upgrader whose settings are the document and where the versions lie."""

    class Plugin(DeploymentPlugin):
        def __init__(self, host):
            super().__init__(host, clock=wall)

    async def told():
        settings = load_settings(
            [DOCUMENT],
            environ={},
            overrides={
                "runtime_upgrade.components.registry_path": str(folder / "components"),
                "runtime_upgrade.sources.order": ["directory"],
                "runtime_upgrade.state_directory": str(folder / "state"),
                "runtime_upgrade.approval.automatic": True,
                "runtime_upgrade.plugins.enabled": ["shop", "deployment"],
            },
        )
        plugins = {"shop": shop or Shop(), "deployment": Plugin}
        judges = {"judges": {"betting": Quick}}
        async with Upgrader.open(settings, plugins=plugins, drivers=judges) as upgrader:
            upgrader.shop = plugins["shop"]
            deployments = DeploymentRuntimeUpgradeIntegration.of(upgrader)
            deployments._surveyor._resources = Calm()
            await story(upgrader, deployments)

    run(told(), 120)


def test_production_goes_gradually_blue_to_green_in_its_own_windows(folder):
    async def story(upgrader, deployments):
        await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="production")
        await until(lambda: "Closed" in deployments.state("dep-1").why)
        assert upgrader.shop.swaps == []
        wall.at = IN_WINDOW
        deployments._dispatcher.wake()
        await until(lambda: deployments.state("dep-1").weight == 1.0, 60)
        # The last share is there, and the old version is kept warm beside the new one.
        await asyncio.sleep(0.5)
        assert upgrader.shop.swaps[-1].log == pytest.approx([step / 10 for step in range(1, 11)])
        await deployments.promote("dep-1", by="alice")
        assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED
        # Within an hour of its end there is no other.
        await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="production")
        await until(lambda: "3600 s must lie between" in deployments.state("dep-2").why)

    wall = Wall(datetime(2026, 11, 29, 12, 0, tzinfo=UTC))
    documented(folder, story, wall=wall)


def test_staging_waits_for_its_sunday_and_then_goes_at_once(folder):
    async def story(upgrader, deployments):
        asked = asyncio.create_task(deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging"))
        await until(lambda: any("Closed" in one.why for one in deployments.states()))
        wall.at = datetime(2026, 11, 29, 8, 0, 59, tzinfo=UTC)  # the end minute is inclusive
        deployments._dispatcher.wake()
        state = await asked
        assert state.stage is Stage.SUCCEEDED
        assert upgrader.shop.swaps[-1].log == [1.0, "commit"]

    wall = Wall(IN_WINDOW)
    documented(folder, story, wall=wall)


def test_development_answers_at_once_and_goes_on_by_itself_at_any_time(folder):
    async def story(upgrader, deployments):
        state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="development")
        assert state.stage is Stage.QUEUED
        assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED
        assert upgrader.shop.versions["lamp"] == "1.1"

    documented(folder, story, wall=Wall())


def test_a_version_that_fails_in_production_is_taken_back(folder):
    async def story(upgrader, deployments):
        await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="production")
        state = await deployments.wait("dep-1")
        assert state.stage is Stage.ROLLED_BACK
        assert upgrader.shop.swaps[-1].log == [0.1, "revert"]

    documented(folder, story, wall=Wall(IN_WINDOW), shop=Shop(bad={"1.1"}))
