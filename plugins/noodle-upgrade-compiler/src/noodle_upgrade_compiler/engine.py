"""The engine `phases`: how the runtime plugin changes the phases of this process's compiler.

It follows the engines' protocol of the runtime plugin and imports nothing of it: what a change is, and what puts it
into effect, are plain values there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple

from noodle_upgrade_compiler.compiler import Compiler, process_compiler
from noodle_upgrade_compiler.contract import ENTRY_POINTS, PHASES
from noodle_upgrade_compiler.versions import PhaseVersion, load_version
from noodle_upgrade_core.errors import SwapRefusedError, UpgradeCancelledError
from noodle_upgrade_core.model import Verdict
from noodle_upgrade_core.staged import COUNTS, WEIGHTS, Arm

__all__ = ["Operation", "PhaseEngine", "PhasesPrepared", "staged_key"]

_STAGE_SECONDS = 0.05
_PAUSE_SECONDS = 1e-6


class Operation(NamedTuple):
    """One step of a change, and what takes it back: `(function, *arguments)` each."""

    do: tuple[Any, ...]
    undo: tuple[Any, ...]
    subject: str = ""


class PhaseEngine:
    """Changes versions of phases. A set of them changes by the store of one reference, whatever compiles meanwhile."""

    mechanism: ClassVar[str] = "phases"
    is_imported: ClassVar[bool] = False
    """No import finds a phase: there is nothing to be put on `sys.path`."""

    def __init__(self, compiler: Compiler | None = None) -> None:
        self._compiler = compiler or process_compiler()

    def assess(self, change: Any) -> Verdict:
        """Say whether a change is one of a phase of this process's compiler."""
        phase, blockers = change.component.name, []
        if phase not in PHASES:
            blockers.append(f"{phase} is no phase of the compiler: they are {', '.join(PHASES)}")
        elif not any((change.new_tree / name).exists() for name in ("component.toml", "component.json")):
            blockers.append(f"{phase} {change.to_version} has no component.toml that names {ENTRY_POINTS[phase]}")
        return Verdict(
            feasible=not blockers,
            mechanism=self.mechanism,
            engine=self.mechanism,
            reasons=("compilations end with the versions that they began with, so that nobody has to wait",),
            blockers=tuple(blockers),
            capabilities=frozenset({WEIGHTS, COUNTS}),
            expected_seconds=_STAGE_SECONDS,
            pause_seconds=_PAUSE_SECONDS,
            evidence={"phase": phase, "running": self._compiler.current.versions},
        )

    def running(self, component_name: str) -> str | None:
        """Return the version of a phase that compilations begin with now, None for what is no phase."""
        return self._compiler.serving.versions.get(component_name)

    def stage(self, changes: tuple[Any, ...], *, cancelled: Callable[[], bool]) -> PhasesPrepared:
        """Load the new versions and try them on a program that has every construct of the language."""
        loaded: list[PhaseVersion] = []
        try:
            for change in changes:
                _check_wanted(cancelled)
                loaded.append(load_version(change.component.name, change.to_version, change.new_tree))
            phases = self._compiler.current.having(*loaded)
            if self._compiler.checks:
                self._compiler.check(phases)
        except BaseException:
            for one in loaded:
                if one not in tuple(self._compiler.current):
                    one.forget()
            raise
        return PhasesPrepared(self._compiler, loaded, {c.component.name: c.from_version for c in changes}, changes)


def _check_wanted(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise UpgradeCancelledError("The staging was given up.")


def staged_key(versions: Mapping[str, str]) -> str:
    """Return what the set of an upgrade to these versions is found by."""
    return ", ".join(f"{phase} {version}" for phase, version in sorted(versions.items()))


class PhasesPrepared:
    """Versions of phases, loaded and tried, that no compilation uses yet."""

    mechanism = PhaseEngine.mechanism
    capabilities = frozenset({WEIGHTS, COUNTS})
    quiet_names: Sequence[str] = ()
    """Nobody has to be outside of a version that stays as it is."""

    def __init__(
        self, compiler: Compiler, loaded: Sequence[PhaseVersion], before: Mapping[str, str], changes: Sequence[Any]
    ) -> None:
        self.component_names = tuple(one.phase for one in loaded)
        self.evidence: Mapping[str, Any] = {"phases": len(loaded), "digests": [one.digest for one in loaded]}
        self.warnings: tuple[str, ...] = ()
        self._compiler = compiler
        self._loaded = tuple(loaded)
        self._before = dict(before)
        self._trees = {change.component.name: change.new_tree for change in changes}
        self._old = compiler.current
        self._new = compiler.current.having(*loaded)
        self._key = staged_key({one.phase: one.version for one in loaded})
        compiler.staged[self._key] = self._new

    def looking(self) -> AbstractContextManager[None]:
        """Hold compilations back around the change, where the settings want that."""
        return self._compiler.paused(self._compiler.pause_within) if self._compiler.pauses else nullcontext()

    def operations(self) -> Sequence[Operation]:
        """Return the one step that makes the new versions those of every compilation that begins."""
        current = self._compiler.current
        if any(current.versions[name] != version for name, version in self._before.items()):
            raise SwapRefusedError("The compiler runs other versions by now than the ones that are to be replaced.")
        # Another upgrade may have changed another phase since this one was staged.
        self._old, self._new = current, current.having(*self._loaded)
        subject = ", ".join(f"{one.phase} {one.version}" for one in self._loaded)
        return [
            Operation(
                (setattr, self._compiler, "current", self._new),
                (setattr, self._compiler, "current", self._old),
                subject,
            )
        ]

    def route(self, weight: float) -> None:
        """Send a share of the files through the new versions."""
        self._compiler.route(self._new, weight)

    def arms(self) -> tuple[Arm, Arm] | None:
        """Return what the old and the new versions did."""
        counters = self._compiler.counters()
        return None if counters is None else (counters[0].snapshot(), counters[1].snapshot())

    def settle(self) -> None:
        """End routing: the new versions do everything, and are found by their number from now on."""
        for one in self._loaded:
            self._compiler.library.adopt(one, self._trees[one.phase])
        self._compiler.settle()
        self._compiler.staged.pop(self._key, None)

    def running(self) -> dict[str, str]:
        """Return the versions that every compilation begins with now."""
        return {name: self._compiler.serving.versions[name] for name in self.component_names}

    def release(self) -> None:
        """Let go of the old versions: whoever compiles with one ends with it."""
        self._old = self._new

    def discard(self) -> None:
        """Let go of the new versions, which nobody will use."""
        self._compiler.settle()
        self._compiler.staged.pop(self._key, None)
        for one in self._loaded:
            if one not in tuple(self._compiler.current):
                one.forget()
