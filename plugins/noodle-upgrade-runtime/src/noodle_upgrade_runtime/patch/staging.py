"""Staging: both versions are loaded privately and compared with the live one, in a thread that may be abandoned."""

from __future__ import annotations

import ctypes
import importlib.machinery
import re
import sys
import threading
import traceback
import types
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from noodle_upgrade_core.errors import StageError, SwapRefusedError, UpgradeError
from noodle_upgrade_runtime.asking import is_class, namespace_of
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.heap import Heap, tracked
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.patch.abstract import ClassBuilder
from noodle_upgrade_runtime.patch.behind import pairs_behind
from noodle_upgrade_runtime.patch.correspondence import Correspondence
from noodle_upgrade_runtime.patch.finders import hooks_of
from noodle_upgrade_runtime.patch.inventory import Inventory
from noodle_upgrade_runtime.patch.loading import Isolation, PrivateImports, search_path_of
from noodle_upgrade_runtime.patch.matching import unchanged
from noodle_upgrade_runtime.patch.pairing import Pairing
from noodle_upgrade_runtime.patch.planner import Again
from noodle_upgrade_runtime.patch.prepared import PatchPrepared, Worlds
from noodle_upgrade_runtime.patch.registries import Registered, Registries
from noodle_upgrade_runtime.patch.sources import reading
from noodle_upgrade_runtime.patch.surroundings import Effect, Surroundings, handlers_in, standing

__all__ = ["Staging", "is_native", "live_modules"]


def live_modules(names: Names) -> dict[str, types.ModuleType]:
    """Return what `sys.modules` has of some packages now, in the order of their import."""
    return {name: module for name, module in list(sys.modules.items()) if name in names and module is not None}


