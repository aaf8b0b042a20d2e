"""The audit: one row for every change of durable state, with who, why and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.model import Phase

__all__ = ["AuditRow"]


@frozen(kw_only=True)
class AuditRow:
    """One change of phase: when, by whom and why. Rows are only ever added, and `sequence` only grows.

    `evidence` of a row that moved pointers has them under `moves`, each `{component_name, from_version, version,
    generation}`. Two kinds of rows belong to no upgrade, and both phases are None then: those about a pointer that
    followed the environment, and those about a document of a plugin, whose `evidence` has `{owner, key, revision,
    dropped}` under `document`.
    """

    sequence: int
    upgrade_id: str
    phase_from: Phase | None
    phase: Phase | None
    at: datetime
    who: str
    why: str
    evidence: Mapping[str, Any] = field(factory=dict)
    fence: int = 0
