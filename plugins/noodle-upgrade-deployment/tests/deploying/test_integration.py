"""Deployments through a real Upgrader: asked for, admitted, carried out, followed, and told."""

import asyncio
import contextlib
from datetime import timedelta

import pytest
from shop import Shop, Wall, ask, fill, opened, run, until

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeDisabledError, UpgradeError
from noodle_upgrade_core.model import now
from noodle_upgrade_deployment.deploying.errors import (
    DeploymentConflictError,
    DeploymentRefusedError,
    DeploymentUnknownError,
)
from noodle_upgrade_deployment.deploying.records import Stage
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration
from noodle_upgrade_deployment.plugin import DeploymentPlugin
from noodle_upgrade_deployment.policies.choice import EnvironmentUnknownError
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.settings import DeploymentSettings, IntegrationSettings

QUICK = {"upgrade_strategy": "immediate", "health_check_required": False, "judge": "quick"}


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def settings(*, triggers=None, integration=None, **policies):
    """The section `deployment` with these policies, as overrides of the settings."""
    section = {"upgrade_integration": {"sync_interval": 0.2, **(integration or {})}, "triggers": triggers or {}}
    # A policy is given whole: of tables inside it that are given key by key only the last key would count.
    return {**dict(flattened(section, "deployment")), "deployment.policies": policies}


def flattened(value, key):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from flattened(inner, f"{key}.{name}")
    elif value != {}:
        yield key, value


@contextlib.asynccontextmanager
async def deploying(folder, made, shop=None, *, clock=now):
    """The integration that the real plugin brings, in an Upgrader with these settings."""

    class Plugin(DeploymentPlugin):
        def __init__(self, host):
            super().__init__(host, clock=clock)

    Plugin.settings, Plugin.section = DeploymentPlugin.settings, DeploymentPlugin.section
    async with opened(folder, shop, plugins={"deployment": Plugin}, **made) as upgrader:
        integration = DeploymentRuntimeUpgradeIntegration.of(upgrader)
        integration.upgrader = upgrader
        yield integration


def stages(integration, deployment_id):
    """The stages that it came through, without repetitions."""
    found = [event.stage for event in integration.events(deployment_id)]
    return [stage for number, stage in enumerate(found) if number == 0 or stage != found[number - 1]]


# --- the way there ---------------------------------------------------------------------------------------------------


def test_a_policy_s_own_steps_are_what_moves_the_traffic(folder):
    async def story():
        steps = [{"shift": 30}, {"judge": 0.2}, {"shift": 100}]
        policy = {"steps": steps, "health_check_required": False, "judge": "quick"}
        async with deploying(folder, settings(staging=policy)) as deployments:
            state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging")
            assert (state.stage, state.why) == (Stage.SUCCEEDED, "all traffic is on the new version")
            assert "shift to 30%" in [event.why for event in deployments.events("dep-1")]

    run(story())


def test_a_synchronous_deployment_returns_when_it_has_ended_and_the_running_version_has_changed(folder):
    async def story():
        async with deploying(folder, settings(staging=QUICK)) as deployments:
            state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging")
            assert state.stage is Stage.SUCCEEDED
            assert deployments.upgrader.shop.versions["lamp"] == "1.1"
            assert stages(deployments, "dep-1") == [
                "queued",
                "preparing",
                "warming",
                "running",
                "promoting",
                "succeeded",
            ]

    run(story())


def test_an_asynchronous_one_returns_at_once_and_goes_on_by_itself(folder):
    async def story():
        policy = {**QUICK, "deployment_mode": "asynchronous"}
        async with deploying(folder, settings(dev=policy)) as deployments:
            state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="dev")
            assert state.stage is Stage.QUEUED
            assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED

    run(story())


