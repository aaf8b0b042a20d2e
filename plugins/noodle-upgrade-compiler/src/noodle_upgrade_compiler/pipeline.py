"""One source through the four phases, by the versions of one set, with what the store knows already left out."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, frozen

from noodle_upgrade_compiler import checking
from noodle_upgrade_compiler.artifacts import (
    PYTHON,
    Made,
    digest_of,
    tokens_as_bytes,
    tree_as_bytes,
    tree_from_bytes,
)
from noodle_upgrade_compiler.contract import PHASES, TARGETS, Problem
from noodle_upgrade_compiler.diagnostics import Diagnostic, diagnosed
from noodle_upgrade_compiler.errors import PhaseFailedError
from noodle_upgrade_compiler.results import CompilationResult, Facts
from noodle_upgrade_compiler.store import Output, Store
from noodle_upgrade_compiler.versions import PhaseVersion
from noodle_upgrade_core.errors import InvalidRequestError

__all__ = ["Compilation", "PhaseSet", "collector_paused", "compile_source", "decoded"]

_ENCODING = "lexer.encoding"
_DEEP = 100
"""Nodes inside one another: no version that is well gives up on so few."""
_MOST_BYTES = 64 << 20


@frozen(eq=False)
class PhaseSet:
    """The versions that one compilation runs: chosen once, at its beginning."""

    lexer: PhaseVersion
    parser: PhaseVersion
    optimizer: PhaseVersion
    bytecode_generator: PhaseVersion

    def __iter__(self) -> Iterator[PhaseVersion]:
        return iter((self.lexer, self.parser, self.optimizer, self.bytecode_generator))

    @property
    def versions(self) -> dict[str, str]:
        """The version of each phase."""
        return {one.phase: one.version for one in self}

    @property
    def key(self) -> str:
        """What tells this set from others."""
        return ", ".join(one.key for one in self)

    def having(self, *others: PhaseVersion) -> PhaseSet:
        """Return the set with other versions of some phases."""
        chosen = {one.phase: one for one in (*self, *others)}
        return PhaseSet(*(chosen[phase] for phase in PHASES))


_pauses = 0
_was_on = False
_pausing = threading.Lock()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector, which would look at every new node again and again and find nothing.

    Several compilations may run at once: the last one that ends puts it back as it was.
    """
    global _pauses, _was_on  # noqa: PLW0603 - the collector is the process's
    with _pausing:
        if _pauses == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _pausing:
            _pauses -= 1
            if _pauses == 0 and _was_on:
                gc.enable()


def compile_source(
    source: str | bytes,
    filename: str,
    phases: PhaseSet,
    *,
    targets: tuple[str, ...] = ("python",),
    store: Store | None = None,
) -> CompilationResult:
    """Compile one source. What is wrong with it is in the result; a phase that fails raises `PhaseFailedError`."""
    if unknown := [target for target in targets if target not in TARGETS]:
        raise InvalidRequestError(
            f"There is no target {', '.join(unknown)}.", hint=f"The targets are {', '.join(TARGETS)}."
        )
    begun = time.perf_counter()
    text, wrong = decoded(source)
    compilation = Compilation(text, filename, phases, targets, store)
    if wrong is not None:
        return compilation.failed((evolve(wrong, path=filename),), begun)
    with collector_paused():
        try:
            return compilation.run(begun)
        except SourceTooDeepError as error:
            return compilation.failed((error.diagnostic,), begun)


def decoded(source: str | bytes) -> tuple[str, Diagnostic | None]:
    """Return a source as text with plain line ends; a problem where it cannot be."""
    if isinstance(source, bytes):
        data = source
        try:
            source = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            before = data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode(errors="replace")
            told = f"Byte {error.start:,} is not UTF-8: {error.reason}."
            return "", _unreadable(told, line, len(before.removeprefix("\ufeff")) + 1)
    if len(source) > _MOST_BYTES:
        return "", _unreadable(f"A source may have {_MOST_BYTES:,} characters, and this one has {len(source):,}.", 1)
    if "\0" in source:
        return "", _unreadable("The source holds null characters.", source.count("\n", 0, source.index("\0")) + 1)
    if "\r" in source:
        source = source.replace("\r\n", "\n").replace("\r", "\n")
    return source, None


