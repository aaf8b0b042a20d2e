"""Swap code in a running Python process: patch packages in place, or flip whole generations behind handles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noodle_upgrade_runtime.handles import handle

if TYPE_CHECKING:
    from noodle_upgrade_runtime.integration import RuntimeUpgradeIntegration

__all__ = ["RuntimeUpgradeIntegration", "handle"]


def __getattr__(name: str) -> Any:
    # A service imports this package for `handle` alone; the integration brings the whole core.
    if name == "RuntimeUpgradeIntegration":
        from noodle_upgrade_runtime.integration import RuntimeUpgradeIntegration  # noqa: PLC0415 - see above

        return RuntimeUpgradeIntegration
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
