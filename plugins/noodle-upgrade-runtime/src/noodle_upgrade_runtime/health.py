"""Asking the new version itself: a component's health check, called where the new version lives."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from noodle_upgrade_core.model import Finding, PlanStep, Severity
from noodle_upgrade_runtime.namespace import Space

__all__ = ["check_health"]


def check_health(check: str, step: PlanStep, space: Space | None) -> Iterable[Finding]:
    """Call `module:function` of the new version, in its private space where it has one.

    What it raises, or a false answer other than None, is an error finding.
    """
    name, _, path = check.partition(":")
    try:
        function: Any = importlib.import_module(name if space is None else space.private_name(name))
        for part in filter(None, path.split(".")):
            function = getattr(function, part)
        answer = function()
    except Exception as error:  # noqa: BLE001 - whatever the version raises is its answer
        problem = f"raised {type(error).__name__}: {error}"
    else:
        if answer or answer is None:
            return
        problem = f"answered {answer!r}"
    yield Finding(
        severity=Severity.ERROR,
        code="health.failed",
        subject=step.name,
        message=f"The health check {check} of {step.name} {step.to_version} {problem}.",
        hint="The old version is brought back.",
    )
