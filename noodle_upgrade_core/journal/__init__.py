"""Durable state: the contract that every journal keeps, and the one on SQLite."""

from noodle_upgrade_core.journal.contract import (
    TRANSITIONS,
    AuditRow,
    Journal,
    PointerMove,
    Recovery,
    UpgradeRecord,
    way,
)

__all__ = [
    "TRANSITIONS",
    "AuditRow",
    "Journal",
    "PointerMove",
    "Recovery",
    "UpgradeRecord",
    "way",
]
