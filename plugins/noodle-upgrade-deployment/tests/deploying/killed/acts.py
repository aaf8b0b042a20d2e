"""What one process does from its start to its end, if nobody kills it: play a story, or settle what an earlier one left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.model import Severity
from noodle_upgrade_deployment.deploying.records import Stage

from .stand import Killer, Stand, opened
from .stories import STORIES
from .verdicts import Promises, at_any_time, facts_of, settled, snapshot

Tell = Callable[[str], None]
Act = Callable[[Path, Killer, Tell], Awaitable[None]]

_SETTLED_WITHIN = 20.0


async def only_open(folder: Path, killer: Killer, tell: Tell) -> None:
    """Open the program and close it again."""
    async with opened(folder, killer, tell):
        pass


async def open_and_die(folder: Path, killer: Killer, tell: Tell) -> None:
    """Open the program, and be killed at the latest when it is open."""
    async with opened(folder, killer, tell):
        killer.now()


def playing(story: str) -> Act:
    """Return what plays a story; its points begin when the program is open."""

    async def play(folder: Path, killer: Killer, tell: Tell) -> None:
        killer.armed = False
        async with opened(folder, killer, tell) as stand:
            killer.armed = True
            await STORIES[story](stand)
            killer.armed = False

    return play


async def settle(folder: Path, killer: Killer, tell: Tell) -> None:
    """Recover, and go on until every deployment has ended."""
    async with opened(folder, killer, tell) as stand:
        await _until_settled(stand)


def judging(told: Sequence[str]) -> Act:
    """Return what settles and then tells every violation, by what killed processes had told before."""

    async def judge(folder: Path, killer: Killer, tell: Tell) -> None:
        lines = list(told)

        def heard(line: str) -> None:
            lines.append(line)

        async with opened(folder, killer, heard) as stand:
            try:
                await _until_settled(stand)
            except TimeoutError:
                tell("wrong it does not settle")
            facts = facts_of(stand.upgrader.journal)
            running = {one.name: one.version for one in await stand.upgrader.components()}
            wrong = [*at_any_time(facts, Promises.of(lines)), *settled(facts, running)]
            wrong += [
                f"the doctor finds: {one.message}" for one in await stand.upgrader.doctor() if _matters(one.severity)
            ]
            before = snapshot(stand.upgrader.journal)
        async with opened(folder, killer, heard) as stand:
            if snapshot(stand.upgrader.journal) != before:
                wrong.append("a further start changed something, and everything had ended")
        for words in wrong:
            tell(f"wrong {' '.join(words.split())}")

    return judge


def _matters(severity: Severity) -> bool:
    return severity is not Severity.INFO


async def _until_settled(stand: Stand) -> None:
    """Open every gate and pull every trigger that is left, as people would, until nothing is under way."""
    approved = set()
    async with asyncio.timeout(_SETTLED_WITHIN):
        while going := [state for state in stand.deployments.states() if not state.stage.ended]:
            for state in going:
                if state.stage is Stage.GATED and state.upgrade_id not in approved:
                    approved.add(state.upgrade_id)
                    for who in ("alice", "bob"):
                        with contextlib.suppress(UpgradeError):  # it has ended just now
                            await stand.deployments.approve(state.deployment_id, by=who)
                elif all(one.stage is Stage.PENDING for one in going):
                    await stand.deployments.fire(state.deployment_id, by="dave")
            await asyncio.sleep(0.01)
