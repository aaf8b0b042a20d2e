"""Durable state: the contract that every journal keeps, and the one on SQLite."""

from noodle_upgrade_core.journal.audit import AuditRow
from noodle_upgrade_core.journal.contract import (
    TRANSITIONS,
    Journal,
    PointerMove,
    Recovery,
    UpgradeRecord,
    way,
)
from noodle_upgrade_core.journal.documents import Document

__all__ = [
    "TRANSITIONS",
    "AuditRow",
    "Document",
    "Journal",
    "PointerMove",
    "Recovery",
    "UpgradeRecord",
    "way",
]
