"""What plugin authors test with: conformance checks, sample values, a staged swap in memory.

    from noodle_upgrade_core.testing import parametrize_with_checks
    from acme_upgrades import Plugin

    @parametrize_with_checks(Plugin, expected_failures={"import_is_cheap": "it needs numpy"})
    def test_conformance(check):
        check()

Names are loaded when they are first used: pytest imports this package in every run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noodle_upgrade_core.testing.checks import (
        Check,
        ConformanceError,
        conformance_checks,
        conformance_checks_of_strategy,
        parametrize_with_checks,
    )
    from noodle_upgrade_core.testing.samples import (
        sample_active_version,
        sample_artifact,
        sample_context,
        sample_descriptor,
        sample_event,
        sample_host,
        sample_plan,
        sample_request,
        sample_step,
        sample_verdict,
    )
    from noodle_upgrade_core.testing.staged import FakeStaged
    from noodle_upgrade_core.testing.strategies import check_strategy
    from noodle_upgrade_core.testing.swaps import Scenario

__all__ = [
    "Check",
    "ConformanceError",
    "FakeStaged",
    "Scenario",
    "check_strategy",
    "conformance_checks",
    "conformance_checks_of_strategy",
    "parametrize_with_checks",
    "sample_active_version",
    "sample_artifact",
    "sample_context",
    "sample_descriptor",
    "sample_event",
    "sample_host",
    "sample_plan",
    "sample_request",
    "sample_step",
    "sample_verdict",
]

_HOME = {
    "Check": "checks",
    "ConformanceError": "checks",
    "FakeStaged": "staged",
    "Scenario": "swaps",
    "check_strategy": "strategies",
    "conformance_checks": "checks",
    "conformance_checks_of_strategy": "checks",
    "parametrize_with_checks": "checks",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _HOME.get(name, "samples")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