@pytest.mark.parametrize(
    ("mode", "policy", "log"),
    [
        ("rolling", {}, [("a",), ("a", "b"), 1.0, "commit"]),
        ("rolling", {"surge": 1, "unavailable": 1}, [("a", "b"), 1.0, "commit"]),
        ("blue_green", {"warm": 0.2}, [1.0, "commit"]),
        ("canary", {}, [0.05, 1.0, "commit"]),
        ("canary", {"upgrade_strategy": "ramp", "parameters": {"start": 30}}, [0.3, 0.9, 1.0, "commit"]),
        (
            "blue_green",
            {"upgrade_strategy": "gradual", "parameters": {"percentage": 50}, "warm": 0.2},
            [0.5, 1.0, "commit"],
        ),
    ],
)
def test_each_mode_really_moves_the_traffic_its_own_way(folder, mode, policy, log):
    async def story():
        made = settings(prod={**QUICK, "deployment_mode": mode, **policy})
        async with deploying(folder, made) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.SUCCEEDED, state.why
            assert deployments.upgrader.shop.swaps[-1].log == log

    run(story())


def test_a_version_that_fails_is_taken_back_with_the_evidence_and_never_deployed_by_itself_again(folder):
    async def story():
        policy = {**QUICK, "deployment_mode": "canary", "auto_trigger": True}
        async with deploying(folder, settings(prod=policy), Shop(bad={"1.1"})) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.ROLLED_BACK
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"
            last = deployments.events("dep-1")[-1]
            assert last.who == "judge"
            assert last.evidence["result"]["error"]["details"]["evidence"]
            again = await deployments.request_deployment_aware_upgrade("dep-2", ask(), environment="prod")
            await until(lambda: deployments.state("dep-2").stage.ended)
            assert deployments.state("dep-2").stage is Stage.REJECTED
            assert "taken back here by dep-1" in deployments.state("dep-2").why
            assert again.deployment_id == "dep-2"
            told = ask(metadata={"again": True})
            await deployments.request_deployment_aware_upgrade("dep-3", told, environment="prod")
            await until(lambda: deployments.state("dep-3").began_at is not None)

    run(story())


def test_several_components_are_one_deployment_committed_whole_or_not_at_all(folder):
    async def story():
        async with deploying(folder, settings(staging=QUICK)) as deployments:
            both = [ask("1.1", "lamp"), ask("2.0", "book")]
            state = await deployments.request_deployment_aware_upgrade("dep-1", both, environment="staging")
            assert state.stage is Stage.SUCCEEDED
            versions = deployments.upgrader.shop.versions
            assert (versions["lamp"], versions["book"]) == ("1.1", "2.0")

    run(story())


def test_the_same_id_with_the_same_request_is_the_same_deployment_and_with_another_one_a_conflict(folder):
    async def story():
        async with deploying(folder, settings(staging=QUICK)) as deployments:
            first = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging")
            again = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging")
            assert again.upgrade_id == first.upgrade_id
            with pytest.raises(DeploymentConflictError):
                await deployments.request_deployment_aware_upgrade("dep-1", ask("2.0"), environment="staging")

    run(story())


def test_events_of_spec_are_told_in_order(folder):
    async def story():
        async with deploying(folder, settings(staging=QUICK)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging")
            kinds = [event.kind for event in deployments.upgrader.events.recent()]
            wanted = [
                "deployment_upgrade.requested",
                "deployment_upgrade.validated",
                "deployment.started",
                "deployment.completed",
            ]
            assert [kind for kind in kinds if kind in wanted] == wanted

    run(story())


# --- what stands against it ------------------------------------------------------------------------------------------


def test_a_closed_window_makes_it_wait_until_it_opens(folder):
    async def story():
        wall = Wall()
        policy = {**QUICK, "deployment_mode": "asynchronous"}
        policy["timing_constraints"] = {"maintenance_windows": ["13:00-14:00"]}
        async with deploying(folder, settings(prod=policy), clock=wall) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: "Closed" in deployments.state("dep-1").why)
            assert deployments.upgrader.shop.swaps == []
            wall.at += timedelta(hours=1)
            assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED

    run(story())


