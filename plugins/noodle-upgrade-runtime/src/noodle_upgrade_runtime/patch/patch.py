"""The patch engine: upgrades packages in place that were never written for it."""

from __future__ import annotations

import importlib.machinery
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noodle_upgrade_core.errors import ArtifactIncompatibleError, StageError, StageTimeoutError, SwapRefusedError
from noodle_upgrade_core.model import Verdict
from noodle_upgrade_runtime.asking import is_class
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.heap import Heap, looking_seconds, tracked
from noodle_upgrade_runtime.operations import gil_is_on
from noodle_upgrade_runtime.patch.caches import caches_of
from noodle_upgrade_runtime.patch.census import cared_for, instance_blockers, instance_notes, unfit_blockers
from noodle_upgrade_runtime.patch.hashes import key_blockers
from noodle_upgrade_runtime.patch.prepared import MECHANISM, PatchPrepared
from noodle_upgrade_runtime.patch.staging import Staging, is_native, live_modules
from noodle_upgrade_runtime.patch.takers import takers_of

__all__ = ["PatchEngine", "PatchPrepared"]


class PatchEngine:
    """A driver of `noodle_upgrade.engines`."""

    mechanism = MECHANISM

    def assess(self, change: Change) -> Verdict:
        """Say whether the change can be made in place, from metadata and files alone."""
        blockers = []
        if not gil_is_on():
            blockers.append("This interpreter has no GIL, so that no commit is one step for all threads.")
        compiled = sorted(p.name for root in change.names for p in _extensions(change.new_tree, root))
        if compiled:
            blockers.append(f"The new version has extension modules ({', '.join(compiled[:5])}).")
        native = [name for name, module in live_modules(change.names).items() if is_native(module)]
        if native:
            blockers.append(f"The running version has extension modules ({', '.join(sorted(native)[:5])}).")
        binary = bool(compiled or native)
        return Verdict(
            feasible=not blockers,
            code=ArtifactIncompatibleError.code if binary else "",
            hint="Restart the program on it: compiled code cannot be replaced while it runs." if binary else "",
            mechanism=MECHANISM,
            engine=MECHANISM,
            reasons=("Functions, classes and instances keep their identity; callers pay nothing afterwards.",),
            blockers=tuple(blockers),
            expected_seconds=1.0,
            pause_seconds=0.001 + looking_seconds(),
        )

    def review(self, change: Change, evidence: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what stands against a change that a rehearsal found possible: instances that live in this process."""
        modules = live_modules(change.names)
        # None of these is made by an import: the rehearsal would have found it.
        stuck, _ = _of_classes(evidence, "stuck", "", modules)
        against = unfit_blockers(stuck, {}, change.names, exactly=True)
        if change.parameters.get("runtime.instances") == "keep":
            return against
        rehashed = [
            cls for name in evidence.get("rehashed") or () if (cls := _class_of(str(name), modules)) is not None
        ]
        keys = key_blockers(rehashed, Heap(tracked())) if rehashed else []
        outdated, imported = _of_classes(evidence, "outdated", "imported", modules)
        unfit, made = _of_classes(evidence, "unfit", "unfit_imported", modules)
        given, _ = _of_classes(evidence, "given", "", modules)
        known = cared_for(given, caches_of([str(name) for name in evidence.get("caches") or ()]))
        return (
            *against,
            *keys,
            *instance_blockers(outdated, imported, change.names),
            *unfit_blockers(unfit, made, change.names, known=known),
        )

    def notes(self, change: Change, evidence: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what a person should know of a change that a rehearsal found possible, and this program."""
        kept, imported = _of_classes(evidence, "kept", "imported", live_modules(change.names))
        takers = takers_of([str(value) for value in evidence.get("values") or ()], change.names)
        return (
            *takers,
            *instance_notes(kept, imported, change.names),
            *_abstract([str(name) for name in evidence.get("abstract") or ()]),
        )

    def stage(self, changes: tuple[Change, ...], *, cancelled: Callable[[], bool]) -> PatchPrepared:
        """Load the new versions beside the old ones and plan every operation."""
        staging = _staged(Staging(changes), cancelled)
        left = isinstance(staging.error, SwapRefusedError) or (staging.prepared and staging.prepared.leaves_instances())
        if staging.gained and left:
            # Classes become abstract and cannot be replaced for everybody: once more, and they stay what they are.
            again = _staged(Staging(changes, plain=True), cancelled)
            staging = again if again.error is None else staging
        if staging.error is not None:
            raise staging.error
        if staging.prepared is None:
            raise StageError("Staging ended without a result.", hint="Report this with the new version's name.")
        return staging.prepared


def _abstract(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")  # noqa: PLR2004 - as many as one line takes
    return (
        f"Abstract classes come of {shown}: each keeps its metaclass where the program holds a subclass or instance.",
    )


def _staged(staging: Staging, cancelled: Callable[[], bool]) -> Staging:
    """Run a staging to its end; raises `StageTimeoutError` when it is cancelled."""
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
    return staging


def _extensions(tree: Path, root: str) -> list[Path]:
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    *above, name = root.split(".")
    folder = tree.joinpath(*above)
    found = list((folder / name).rglob("*")) if (folder / name).is_dir() else []
    return [p for p in [*found, *folder.glob(f"{name}.*")] if p.name.endswith(suffixes)]


def _of_classes(
    evidence: Mapping[str, Any], what: str, counts: str, modules: Mapping[str, types.ModuleType]
) -> tuple[dict[type, Any], dict[type, int]]:
    """Return what a rehearsal says of classes of this process, and how many instances of them an import makes."""
    told, made = evidence.get(what) or {}, evidence.get(counts) or {}
    classes = {name: cls for name in told if (cls := _class_of(name, modules)) is not None}
    return {cls: told[name] for name, cls in classes.items()}, {
        cls: int(made.get(name, 0)) for name, cls in classes.items()
    }


def _class_of(name: str, modules: Mapping[str, types.ModuleType]) -> type | None:
    home = max((module for module in modules if name.startswith(f"{module}.")), key=len, default="")
    value: Any = modules.get(home)
    for part in name[len(home) + 1 :].split("."):
        value = getattr(value, part, None)
    return value if is_class(value) else None
