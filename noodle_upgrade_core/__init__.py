"""Change any part of a running Python system live, gated and reversible: the core.

The public names are loaded when they are first used: a program that only makes a request does not pay for the journal.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noodle_upgrade_core.blocking import BlockingUpgrader
    from noodle_upgrade_core.config.loading import Settings, load_settings
    from noodle_upgrade_core.counters import ArmCounter
    from noodle_upgrade_core.deciders import Decider
    from noodle_upgrade_core.documents import Documents
    from noodle_upgrade_core.errors import UpgradeError
    from noodle_upgrade_core.events import Event, EventBus, EventKind
    from noodle_upgrade_core.hookspecs import (
        ActiveVersion,
        Host,
        Operation,
        Outcome,
        Receipt,
        UpgradeContext,
        UpgradeHooks,
        hookimpl,
        hookspec,
    )
    from noodle_upgrade_core.journal.documents import Document
    from noodle_upgrade_core.model import (
        ArtifactRef,
        Ballot,
        ComponentDescriptor,
        ComponentType,
        Decision,
        Dependency,
        FeasibilityResult,
        Finding,
        Phase,
        PlanStep,
        Recommendation,
        RollbackPoint,
        Severity,
        UpgradePlan,
        UpgradeRequest,
        UpgradeResult,
        UpgradeStatus,
        ValidationLevel,
        Verdict,
        Vote,
    )
    from noodle_upgrade_core.registry import Registry
    from noodle_upgrade_core.settings import setting
    from noodle_upgrade_core.staged import Arm, Measurement, Member, StagedSwap
    from noodle_upgrade_core.steps import (
        Gate,
        Judge,
        JudgeDriver,
        Observation,
        Probe,
        Revert,
        Rollout,
        Shift,
        Step,
        Strategy,
        Wait,
    )
    from noodle_upgrade_core.traffic import Gauge
    from noodle_upgrade_core.upgrade import Upgrader

__version__ = "0.1.0"

__all__ = [
    "ActiveVersion",
    "Arm",
    "ArmCounter",
    "ArtifactRef",
    "Ballot",
    "BlockingUpgrader",
    "ComponentDescriptor",
    "ComponentType",
    "Decider",
    "Decision",
    "Dependency",
    "Document",
    "Documents",
    "Event",
    "EventBus",
    "EventKind",
    "FeasibilityResult",
    "Finding",
    "Gate",
    "Gauge",
    "Host",
    "Judge",
    "JudgeDriver",
    "Measurement",
    "Member",
    "Observation",
    "Operation",
    "Outcome",
    "Phase",
    "PlanStep",
    "Probe",
    "Receipt",
    "Recommendation",
    "Registry",
    "Revert",
    "RollbackPoint",
    "Rollout",
    "Settings",
    "Severity",
    "Shift",
    "StagedSwap",
    "Step",
    "Strategy",
    "UpgradeContext",
    "UpgradeError",
    "UpgradeHooks",
    "UpgradePlan",
    "UpgradeRequest",
    "UpgradeResult",
    "UpgradeStatus",
    "Upgrader",
    "ValidationLevel",
    "Verdict",
    "Vote",
    "Wait",
    "hookimpl",
    "hookspec",
    "load_settings",
    "setting",
]

_HOME = {
    "ActiveVersion": "hookspecs",
    "Arm": "staged",
    "ArmCounter": "counters",
    "ArtifactRef": "model",
    "Ballot": "model",
    "BlockingUpgrader": "blocking",
    "ComponentDescriptor": "model",
    "ComponentType": "model",
    "Decider": "deciders",
    "Decision": "model",
    "Dependency": "model",
    "Document": "journal.documents",
    "Documents": "documents",
    "Event": "events",
    "EventBus": "events",
    "EventKind": "events",
    "FeasibilityResult": "model",
    "Finding": "model",
    "Gate": "steps",
    "Gauge": "traffic",
    "Host": "hookspecs",
    "Judge": "steps",
    "JudgeDriver": "steps",
    "Measurement": "staged",
    "Member": "staged",
    "Observation": "steps",
    "Operation": "hookspecs",
    "Outcome": "hookspecs",
    "Phase": "model",
    "PlanStep": "model",
    "Probe": "steps",
    "Receipt": "hookspecs",
    "Recommendation": "model",
    "Registry": "registry",
    "Revert": "steps",
    "RollbackPoint": "model",
    "Rollout": "steps",
    "Settings": "config",
    "Severity": "model",
    "Shift": "steps",
    "StagedSwap": "staged",
    "Step": "steps",
    "Strategy": "steps",
    "UpgradeContext": "hookspecs",
    "UpgradeError": "errors",
    "UpgradeHooks": "hookspecs",
    "UpgradePlan": "model",
    "UpgradeRequest": "model",
    "UpgradeResult": "model",
    "UpgradeStatus": "model",
    "Upgrader": "upgrade",
    "ValidationLevel": "model",
    "Verdict": "model",
    "Vote": "model",
    "Wait": "steps",
    "hookimpl": "hookspecs",
    "hookspec": "hookspecs",
    "load_settings": "config",
    "setting": "settings",
}


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
