"""The two enumerations of deployments: how one is carried out, and what may begin one."""

from __future__ import annotations

import enum

__all__ = ["HARM_GATE", "DeploymentUpgradeTrigger", "UpgradeDeploymentMode"]

HARM_GATE = "harm"
"""The gate at which people say what becomes of a version that does harm."""


class UpgradeDeploymentMode(enum.StrEnum):
    """How a deployment is carried out; which shares it moves, and when, is the strategy's."""

    SYNCHRONOUS = "synchronous"
    ASYNCHRONOUS = "asynchronous"
    ROLLING = "rolling"
    BLUE_GREEN = "blue_green"
    CANARY = "canary"


class DeploymentUpgradeTrigger(enum.StrEnum):
    """What may begin a deployment."""

    DEPLOYMENT_START = "deployment_start"
    DEPLOYMENT_SUCCESS = "deployment_success"
    DEPLOYMENT_FAILURE = "deployment_failure"
    DEPLOYMENT_ROLLBACK = "deployment_rollback"
    SCHEDULED_MAINTENANCE = "scheduled_maintenance"
    HEALTH_DEGRADATION = "health_degradation"
    RESOURCE_PRESSURE = "resource_pressure"
    MANUAL = "manual"
