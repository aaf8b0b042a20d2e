"""Asking the new version itself: a component's health check, called where the new version lives."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

from noodle_upgrade_core.model import ComponentDescriptor, Finding, Severity

__all__ = ["check_health"]


def check_health(component: ComponentDescriptor, handles: Sequence[Any]) -> Iterable[Finding]:
    """Call `module:function` of the running version; what it raises, or a false answer, is an error finding."""
    if not component.health_check:
        return
    name, _, path = component.health_check.partition(":")
    spaces = [one._noodle_.bound.space for one in handles]
    space = next((space for space in spaces if space is not None), None)
    try:
        check: Any = importlib.import_module(name if space is None else space.private_name(name))
        for part in filter(None, path.split(".")):
            check = getattr(check, part)
        answer = check()
    except Exception as error:  # noqa: BLE001 - whatever the version raises is its answer
        problem = f"raised {type(error).__name__}: {error}"
    else:
        if answer or answer is None:
            return
        problem = f"answered {answer!r}"
    yield Finding(
        severity=Severity.ERROR,
        code="health.failed",
        subject=component.name,
        message=f"The health check {component.health_check} of {component.name} {component.version} {problem}.",
        hint="The old version is brought back.",
    )
