"""One base error, one code for each way to fail.

Every error says three things: what went wrong (`message`), what is still true (`safe`) and what to do (`hint`).
Codes are stable and are what programs should test; messages are for people and may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "ApprovalRequiredError",
    "ArtifactDamagedError",
    "ArtifactDigestError",
    "ArtifactIncompatibleError",
    "ArtifactTooLargeError",
    "ArtifactUnavailableError",
    "ComponentUnknownError",
    "ConstraintUnmetError",
    "DependencyCycleError",
    "DependencyMissingError",
    "DocumentConflictError",
    "DrainTimeoutError",
    "DriverUnknownError",
    "HarmDetectedError",
    "InternalError",
    "InvalidRequestError",
    "InvariantViolatedError",
    "JournalCorruptError",
    "JournalError",
    "JournalFullError",
    "JournalSchemaError",
    "LeaseHeldError",
    "LeaseLostError",
    "MigrationError",
    "NotChangedError",
    "OperationUnknownError",
    "PluginBrokenError",
    "PluginIncompatibleError",
    "PluginTimeoutError",
    "RollbackFailedError",
    "RollbackUnavailableError",
    "SettingsError",
    "StageError",
    "StageTimeoutError",
    "StateConflictError",
    "SwapRefusedError",
    "UpgradeBusyError",
    "UpgradeCancelledError",
    "UpgradeDisabledError",
    "UpgradeError",
    "UpgradeRejectedError",
    "UpgradeTimeoutError",
    "UpgradeUnknownError",
    "ValidationFailedError",
    "VersionInvalidError",
    "VersionMismatchError",
    "VersionRunningError",
    "VersionUnknownError",
]

NOTHING_CHANGED = "Nothing was changed; the running version serves on."


class UpgradeError(Exception):
    """The base of every error that this project raises on purpose.

    `details` holds plain JSON values only (names, versions, numbers), so that an error crosses the control API and the
    journal unharmed: `from_wire(error.to_wire())` gives an equal error of the same class.
    """

    code: ClassVar[str] = "upgrade.failed"
    default_safe: ClassVar[str] = NOTHING_CHANGED
    by_code: ClassVar[dict[str, type[UpgradeError]]] = {}

    message: str
    hint: str
    safe: str
    details: dict[str, Any]

    def __init__(
        self, message: str, *, hint: str = "", safe: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.safe = self.default_safe if safe is None else safe
        self.details = dict(details or {})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A subclass without a code of its own is the same failure to a program; it must not take the code over.
        if "code" in cls.__dict__:
            UpgradeError.by_code.setdefault(cls.code, cls)

    def __str__(self) -> str:
        end = "" if not self.hint or self.message.rstrip().endswith((".", "!", "?", ":")) else "."
        return f"{self.message}{end} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.safe, self.details))

    def to_wire(self) -> dict[str, Any]:
        """Return `{code, message, hint, safe, details}`: JSON values only."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "safe": self.safe,
            "details": self.details,
        }

    @staticmethod
    def from_wire(wire: Mapping[str, Any]) -> UpgradeError:
        """Rebuild an error from `to_wire`; a code that this version does not know gives a plain `UpgradeError`."""
        code = str(wire.get("code", ""))
        cls = UpgradeError.by_code.get(code, UpgradeError)
        details = dict(wire.get("details") or {})
        if cls.code != code:
            details.setdefault("code", code)
        return _rebuild(
            cls, str(wire.get("message", "")), str(wire.get("hint", "")), str(wire.get("safe", "")), details
        )


def _rebuild(cls: type[UpgradeError], message: str, hint: str, safe: str, details: dict[str, Any]) -> UpgradeError:
    error = cls.__new__(cls)
    UpgradeError.__init__(error, message, hint=hint, safe=safe, details=details)
    return error


UpgradeError.by_code[UpgradeError.code] = UpgradeError


# --- what was asked for ------------------------------------------------------------------------------------------


class InvalidRequestError(UpgradeError):
    """A request that is not well formed: a wrong type, a value out of range, an unknown field."""

    code = "request.invalid"


class ComponentUnknownError(UpgradeError):
    """No such component is loaded or registered."""

    code = "component.unknown"


class VersionInvalidError(UpgradeError):
    """A version or a specifier that PEP 440 does not allow."""

    code = "version.invalid"


class VersionUnknownError(UpgradeError):
    """No source has the version asked for."""

    code = "version.unknown"


class VersionMismatchError(UpgradeError):
    """The request names a current version, and another one is running."""

    code = "version.mismatch"


class VersionRunningError(UpgradeError):
    """The version asked for runs already: there is nothing to do; `details["running"]` names it."""

    code = "version.running"


class ConstraintUnmetError(UpgradeError):
    """A constraint of the request, a dependency or the compatibility matrix is not met."""

    code = "constraint.unmet"


class DependencyMissingError(UpgradeError):
    """A component depends on one that does not exist."""

    code = "dependency.missing"


class DependencyCycleError(UpgradeError):
    """Components depend on one another in a circle; `details["cycle"]` names them in order."""

    code = "dependency.cycle"


# --- artefacts ---------------------------------------------------------------------------------------------------


class ArtifactUnavailableError(UpgradeError):
    """A source could not deliver an artefact that it should have."""

    code = "artifact.unavailable"


class ArtifactDamagedError(UpgradeError):
    """An archive that cannot be read, or whose record does not fit its contents."""

    code = "artifact.damaged"


