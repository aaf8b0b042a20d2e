"""Checks of how a plugin begins and ends: its settings, its threads."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.testing.failures import insist
from noodle_upgrade_core.testing.hooks import sample_arguments
from noodle_upgrade_core.testing.subjects import NAME, Subject

__all__ = ["checks_of"]

_END_SECONDS = 2.0


def checks_of(subject: Subject) -> Mapping[str, Callable[[Subject], None]]:
    """Return the checks by name."""
    checks: dict[str, Callable[[Subject], None]] = {"closes_cleanly": closes_cleanly}
    if subject.settings_class is not None:
        checks["settings_round_trip"] = settings_round_trip
    return checks


def settings_round_trip(subject: Subject) -> None:
    """Its settings can be written down and read again, and are then the same."""
    from noodle_upgrade_core.config.loading import load_settings  # noqa: PLC0415 - plugins without settings do not need it
    from noodle_upgrade_core.settings import wire_of  # noqa: PLC0415 - likewise

    settings_class = subject.settings_class
    if settings_class is None:
        return
    given = settings_class() if subject.settings is None else subject.settings
    document = {NAME: wire_of(given, reveal=True)}
    with subject.folder() as directory:
        file = directory / "settings.json"
        file.write_text(json.dumps(document))
        loaded = load_settings([file], environ={}, sections={NAME: settings_class})
    again = loaded.section(NAME)
    insist(
        again == given,
        f"settings that were written down and read again differ: {_difference(given, again)}.",
        "Use frozen attrs classes, and fields of the types that `setting` describes.",
    )


def _difference(given: Any, again: Any) -> str:
    return f"{given!r} became {again!r}"[:500]


def closes_cleanly(subject: Subject) -> None:
    """After `close` none of its threads is left."""
    before = set(threading.enumerate())

    async def use(runner: Runner, directory: Path) -> None:
        for hook in ("discover", "validate"):
            for arguments in sample_arguments(hook, directory):
                await runner.ask(hook, **arguments)

    subject.run(use)
    until = time.monotonic() + _END_SECONDS
    while (left := _left(before)) and time.monotonic() < until:
        left[0].join(0.05)
    insist(
        not left,
        f"threads are left after close: {', '.join(thread.name for thread in left)}.",
        "End them in the plugin's `close()`.",
    )


def _left(before: set[threading.Thread]) -> list[threading.Thread]:
    # The threads that hooks run in are the runner's, which lets them end by themselves.
    return [t for t in threading.enumerate() if t not in before and not t.name.startswith("noodle ")]
