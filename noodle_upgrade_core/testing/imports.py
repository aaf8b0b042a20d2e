"""Checks of a plugin's import, in a fresh interpreter: what it drags in, and what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from noodle_upgrade_core.testing.failures import ConformanceError, insist
from noodle_upgrade_core.testing.probe import MARK
from noodle_upgrade_core.testing.subjects import Subject

__all__ = ["FORBIDDEN", "checks_of"]

FORBIDDEN = frozenset(
    {
        "aiohttp", "boto3", "botocore", "click", "cryptography", "django", "fastapi", "flask", "google", "grpc",
        "httpx", "IPython", "jinja2", "matplotlib", "numpy", "openai", "pandas", "pip", "pkg_resources", "pydantic", "pytest",
        "requests", "rich", "scipy", "setuptools", "sklearn", "sqlalchemy", "starlette", "tensorflow", "tkinter",
        "torch", "transformers", "typer", "uvicorn",
    }
)  # fmt: skip
"""What no plugin may import at import: each costs every start of every host tens of milliseconds and more."""

_PROBE_SECONDS = 60.0


def checks_of(_subject: Subject) -> Mapping[str, Callable[[Subject], None]]:
    """Return the checks by name."""
    return {"import_is_cheap": import_is_cheap, "import_has_no_effects": import_has_no_effects}


def import_is_cheap(subject: Subject) -> None:
    """Importing it brings in few modules, and none of the heavy ones."""
    modules = _probe(subject)["modules"]
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


def import_has_no_effects(subject: Subject) -> None:
    """Importing it writes nothing, opens nothing, starts nothing, and changes nothing that is everybody's."""
    found = _probe(subject)
    insist(
        not found["effects"],
        f"importing {subject.module} {'; '.join(found['effects'][:5])}.",
        "Do it when the plugin is made, or in the hook that needs it.",
    )
    insist(
        not found["printed"],
        f"importing {subject.module} prints {found['printed'][:200]!r}.",
        "Tell people through host.emit, when there is something to tell.",
    )


def _probe(subject: Subject) -> dict[str, Any]:
    command = [sys.executable, "-B", "-m", "noodle_upgrade_core.testing.probe", subject.module]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConformanceError(f"importing {subject.module} did not end in {_PROBE_SECONDS:g} s.") from error
    printed, mark, report = done.stdout.rpartition(f"\n{MARK}")
    insist(mark, f"importing {subject.module} ended the interpreter with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(report)
    insist(
        not found["error"],
        f"{subject.module} cannot be imported in a fresh interpreter: {found['error']}.",
        "Plugins live in modules that can be imported by name.",
    )
    return {**found, "printed": (printed + done.stderr).strip()}
