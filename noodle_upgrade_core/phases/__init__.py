"""The runner: asks the plugins, each within its time and on its own."""

from noodle_upgrade_core.phases.runner import (
    Account,
    Reply,
    Runner,
)

__all__ = [
    "Account",
    "Reply",
    "Runner",
]
