"""The control API of a running program, and what hosts a program: `serve(upgrader)`, `noodle run`.

The public names are loaded when they are first used: `noodle run --help` needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noodle_upgrade_server.control import ControlServer, HttpServer, serve
    from noodle_upgrade_server.limits import Limits

__all__ = ["ControlServer", "HttpServer", "Limits", "serve"]

_HOMES = {"ControlServer": "control", "HttpServer": "control", "Limits": "limits", "serve": "control"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
