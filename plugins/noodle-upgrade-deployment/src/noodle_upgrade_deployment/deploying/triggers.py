"""What begins deployments that wait for something: each trigger seen from something real, and each switched off at will."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from packaging.utils import canonicalize_name

from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger

__all__ = ["Edges", "fired_by", "waiting_for"]

_BY_EVENT: Mapping[str, DeploymentUpgradeTrigger] = {
    EventKind.UPGRADE_STARTED: DeploymentUpgradeTrigger.DEPLOYMENT_START,
    EventKind.UPGRADE_COMPLETED: DeploymentUpgradeTrigger.DEPLOYMENT_SUCCESS,
    EventKind.UPGRADE_FAILED: DeploymentUpgradeTrigger.DEPLOYMENT_FAILURE,
    EventKind.UPGRADE_ROLLED_BACK: DeploymentUpgradeTrigger.DEPLOYMENT_ROLLBACK,
}


def fired_by(event: Event) -> DeploymentUpgradeTrigger | None:
    """Return the trigger that an event of the core is; None for events that are none.

    Every upgrade of this program counts, whoever asked for it.
    """
    return _BY_EVENT.get(event.kind)


def waiting_for(
    trigger: DeploymentUpgradeTrigger, states: Iterable[DeploymentUpgradeState], *, component: str = ""
) -> list[DeploymentUpgradeState]:
    """Return the deployments that wait for a trigger; with `component` those that wait for what happens to it, or to any."""
    return [
        state
        for state in states
        if state.stage is Stage.PENDING
        and state.trigger == trigger
        and (not state.trigger_of or canonicalize_name(state.trigger_of) == canonicalize_name(component))
    ]


class Edges:
    """Tells when a condition comes to hold: what holds all the time happens once."""

    def __init__(self) -> None:
        self._held: dict[tuple[DeploymentUpgradeTrigger, str], bool] = {}

    def rises(self, trigger: DeploymentUpgradeTrigger, environment: str, *, holds: bool) -> bool:
        """Note whether a condition holds now; returns whether it did not at the look before.

        At the first look a condition that holds has come to hold: nobody saw that it did before.
        """
        before = self._held.get((trigger, environment), False)
        self._held[trigger, environment] = holds
        return holds and not before
