"""What is asked of a program until it is killed: each story a few deployments, and what people do to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from shop import ask

from noodle_upgrade_deployment.deploying.records import Stage

from .stand import BAD, Stand

Story = Callable[[Stand], Awaitable[None]]


async def once(stand: Stand) -> None:
    """One that is given up after a crash."""
    await stand.ask("a", "once")
    await stand.ended("a")


async def queued(stand: Stand) -> None:
    """Two of one component, one after the other."""
    await stand.ask("a", "straight")
    await stand.ask("b", "straight", ask("2.0"))
    await stand.ended("a", "b")


async def canary(stand: Stand) -> None:
    """Judged at every share, and begun anew after a crash."""
    await stand.ask("a", "canary")
    await stand.ended("a")


async def cautious(stand: Stand) -> None:
    """Judged at every share, and given up after a crash."""
    await stand.ask("a", "cautious")
    await stand.ended("a")


async def blue(stand: Stand) -> None:
    """Swapped at once, with the old version kept warm."""
    await stand.ask("a", "blue")
    await stand.ended("a")


async def baking(stand: Stand) -> None:
    """Committed, and watched on."""
    await stand.ask("a", "baking")
    await stand.ended("a")


async def several(stand: Stand) -> None:
    """Two components whole, and a third one beside them."""
    await stand.ask("a", "stepwise", ask("1.1", "lamp"), ask("2.0", "book"))
    await stand.ask("b", "straight", ask("1.1", "desk"))
    await stand.ended("b", "a")


async def harmful(stand: Stand) -> None:
    """A version that fails is taken back, and no restart may begin it anew."""
    await stand.ask("a", "stepwise", ask(BAD))
    await stand.ended("a")
    await stand.ask("b", "stepwise")
    await stand.ended("b")


async def superseded(stand: Stand) -> None:
    """A newer one takes the place of one under way."""
    await stand.ask("a", "latest")
    await stand.began("a")
    await stand.ask("b", "latest", ask("2.0"))
    await stand.ended("a", "b")


async def gated(stand: Stand) -> None:
    """Two people open a gate."""
    await stand.ask("a", "gated")
    for who in ("alice", "bob"):
        if not (await stand.until("a", lambda state: state.stage is Stage.GATED)).stage.ended:
            await stand.deployments.approve("a", by=who)
    await stand.ended("a")


async def aborted(stand: Stand) -> None:
    """A person ends one under way, and one that waits for it."""
    await stand.ask("a", "stepwise")
    await stand.ask("b", "stepwise", ask("2.0"))
    await stand.began("a")
    for name in ("b", "a"):
        stand.tell(f"aborting {name}")
        state = await stand.deployments.abort(name, by="carol")
        stand.tell(f"ended {name} {state.stage}")


async def aborted_at_once(stand: Stand) -> None:
    """A person ends one that is just beginning."""
    await stand.ask("a", "stepwise")
    await stand.until("a", lambda state: state.stage is not Stage.QUEUED)
    stand.tell("aborting a")
    state = await stand.deployments.abort("a", by="carol")
    stand.tell(f"ended a {state.stage}")


async def aborted_while_it_bakes(stand: Stand) -> None:
    """A person takes back what was committed already."""
    await stand.ask("a", "baking")
    await stand.until("a", lambda state: state.stage is Stage.BAKING)
    stand.tell("aborting a")
    state = await stand.deployments.abort("a", by="carol")
    stand.tell(f"ended a {state.stage}")


async def triggered(stand: Stand) -> None:
    """The success of one lets another one begin."""
    await stand.ask("b", "straight", ask("2.0", "book"), trigger="deployment_success", trigger_of="lamp")
    await stand.ask("a", "straight")
    await stand.ended("a", "b")


async def two_at_once(stand: Stand) -> None:
    """Two environments deploy different components at the same time."""
    await asyncio.gather(stand.ask("a", "canary"), stand.ask("b", "cautious", ask("1.1", "book")))
    await stand.ended("a", "b")


STORIES: Mapping[str, Story] = {
    story.__name__: story
    for story in (
        once,
        queued,
        canary,
        cautious,
        blue,
        baking,
        several,
        harmful,
        superseded,
        gated,
        aborted,
        aborted_at_once,
        aborted_while_it_bakes,
        triggered,
        two_at_once,
    )
}

BY_THE_CLOCK = frozenset({"aborted_while_it_bakes"})
"""Stories whose end depends on how long a restart takes: an abort may come after the version was watched for its time."""

ENDS: Mapping[str, Mapping[str, frozenset[str]]] = {
    name: {deployment: frozenset(stages.split("|")) for deployment, stages in ends.items()}
    for name, ends in {
        "once": {"a": "succeeded"},
        "queued": {"a": "succeeded", "b": "succeeded"},
        "canary": {"a": "succeeded"},
        "cautious": {"a": "succeeded"},
        "blue": {"a": "succeeded"},
        "baking": {"a": "succeeded"},
        "several": {"a": "succeeded", "b": "succeeded"},
        "harmful": {"a": "rolled_back", "b": "succeeded"},
        "superseded": {"a": "superseded", "b": "succeeded"},
        "gated": {"a": "succeeded"},
        "aborted": {"a": "rolled_back", "b": "cancelled"},
        "aborted_at_once": {"a": "cancelled|rolled_back"},
        "aborted_while_it_bakes": {"a": "rolled_back"},
        "triggered": {"a": "succeeded", "b": "succeeded"},
        "two_at_once": {"a": "succeeded", "b": "succeeded"},
    }.items()
}
"""What every story comes to when nobody kills it: one that never gets anywhere would break no promise."""