def _unreadable(message: str, line: int, column: int = 1) -> Diagnostic:
    return Diagnostic(
        phase="lexer", severity="error", code=_ENCODING, message=message, line=line, column=column, end_line=line,
        end_column=column, hint="Noodle files are UTF-8.",
    )  # fmt: skip


def _names_of(tree: Any) -> tuple[str, ...]:
    """Return what a module imports, what it takes from it as `module:name`, and what it offers as `:name`."""
    found: dict[str, None] = {}
    for node in tree[3]:
        if node and node[0] in ("import", "from"):
            found[node[3]] = None
            if node[0] == "from":
                found.update((f"{node[3]}:{name}", None) for name, _ in node[4])
    found.update((f":{name}", None) for name in tree[4])
    return tuple(found)


def _facts(phase: str, value: Any) -> tuple[str, ...]:
    if phase == "lexer":
        return tuple(sorted(set(value.kinds)))
    return _names_of(value.tree) if phase == "parser" else ()


class Compilation:
    """One source on its way through the phases."""

    def __init__(
        self, text: str, filename: str, phases: PhaseSet, targets: tuple[str, ...], store: Store | None
    ) -> None:
        self._text, self._filename, self._phases, self._targets, self._store = text, filename, phases, targets, store
        self._values: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self._cached: list[str] = []
        self._problems: list[Diagnostic] = []
        self._digests: dict[str, bytes] = {}
        self._facts: dict[str, tuple[str, ...]] = {}

    def run(self, begun: float) -> CompilationResult:
        """Compile it."""
        completed = []
        unread: tuple[Problem, ...] = ()
        for phase in PHASES:
            output = self._output(phase)
            told = output.problems
            self._facts[phase] = output.facts
            if phase == "lexer":
                unread = output.problems
            elif phase == "parser":
                told = _not_of(unread, told)
            self._problems += diagnosed(told, phase=phase, path=self._filename, source=self._text)
            completed.append(phase)
            # What the lexer leaves out the parser can do without: both say what they have to say.
            if phase == "parser" and any(one.is_error for one in self._problems):
                return self.failed((), begun, tuple(completed))
        return self._done(begun, tuple(completed))

    # --- outputs -------------------------------------------------------------------------------------------------

    def _output(self, phase: str) -> Output:
        """Return what a phase makes, from the store where that knows it."""
        if self._store is None:
            value = self._value(phase)
            facts = _facts(phase, value) if phase == "parser" else ()
            return Output(b"", tuple(getattr(value, "problems", ())), facts)
        key = self._key(phase)
        known = self._store.output(key)
        if known is not None and (phase != "bytecode_generator" or self._at_hand(known.digest)):
            self._digests[phase] = known.digest
            self._cached.append(phase)
            return known
        value = self._value(phase)
        body = self._body(phase, value)
        output = Output(digest_of(body), tuple(getattr(value, "problems", ())), _facts(phase, value))
        self._digests[phase] = output.digest
        with self._store.batch():
            self._store.keep_output(key, output)
            self._store.keep_value(output.digest, value)
            if phase != "lexer":
                self._store.keep_body(output.digest, body)
        return output

    def _key(self, phase: str) -> bytes:
        version: PhaseVersion = getattr(self._phases, phase)
        index = PHASES.index(phase)
        if index == 0:
            return digest_of(version.key.encode(), self._text.encode(errors="surrogatepass"))
        parts = [version.key.encode(), self._digests[PHASES[index - 1]]]
        if phase == "bytecode_generator":
            # Code objects are of one version of Python, and know where they come from.
            parts += [PYTHON, self._filename.encode(errors="surrogatepass"), ",".join(self._targets).encode()]
        return digest_of(*parts)

    def _at_hand(self, digest: bytes) -> bool:
        assert self._store is not None  # noqa: S101 - who has none does not come here
        value = self._store.value(digest)
        if value is None and (body := self._store.body(digest)) is not None:
            value = Made.from_bytes(body)
            self._store.keep_value(digest, value)
        if value is not None:
            self._values["bytecode_generator"] = value
        return value is not None

    def _body(self, phase: str, value: Any) -> bytes:
        if phase == "lexer":
            return tokens_as_bytes(value)
        if phase == "bytecode_generator":
            return value.to_bytes()  # type: ignore[no-any-return]
        return tree_as_bytes(value.tree)

    # --- values --------------------------------------------------------------------------------------------------

    def _value(self, phase: str) -> Any:
        """Return what a phase gives, from memory or the file where it lies there, else by running it."""
        if phase in self._values:
            return self._values[phase]
        value = self._kept(phase) if self._store is not None else None
        if value is None:
            value = self._run(phase)
        self._values[phase] = value
        return value

    def _kept(self, phase: str) -> Any:
        digest = self._digests.get(phase)
        if digest is None or self._store is None:
            return None
        value = self._store.value(digest)
        if value is None and phase in ("parser", "optimizer") and (body := self._store.body(digest)) is not None:
            value = tree_from_bytes(body)
        return value

    def _run(self, phase: str) -> Any:
        version: PhaseVersion = getattr(self._phases, phase)
        given = self._given(phase)
        begun = time.perf_counter()
        try:
            value = version.call(*given)
        except (Exception, SystemExit) as error:
            self._check_depth(phase, given, error)
            raise self._failure(version, error) from error
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - begun
        self._check(phase, version, value)
        return self._made(version, value) if phase == "bytecode_generator" else value

    def _made(self, version: PhaseVersion, value: Any) -> Made:
        try:
            return Made.of(value)
        except Exception as error:
            raise _malformed(version, f"its code for the stack machine cannot be written: {error!r}") from error

    def _given(self, phase: str) -> tuple[Any, ...]:
        if phase == "lexer":
            return (self._text,)
        if phase == "parser":
            tokens = self._value("lexer")
            return (tokens.kinds, tokens.texts, tokens.starts, tokens.ends)
        if phase == "optimizer":
            return (self._value("parser").tree,)
        return (self._value("optimizer").tree, self._filename, self._targets)

    def _check(self, phase: str, version: PhaseVersion, value: Any) -> None:
        """Look at what costs nothing to look at: the rest is looked at when a later phase cannot go on."""
        fault = ""
        if phase == "lexer":
            columns = [getattr(value, name, None) for name in ("kinds", "texts", "starts", "ends")]
            lengths = {len(column) for column in columns if isinstance(column, tuple | list)}
            fault = "" if len(lengths) == 1 and None not in columns else checking.fault_in_tokens(value)
        elif phase == "bytecode_generator":
            fault = checking.fault_in_generated(value, self._targets)
        else:
            tree = getattr(value, "tree", None)
            shallow = isinstance(tree, tuple) and len(tree) == 5 and isinstance(tree[3], tuple)  # noqa: PLR2004
            fault = "" if shallow else checking.fault_in_tree(tree)
        if not fault and phase != "bytecode_generator":
            fault = checking.fault_in_problems(getattr(value, "problems", None))
        if fault:
            raise self._blamed_before(version) or _malformed(version, fault)

    def _check_depth(self, phase: str, given: tuple[Any, ...], error: BaseException) -> None:
        """Raise `SourceTooDeepError` where a source asks for more than can be followed, and no version is to blame."""
        if phase not in ("optimizer", "bytecode_generator") or not isinstance(error, RecursionError | SyntaxError):
            return
        depth, start, end = _deepest(given[0])
        if depth > _DEEP or isinstance(error, SyntaxError):
            told = f"This is {depth} deep inside other things: more than can be compiled."
            problem: Problem = ("error", "parser.deep", told, start, end, "Give a part of it a name of its own.")
            (diagnostic,) = diagnosed([problem], phase=phase, path=self._filename, source=self._text)
            raise SourceTooDeepError(diagnostic)

    def _failure(self, version: PhaseVersion, error: BaseException) -> PhaseFailedError:
        """Return who is to blame: the version that raised, or the one that gave it what nobody could read."""
        return self._blamed_before(version) or PhaseFailedError(
            f"{version.phase} {version.version} failed on {self._filename}: {type(error).__name__}: {error}",
            hint=f"Go back to the version before: noodle rollback {version.phase}.",
            details=_about(version),
        )

    def _blamed_before(self, version: PhaseVersion) -> PhaseFailedError | None:
        """Return that a phase before one is to blame, where it is: the first that gave what cannot be read."""
        for before in self._phases:
            if before is version:
                return None
            if fault := self._fault_of(before.phase):
                return _malformed(before, fault)
        return None

    def _fault_of(self, phase: str) -> str:
        value = self._value(phase)
        return checking.fault_in_tokens(value) if phase == "lexer" else checking.fault_in_tree(value.tree)

    # --- results -------------------------------------------------------------------------------------------------

    def _done(self, begun: float, completed: tuple[str, ...]) -> CompilationResult:
        made: Made = self._value("bytecode_generator")
        return CompilationResult(
            success=True,
            target=self._targets,
            filename=self._filename,
            bytecode=made.python,
            nbc_bytecode=made.nbc,
            python_code=made.python_source,
            source_map=made.source_map,
            warnings=tuple(self._problems),
            statistics=self._statistics(),
            compilation_time=time.perf_counter() - begun,
            phases_completed=completed,
            facts=self._known(),
        )

    def failed(
        self, problems: tuple[Diagnostic, ...], begun: float, completed: tuple[str, ...] = ()
    ) -> CompilationResult:
        """Return the result of a source with errors."""
        found = (*self._problems, *problems)
        return CompilationResult(
            success=False,
            target=self._targets,
            filename=self._filename,
            errors=tuple(sorted((one for one in found if one.is_error), key=lambda one: (one.line, one.column))),
            warnings=tuple(one for one in found if not one.is_error),
            statistics=self._statistics(),
            compilation_time=time.perf_counter() - begun,
            phases_completed=completed,
            facts=self._known(),
        )

    def _known(self) -> Facts:
        names = self._facts.get("parser", ())
        return Facts(
            words=self._facts.get("lexer", ()),
            imports=tuple(name for name in names if ":" not in name),
            takes=tuple(name for name in names if ":" in name[1:]),
            offers=tuple(name[1:] for name in names if name.startswith(":")),
        )

    def _statistics(self) -> dict[str, Any]:
        return {
            "component_versions": self._phases.versions,
            "version_aware_compilation": True,
            "compilation_timestamp": datetime.now(UTC).isoformat(),
            "lines": self._text.count("\n") + 1,
            "phase_seconds": dict(self._seconds),
            "phases_run": [phase for phase in PHASES if phase in self._seconds],
            "phases_cached": list(self._cached),
        }