class Staging:
    """One staging of a set of changes; `run` is for a thread of its own, `done` is set when it has ended.

    `plain` keeps classes that become abstract what they are, as far as they can be; `gained` are those classes.
    """

    def __init__(self, changes: tuple[Change, ...], *, plain: bool = False) -> None:
        self.changes = changes
        self.plain = plain
        self.gained: Sequence[str] = ()
        self.done = threading.Event()
        self.error: Exception | None = None
        self.prepared: PatchPrepared | None = None
        self._planning = False
        self._isolation: Isolation | None = None
        self._imports: PrivateImports | None = None
        self._surroundings: Surroundings | None = None
        roots = [root for change in changes for root in change.names]
        self._live = live_modules(Names(roots))
        self._old_homes = {
            name: path for name in roots if name in self._live and (path := search_path_of(self._live[name]))
        }
        self._old_trees = {_normal(c.component.name): str(c.old_tree) for c in changes if c.old_tree is not None}
        self._inventory = Inventory()
        self._effects: list[Effect] = []
        self._registered: list[Registered] = []
        self._registries: Registries | None = None

    @property
    def at(self) -> str:
        """The module that is being imported."""
        return self._imports.current if self._imports else ""

    def run(self) -> None:
        """Stage; what went wrong is kept for the thread that waits."""
        try:
            prepared = self._stage()
            prepared.try_out()
            prepared.check_instances()
            self.prepared = prepared
        except UpgradeError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - whatever the new version raises, SystemExit too, is its failure
            self.error = self._failure(error)
        finally:
            if self.error is not None:
                _forget(self.error)
            self.done.set()

    def _failure(self, error: BaseException) -> StageError:
        text, what = "".join(traceback.format_exception(error)), f"{type(error).__name__}: {error}"
        if self._planning:
            return StageError(
                f"The change could not be planned: {what}",
                hint="This is an error of the engine: please report it with the traceback in the details."
                " The generation mechanism, or a restart, does without it.",
                details={"traceback": text, "blockers": [f"the change could not be planned: {what}"]},
            )
        return StageError(
            f"The new version could not be imported: {what}",
            hint="The traceback in the details shows where.",
            details={"traceback": text, "module": self.at},
        )

    def abandon(self, worker: threading.Thread) -> None:
        """Give the import system back and ask the thread to end."""
        if self._isolation is not None:
            self._isolation.close()
        if self._surroundings is not None:
            self._surroundings.restore()
        if self._registries is not None:
            self._registries.take_back()
        self._inventory.give_up()
        if worker.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(SystemExit))

    def _stage(self) -> PatchPrepared:
        heap = tracked()
        with self._inventory.watch(heap), reading():
            worlds = self._load_both()
            self._planning = True
            return PatchPrepared(self.changes, worlds, Heap(heap), self._load_again, self._notes())

    def _notes(self) -> list[str]:
        """Say what the classes are not that become abstract."""
        return [
            f"{name} becomes abstract, but something holds it that cannot be told: it keeps its metaclass, takes no"
            " virtual subclasses, and does not check the abstract methods of classes that derive from it later."
            for name in (self.gained if self.plain else ())
        ]

    def _load_both(self) -> Worlds:
        names = list(self._live)
        new_homes = {root: [str(change.new_tree)] for change in self.changes for root in change.names}
        new_trees = {_normal(c.component.name): str(c.new_tree) for c in self.changes}
        outside = set(sys.modules)
        pristine = self._load(self._old_homes, names, self._old_trees)
        self._check_complete(pristine)
        before, registered = self._effects, self._registered
        classes = ClassBuilder(self._counterpart, plain=self.plain)
        staged = self._load(new_homes, names, new_trees, classes)
        self.gained = classes.gained
        self._spare(set(sys.modules) - outside)
        # What the old version itself puts there under a name of others is its own; what the new one does is not.
        aliased = {name: sys.modules[name] for name in pristine.aliases if name in sys.modules}
        return Worlds(
            live=self._live | aliased,
            pristine=pristine.own,
            staged=staged.own,
            shared=[*_shared(pristine), *_shared(staged)],
            inventory=self._inventory,
            effects=(before, self._effects),
            registered=(registered, self._registered),
            hooks=(
                [*hooks_of([sys.meta_path, sys.path_hooks], staged.owns), *standing(before, self._effects)],
                [*pristine.hooks, *handlers_in(before)],
                [*staged.hooks, *handlers_in(self._effects)],
            ),
            abstract=self.gained,
            views=[*pristine.views, *staged.views],
            behind=(pairs_behind(self._live, pristine.behind), pairs_behind(self._live, staged.behind)),
            several={
                name: pristine.several.get(name, frozenset()) | staged.several.get(name, frozenset())
                for name in {*pristine.several, *staged.several}
            },
        )

    def _check_complete(self, pristine: PrivateImports) -> None:
        """Refuse when the old version cannot be imported again: nothing could be told apart, or keep its identity."""
        roots = [root for change in self.changes for root in change.names]
        lacking = [root for root in roots if root in self._live and root not in pristine.modules]
        if lacking:
            sentence = f"The running version of {', '.join(lacking)} is not found where it was imported from."
            raise SwapRefusedError(
                sentence, hint="Use the generation mechanism, or restart.", details={"blockers": [sentence]}
            )

    def _spare(self, modules: set[str]) -> None:
        """Leave alone what was imported for the first time, but does not belong to what changes."""
        for name in modules:
            namespace = getattr(sys.modules[name], "__dict__", {})
            self._inventory.spare((sys.modules[name], namespace, *namespace.values()))

    def _counterpart(self, module: str, qualname: str) -> Any:
        """Return the live class of a name, None when there is none."""
        found: Any = self._live.get(module)
        for part in qualname.split(".") if found is not None else ():
            found = (namespace_of(found) if is_class(found) else vars(found)).get(part)
            if not is_class(found):
                return None
        return found

    def _load(
        self,
        homes: Mapping[str, Sequence[str]],
        names: Sequence[str],
        trees: dict[str, str],
        classes: ClassBuilder | None = None,
    ) -> PrivateImports:
        self._imports = imports = PrivateImports(homes, trees)
        self._isolation = Isolation(imports, classes)
        self._surroundings = Surroundings()
        self._registries = Registries(Names(homes), partial(imports.has_made, made=self._inventory.made))
        try:
            with self._isolation:
                for name in names:
                    _load_one(imports, name)
        finally:
            self._surroundings.restore()
            self._registered = self._registries.take_back()
        self._effects = [*self._surroundings.effects, *imports.hooks]
        return imports

    def _load_again(self, links: Correspondence) -> Again:
        """Import the old version once more: what differs from the first time differs with every import."""
        with self._inventory.watch():
            again = self._load(self._old_homes, list(self._live), self._old_trees)
        branch = links.branch()
        for private, live in _shared(again):
            branch.link_modules(private, live)
        pairing = Pairing(branch, made=self._inventory.made, accepts=unchanged)
        pairing.modules(self._live, again.own, pairs_behind(self._live, again.behind))
        return Again(branch, {id(old): private for old, private in pairing.pairs})


def _shared(imports: PrivateImports) -> list[tuple[types.ModuleType, types.ModuleType]]:
    """Return the views of namespaces that a load made, each with the real one that it stands for."""
    return [(view, sys.modules[name]) for name, view in imports.shared().items()]


def _forget(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold: they refer to the whole process."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _load_one(imports: PrivateImports, name: str) -> None:
    """Import a module; one that this version does not have is no error."""
    try:
        imports.load(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise


def is_native(module: types.ModuleType) -> bool:
    """Return whether a module is compiled code."""
    return isinstance(getattr(module, "__loader__", None), importlib.machinery.ExtensionFileLoader)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
