"""Checks of a plugin's import, in a fresh interpreter: what it drags in, and what it does."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import frozen

from noodle_upgrade_core.testing.failures import ConformanceError, insist
from noodle_upgrade_core.testing.probe import MARK
from noodle_upgrade_core.testing.subjects import Subject

__all__ = ["FORBIDDEN", "Probed", "checks_of", "probe"]

FORBIDDEN = frozenset(
    {
        "aiohttp", "boto3", "botocore", "click", "cryptography", "django", "fastapi", "flask", "google", "grpc",
        "httpx", "IPython", "jinja2", "matplotlib", "numpy", "openai", "pandas", "pip", "pkg_resources",
        "pydantic", "pytest", "requests", "rich", "scipy", "setuptools", "sklearn", "sqlalchemy", "starlette",
        "tensorflow", "tkinter", "torch", "transformers", "typer", "uvicorn",
    }
)  # fmt: skip
"""What no plugin may import at import: each costs every start of every host tens of milliseconds and more."""

_PROBE_SECONDS = 60.0


@frozen
class Probed:
    """What an import brought in, did to the world, and printed."""

    modules: tuple[str, ...]
    effects: tuple[str, ...]
    printed: str


def checks_of(subject: Subject) -> Mapping[str, Callable[[Subject], None]]:
    """Return the checks by name; all share one import in a fresh interpreter."""
    probed = functools.cache(partial(probe, subject.module))
    rules = (import_is_cheap, import_has_no_effects)
    return {rule.__name__: partial(rule, probed=probed) for rule in rules}


def import_is_cheap(subject: Subject, *, probed: Callable[[], Probed]) -> None:
    """Importing it brings in few modules, and none of the heavy ones."""
    modules = probed().modules
    tops = {module.partition(".")[0] for module in modules}
    heavy = sorted(tops & FORBIDDEN - set(subject.allowed_imports))
    insist(
        not heavy,
        f"importing {subject.module} imports {', '.join(heavy)}.",
        "Import it inside the function that needs it, or pass allowed_imports.",
    )
    insist(
        len(modules) <= subject.most_modules,
        f"importing {subject.module} imports {len(modules)} modules that the core does not, more than"
        f" {subject.most_modules}: of {', '.join(sorted(tops)[:10])} …",
        "Import what is heavy inside the functions that need it.",
    )


def import_has_no_effects(subject: Subject, *, probed: Callable[[], Probed]) -> None:
    """Importing it writes nothing, opens nothing, starts nothing, and changes nothing that is everybody's."""
    found = probed()
    insist(
        not found.effects,
        f"importing {subject.module} {'; '.join(found.effects[:5])}.",
        "Do it when the plugin is made, or in the hook that needs it.",
    )
    insist(
        not found.printed,
        f"importing {subject.module} prints {found.printed[:200]!r}.",
        "Tell people through host.emit, when there is something to tell.",
    )


def probe(module: str) -> Probed:
    """Import a module in a fresh interpreter; raises `ConformanceError` when it cannot be imported there."""
    command = [sys.executable, "-B", "-m", "noodle_upgrade_core.testing.probe", module]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConformanceError(f"importing {module} did not end in {_PROBE_SECONDS:g} s.") from error
    printed, mark, report = done.stdout.rpartition(f"\n{MARK}")
    insist(mark, f"importing {module} ended the interpreter with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(report)
    insist(
        not found["error"],
        f"{module} cannot be imported in a fresh interpreter: {found['error']}.",
        "Plugins live in modules that can be imported by name.",
    )
    return Probed(tuple(found["modules"]), tuple(found["effects"]), (printed + done.stderr).strip())
