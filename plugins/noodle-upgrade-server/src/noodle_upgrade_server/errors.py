"""What the control server itself refuses, and the HTTP status of every error of the project."""

from __future__ import annotations

from collections.abc import Mapping

from noodle_upgrade_core.errors import (
    ArtifactDamagedError,
    ArtifactIncompatibleError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
    ComponentUnknownError,
    ConstraintUnmetError,
    DependencyCycleError,
    DependencyMissingError,
    DriverUnknownError,
    InvalidRequestError,
    JournalFullError,
    LeaseHeldError,
    LeaseLostError,
    OperationUnknownError,
    RollbackUnavailableError,
    SettingsError,
    StageError,
    SwapRefusedError,
    UpgradeBusyError,
    UpgradeCancelledError,
    UpgradeDisabledError,
    UpgradeError,
    UpgradeRejectedError,
    UpgradeTimeoutError,
    UpgradeUnknownError,
    ValidationFailedError,
    VersionInvalidError,
    VersionMismatchError,
    VersionRunningError,
    VersionUnknownError,
)

__all__ = [
    "AlreadyServedError",
    "BodyTooLargeError",
    "BodyTooSlowError",
    "ClosingError",
    "ControlInternalError",
    "ForbiddenError",
    "HeadTooLargeError",
    "MediaTypeError",
    "MethodError",
    "NoAnswerError",
    "NoRoomError",
    "OperationSlowError",
    "PlanUnknownError",
    "RouteUnknownError",
    "ServeError",
    "TooManyError",
    "UnauthorizedError",
    "status_of",
]


class ServeError(UpgradeError):
    """The control API cannot be opened where it was asked for."""

    code = "control.cannot_serve"
    default_safe = "The program itself runs on."


class NoRoomError(ServeError):
    """The disk is full: there is no room for the files that say where the control API is."""

    code = "control.no_room"


class AlreadyServedError(ServeError):
    """A living process serves this state directory or this socket already."""

    code = "control.already_served"


class UnauthorizedError(UpgradeError):
    """No token, or a wrong one."""

    code = "control.unauthorized"


class ForbiddenError(UpgradeError):
    """Another user, a browser's page, or a name that is not this machine."""

    code = "control.forbidden"


class RouteUnknownError(UpgradeError):
    """No such path in this API."""

    code = "control.route_unknown"


class MethodError(UpgradeError):
    """The path exists, and not with this method."""

    code = "control.method"


class PlanUnknownError(UpgradeError):
    """The server does not keep this plan, or no longer."""

    code = "plan.unknown"


class MediaTypeError(UpgradeError):
    """A body that is not declared as JSON."""

    code = "control.media_type"


class HeadTooLargeError(UpgradeError):
    """A request line and headers with more bytes than are taken."""

    code = "control.head_too_large"


class BodyTooLargeError(UpgradeError):
    """A body with more bytes than are taken."""

    code = "control.too_large"


class BodyTooSlowError(UpgradeError):
    """A body that did not arrive in time."""

    code = "control.too_slow"


class TooManyError(UpgradeError):
    """As many connections or streams are open as may be."""

    code = "control.too_many"


class ClosingError(UpgradeError):
    """The program is shutting down."""

    code = "control.closing"
    default_safe = "An upgrade that was in flight goes back, or comes back as the journal says."


class NoAnswerError(UpgradeError):
    """The Upgrader did not answer within the request's time limit."""

    code = "control.timeout"
    default_safe = "What was begun goes on; the journal knows it."


class OperationSlowError(NoAnswerError):
    """A plugin's operation took longer than the server waits for work."""

    code = "operation.timeout"
    default_safe = "An asynchronous operation was cancelled; any other goes on, and its answer is not kept."


class ControlInternalError(UpgradeError):
    """A defect of the server or of a plugin; the program's log has it whole."""

    code = "control.internal"
    default_safe = "The program runs on."


# The nearest base class that is named here decides.
_STATUS: Mapping[type[UpgradeError], int] = {
    UpgradeError: 500,
    InvalidRequestError: 400,
    SettingsError: 400,
    VersionInvalidError: 400,
    DriverUnknownError: 400,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    ComponentUnknownError: 404,
    VersionUnknownError: 404,
    UpgradeUnknownError: 404,
    PlanUnknownError: 404,
    OperationUnknownError: 404,
    RouteUnknownError: 404,
    MethodError: 405,
    BodyTooSlowError: 408,
    UpgradeBusyError: 409,
    VersionMismatchError: 409,
    VersionRunningError: 409,
    RollbackUnavailableError: 409,
    UpgradeCancelledError: 409,
    LeaseHeldError: 409,
    LeaseLostError: 409,
    BodyTooLargeError: 413,
    MediaTypeError: 415,
    HeadTooLargeError: 431,
    ConstraintUnmetError: 422,
    DependencyMissingError: 422,
    DependencyCycleError: 422,
    ArtifactUnavailableError: 422,
    ArtifactDamagedError: 422,
    ArtifactTooLargeError: 422,
    ArtifactIncompatibleError: 422,
    SwapRefusedError: 422,
    StageError: 422,
    ValidationFailedError: 422,
    UpgradeRejectedError: 422,
    UpgradeDisabledError: 423,
    ClosingError: 503,
    TooManyError: 503,
    UpgradeTimeoutError: 504,
    NoAnswerError: 504,
    JournalFullError: 507,
}


_BY_LAST_WORD: Mapping[str, int] = {"invalid": 400, "unknown": 404, "conflict": 409, "refused": 422}
"""For errors of plugins' own, which no class here covers: the last word of their code."""


def status_of(error: UpgradeError) -> int:
    """Return the HTTP status for an error: 500 for what neither the table nor the last word of its code covers."""
    covered = next(base for base in type(error).__mro__ if base in _STATUS)
    if covered is UpgradeError:
        return _BY_LAST_WORD.get(error.code.rpartition(".")[2], _STATUS[UpgradeError])
    return _STATUS[covered]
