"""The compiler of a process: which versions of the phases it runs, and what changes them under compilations that run.

A compilation takes one set of versions at its beginning and ends with it: changing the set is one store of one
reference, and needs nobody to wait. Those who want a pause all the same get a barrier.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from noodle_upgrade_compiler.contract import DEFAULT_VERSIONS, PHASES, TARGETS
from noodle_upgrade_compiler.diagnostics import Diagnostic
from noodle_upgrade_compiler.pipeline import PhaseSet, compile_source
from noodle_upgrade_compiler.results import CompilationResult
from noodle_upgrade_compiler.stamps import joined, known_of, stamp_of
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_compiler.versions import Library
from noodle_upgrade_core.counters import ArmCounter
from noodle_upgrade_core.errors import DrainTimeoutError, InvalidRequestError, StageError, UpgradeError

__all__ = ["Compiler", "process_compiler", "set_process_compiler"]

_SCALE = 1 << 32
_HOLD_SECONDS = 1.0
"""So long new compilations wait at most while a change waits for the others to end."""
TRIAL = (Path(__file__).parent / "trial.noodle").read_text(encoding="utf-8")
"""A program with every construct of the language, which every version has to compile."""


class Compiler:
    """Compiles sources, from any thread."""

    def __init__(
        self,
        library: Library | None = None,
        *,
        versions: Mapping[str, str] | None = None,
        store: Store | None = None,
        checks: bool = True,
        pauses: bool = False,
        pause_within: float = 30.0,
    ) -> None:
        """`versions` are those to begin with, the default ones for phases that are not named.

        With `checks` a new version has to compile a program with every construct before it is taken into use. With
        `pauses` a change of versions waits, up to `pause_within` seconds, until no compilation runs.
        """
        self.library = library or Library()
        self.store = store
        self.checks = checks
        self.pauses, self.pause_within = pauses, pause_within
        chosen = {**DEFAULT_VERSIONS, **(versions or {})}
        self.current = PhaseSet(*(self.library.get(phase, chosen[phase]) for phase in PHASES))
        self.version_aware = True
        self.staged: dict[str, PhaseSet] = {}
        """The sets of upgrades under way, by the versions that they bring: for whoever builds with them first."""
        self.failed: Callable[[str, str], object] = lambda _phase, _version: None
        """Told of each version of a phase that has failed."""
        self._route: _Route | None = None
        self._gate = threading.Condition()
        self._inside = 0
        self._pauses = 0

    # --- compiling -----------------------------------------------------------------------------------------------

    def compile(
        self,
        source: str | bytes,
        filename: str,
        *,
        targets: tuple[str, ...] = ("python",),
        target_versions: Mapping[str, str] | None = None,
    ) -> CompilationResult:
        """Compile a source; with `target_versions` by these versions of the phases that it names.

        What is wrong with the source is in the result; so is a version that fails, as an error of its phase. Raises
        `VersionUnknownError` for a version that there is not, `InvalidRequestError` where other versions than those
        that run may not be asked for.
        """
        if target_versions and not self.version_aware:
            raise InvalidRequestError(
                "Other versions than those that run may not be asked for here.",
                hint="Set compiler.upgrade_integration.version_aware_compilation, or NOODLE_COMPILER_VERSION_AWARE=1.",
            )
        with self._entered():
            phases, counter = self._chosen(filename)
            if target_versions:
                others = [self.library.get(phase, version) for phase, version in target_versions.items()]
                phases, counter = phases.having(*others), None
            return self._counted(source, filename, phases, targets, counter)

    def compile_file(
        self,
        path: str,
        *,
        targets: tuple[str, ...] = ("python",),
        target_versions: Mapping[str, str] | None = None,
    ) -> CompilationResult:
        """Compile a file as `compile` does, and have the store know it: an upgrade builds it again before it serves.

        Raises `OSError` too.
        """
        stamp = stamp_of(path)
        source = Path(path).read_bytes()
        result = self.compile(source, path, targets=targets, target_versions=target_versions)
        if self.store is not None and result.success and not target_versions:
            self.store.keep_files([joined(self.store.file(path), known_of(path, stamp, source, result))])
        return result

    def _counted(
        self,
        source: str | bytes,
        filename: str,
        phases: PhaseSet,
        targets: tuple[str, ...],
        counter: ArmCounter | None,
    ) -> CompilationResult:
        started = counter.enter() if counter is not None else 0
        failure = ""
        try:
            return compile_source(source, filename, phases, targets=targets, store=self.store)
        except UpgradeError as error:
            if error.code != "compiler.phase":
                raise
            failure = str(error)
            self.failed(str(error.details.get("phase", "")), str(error.details.get("version", "")))
            return _failed(filename, phases, targets, error)
        finally:
            if counter is not None:
                counter.leave(started, failure)

    def _chosen(self, filename: str) -> tuple[PhaseSet, ArmCounter | None]:
        """Return the set for a compilation: both are read from one object, so that they fit."""
        route = self._route
        return (self.current, None) if route is None else route.of(filename)

    def check(self, phases: PhaseSet) -> None:
        """Compile a program with every construct of the language by a set that serves nobody yet.

        Raises `StageError` when that does not come out as it has to.
        """
        try:
            done = compile_source(TRIAL, "trial.noodle", phases, targets=TARGETS)
        except UpgradeError as error:
            raise StageError(f"The new version cannot be used: {error.message}", details=error.details) from error
        if not done.success:
            told = "; ".join(f"{one.location}: {one.message}" for one in done.errors[:3])
            raise StageError(f"The new version finds errors in a program that has none: {told}")

    # --- changing ------------------------------------------------------------------------------------------------

    def route(self, phases: PhaseSet, weight: float) -> None:
        """Send a share of the files to another set: a file stays with one as long as the share does not fall.

        0 ends it for all files; what was counted is kept until `settle`.
        """
        if self._route is None or self._route.new is not phases:
            self._route = _Route(self.current, phases)
        self._route = self._route.at(weight)

    @property
    def serving(self) -> PhaseSet:
        """The set that every file goes through: the current one, or the one that all of them are sent to."""
        route = self._route
        return route.new if route is not None and route.weight >= 1.0 else self.current

    def counters(self) -> tuple[ArmCounter, ArmCounter] | None:
        """Return what both sets did since the first share, None where there was none."""
        return None if self._route is None else (self._route.old_counter, self._route.new_counter)

    def settle(self) -> None:
        """End routing and counting: the current set does everything."""
        self._route = None

    @contextmanager
    def paused(self, within: float) -> Iterator[None]:
        """Let no compilation begin, and wait until none runs. Raises `DrainTimeoutError` when that takes too long.

        Those that would begin wait until the pause is over.
        """
        until = time.monotonic() + within
        with self._gate:
            while not self._held(min(_HOLD_SECONDS, max(0.0, until - time.monotonic()))):
                if time.monotonic() >= until:
                    raise _not_ended(self._inside, within)
                # One that hangs is not to hold up all others: they go on for as long as they have waited.
                self._gate.wait(min(_HOLD_SECONDS, max(0.0, until - time.monotonic())))
        try:
            yield
        finally:
            with self._gate:
                self._end_pause()

    def _held(self, seconds: float) -> bool:
        """Hold new compilations back until none runs; where that takes too long, let them go on again."""
        self._pauses += 1
        try:
            is_empty = self._gate.wait_for(lambda: not self._inside, seconds)
        except BaseException:
            self._end_pause()
            raise
        if not is_empty:
            self._end_pause()
        return is_empty

    def _end_pause(self) -> None:
        self._pauses -= 1
        self._gate.notify_all()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with self._gate:
            self._gate.wait_for(lambda: not self._pauses)
            self._inside += 1
        try:
            yield
        finally:
            with self._gate:
                self._inside -= 1
                if not self._inside:
                    self._gate.notify_all()


def _not_ended(count: int, within: float) -> DrainTimeoutError:
    return DrainTimeoutError(
        f"{count} compilations have not ended within {within:g} s.",
        hint="Wait for them, or set compiler.upgrade_integration.pause_compilation_during_upgrade to false:"
        " compilations then end with the versions that they began with.",
    )


class _Route:
    """Which files go to which of two sets; a value, replaced as a whole."""

    __slots__ = ("_below", "new", "new_counter", "old", "old_counter", "weight")

    def __init__(
        self, old: PhaseSet, new: PhaseSet, weight: float = 0.0, counters: tuple[ArmCounter, ArmCounter] | None = None
    ) -> None:
        self.old, self.new = old, new
        self.weight = weight
        self._below = round(weight * _SCALE)
        self.old_counter, self.new_counter = counters or (
            ArmCounter(_changed(old, new, old)),
            ArmCounter(_changed(old, new, new)),
        )

    def at(self, weight: float) -> _Route:
        return _Route(self.old, self.new, weight, (self.old_counter, self.new_counter))

    def of(self, filename: str) -> tuple[PhaseSet, ArmCounter]:
        if self._below and self._place(filename) < self._below:
            return self.new, self.new_counter
        return self.old, self.old_counter

    def _place(self, filename: str) -> int:
        salted = f"{self.new.key}\0{filename}".encode(errors="surrogatepass")
        return int.from_bytes(hashlib.blake2b(salted, digest_size=4).digest(), "little")


def _changed(old: PhaseSet, new: PhaseSet, of: PhaseSet) -> str:
    """Return the versions of a set in which two differ, as the name of its counts."""
    differ = [one.phase for one, other in zip(old, new, strict=True) if one.key != other.key]
    return ", ".join(of.versions[phase] for phase in differ) or "same"


def _failed(filename: str, phases: PhaseSet, targets: tuple[str, ...], error: UpgradeError) -> CompilationResult:
    phase = str(error.details.get("phase", ""))
    done = PHASES[: PHASES.index(phase)] if phase in PHASES else ()
    told = Diagnostic(
        phase=phase, severity="error", code=error.code, message=error.message, path=filename, hint=error.hint
    )
    return CompilationResult(
        success=False,
        target=targets,
        filename=filename,
        errors=(told,),
        statistics={"component_versions": phases.versions, "version_aware_compilation": True},
        phases_completed=done,
    )


# A process has one compiler, as it has one importer: modules are imported before any Upgrader is open, and what changes
# the phases has to find what runs them.
_process: Compiler | None = None
_making = threading.Lock()


def process_compiler() -> Compiler:
    """Return the compiler of this process, made when it is first asked for."""
    global _process  # noqa: PLW0603 - see above
    with _making:
        if _process is None:
            _process = Compiler()
        return _process


def set_process_compiler(compiler: Compiler | None) -> Compiler | None:
    """Put another compiler in the place of the process's; returns the one before."""
    global _process
    with _making:
        before, _process = _process, compiler
        return before
