"""A policy's strategy and mode as one strategy: what really moves the traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noodle_upgrade_core import Gate, Strategy
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy, PolicyGate
from noodle_upgrade_deployment.policies.vocabulary import UpgradeDeploymentMode
from noodle_upgrade_deployment.strategies.blue_green import BlueGreen
from noodle_upgrade_deployment.strategies.canary import Canary, Ramp
from noodle_upgrade_deployment.strategies.failing import AskOnHarm
from noodle_upgrade_deployment.strategies.gated import Gated
from noodle_upgrade_deployment.strategies.rolling import Rolling
from noodle_upgrade_deployment.strategies.split import FirstShare

__all__ = ["composed", "in_mode"]


_USUAL: Mapping[str, Mapping[str, Any]] = {"gradual": {"bake": 30.0}}
"""What strategies of the core do by themselves is for whoever looks on: two seconds are no time to judge anything."""


def composed(
    policy: DeploymentUpgradePolicy, drivers: Drivers, defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> Strategy:
    """Return the strategy that carries a policy out.

    Innermost is the policy's own, around it the mode, then what happens on harm, then the gates. `defaults` are
    parameters by strategy, which the policy's own win over. Raises `DriverUnknownError` with those that are installed,
    and `InvalidRequestError` for parameters that the strategy does not take.
    """
    usual = {**_USUAL.get(policy.strategy, {}), **(defaults or {}).get(policy.strategy, {})}
    given = {**usual, **policy.strategy_parameters}
    strategy = in_mode(policy, drivers.make("strategies", policy.strategy, **given))
    if policy.reaction != "rollback":
        strategy = AskOnHarm(inner=strategy)
    gates = tuple((gate.share / 100, _gate(gate)) for gate in policy.gates)
    return Gated(inner=strategy, gates=gates) if gates else strategy


def in_mode(policy: DeploymentUpgradePolicy, strategy: Strategy) -> Strategy:
    """Return a strategy as the policy's mode has it: one that is of that kind by itself stays as it is.

    `synchronous` and `asynchronous` say who waits, and change nothing of what moves.
    """
    match policy.deployment_mode:
        case UpgradeDeploymentMode.ROLLING if not isinstance(strategy, Rolling):
            return Rolling(surge=policy.surge, unavailable=policy.unavailable, inner=strategy)
        case UpgradeDeploymentMode.BLUE_GREEN if not isinstance(strategy, BlueGreen):
            return BlueGreen(warm=policy.warm, inner=strategy)
        case UpgradeDeploymentMode.CANARY if not isinstance(strategy, Canary | Ramp | FirstShare):
            return FirstShare(inner=strategy)
        case _:
            return strategy


def _gate(gate: PolicyGate) -> Gate:
    return Gate(gate.name, approvals=gate.approvals, expires=gate.expires, of=gate.of)