def test_the_minimum_interval_is_kept_from_the_end_of_the_last_one_that_had_begun(folder):
    async def story():
        wall = Wall()
        policy = {**QUICK, "deployment_mode": "asynchronous"}
        policy["timing_constraints"] = {"min_interval_between_upgrades": 3600}
        async with deploying(folder, settings(prod=policy), clock=wall) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await deployments.wait("dep-1")
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="prod")
            await until(lambda: "3600 s must lie between" in deployments.state("dep-2").why)
            wall.at += timedelta(seconds=3601)
            assert (await deployments.wait("dep-2")).stage is Stage.SUCCEEDED

    run(story())


def test_a_clock_that_goes_back_a_year_makes_nobody_wait_for_longer_than_the_interval(folder):
    async def story():
        wall = Wall()
        policy = {**QUICK, "deployment_mode": "asynchronous"}
        policy["timing_constraints"] = {"min_interval_between_upgrades": 60}
        async with deploying(folder, settings(prod=policy), clock=wall) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await deployments.wait("dep-1")
            wall.at -= timedelta(days=365)
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="prod")
            await until(lambda: "ended 0 s ago" in deployments.state("dep-2").why)

    run(story())


def test_a_known_bad_version_is_rejected_with_what_lists_it(folder):
    async def story():
        policy = {**QUICK, "known_bad": {"Lamp": [">=1.1,<2"]}}
        async with deploying(folder, settings(prod=policy)) as deployments:
            state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            assert state.stage is Stage.REJECTED
            assert "known to be bad here (>=1.1,<2)" in state.why

    run(story())


