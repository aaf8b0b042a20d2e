"""The exit codes of `noodle`: one table, for people and for scripts."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

__all__ = ["MEANINGS", "Exit", "exit_of", "exit_of_upgrade"]


class Exit(enum.IntEnum):
    """What the command's exit code says; `MEANINGS` has the words."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    REFUSED = 4
    WAITING = 5
    PROBLEMS = 6
    NOTHING_TO_DO = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "the upgrade or rollback failed, was cancelled, or was rolled back",
    Exit.USAGE: "wrong usage, an unknown name, or wrong settings",
    Exit.NOT_RUNNING: "no running program was found, or it cannot be reached",
    Exit.REFUSED: (
        "refused before anything changed: validation, verdict, decision, staging, time, busy, switched off, full disk"
    ),
    Exit.WAITING: "started, and waits for `noodle approve`",
    Exit.PROBLEMS: "a check (doctor, plugins doctor, stack check) found problems, or the journal is damaged",
    Exit.NOTHING_TO_DO: "nothing was done: the version that was asked for runs already",
    Exit.INTERRUPTED: "interrupted, or the question was answered with no",
    Exit.BROKEN_PIPE: "whoever read the output went away",
}

# The longest prefix of an error's code decides.
_BY_CODE: Mapping[str, Exit] = {
    "artifact": Exit.REFUSED,
    "component.unknown": Exit.USAGE,
    "constraint": Exit.REFUSED,
    "control": Exit.NOT_RUNNING,
    "control.forbidden": Exit.REFUSED,
    "control.refused": Exit.REFUSED,
    "control.timeout": Exit.FAILED,
    "control.too_large": Exit.USAGE,
    "control.unauthorized": Exit.REFUSED,
    "decision": Exit.REFUSED,
    "dependency": Exit.REFUSED,
    "driver": Exit.USAGE,
    "journal.corrupt": Exit.PROBLEMS,
    "journal.full": Exit.REFUSED,
    "journal.lease_held": Exit.REFUSED,
    "journal.lease_lost": Exit.REFUSED,
    "journal.schema": Exit.REFUSED,
    "operation.unknown": Exit.USAGE,
    "plan": Exit.REFUSED,
    "plugin": Exit.USAGE,
    "request": Exit.USAGE,
    "rollback.unavailable": Exit.REFUSED,
    "settings": Exit.USAGE,
    "stage": Exit.REFUSED,
    "swap": Exit.REFUSED,
    "upgrade.busy": Exit.REFUSED,
    "upgrade.disabled": Exit.REFUSED,
    "upgrade.timeout": Exit.REFUSED,
    "upgrade.unknown": Exit.USAGE,
    "usage": Exit.USAGE,
    "validation": Exit.REFUSED,
    "version": Exit.USAGE,
    "version.mismatch": Exit.REFUSED,
    "version.running": Exit.NOTHING_TO_DO,
}
# What plugins' own errors say with the last word of their codes, where no beginning is in the table.
_BY_LAST_WORD: Mapping[str, Exit] = {
    "conflict": Exit.REFUSED,
    "invalid": Exit.USAGE,
    "refused": Exit.REFUSED,
    "unknown": Exit.USAGE,
}
# Somebody stopped it, it is a defect, or what the journal holds is known after a restart only: no answer to what was
# asked for, although nothing moved.
_FAILED_ANYWAY = frozenset({"internal", "journal.corrupt", "journal.failed", "journal.invariant", "upgrade.cancelled"})


def exit_of(code: str) -> Exit:
    """Return the exit code for an error's code; a failure where neither its beginning nor its last word is known."""
    beginning = code
    while beginning:
        if beginning in _BY_CODE:
            return _BY_CODE[beginning]
        beginning = beginning.rpartition(".")[0]
    return _BY_LAST_WORD.get(code.rpartition(".")[2], Exit.FAILED)


def exit_of_upgrade(state: Mapping[str, Any]) -> Exit:
    """Return the exit code for an upgrade that has ended, from the API's `phase` and `error`.

    Refused is only what nobody could see: an upgrade that was rejected, or that ended before traffic moved. What had
    moved traffic, and came back, has failed; and so has one that was cancelled.
    """
    phase = str(state.get("phase", ""))
    if phase in {"done", "committed", "soaking"} and not state.get("error"):
        return Exit.OK
    code = str((state.get("error") or {}).get("code", ""))
    return Exit.REFUSED if phase in {"rejected", "aborted"} and code not in _FAILED_ANYWAY else Exit.FAILED
