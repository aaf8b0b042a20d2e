"""Swap code in a running Python process: patch packages in place, or flip whole generations behind handles."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noodle_upgrade_runtime.handles import handle
    from noodle_upgrade_runtime.integration import RuntimeUpgradeIntegration

__all__ = ["RuntimeUpgradeIntegration", "handle"]

_HOME = {"RuntimeUpgradeIntegration": "integration", "handle": "handles"}


def __getattr__(name: str) -> Any:
    # A service imports this package for `handle` alone, and a rehearsal for neither: each brings much along.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