def _not_of(unread: tuple[Problem, ...], problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Leave out what a parser says of what the lexer could not read: it is the same fault a second time."""
    if not unread:
        return problems
    spans = [(start, end) for _, _, _, start, end, _ in unread]

    def follows(problem: Problem) -> bool:
        if problem[1] in ("parser.expected", "parser.semicolon"):
            # What is left out on a line is missing there.
            return any(start >> 20 == problem[3] >> 20 and start <= problem[3] for start, _ in spans)
        return any(start <= problem[3] < end for start, end in spans)

    return tuple(one for one in problems if not follows(one))


class SourceTooDeepError(Exception):
    """A source is deeper than the phases, or Python, can follow; it never leaves this module."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def _deepest(tree: Any) -> tuple[int, int, int]:
    """Return how deep the deepest node of a tree lies, and where it stands."""
    found = (0, 1 << 20, 1 << 20)
    waiting = [(tree, 0)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, tuple) and one:
            is_node = isinstance(one[0], str) and len(one) > 2 and isinstance(one[1], int)  # noqa: PLR2004
            if is_node and depth > found[0]:
                found = (depth, one[1], one[2])
            waiting.extend((part, depth + is_node) for part in one if isinstance(part, tuple))
    return found


def _malformed(version: PhaseVersion, fault: str) -> PhaseFailedError:
    return PhaseFailedError(
        f"{version.phase} {version.version} gave what no later phase can read: {fault}.",
        hint=f"Go back to the version before: noodle rollback {version.phase}.",
        details=_about(version),
    )


def _about(version: PhaseVersion) -> dict[str, Any]:
    return {"phase": version.phase, "version": version.version, "digest": version.digest}
