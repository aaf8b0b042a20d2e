"""The conformance checks: one object for each rule, to be called by a test."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from noodle_upgrade_core.testing import hooks, imports, lifecycles, swaps
from noodle_upgrade_core.testing.failures import ConformanceError
from noodle_upgrade_core.testing.strategies import RULES
from noodle_upgrade_core.testing.subjects import Subject

if TYPE_CHECKING:
    import pytest

__all__ = [
    "Check",
    "ConformanceError",
    "conformance_checks",
    "conformance_checks_of_strategy",
    "parametrize_with_checks",
]

FAMILIES: tuple[Callable[[Subject], Mapping[str, Callable[[Subject], None]]], ...] = (
    imports.checks_of,
    hooks.checks_of,
    lifecycles.checks_of,
    swaps.checks_of,
)
"""Where the checks of a plugin come from: each gives those that apply to a subject, by name."""


@frozen
class Check:
    """One rule, ready to be called: raises `ConformanceError` when the plugin does not keep it.

    `expected_failure` is the reason why its author expects it to fail, or empty.
    """

    name: str
    function: Callable[[], None]
    description: str = ""
    expected_failure: str = ""

    def __call__(self) -> None:
        """Check the rule."""
        self.function()

    def __str__(self) -> str:
        return self.name


def conformance_checks(
    plugin: Any,
    *,
    expected_failures: Mapping[str, str] | None = None,
    scenario: Callable[[], Any] | None = None,
    settings: Any = None,
    time_limit: float = 10.0,
    allowed_imports: tuple[str, ...] = (),
    most_modules: int = 300,
) -> tuple[Check, ...]:
    """Return the checks that apply to a plugin: a class, a module or an instance.

    `scenario` makes a context manager that gives a `Scenario`: with it a plugin that swaps is checked for what a staged
    swap promises. `settings` is an instance of the plugin's settings class, where that has no defaults. `time_limit` is
    in seconds and for each hook. Raises `ValueError` for an expected failure that names no check.
    """
    subject = Subject(
        plugin=plugin,
        scenario=scenario,
        settings=settings,
        time_limit=time_limit,
        allowed_imports=tuple(allowed_imports),
        most_modules=most_modules,
    )
    found = {name: check for family in FAMILIES for name, check in family(subject).items()}
    return _made(found, (subject,), expected_failures or {})


def conformance_checks_of_strategy(
    strategy: Callable[..., Any],
    parameters: Mapping[str, Any] | None = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
) -> tuple[Check, ...]:
    """Return the rules of a strategy, one check each; `parameters` are what it is made with."""

    def make() -> Any:
        return strategy(**(parameters or {}))

    return _made(RULES, (make, None), expected_failures or {})


def parametrize_with_checks(plugin: Any, **options: Any) -> pytest.MarkDecorator:
    """Return a decorator that runs a test once for every check, which it gets as `check`.

    Takes what `conformance_checks` takes; for a class with a method `rollout`, what `conformance_checks_of_strategy`
    takes. A failure that is expected is reported as such, and fails the test once it is gone.
    """
    import pytest  # noqa: PLC0415 - the checks can be used without it

    make = conformance_checks_of_strategy if hasattr(plugin, "rollout") else conformance_checks
    checks = make(plugin, **options)
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                check,
                id=check.name,
                marks=[pytest.mark.xfail(reason=check.expected_failure, raises=ConformanceError, strict=True)]
                if check.expected_failure
                else [],
            )
            for check in checks
        ],
    )


def _made(
    rules: Mapping[str, Callable[..., None]], arguments: tuple[Any, ...], expected: Mapping[str, str]
) -> tuple[Check, ...]:
    if unknown := sorted(expected.keys() - rules.keys()):
        meant = difflib.get_close_matches(unknown[0], rules, n=1)
        hint = f"did you mean {meant[0]!r}?" if meant else f"the checks are: {', '.join(rules)}."
        raise ValueError(f"no check {unknown[0]!r} applies here; {hint}")
    return tuple(
        Check(name, partial(rule, *arguments), _description(rule), expected.get(name, ""))
        for name, rule in rules.items()
    )


def _description(rule: Callable[..., None]) -> str:
    return inspect.getdoc(getattr(rule, "func", rule)) or ""
