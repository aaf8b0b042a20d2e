"""The harness of `nox -s fidelity`, judged by itself: without a network, on packages that are made up here."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .made_up import written

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., types.ModuleType]]:
    """Return what writes a package `gizmo` and imports it; it is forgotten in the end."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(**modules: str) -> types.ModuleType:
        written(tmp_path / "gizmo", {"__init__.py": "", **{f"{name}.py": text for name, text in modules.items()}})
        importlib.invalidate_caches()
        for name in modules:
            importlib.import_module("gizmo" if name == "__init__" else f"gizmo.{name}")
        return sys.modules["gizmo"]

    yield make
    for name in [name for name in sys.modules if name == "gizmo" or name.startswith("gizmo.")]:
        del sys.modules[name]
