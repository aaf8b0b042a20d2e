"""The patch engine: upgrades packages in place that were never written for it."""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib.machinery
import re
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noodle_upgrade_core.errors import StageError, StageTimeoutError, SwapRefusedError, UpgradeError
from noodle_upgrade_core.model import Verdict
from noodle_upgrade_core.staged import Arm
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.operations import Operation, Script, gil_is_on
from noodle_upgrade_runtime.patch.census import counted, instance_blockers
from noodle_upgrade_runtime.patch.construction import outdated
from noodle_upgrade_runtime.patch.correspondence import Correspondence
from noodle_upgrade_runtime.patch.loading import Isolation, PrivateImports, search_path_of
from noodle_upgrade_runtime.patch.matching import match, retire, unchanged
from noodle_upgrade_runtime.patch.pairing import Pairing
from noodle_upgrade_runtime.patch.planner import Planner, _store_call
from noodle_upgrade_runtime.patch.state import MISSING

__all__ = ["PatchEngine", "PatchPrepared"]

MECHANISM = "patch"


class PatchEngine:
    """A driver of `noodle_upgrade.engines`."""

    mechanism = MECHANISM

    def assess(self, change: Change) -> Verdict:
        """Say whether the change can be made in place, from metadata and files alone."""
        blockers = []
        if not gil_is_on():
            blockers.append("This interpreter has no GIL, so that no commit is one step for all threads.")
        compiled = sorted(p.name for top in change.top_levels for p in _extensions(change.new_tree, top))
        if compiled:
            blockers.append(f"The new version has extension modules ({', '.join(compiled[:5])}).")
        native = [name for name, module in _live_modules(change.top_levels).items() if _is_native(module)]
        if native:
            blockers.append(f"The running version has extension modules ({', '.join(sorted(native)[:5])}).")
        return Verdict(
            feasible=not blockers,
            mechanism=MECHANISM,
            engine=MECHANISM,
            reasons=("Functions, classes and instances keep their identity; callers pay nothing afterwards.",),
            blockers=tuple(blockers),
            expected_seconds=1.0,
            pause_seconds=0.001,
        )

    def review(self, change: Change, evidence: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what stands against a change that a rehearsal found possible: instances that live in this process."""
        names = evidence.get("outdated") or {}
        if change.parameters.get("runtime.instances") == "keep":
            return ()
        modules = _live_modules(change.top_levels)
        live = {cls: tuple(tables) for name, tables in names.items() if (cls := _class_of(name, modules)) is not None}
        known = {id(value) for module in modules.values() for value in vars(module).values()}
        return instance_blockers(live, known)

    def stage(self, changes: tuple[Change, ...], *, cancelled: Callable[[], bool]) -> PatchPrepared:
        """Load the new versions beside the old ones and plan every operation."""
        staging = _Staging(changes)
        worker = threading.Thread(target=staging.run, name="noodle-upgrade-staging", daemon=True)
        worker.start()
        while not staging.done.wait(0.05):
            if cancelled():
                staging.abandon(worker)
                raise StageTimeoutError(
                    f"The new version did not finish its import in time (at {staging.at or 'the start'}).",
                    hint="Look at what that module does when it is imported.",
                    details={"module": staging.at},
                )
        worker.join()
        if staging.error is not None:
            raise staging.error
        if staging.prepared is None:
            raise StageError("Staging ended without a result.", hint="Report this with the new version's name.")
        return staging.prepared


def _extensions(tree: Path, top: str) -> list[Path]:
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    folder = tree / top
    found = list(folder.rglob("*")) if folder.is_dir() else []
    return [p for p in [*found, *tree.glob(f"{top}.*")] if p.name.endswith(suffixes)]


def _live_modules(top_levels: Sequence[str]) -> dict[str, types.ModuleType]:
    tops = set(top_levels)
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in tops and isinstance(module, types.ModuleType)
    }


def _class_of(name: str, modules: Mapping[str, types.ModuleType]) -> type | None:
    home = max((module for module in modules if name.startswith(f"{module}.")), key=len, default="")
    value: Any = modules.get(home)
    for part in name[len(home) + 1 :].split("."):
        value = getattr(value, part, None)
    return value if isinstance(value, type) else None


def _is_native(module: types.ModuleType) -> bool:
    return isinstance(getattr(module, "__loader__", None), importlib.machinery.ExtensionFileLoader)


class _Staging:
    """One staging in a thread of its own."""

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self.changes = changes
        self.done = threading.Event()
        self.error: Exception | None = None
        self.prepared: PatchPrepared | None = None
        self._isolation: Isolation | None = None
        self._imports: PrivateImports | None = None
        self._abandoned = False

    @property
    def at(self) -> str:
        """The module that is being imported."""
        return self._imports.current if self._imports else ""

    def run(self) -> None:
        """Stage; what went wrong is kept for the thread that waits."""
        try:
            self._stage()
        except UpgradeError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - whatever the new version raises, SystemExit too, is its failure
            text = "".join(traceback.format_exception(error))
            self.error = StageError(
                f"The new version could not be imported: {type(error).__name__}: {error}",
                hint="The traceback in the details shows where.",
                details={"traceback": text, "module": self.at},
            )
        finally:
            self.done.set()

    def abandon(self, worker: threading.Thread) -> None:
        """Give the import system back and ask the thread to end."""
        self._abandoned = True
        if self._isolation is not None:
            self._isolation.close()
        if worker.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(SystemExit))

    def _load(self, homes: Mapping[str, Sequence[str]], names: Sequence[str], trees: dict[str, str]) -> PrivateImports:
        self._imports = imports = PrivateImports(homes, trees)
        self._isolation = Isolation(imports)
        with self._isolation:
            for name in names:
                try:
                    imports.load(name)
                except ModuleNotFoundError as error:
                    if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                        raise
        return imports

    def _stage(self) -> PatchPrepared:
        tops = [top for change in self.changes for top in change.top_levels]
        live = _live_modules(tops)
        old_homes = {name: path for name in tops if name in live and (path := search_path_of(live[name]))}
        new_homes = {top: [str(change.new_tree)] for change in self.changes for top in change.top_levels}
        old_trees = {_normal(c.component.name): str(c.old_tree) for c in self.changes if c.old_tree is not None}
        new_trees = {_normal(c.component.name): str(c.new_tree) for c in self.changes}
        before = gc.get_objects()
        existed = set(map(id, before))
        existed.add(id(before))
        outside = set(sys.modules)
        pristine = self._load(old_homes, list(live), old_trees)
        staged = self._load(new_homes, list(live), new_trees)
        for name in set(sys.modules) - outside:
            module = sys.modules[name]
            existed.add(id(module))
            namespace = getattr(module, "__dict__", {})
            existed.add(id(namespace))
            existed.update(map(id, namespace.values()))
        volatile = functools.partial(self._load_again, old_homes, list(live), old_trees, live, existed)
        self.prepared = PatchPrepared(self.changes, live, pristine, staged, existed, before, volatile)
        return self.prepared

    def _load_again(
        self,
        homes: Mapping[str, Sequence[str]],
        names: Sequence[str],
        trees: dict[str, str],
        live: dict[str, types.ModuleType],
        existed: set[int],
    ) -> dict[int, Any]:
        """Import the old version once more: what differs from the first time differs with every import."""
        again = self._load(homes, names, trees)
        links = Correspondence()
        pairing = Pairing(links, made=_made(existed), accepts=unchanged)
        pairing.modules(live, again.modules)
        return {id(old): private for old, private in pairing.pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class PatchPrepared:
    """The changes of one set, staged and planned; nothing of it is visible yet."""

    mechanism = MECHANISM
    capabilities: frozenset[str] = frozenset()

    def __init__(
        self,
        changes: tuple[Change, ...],
        live: dict[str, types.ModuleType],
        pristine: PrivateImports,
        staged: PrivateImports,
        existed: set[int],
        heap: list[Any],
        load_again: Callable[[], dict[int, Any]],
    ) -> None:
        self._changes = changes
        self.component_names = tuple(change.component.name for change in changes)
        self._live, self._staged = live, staged
        self._matching = matching = match(live, pristine.modules, staged.modules, made=_made(existed))
        self._again: dict[int, Any] | None = None
        self._load_again = load_again
        self._planner = Planner(matching.links, matching.translator, matching.pristine, self._fresh_twin)
        self._holders = retire(matching, heap, lambda value: value is heap) if matching.retired else None
        self._outdated = self._find_outdated()
        self._check_instances()
        self._plan = self._operations()
        untried = set(map(id, self._planner.untried))
        Script([operation for operation in self._plan if id(operation) not in untried]).trial()
        self.warnings: tuple[str, ...] = tuple(matching.warnings)
        self.evidence: dict[str, Any] = {
            "operations": len(self._plan),
            "pairs": len(matching.pairs),
            "retired": [f"{r.live.__module__}.{r.live.__qualname__}: {r.reason}" for r in matching.retired],
            "outdated": {_name(cls): list(tables) for cls, tables in self._outdated.items()},
        }

    def _find_outdated(self) -> dict[type, tuple[str, ...]]:
        """Return the live classes whose constructors build from tables that differ, with those tables."""
        twins = self._matching.pristine
        classes = [(old, twins.get(id(old)), new) for old, new in self._matching.pairs if isinstance(old, type)]
        found = outdated((twin, new) for _, twin, new in classes if isinstance(twin, type) and isinstance(new, type))
        return {old: found[_name(old)] for old, _, _ in classes if _name(old) in found}

    def _check_instances(self) -> None:
        """Refuse when instances live on that the new version would have built otherwise."""
        kept = any(change.parameters.get("runtime.instances") == "keep" for change in self._changes)
        if self._outdated and not kept:
            twins = {self._matching.pristine[id(old)]: old for old in self._outdated}
            imported = {twins[twin]: count for twin, count in counted(list(twins)).items()}
            _refuse(instance_blockers(self._outdated, imported))

    def _fresh_twin(self, live: Any) -> Any:
        if self._again is None:
            self._again = self._load_again()
        return self._again.get(id(live))

    def _operations(self) -> list[Operation]:
        found = [
            Operation(_store_call(sys.modules, n, self._matching.translator.image(m)), _store_call(sys.modules, n, MISSING), n)
            for n, m in self._staged.modules.items()
            if n not in self._live
        ]
        found += [
            Operation(_store_call(sys.modules, n, MISSING), _store_call(sys.modules, n, m), n)
            for n, m in self._live.items()
            if n not in self._staged.modules
        ]
        for change in self._changes:
            tree = str(change.new_tree)
            found.append(Operation((sys.path.insert, 0, tree), (sys.path.remove, tree), "sys.path"))
        planned = self._planner.plan(self._matching.pairs, self._matching.replaced)
        _refuse(self._matching.blockers)
        return [*found, *(self._holders.operations if self._holders else ()), *planned]

    def operations(self) -> Sequence[Operation]:
        """Return what puts the new version in the place of the old one, complete at this moment."""
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


def _refuse(blockers: Sequence[str]) -> None:
    if blockers:
        raise SwapRefusedError(
            f"The change cannot be made in place: {blockers[0]}",
            hint="Use the generation mechanism for it (a handle), or restart.",
            details={"blockers": list(blockers)},
        )


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _made(existed: set[int]) -> Callable[[Any], bool]:
    def made(value: Any) -> bool:
        return id(value) not in existed

    return made
