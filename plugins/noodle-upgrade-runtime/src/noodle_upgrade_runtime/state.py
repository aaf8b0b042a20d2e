"""State that moves from one version's object to another's, through the migrations of every version between them.

The object behind a handle may have `export_state()` and `import_state(state)`. What `export_state` returns belongs to
the version that gets it. A version says how state changes on the way to it, or back from it, by

    MIGRATIONS = {("1.0", "1.1"): add_totals, ("1.1", "1.0"): drop_totals}

or by `migrate_state(state, from_version, to_version)`, in the module of its entry point. Of two versions the newer one
is asked, in both directions; a step without a migration hands the state on as it is. `import_state` may be called more
than once before a version serves: the last call counts.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from packaging.version import Version

from noodle_upgrade_core.errors import MigrationError, UpgradeError
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.handles import Bound
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.trees import member_of

__all__ = ["Chain", "has_state"]

_Migrate = Callable[[Any], Any]


def has_state(target: Any) -> bool:
    """Whether an object says how to take its state along."""
    return callable(getattr(target, "export_state", None))


class Chain:
    """The way of one object's state from the old version to the new one, and back."""

    def __init__(self, *, change: Change, entry_point: str, old: Bound, new: Bound) -> None:
        self._change = change
        self._module = entry_point.partition(":")[0]
        self._old = old
        self._new = new
        self._between: dict[str, Space] = {}

    def forward(self, *, copied: bool = False) -> None:
        """Carry the old object's state to the new one. Raises `MigrationError`; the old object is only asked.

        With `copied` the new one shares nothing with the old one, which goes on serving.
        """
        self._carry(self._old, self._new, self._path(), copied=copied)

    def backward(self) -> None:
        """Carry the new object's state to the old one. Raises `MigrationError`, and has then not touched the old."""
        self._carry(self._new, self._old, tuple(reversed(self._path())))

    def release(self) -> None:
        """Let go of the versions between."""
        for space in self._between.values():
            space.abandon()
        self._between.clear()

    def _path(self) -> tuple[str, ...]:
        return self._change.path or (self._change.from_version, self._change.to_version)

    def _carry(self, giver: Bound, taker: Bound, path: tuple[str, ...], *, copied: bool = False) -> None:
        if not has_state(giver.target):
            return
        name = self._change.component.name
        take = getattr(taker.target, "import_state", None)
        if not callable(take):
            raise MigrationError(
                f"{name} {path[0]} hands its state over, and {path[-1]} has no import_state.",
                hint="Give the version an import_state(state).",
                details={"component": name, "from": path[0], "to": path[-1]},
            )
        state = self._run(f"export_state of {path[0]}", giver.target.export_state)
        if copied:
            state = self._run(f"copying the state of {path[0]}", copy.deepcopy, state)
        direct = self._find(path[0], path[-1], exact=True)
        hops = [(path[0], path[-1])] if direct is not None else list(itertools.pairwise(path))
        for start, end in hops:
            migrate = self._find(start, end, exact=False)
            if migrate is not None:
                state = self._run(f"the migration from {start} to {end}", migrate, state)
        self._run(f"import_state of {path[-1]}", take, state)

    def _run(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        try:
            result = function(*args)
        except Exception as error:
            raise MigrationError(
                f"{self._change.component.name}: {what} raised {type(error).__name__}: {error}",
                hint="The old version keeps its state; mend the migration and try again.",
                details={"component": self._change.component.name, "step": what, "error": type(error).__name__},
            ) from error
        if inspect.iscoroutine(result):
            result.close()
            raise MigrationError(
                f"{self._change.component.name}: {what} is async; state has to move within one step.",
                hint="Make it a plain function.",
            )
        return result

    def _find(self, start: str, end: str, *, exact: bool) -> _Migrate | None:
        """Find the migration of one step in the newer of its two versions."""
        module = self._of(max(start, end, key=Version))
        if module is None:
            return None
        table = getattr(module, "MIGRATIONS", None)
        if isinstance(table, Mapping):
            for (first, last), migrate in table.items():
                if Version(first) == Version(start) and Version(last) == Version(end):
                    return migrate  # type: ignore[no-any-return]
        general = None if exact else getattr(module, "migrate_state", None)
        return None if general is None else lambda state: general(state, start, end)

    def _of(self, version: str) -> ModuleType | None:
        """Return the entry module of a version on the path."""
        for bound, known in ((self._old, self._change.from_version), (self._new, self._change.to_version)):
            if version == known:
                name = self._module if bound.space is None else bound.space.private_name(self._module)
                return importlib.import_module(name)
        tree = self._change.trees.get(version)
        if tree is None:
            return None
        if version not in self._between:
            self._between[version] = Space([member_of(self._change.component.name, version, tree)])
        try:
            return self._between[version].load(self._module)
        except UpgradeError as error:
            raise MigrationError(
                f"{self._change.component.name} {version}, which lies between, cannot be loaded: {error.message}",
                hint=error.hint,
            ) from error
