"""What can be wrong with a deployment, as typed errors."""

from __future__ import annotations

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError

__all__ = ["DeploymentConflictError", "DeploymentExistsError", "DeploymentRefusedError", "DeploymentUnknownError"]


class DeploymentUnknownError(UpgradeError):
    """No deployment has this id."""

    code = "deployment.unknown"


class DeploymentExistsError(InvalidRequestError):
    """A deployment of this id was asked for just now."""

    code = "deployment.exists"


class DeploymentConflictError(UpgradeError):
    """The id of a deployment was used for another one."""

    code = "deployment.conflict"


class DeploymentRefusedError(UpgradeError):
    """A policy stands against it; `details["obstacles"]` has every reason."""

    code = "deployment.refused"