def test_an_environment_without_a_policy_is_refused_unless_there_is_a_default(folder):
    async def story():
        async with deploying(folder, settings(prod=QUICK)) as deployments:
            with pytest.raises(EnvironmentUnknownError):
                await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prd")
            with pytest.raises(DeploymentUnknownError):
                deployments.state("dep-1")

    run(story())

    async def with_default():
        async with deploying(folder, settings(default=QUICK)) as deployments:
            state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prd")
            assert state.stage is Stage.SUCCEEDED

    run(with_default())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"metrics": {"depth": {"callabel": "shop:depth"}}, "judge": ""}, "does not say where it comes from"),
        ({"health_checks": {"front": {"htp": "http://127.0.0.1/"}}}, "the health check 'front'"),
        ({"judge": "quik"}, "quik"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_told_to_who_asks_and_no_version_is_blamed_for_it(folder, wrong, words):
    async def story():
        async with deploying(folder, settings(staging={**QUICK, **wrong}, other=QUICK)) as deployments:
            with pytest.raises(UpgradeError, match=words):
                await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging")
            assert deployments.states() == ()

    run(story())


def test_one_whose_surroundings_cannot_be_looked_at_any_more_waits_alone(folder):
    async def story():
        closed = {**QUICK, "timing_constraints": {"maintenance_windows": ["13:00-14:00"]}}
        async with deploying(folder, settings(staging=closed), clock=Wall()) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging", wait=False)
        wrong = {**QUICK, "health_check_required": True, "health_checks": {"front": {"htp": "http://127.0.0.1/"}}}
        async with deploying(folder, settings(staging=wrong, other=QUICK)) as deployments:
            state = await deployments.request_deployment_aware_upgrade("dep-2", ask(name="book"), environment="other")
            assert state.stage is Stage.SUCCEEDED
            assert deployments.state("dep-1").stage is Stage.QUEUED
            assert "the health check 'front'" in deployments.state("dep-1").why

    run(story())


def test_what_cannot_be_planned_is_rejected_with_the_core_s_words(folder):
    async def story():
        async with deploying(folder, settings(staging=QUICK)) as deployments:
            state = await deployments.request_deployment_aware_upgrade("dep-1", ask("7.7"), environment="staging")
            assert state.stage is Stage.REJECTED
            assert "7.7" in state.why

    run(story())


def slow(**more):
    """A policy whose traffic stays at a share for as long as it may: there is no evidence in it."""
    return {
        "deployment_mode": "asynchronous",
        "health_check_required": False,
        "upgrade_strategy": "canary",
        "judge": "quick",
        "parameters": {"steps": [10, 100]},
        **more,
    }


@pytest.mark.parametrize("concurrency", ["queue", "reject", "supersede"])
def test_a_second_deployment_of_a_component_waits_is_rejected_or_supersedes_as_the_policy_says(folder, concurrency):
    async def story():
        async with deploying(folder, settings(prod=slow(concurrency=concurrency)), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").began_at is not None)
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="prod")
            if concurrency == "queue":
                await until(lambda: "dep-1 deploys lamp here" in deployments.state("dep-2").why)
                assert deployments.state("dep-2").stage is Stage.QUEUED
                await deployments.abort("dep-1", by="alice")
                await until(lambda: deployments.state("dep-2").began_at is not None)
            elif concurrency == "reject":
                assert (await deployments.wait("dep-2")).stage is Stage.REJECTED
            else:
                superseded = await deployments.wait("dep-1")
                assert superseded.stage is Stage.SUPERSEDED
                assert superseded.why == "superseded by dep-2"
                await until(lambda: deployments.state("dep-2").began_at is not None)

    run(story())


def test_an_upgrade_that_was_asked_for_otherwise_is_held_to_the_policy_that_it_names(folder):
    async def story():
        policy = {**QUICK, "timing_constraints": {"maintenance_windows": ["13:00-14:00"]}}
        wall = Wall()
        async with deploying(folder, settings(prod=policy), clock=wall) as deployments:
            named = {"deployment.environment": "prod"}
            result = await deployments.upgrader.upgrade(ask(parameters=named))
            assert result.error.code == "validation.failed"
            assert "maintenance windows" in result.error.message
            wall.at += timedelta(hours=1)
            assert (await deployments.upgrader.upgrade(ask(parameters=named))).success

    run(story())


def test_a_program_that_is_an_environment_holds_every_upgrade_to_its_policy(folder):
    async def story():
        made = {**settings(prod={**QUICK, "known_bad": {"lamp": ["1.1"]}}), "deployment.environment": "prod"}
        async with deploying(folder, made) as deployments:
            result = await deployments.upgrader.upgrade(ask())
            assert result.error.code == "validation.failed"
            assert (await deployments.upgrader.upgrade(ask("2.0"))).success

    run(story())


def test_what_another_environment_changes_is_waited_for_and_that_is_written_once(folder):
    async def story():
        made = settings(prod=slow(), other={**QUICK, "deployment_mode": "asynchronous"})
        async with deploying(folder, made, Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="other")
            await until(lambda: "lamp is being changed by up-" in deployments.state("dep-2").why)
            told = len(deployments.events("dep-2"))
            for _ in range(5):
                deployments._dispatcher.wake()
                await asyncio.sleep(0.1)
            assert len(deployments.events("dep-2")) == told
            await deployments.abort("dep-1", by="alice")
            assert (await deployments.wait("dep-2")).stage is Stage.SUCCEEDED

    run(story())


# --- commands --------------------------------------------------------------------------------------------------------


def test_an_abort_takes_back_what_is_under_way_and_calls_off_what_has_not_begun(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="prod")
            await until(lambda: deployments.state("dep-1").began_at is not None)
            assert (await deployments.abort("dep-2", by="alice")).stage is Stage.CANCELLED
            state = await deployments.abort("dep-1", by="alice", why="not on a Friday")
            assert state.stage is Stage.ROLLED_BACK
            assert state.why == "not on a Friday"
            assert deployments.events("dep-1")[-1].who == "alice"
            assert deployments.upgrader.shop.swaps[-1].log[-1] == "revert"

    run(story())


def test_a_version_that_was_called_off_is_not_held_against_it(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            await deployments.abort("dep-1", by="alice")
            await deployments.request_deployment_aware_upgrade("dep-2", ask(), environment="prod")
            await until(lambda: deployments.state("dep-2").weight == 0.1)

    run(story())


def test_a_paused_one_says_so_and_a_full_promotion_takes_it_to_its_end(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.1)
            assert deployments.state("dep-1").stage is Stage.STARVED
            await deployments.pause("dep-1", by="alice")
            await deployments.promote("dep-1", by="bob", full=True)
            assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED
            said = [(event.who, event.why) for event in deployments.events("dep-1")]
            assert ("alice", "paused by alice") in said
            assert ("bob", "promoted in full by bob") in said

    run(story())


def test_a_gate_waits_for_the_people_that_it_names(folder):
    async def story():
        gate = {"name": "qa", "approvals": 2, "of": ["alice", "bob"], "before": 100}
        made = settings(prod=slow(parameters={"steps": [50, 100]}, gates=[gate]))
        async with deploying(folder, made) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").stage is Stage.GATED)
            for who in ("mallory", "alice", "alice"):
                await deployments.approve("dep-1", by=who)
            await asyncio.sleep(0.2)
            assert deployments.upgrader.shop.swaps[-1].weight == 0.5
            await deployments.approve("dep-1", by="bob")
            assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED

    run(story())


@pytest.mark.parametrize("reaction", ["pause", "freeze"])
def test_harm_leaves_the_traffic_where_it_is_when_the_policy_says_so(folder, reaction):
    async def story():
        made = settings(prod=slow(on_failure=reaction), other=slow())
        async with deploying(folder, made, Shop(bad={"1.1"})) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            stage = Stage.FROZEN if reaction == "freeze" else Stage.PAUSED
            await until(lambda: deployments.state("dep-1").stage is stage)
            assert "does harm" in deployments.state("dep-1").why
            assert deployments.upgrader.shop.swaps[-1].weight == 0.1
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0", "book"), environment="prod")
            if reaction == "freeze":
                await until(lambda: "prod is frozen" in deployments.state("dep-2").why)
            else:
                await until(lambda: deployments.state("dep-2").began_at is not None)
            assert (await deployments.abort("dep-1", by="alice")).stage is Stage.ROLLED_BACK

    run(story())


def test_no_progress_until_the_deadline_is_inconclusive_and_the_old_version_serves(folder):
    async def story():
        async with deploying(folder, settings(prod=slow(progress_deadline=0.5)), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            state = await deployments.wait("dep-1")
            assert state.stage is Stage.INCONCLUSIVE
            assert "nothing has moved on for 0.5 s" in state.why
            assert deployments.upgrader.shop.versions["lamp"] == "1.0"
            assert "deployment_upgrade.timeout" in [e.kind for e in deployments.upgrader.events.recent()]

    run(story())


def test_what_depends_on_one_that_is_taken_back_goes_back_with_it(folder):
    async def story():
        made = settings(prod=slow(), web={**slow(), "depends_on": [{"component": "lamp", "environment": "prod"}]})
        async with deploying(folder, made, Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("web-1", ask("1.1", "book"), environment="web")
            await deployments.request_deployment_aware_upgrade("lamp-1", ask(), environment="prod")
            await until(lambda: deployments.state("lamp-1").weight == 0.1)
            await until(lambda: deployments.state("web-1").began_at is not None)
            await deployments.abort("lamp-1", by="alice")
            state = await deployments.wait("web-1")
            assert state.stage is Stage.ROLLED_BACK
            assert "depends on lamp-1" in state.why

    run(story())


def test_a_dependency_that_has_not_been_deployed_is_waited_for(folder):
    async def story():
        staged = {**QUICK, "deployment_mode": "asynchronous"}
        made = settings(staging=staged, prod={**staged, "depends_on": [{"environment": "staging"}]})
        async with deploying(folder, made) as deployments:
            await deployments.request_deployment_aware_upgrade("prod-1", ask(), environment="prod")
            await until(lambda: "lamp 1.1 has not been deployed to staging" in deployments.state("prod-1").why)
            await deployments.request_deployment_aware_upgrade("staging-1", ask(), environment="staging")
            await deployments.wait("staging-1")
            state = await deployments.wait("prod-1")
            assert state.stage is Stage.REJECTED
            assert "1.1" in state.why

    run(story())


# --- triggers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "version", "bad"),
    [
        ("deployment_start", "1.1", ()),
        ("deployment_success", "1.1", ()),
        ("deployment_rollback", "1.1", ("1.1",)),
        ("deployment_failure", "1.1", ()),
    ],
)
def test_what_becomes_of_an_upgrade_triggers_who_waits_for_it(folder, trigger, version, bad):
    async def story():
        automatic = {**QUICK, "deployment_mode": "asynchronous", "auto_trigger": True}
        async with deploying(folder, settings(prod=automatic, canary=slow()), Shop(bad=bad)) as deployments:
            await deployments.request_deployment_aware_upgrade(
                "book-1", ask("2.0", "book"), environment="prod", trigger=trigger, trigger_of="lamp"
            )
            assert deployments.state("book-1").stage is Stage.PENDING
            if trigger == "deployment_failure":
                # It ends before anything of it was visible.
                upgrade_id = await deployments.upgrader.start(ask("1.1", strategy="immediate"))
                await deployments.upgrader.cancel_upgrade(upgrade_id)
            else:
                await deployments.request_deployment_aware_upgrade("lamp-1", ask(version), environment="canary")
            await until(lambda: deployments.state("book-1").stage is not Stage.PENDING)
            events = deployments.events("book-1")
            assert any(event.who == trigger for event in events)

    run(story())


def test_a_window_that_opens_triggers_who_waits_for_maintenance(folder):
    async def story():
        wall = Wall()
        policy = {**QUICK, "deployment_mode": "asynchronous", "auto_trigger": True}
        policy["timing_constraints"] = {"maintenance_windows": ["13:00-14:00"]}
        async with deploying(folder, settings(prod=policy), clock=wall) as deployments:
            await deployments.request_deployment_aware_upgrade(
                "dep-1", ask(), environment="prod", trigger="scheduled_maintenance"
            )
            await asyncio.sleep(0.5)
            assert deployments.state("dep-1").stage is Stage.PENDING
            wall.at += timedelta(hours=1)
            await until(lambda: deployments.state("dep-1").stage is not Stage.PENDING)
            assert deployments.events("dep-1")[1].who == "scheduled_maintenance"

    run(story())


def test_a_person_triggers_what_waits_and_a_trigger_that_is_switched_off_is_refused(folder):
    async def story():
        policy = {**QUICK, "auto_trigger": True}
        made = settings(prod=policy, dev=QUICK, triggers={"health_degradation": False})
        async with deploying(folder, made) as deployments:
            with pytest.raises(DeploymentRefusedError, match="switched off"):
                await deployments.request_deployment_aware_upgrade(
                    "dep-1", ask(), environment="prod", trigger="health_degradation"
                )
            with pytest.raises(DeploymentRefusedError, match="only people"):
                await deployments.request_deployment_aware_upgrade(
                    "dep-1", ask(), environment="dev", trigger="deployment_start"
                )
            with pytest.raises(InvalidRequestError, match="There is no trigger"):
                await deployments.request_deployment_aware_upgrade(
                    "dep-1", ask(), environment="prod", trigger="resource_presure"
                )
            await deployments.request_deployment_aware_upgrade(
                "dep-1", ask(), environment="prod", trigger="resource_pressure"
            )
            await deployments.fire("dep-1", by="alice")
            assert (await deployments.wait("dep-1")).stage is Stage.SUCCEEDED

    run(story())


# --- the status, and the switch --------------------------------------------------------------------------------------


def test_the_status_has_the_keys_of_spec(folder):
    async def story():
        async with deploying(folder, settings(prod=slow()), Shop(rate=0.0)) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await deployments.request_deployment_aware_upgrade("dep-2", ask("2.0"), environment="prod")
            await until(lambda: deployments.state("dep-1").stage is Stage.STARVED)
            status = deployments.get_integration_status()
            assert [one["deployment_id"] for one in status["active_deployments"]] == ["dep-1"]
            assert [one["deployment_id"] for one in status["pending_upgrades"]] == ["dep-2"]
            assert status["active_states"] == {"queued": 1, "starved": 1}
            assert status["recent_events_24h"] >= 6
            assert status["policies_count"] == 1

    run(story())


def test_a_switch_turns_all_of_it_off(folder):
    async def story():
        async with opened(folder) as upgrader:
            off = DeploymentSettings(upgrade_integration=IntegrationSettings(enabled=False))
            integration = DeploymentRuntimeUpgradeIntegration(upgrader, settings=off)
            with pytest.raises(UpgradeDisabledError):
                await integration.initialize()
            with pytest.raises(UpgradeDisabledError):
                await integration.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")

    run(story())


def test_there_is_one_integration_in_an_upgrader_and_the_plugins_is_found(folder):
    async def story():
        async with deploying(folder, settings(prod=QUICK)) as deployments:
            assert DeploymentRuntimeUpgradeIntegration.of(deployments.upgrader) is deployments
            second = DeploymentRuntimeUpgradeIntegration(deployments.upgrader, settings=deployments.settings)
            with pytest.raises(InvalidRequestError, match="runs already") as refused:
                await second.initialize()
            assert "of(upgrader)" in refused.value.hint

    run(story())


def test_a_program_without_the_plugin_may_make_one_by_itself(folder):
    async def story():
        async with opened(folder) as upgrader:
            with pytest.raises(InvalidRequestError, match="no deployment plugin"):
                DeploymentRuntimeUpgradeIntegration.of(upgrader)
            made = DeploymentSettings(policies={"prod": DeploymentUpgradePolicy(upgrade_strategy="immediate")})
            async with DeploymentRuntimeUpgradeIntegration(upgrader, settings=made) as deployments:
                state = await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
                assert state.stage is Stage.SUCCEEDED

    run(story())


def test_a_window_that_closes_holds_the_next_increase_and_never_an_abort(folder):
    async def story():
        wall = Wall()
        policy = {**QUICK, "deployment_mode": "asynchronous", "upgrade_strategy": "canary"}
        policy["timing_constraints"] = {"maintenance_windows": ["12:00-12:30"]}
        async with deploying(folder, settings(prod=policy), Shop(rate=0.0), clock=wall) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="prod")
            await until(lambda: deployments.state("dep-1").weight == 0.05)
            wall.at += timedelta(hours=1)
            deployments.upgrader.shop.rate = 2000.0
            await until(lambda: deployments.state("dep-1").stage is Stage.PAUSED)
            assert "outside of the maintenance windows" in deployments.state("dep-1").why
            assert deployments.upgrader.shop.swaps[-1].log == [0.05]
            assert (await deployments.abort("dep-1", by="alice")).stage is Stage.ROLLED_BACK

    run(story())


def test_what_ended_longer_ago_than_the_history_goes_is_forgotten_and_its_audit_stays(folder):
    async def story():
        wall = Wall()
        async with deploying(folder, settings(staging=QUICK), clock=wall) as deployments:
            await deployments.request_deployment_aware_upgrade("dep-1", ask(), environment="staging")
        wall.at += timedelta(days=31)
        async with deploying(folder, settings(staging=QUICK), clock=wall) as deployments:
            with pytest.raises(DeploymentUnknownError):
                deployments.state("dep-1")
            assert deployments.events("dep-1")[0].stage == "queued"

    run(story())
