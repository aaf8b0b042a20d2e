"""What the end of one deployment means to others: who goes back with it, and for how long it has to be remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_deployment.deploying.admission import remembers
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.policies.choice import policy_for
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["dependents", "still_asked"]

_LEAVES_ALL_AS_IT_WAS = frozenset({Stage.SUCCEEDED, Stage.CANCELLED, Stage.REJECTED})


def dependents(
    settings: DeploymentSettings, state: DeploymentUpgradeState, active: Sequence[DeploymentUpgradeState]
) -> tuple[DeploymentUpgradeState, ...]:
    """Return those under way that depend on a deployment which has ended badly."""
    if state.stage in _LEAVES_ALL_AS_IT_WAS or not state.attempt:
        return ()  # the version that others depend on is there, or the one from before was never left
    names = set(map(canonicalize_name, state.components))
    return tuple(
        other
        for other in active
        if not other.stage.waiting
        and other.deployment_id != state.deployment_id
        and names & _needed(settings, other, state.environment)
    )


def _needed(settings: DeploymentSettings, state: DeploymentUpgradeState, environment: str) -> set[str]:
    """Return the components of an environment that a deployment depends on; none where its policy is gone."""
    try:
        depends_on = policy_for(settings, state.environment).depends_on
    except UpgradeError:
        return set()
    return {
        canonicalize_name(one.component)
        for one in depends_on
        if one.component and (one.environment or state.environment) == environment
    }


def still_asked(
    settings: DeploymentSettings, states: Sequence[DeploymentUpgradeState], at: datetime
) -> Callable[[DeploymentUpgradeState], bool]:
    """Return what tells of one that has ended whether an admission may still ask for it.

    That is so while the minimum interval since its end is not over, and for good when it is why a version is refused.
    """

    def asked(state: DeploymentUpgradeState) -> bool:
        try:
            policy = policy_for(settings, state.environment)
        except UpgradeError:
            return remembers(state, states)
        interval = timedelta(seconds=policy.timing_constraints.min_interval_between_upgrades)
        return state.updated_at > at - interval or (policy.remember_failures and remembers(state, states))

    return asked