class ArtifactDigestError(ArtifactDamagedError):
    """Bytes that do not have the sha256 that they are stored or asked for under."""

    code = "artifact.digest"


class ArtifactTooLargeError(UpgradeError):
    """More bytes or files than the settings allow."""

    code = "artifact.too_large"


class ArtifactIncompatibleError(UpgradeError):
    """An artefact for another platform or Python, or one with an extension module."""

    code = "artifact.incompatible"


# --- staging and swapping ----------------------------------------------------------------------------------------


class SwapRefusedError(UpgradeError):
    """A change that no mechanism can make safely; `details["blockers"]` says why, one sentence each."""

    code = "swap.refused"


class StateConflictError(SwapRefusedError):
    """The program and the new version both changed the same state; `details["conflicts"]` names it."""

    code = "swap.state_conflict"


class StageError(UpgradeError):
    """The new version could not be loaded beside the old one."""

    code = "stage.failed"


class StageTimeoutError(StageError):
    """The new version did not finish its import in time."""

    code = "stage.timeout"


class MigrationError(StageError):
    """State could not be carried over to the new version."""

    code = "stage.migration"


class DrainTimeoutError(UpgradeError):
    """Calls into the old version did not end in time; `details["blockers"]` names them."""

    code = "drain.timeout"
    default_safe = "The calls that still run were not touched."


# --- gates -------------------------------------------------------------------------------------------------------


class ValidationFailedError(UpgradeError):
    """Findings that stop the upgrade; `details["findings"]` holds them."""

    code = "validation.failed"


class UpgradeRejectedError(UpgradeError):
    """The vote went against the upgrade; `details["reasons"]` says why."""

    code = "decision.rejected"


class ApprovalRequiredError(UpgradeRejectedError):
    """A person has to approve first; `details["upgrade_id"]` is what to approve."""

    code = "decision.approval_required"


class HarmDetectedError(UpgradeError):
    """The new version did harm under traffic and was taken back; `details["evidence"]` shows it."""

    code = "deploy.harm"
    default_safe = "All traffic is back on the old version."


# --- running an upgrade ------------------------------------------------------------------------------------------


class UpgradeDisabledError(UpgradeError):
    """A switch in the settings forbids it; `details["setting"]` and `details["origin"]` name the switch."""

    code = "upgrade.disabled"


class UpgradeBusyError(UpgradeError):
    """Another upgrade of the component runs, or as many run as may."""

    code = "upgrade.busy"


class UpgradeUnknownError(UpgradeError):
    """No upgrade has this id."""

    code = "upgrade.unknown"


class OperationUnknownError(UpgradeError):
    """No plugin here has an operation of this name."""

    code = "operation.unknown"


class UpgradeCancelledError(UpgradeError):
    """Somebody cancelled it."""

    code = "upgrade.cancelled"


class UpgradeTimeoutError(UpgradeError):
    """The upgrade took longer than its request allows."""

    code = "upgrade.timeout"


class NotChangedError(UpgradeError):
    """Everything reported success, and the component still runs another version."""

    code = "upgrade.not_changed"


class RollbackUnavailableError(UpgradeError):
    """There is nothing to go back to: no rollback point, an expired one, or rollback is switched off."""

    code = "rollback.unavailable"


class RollbackFailedError(UpgradeError):
    """Some plugin could not undo its part; `details["errors"]` lists every failure."""

    code = "rollback.failed"
    default_safe = "The journal holds the upgrade as stuck; `noodle doctor` shows what is left to do."


# --- plugins, drivers, settings ----------------------------------------------------------------------------------


class PluginBrokenError(UpgradeError):
    """A plugin could not be imported, made or registered, or one of its hooks raised."""

    code = "plugin.broken"


class PluginTimeoutError(PluginBrokenError):
    """A plugin's hook took longer than its time limit."""

    code = "plugin.timeout"


class PluginIncompatibleError(PluginBrokenError):
    """A plugin was made for another version of the core."""

    code = "plugin.incompatible"


class DriverUnknownError(UpgradeError):
    """No driver has this name; the hint lists those installed."""

    code = "driver.unknown"


class SettingsError(UpgradeError):
    """A setting that is unknown, of the wrong type or out of range; `details["problems"]` lists all of them."""

    code = "settings.invalid"


# --- durable state -----------------------------------------------------------------------------------------------


class JournalError(UpgradeError):
    """The journal could not be read or written."""

    code = "journal.failed"


class JournalFullError(JournalError):
    """The disk, or the quota, is full."""

    code = "journal.full"


class JournalCorruptError(JournalError):
    """The journal's file is damaged."""

    code = "journal.corrupt"


class JournalSchemaError(JournalError):
    """The journal was written by a newer version; it is left alone."""

    code = "journal.schema"


class LeaseHeldError(JournalError):
    """Another controller manages this journal."""

    code = "journal.lease_held"


class LeaseLostError(JournalError):
    """Another controller has taken over: this one may not write any more."""

    code = "journal.lease_lost"


class DocumentConflictError(UpgradeError):
    """A document is at another revision than the one expected; `details["found"]` is the one there, 0 for none."""

    code = "document.conflict"
    default_safe = "The document was not changed."


class InternalError(UpgradeError):
    """Something failed that cannot: a defect of this project, or of something that it cannot tell apart."""

    code = "internal"
    default_safe = "What had begun was taken back."


class InvariantViolatedError(JournalError):
    """The durable state breaks one of its invariants; `details["violations"]` names them."""

    code = "journal.invariant"
