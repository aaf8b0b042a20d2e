"""Sample values: well formed, about a component that no real plugin knows. Every field can be given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.events import Event
from noodle_upgrade_core.hookspecs import ActiveVersion, Host, UpgradeContext
from noodle_upgrade_core.model import (
    ArtifactRef,
    ComponentDescriptor,
    Finding,
    PlanStep,
    UpgradePlan,
    UpgradeRequest,
    Verdict,
)
from noodle_upgrade_core.steps import Gate

__all__ = [
    "NAME",
    "sample_active_version",
    "sample_artifact",
    "sample_context",
    "sample_descriptor",
    "sample_event",
    "sample_host",
    "sample_plan",
    "sample_request",
    "sample_step",
    "sample_verdict",
]

NAME = "noodle-sample-component"
"""No package has this name."""


def sample_descriptor(**changes: Any) -> ComponentDescriptor:
    """Return a component on version 1.0.0."""
    return ComponentDescriptor(**{"name": NAME, "version": "1.0.0", "description": "a sample", **changes})


def sample_artifact(**changes: Any) -> ArtifactRef:
    """Return version 2.0.0 as an artefact; its bytes are in no store."""
    digest = changes.get("digest", "0" * 64)
    values = {"name": NAME, "version": "2.0.0", "digest": digest, "kind": "tree", "size": 0, "tree": digest}
    return ArtifactRef(**{**values, **changes})


def sample_verdict(**changes: Any) -> Verdict:
    """Return a verdict that the change can be made, with weights."""
    values = {"feasible": True, "mechanism": "sample", "capabilities": frozenset({"weights", "counts"})}
    return Verdict(**{**values, **changes})


def sample_request(**changes: Any) -> UpgradeRequest:
    """Return a request for version 2.0.0."""
    return UpgradeRequest(**{"component_name": NAME, "target_version": "2.0.0", **changes})


def sample_step(**changes: Any) -> PlanStep:
    """Return the step from 1.0.0 to 2.0.0, which can be carried out."""
    values: dict[str, Any] = {
        "component": sample_descriptor(),
        "from_version": "1.0.0",
        "to_version": "2.0.0",
        "path": ("1.0.0", "2.0.0"),
        "artifacts": (sample_artifact(),),
        "verdict": sample_verdict(),
        "plugin": "sample",
    }
    return PlanStep(**{**values, **changes})


def sample_plan(**changes: Any) -> UpgradePlan:
    """Return a plan of one request and one step."""
    return UpgradePlan(**{"requests": (sample_request(),), "steps": (sample_step(),), **changes})


def sample_active_version(**changes: Any) -> ActiveVersion:
    """Return what a journal says of the sample component: version 2.0.0, from the store."""
    values = {"component_name": NAME, "version": "2.0.0", "generation": 1, "artifact": sample_artifact()}
    return ActiveVersion(**{**values, **changes})


def sample_event(**changes: Any) -> Event:
    """Return an event of a kind that no plugin has heard of."""
    return Event(**{"kind": "noodle.sample", "sequence": 1, "component_name": NAME, "message": "a sample", **changes})


def sample_host(directory: Path, *, settings: Any = None, drivers: Drivers | None = None, **changes: Any) -> Host:
    """Return what a plugin is made with: folders below `directory`, which are made."""
    own, store = directory / "plugin", directory / "store"
    own.mkdir(parents=True, exist_ok=True)
    store.mkdir(parents=True, exist_ok=True)
    host = Host(settings=settings, directory=own, store=store, drivers=drivers or Drivers(), emit=_unheard)
    return evolve(host, **changes) if changes else host


def sample_context(
    directory: Path, *, cancelled: bool = False, seconds: float = 60.0, **changes: Any
) -> UpgradeContext:
    """Return what the hooks of an upgrade are given; with `cancelled` of one that somebody wants to stop."""
    store = directory / "store"
    store.mkdir(parents=True, exist_ok=True)
    context = UpgradeContext(
        upgrade_id="up-sample",
        store=store,
        drivers=Drivers(),
        emit=_unheard,
        remaining=lambda: 0.0 if cancelled else seconds,
        cancelled=lambda: cancelled,
        gate=_opened,
        probe=_well,
    )
    return evolve(context, **changes) if changes else context


def _unheard(_kind: str, **_: Any) -> None:
    """Tell nobody."""


async def _opened(_gate: Gate) -> bool:
    return True


async def _well() -> tuple[Finding, ...]:
    return ()
