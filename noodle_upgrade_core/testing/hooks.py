"""Checks of a plugin's hooks on sample values, about a component that it cannot know."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from noodle_upgrade_core.config.loading import load_settings
from noodle_upgrade_core.errors import PluginBrokenError, PluginTimeoutError
from noodle_upgrade_core.model import Phase
from noodle_upgrade_core.phases.runner import Reply, Runner
from noodle_upgrade_core.plugins.implementations import hook_arguments, marked_hooks
from noodle_upgrade_core.testing.failures import insist
from noodle_upgrade_core.testing.samples import (
    sample_active_version,
    sample_context,
    sample_event,
    sample_plan,
    sample_step,
)
from noodle_upgrade_core.testing.staged import FakeStaged
from noodle_upgrade_core.testing.subjects import NAME, Subject
from noodle_upgrade_core.upgrade import Upgrader

__all__ = ["checks_of", "sample_arguments"]

_MAY_REFUSE = frozenset({"swap", "recompile", "deploy"})
"""Hooks that may refuse by a typed error: their failure is part of their answer."""

_SAMPLED = tuple(hook for hook in hook_arguments() if hook != "opened")
"""Hooks that are called with sample values; `opened` is given a real Upgrader."""

_CANCEL_SECONDS = 2.0


def checks_of(subject: Subject) -> Mapping[str, Callable[[Subject], None]]:
    """Return the checks by name: one for each hook that the plugin implements, and those of all hooks."""
    implemented = marked_hooks(subject.plugin) or tuple(hook_arguments())
    checks: dict[str, Callable[[Subject], None]] = {"hooks_fit": hooks_fit}
    for hook in implemented:
        checks[f"answers_{hook}"] = _SPECIAL.get(hook) or partial(answers, hook=hook)
    if "rollback" in implemented:
        checks["rollback_is_idempotent"] = rollback_is_idempotent
    checks["ends_when_cancelled"] = ends_when_cancelled
    checks["async_hooks_can_be_cancelled"] = async_hooks_can_be_cancelled
    return checks


def hooks_fit(subject: Subject) -> None:
    """It loads: hooks and arguments exist, `before` and `after` are tuples, `observe` and `close` are plain."""
    with subject.folder() as directory:
        subject.load(directory).close()


def sample_arguments(hook: str, directory: Path, *, cancelled: bool = False) -> tuple[dict[str, Any], ...]:
    """Return the sample calls of a hook: all its arguments, about a component that nobody knows."""
    context = sample_context(directory, cancelled=cancelled)
    plan, staged = {"plan": sample_plan(), "context": context}, {"staged": FakeStaged()}
    unknown = (sample_active_version(), sample_active_version(component_name="another-sample", artifact=None))
    reached = (Phase.STAGED, Phase.SHIFTING, Phase.COMMITTED, Phase.SOAKING)
    samples: dict[str, tuple[dict[str, Any], ...]] = {
        "assess": ({"step": sample_step(), "context": context},),
        "decide": (plan,),
        "deploy": ({**plan, **staged, "artifacts": ()},),
        "discover": ({},),
        "operations": ({},),
        "observe": ({"event": sample_event()}, {"event": sample_event(kind="upgrade.phase", data={"to": "done"})}),
        "recompile": ({**plan, **staged},),
        "restore": ({"active": (), "context": context}, {"active": unknown, "context": context}),
        "rollback": tuple({**plan, "reached": phase} for phase in reached),
        "swap": ({**plan, "steps": (sample_step(),)},),
        "validate": ({**plan, "stage": "before"}, {**plan, "stage": "after"}),
    }
    return samples[hook]


def answers(subject: Subject, *, hook: str) -> None:
    """It gives the right type in time, and about an unknown component nothing rather than an error."""

    async def use(runner: Runner, directory: Path) -> list[Reply]:
        calls = sample_arguments(hook, directory)
        return [reply for arguments in calls for reply in await runner.ask(hook, **arguments)]

    for reply in subject.run(use):
        _check_error(hook, reply)
        if hook == "assess":
            unknown = reply.value is None or not reply.value.feasible
            insist(unknown, "`assess` calls a change of an unknown component feasible.", "Return None for it.")


def observes(subject: Subject) -> None:
    """It takes events of every kind, also of kinds to come, without an error."""

    async def use(runner: Runner, directory: Path) -> list[str]:
        failures = []
        for one in runner.plugin_set.implementations("observe"):
            for arguments in sample_arguments("observe", directory):
                given = arguments if one.argnames else {}
                failures.append(await asyncio.to_thread(_attempted, partial(one.function, **given)))
        return [failure for failure in failures if failure]

    failures = subject.run(use)
    insist(not failures, f"`observe` raised {failures[0] if failures else ''}.", "Leave events that it does not know.")


def opens(subject: Subject) -> None:
    """It begins with a real Upgrader, and ends with it."""

    async def use(directory: Path) -> list[str]:
        settings = load_settings(environ={}, overrides={"runtime_upgrade.plugins.enabled": [NAME]})
        async with Upgrader.open(settings, plugins={NAME: subject.plugin}, directory=directory) as upgrader:
            return [event.message for event in upgrader.events.recent() if event.data.get("hook") == "opened"]

    with subject.folder() as directory:
        failures = asyncio.run(use(directory))
    insist(not failures, f"`opened` failed: {failures[0] if failures else ''}", "Begin later what is not there yet.")


def rollback_is_idempotent(subject: Subject) -> None:
    """After a crash it is asked again: twice must do no harm, and need nothing that the first one took."""

    async def use(runner: Runner, directory: Path) -> list[Reply]:
        replies: list[Reply] = []
        for arguments in sample_arguments("rollback", directory):
            for _ in range(2):
                replies += await runner.ask("rollback", **arguments)
        return replies

    for reply in subject.run(use):
        insist(reply.error is None, f"`rollback` failed when it was asked again: {reply.error}")


def ends_when_cancelled(subject: Subject) -> None:
    """Where `context.cancelled()` says so and no time remains, every hook still ends within the time limit."""

    async def use(runner: Runner, directory: Path) -> list[tuple[str, Reply]]:
        found: list[tuple[str, Reply]] = []
        for hook in _SAMPLED:
            if hook == "observe" or not runner.plugin_set.implementations(hook):
                continue
            for arguments in sample_arguments(hook, directory, cancelled=True):
                found += [(hook, reply) for reply in await runner.ask(hook, **arguments)]
        return found

    for hook, reply in subject.run(use):
        insist(
            not isinstance(reply.error, PluginTimeoutError),
            f"`{hook}` went on after the upgrade was cancelled: {reply.error}",
            "Ask context.cancelled() and context.remaining() now and then.",
        )


def async_hooks_can_be_cancelled(subject: Subject) -> None:
    """An `async` hook lets go when it is cancelled: at its time limit, and when the upgrade is."""

    async def use(runner: Runner, directory: Path) -> list[str]:
        stubborn = []
        for hook in _SAMPLED:
            for one in runner.plugin_set.implementations(hook):
                if not inspect.iscoroutinefunction(one.function):
                    continue
                arguments = sample_arguments(hook, directory)[0]
                task = asyncio.ensure_future(one.function(**{name: arguments[name] for name in one.argnames}))
                await asyncio.sleep(0)
                task.cancel()
                done, _ = await asyncio.wait((task,), timeout=_CANCEL_SECONDS)
                if not done:
                    stubborn.append(hook)
                elif not task.cancelled():
                    # Whatever it raised is for the other checks; asking for it keeps asyncio from complaining.
                    task.exception()
        return stubborn

    stubborn = subject.run(use)
    insist(
        not stubborn,
        f"`{', '.join(stubborn)}` did not end within {_CANCEL_SECONDS:g} s of its cancellation.",
        "Do not swallow asyncio.CancelledError.",
    )


_SPECIAL: Mapping[str, Callable[[Subject], None]] = {"observe": observes, "opened": opens}


def _check_error(hook: str, reply: Reply) -> None:
    refused = reply.error is not None and hook in _MAY_REFUSE and not isinstance(reply.error, PluginBrokenError)
    insist(
        reply.error is None or refused,
        f"`{hook}` failed on sample values: {reply.error}",
        "About a component that the plugin does not know, return None or nothing.",
    )


def _attempted(function: Callable[[], Any]) -> str:
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - the check reports whatever it is
        return f"{type(error).__name__}: {error}"
    return ""
