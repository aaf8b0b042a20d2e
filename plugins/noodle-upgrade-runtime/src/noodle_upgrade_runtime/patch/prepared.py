"""A set of changes that is staged and planned, and what puts it into effect."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import SwapRefusedError
from noodle_upgrade_core.staged import Arm
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.patch.callversions import CallVersions
from noodle_upgrade_runtime.patch.census import counted, instance_blockers
from noodle_upgrade_runtime.patch.construction import outdated
from noodle_upgrade_runtime.patch.matching import Matching, match, retire
from noodle_upgrade_runtime.patch.planner import Planner, store_call
from noodle_upgrade_runtime.patch.state import MISSING

__all__ = ["MECHANISM", "PatchPrepared", "Worlds"]

MECHANISM = "patch"


@frozen(kw_only=True, eq=False)
class Worlds:
    """The same packages three times: as they live, as the old version is when just imported, as the new one is.

    `made` says whether an object was made by a private load.
    """

    live: dict[str, types.ModuleType]
    pristine: dict[str, types.ModuleType]
    staged: dict[str, types.ModuleType]
    made: Callable[[Any], bool]


class PatchPrepared:
    """The changes of one set, staged and planned; nothing of it is visible yet."""

    mechanism = MECHANISM
    capabilities: frozenset[str] = frozenset()

    def __init__(
        self,
        changes: tuple[Change, ...],
        worlds: Worlds,
        heap: Sequence[Any],
        load_again: Callable[[], dict[int, Any]],
    ) -> None:
        self._changes = changes
        self.component_names = tuple(change.component.name for change in changes)
        self._worlds = worlds
        self._load_again = load_again
        self._again: dict[int, Any] | None = None
        self._matching = matching = match(worlds.live, worlds.pristine, worlds.staged, made=worlds.made)
        self._planner = Planner(matching, self._fresh_twin, CallVersions())
        self._outdated = self._find_outdated()
        self._imported = self._count_imported()
        self._check_instances()
        self._plan = self._operations(heap)
        self._try()
        self.warnings: tuple[str, ...] = tuple(dict.fromkeys(matching.warnings))
        self.evidence: dict[str, Any] = {
            "operations": len(self._plan),
            "pairs": len(matching.pairs),
            "retired": [f"{_name(r.live)}: {r.reason}" for r in matching.retired],
            "outdated": {_name(cls): list(tables) for cls, tables in self._outdated.items()},
            "imported": {_name(cls): count for cls, count in self._imported.items()},
        }

    def _try(self) -> None:
        """Put everything into effect and take it back in one atomic step: what CPython refuses, it refuses here."""
        untried = set(map(id, self._planner.untried))
        try:
            Script([operation for operation in self._plan if id(operation) not in untried]).trial()
        except Exception as error:
            raise SwapRefusedError(
                f"The change cannot be made in place: {error}",
                hint="Use the generation mechanism for it (a handle), or restart.",
                details={"blockers": [f"a trial of the change failed: {type(error).__name__}: {error}"]},
            ) from error

    def _find_outdated(self) -> dict[type, tuple[str, ...]]:
        """Return the live classes whose constructors build from tables that differ, with those tables."""
        twins = self._matching.pristine
        classes = [(old, twins.get(id(old)), new) for old, new in self._matching.pairs if isinstance(old, type)]
        found = outdated((twin, new) for _, twin, new in classes if isinstance(twin, type) and isinstance(new, type))
        return {old: found[_name(old)] for old, _, _ in classes if _name(old) in found}

    def _count_imported(self) -> dict[type, int]:
        """Return how many instances of the outdated classes importing the old version makes by itself."""
        twins = {self._matching.pristine[id(old)]: old for old in self._outdated}
        return {twins[twin]: count for twin, count in counted(list(twins)).items()} if twins else {}

    def _check_instances(self) -> None:
        """Refuse when instances live on that the new version would have built otherwise."""
        kept = any(change.parameters.get("runtime.instances") == "keep" for change in self._changes)
        if self._outdated and not kept:
            refuse(instance_blockers(self._outdated, self._imported))

    def _fresh_twin(self, live: Any) -> Any:
        if self._again is None:
            self._again = self._load_again()
        return self._again.get(id(live))

    def _operations(self, heap: Sequence[Any]) -> list[Operation]:
        """Plan everything anew against the process as it is now; `heap` are its objects."""
        matching = self._matching
        matching.blockers.clear()
        holders: list[Operation] = []
        if matching.retired:
            ours = _ids_of(matching, self._worlds)
            holders = retire(matching, heap, lambda value: value is heap or id(value) in ours).operations
        planned = self._planner.plan()
        known = {id(old) for old, _ in matching.pairs}
        planned += self._planner.closures.plan(heap, known, self._planner.versions)
        kept = self._planner.closures.kept
        matching.warnings += [f"{name}, made by a call before, goes on as it is: {why}." for name, why in kept.items()]
        refuse(matching.blockers)
        return [*self._paths(), *self._modules(), *holders, *planned]

    def _paths(self) -> list[Operation]:
        trees = [str(change.new_tree) for change in self._changes]
        return [Operation((sys.path.insert, 0, tree), (sys.path.remove, tree), "sys.path") for tree in trees]

    def _modules(self) -> list[Operation]:
        """Modules that are new, and modules that are gone."""
        live, staged = self._worlds.live, self._worlds.staged
        come = {name: self._matching.translator.image(module) for name, module in staged.items() if name not in live}
        gone = {name: module for name, module in live.items() if name not in staged}
        return [
            *(_swap_entry(name, new=module, old=MISSING) for name, module in come.items()),
            *(_swap_entry(name, new=MISSING, old=module) for name, module in gone.items()),
        ]

    def operations(self) -> Sequence[Operation]:
        """Return what puts the new version in the place of the old one, complete at this moment."""
        if self._plan:
            self._plan = self._operations(gc.get_objects())
        return self._plan

    def route(self, weight: float) -> None:
        """Patch is all or nothing."""
        raise SwapRefusedError(f"Patch cannot move a share of calls ({weight}).", hint="Use the generation mechanism.")

    def arms(self) -> tuple[Arm, Arm] | None:
        """Patch counts nothing."""
        return None

    def settle(self) -> None:
        """Nothing runs beside the calls."""

    def running(self) -> dict[str, str]:
        """Return the version that each component really runs: where its live modules say that they came from."""
        found = {}
        for change in self._changes:
            top = next((t for t in change.top_levels if t in sys.modules), "")
            origin = str(getattr(sys.modules.get(top), "__file__", "") or "")
            is_new = origin.startswith(str(change.new_tree))
            found[change.component.name] = change.to_version if is_new else change.from_version
        return found

    def release(self) -> None:
        """Let go of what only an undo needs."""
        self._plan = []


def _swap_entry(name: str, *, new: Any, old: Any) -> Operation:
    return Operation(store_call(sys.modules, name, new), store_call(sys.modules, name, old), name)


def _ids_of(matching: Matching, worlds: Worlds) -> set[int]:
    """Return the ids of our own records, which refer to everything that changes and must not be changed."""
    records = matching.records()
    return {id(held) for record in (*records, worlds.live) for held in (record, *_members(record))}


def _members(record: Any) -> Sequence[Any]:
    return list(record.values()) if isinstance(record, dict) else list(record)


def refuse(blockers: Sequence[str]) -> None:
    if blockers:
        raise SwapRefusedError(
            f"The change cannot be made in place: {blockers[0]}",
            hint="Use the generation mechanism for it (a handle), or restart.",
            details={"blockers": list(blockers)},
        )


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
