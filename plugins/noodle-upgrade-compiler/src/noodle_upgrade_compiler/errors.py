"""What the compiler plugin raises beside the errors of the core."""

from __future__ import annotations

from typing import ClassVar

from noodle_upgrade_core.errors import UpgradeError

__all__ = ["CompilationError", "NbcError", "PhaseFailedError"]


class CompilationError(UpgradeError):
    """A source has errors; `details["errors"]` lists them."""

    code: ClassVar[str] = "compiler.source"
    default_safe: ClassVar[str] = "Nothing was written."


class PhaseFailedError(UpgradeError):
    """A version of a phase raised, or gave back what no later phase can read; `details["phase"]` names it."""

    code: ClassVar[str] = "compiler.phase"
    default_safe: ClassVar[str] = "This compilation failed; others are not affected."


class NbcError(UpgradeError):
    """A file of byte code is not what it says that it is."""

    code: ClassVar[str] = "compiler.nbc"
    default_safe: ClassVar[str] = "Nothing of it was run."
