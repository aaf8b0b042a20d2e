"""Time in which people are waited for, words that come at an odd moment, and whoever waits for an end."""

import asyncio
from datetime import timedelta

import pytest
from shop import Shop, Wall, fill, run, until
from test_hostile import request
from test_integration import QUICK, deploying, settings, slow

from noodle_upgrade_core.errors import UpgradeCancelledError
from noodle_upgrade_deployment.deploying.records import Stage


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def test_people_may_take_longer_at_a_gate_than_an_upgrade_may(folder):
    async def story():
        made = settings(prod=slow(gates=[{"name": "qa"}]), integration={"upgrade_timeout": 1.5})
        async with deploying(folder, made) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").stage is Stage.GATED)
            await asyncio.sleep(2.5)
            await deployments.approve("dep-1", by="alice")
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.SUCCEEDED, state.why

    run(story())


def test_a_window_may_stay_closed_for_longer_than_an_upgrade_may_take(folder):
    async def story():
        wall = Wall()
        policy = slow(timing_constraints={"maintenance_windows": ["12:00-12:30"]})
        made = settings(prod=policy, integration={"upgrade_timeout": 1.5})
        async with deploying(folder, made, Shop(rate=0.0), clock=wall) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            wall.at += timedelta(hours=1)
            deployments.upgrader.shop.rate = 2000.0
            await until(lambda: deployments.state("dep-1").stage is Stage.PAUSED)
            await asyncio.sleep(2.5)
            wall.at -= timedelta(hours=1)
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.SUCCEEDED, state.why

    run(story())


def test_a_person_s_pause_stops_the_deadlines_too(folder):
    async def story():
        made = settings(prod=slow(progress_deadline=1.0), integration={"upgrade_timeout": 3.0})
        async with deploying(folder, made, Shop(rate=0.0)) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            await deployments.pause("dep-1", by="alice")
            await asyncio.sleep(4.0)
            assert not deployments.state("dep-1").stage.ended, deployments.state("dep-1").why
            await deployments.resume("dep-1", by="alice")
            assert (await deployments.wait("dep-1")).stage is Stage.INCONCLUSIVE

    run(story())


def test_a_promotion_that_was_given_at_a_gate_ends_no_wait_after_it(folder):
    async def story():
        gate = {"name": "qa", "before": 50}
        made = settings(prod=slow(parameters={"steps": [10, 50, 100]}, gates=[gate]))
        async with deploying(folder, made) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: deployments.state("dep-1").stage is Stage.GATED)
            deployments.upgrader.shop.rate = 0.0
            await deployments.promote("dep-1", by="bob")
            await deployments.approve("dep-1", by="alice")
            await until(lambda: deployments.upgrader.shop.swaps[-1].weight == 0.5)
            await asyncio.sleep(0.5)
            assert deployments.upgrader.shop.swaps[-1].weight == 0.5

    run(story())


def test_members_that_come_while_a_window_is_closed_let_no_others_change(folder):
    async def story():
        wall, shop = Wall(), Shop(rate=0.0)
        policy = {**QUICK, "deployment_mode": "rolling", "timing_constraints": {"maintenance_windows": ["11:00-12:30"]}}
        async with deploying(folder, settings(prod=policy), shop, clock=wall) as deployments:
            await request(deployments, "dep-1")
            await until(lambda: shop.swaps and shop.swaps[-1].log == [("a",)])
            wall.at += timedelta(hours=1)
            # One of four is less than one of two: by its share the next batch would be no increase.
            shop.members = ("a", "b", "c", "d")
            shop.rate = 2000.0
            await until(lambda: deployments.state("dep-1").stage is Stage.PAUSED)
            assert shop.swaps[-1].log == [("a",)]
            assert (await deployments.abort("dep-1", by="alice")).stage is Stage.ROLLED_BACK

    run(story())


def test_whoever_waits_for_an_end_hears_that_nothing_is_attended_to_any_more(folder):
    async def story():
        policy = {**slow(), "deployment_mode": "synchronous"}
        async with deploying(folder, settings(prod=policy), Shop(rate=0.0)) as deployments:
            asked = asyncio.ensure_future(request(deployments, "dep-1"))
            await until(lambda: deployments.states() and deployments.state("dep-1").began_at is not None)
        with pytest.raises(UpgradeCancelledError, match="shutting down"):
            await asyncio.wait_for(asked, 3)
        with pytest.raises(UpgradeCancelledError):
            await deployments.wait("dep-1")

    run(story())
