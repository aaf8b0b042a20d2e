"""The overlay: folders at the front of `sys.path` from which upgraded distributions are imported.

An entry there is seen by imports and by `importlib.metadata` alike, so that a program that starts, and whatever it
imports later, finds the version that the journal says is active.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import canonicalize_name

from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.model import Finding, Severity
from noodle_upgrade_runtime.operations import Call, Operation

__all__ = ["Overlay", "overlay_operations"]


class Overlay:
    """The folders that this process imports from before its environment, by component."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._trees: dict[str, Path] = {}
        self.versions: dict[str, str] = {}

    def tree_of(self, component: str) -> Path | None:
        """Return the folder that a component is imported from, if it is one of ours."""
        return self._trees.get(canonicalize_name(component))

    def owner_of(self, entry: str) -> str | None:
        """Return the component that an entry of `sys.path` holds, if it is one of ours."""
        return next((name for name, tree in tuple(self._trees.items()) if str(tree) == entry), None)

    def activate(self, active: Iterable[ActiveVersion]) -> tuple[Finding, ...]:
        """Put the folder of every active version at the front of `sys.path`; what is not there is a finding."""
        findings = []
        for version in active:
            if version.artifact is None:
                continue
            tree = self._store / version.artifact.tree
            if not tree.is_dir():
                findings.append(
                    Finding(
                        severity=Severity.ERROR,
                        code="restore.missing",
                        subject=version.component_name,
                        message=f"The files of {version.component_name} {version.version} are not in the store.",
                        hint=f"Get them again: `noodle upgrade {version.component_name} {version.version}`.",
                    )
                )
                continue
            self.versions[canonicalize_name(version.component_name)] = version.version
            self.place(version.component_name, tree)
        importlib.invalidate_caches()
        return tuple(findings)

    def place(self, component: str, tree: Path | None) -> None:
        """Import a component from this folder from now on; None: from the environment again."""
        key = canonicalize_name(component)
        with self._lock:
            before = self._trees.pop(key, None)
            if before is not None and str(before) in sys.path:
                sys.path.remove(str(before))
            if tree is not None:
                self._trees[key] = tree
                if str(tree) in sys.path:
                    sys.path.remove(str(tree))
                sys.path.insert(0, str(tree))

    def operations(self, component: str, tree: Path, *, placed: bool = False) -> list[Operation]:
        """Return what `place` does as operations with their inverses, for a change of running code.

        `placed`: an engine puts the folder into `sys.path` itself. Made for this moment: an inverse takes away what its
        operation put there, wherever it has moved to since.
        """
        key = canonicalize_name(component)
        before = self._trees.get(key)
        made = overlay_operations(None if placed else tree, before)
        undo: Call = (dict.pop, self._trees, key, None)
        if before is not None:
            undo = (dict.__setitem__, self._trees, key, before)
        return [*made, Operation((dict.__setitem__, self._trees, key, tree), undo, f"folder of {component}")]


def overlay_operations(tree: Path | None, before: Path | None) -> list[Operation]:
    """Return the operations that put one folder at the front of `sys.path`, and take another one away."""
    made = []
    if tree is not None:
        entry = str(tree)
        made.append(Operation((list.insert, sys.path, 0, entry), (list.remove, sys.path, entry), "sys.path"))
    if before is not None and str(before) in sys.path:
        entry, index = str(before), sys.path.index(str(before))
        made.append(Operation((list.remove, sys.path, entry), (list.insert, sys.path, index, entry), "sys.path"))
    return made
