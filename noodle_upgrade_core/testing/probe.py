"""Imports one module in a fresh interpreter and prints what that cost and did: `python -m … MODULE`, JSON on stdout."""

from __future__ import annotations

import builtins
import importlib
import json
import logging
import os
import signal
import sys
import threading
import warnings
from typing import Any

# What a plugin's imports are measured against: every host has these loaded already.
import noodle_upgrade_core.config.loading
import noodle_upgrade_core.hookspecs
import noodle_upgrade_core.plugins.loading  # noqa: F401
from noodle_upgrade_core.testing.auditing import effect_of

__all__ = ["MARK", "main"]

MARK = "noodle-probe: "


def _state() -> dict[str, Any]:
    """Return what an import must leave alone, by what it is called in a report."""
    return {
        "starts threads": sorted(thread.name for thread in threading.enumerate()),
        "changes signal handlers": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "changes the working directory": os.getcwd(),  # noqa: PTH109 - a string is what is compared
        "changes the environment": dict(os.environ),
        "changes sys.path": list(sys.path),
        "changes sys.meta_path": [repr(finder) for finder in sys.meta_path],
        "changes the hooks of sys": [repr(hook) for hook in (sys.excepthook, sys.unraisablehook, sys.displayhook)],
        "changes the logging": [repr(logging.root.handlers), logging.root.level],
        "changes the filters of warnings": len(warnings.filters),
        "changes builtins": sorted((name, id(value)) for name, value in vars(builtins).items() if name != "_"),
    }


def main(name: str) -> None:
    """Import the module and print `{modules, effects, error}` as JSON after `MARK`."""
    effects: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if what := effect_of(event, arguments, reading=False):
            effects.append(what)

    known, before, error = set(sys.modules), _state(), ""
    sys.addaudithook(hook)
    try:
        importlib.import_module(name)
    except BaseException as raised:  # noqa: BLE001 - whatever it is, the report says so
        error = f"{type(raised).__name__}: {raised}"
    modules = sorted(set(sys.modules) - known)
    after = _state()
    effects += [what for what, value in after.items() if value != before[what]]
    print(f"\n{MARK}{json.dumps({'modules': modules, 'effects': effects, 'error': error})}", flush=True)  # noqa: T201
    # A thread that the import started must not keep this process.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
