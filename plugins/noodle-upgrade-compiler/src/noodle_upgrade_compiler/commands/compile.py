"""The command `noodle compile`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from attrs import evolve

from noodle_upgrade_compiler.building import Built, Report, build, sources_under
from noodle_upgrade_compiler.commands.serving import serve
from noodle_upgrade_compiler.commands.settings import compiler_of, store_for
from noodle_upgrade_compiler.commands.writing import SUFFIXES, write_outputs
from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.diagnostics import (
    Diagnostic,
    diagnosed,
    diagnostic_of,
    for_editors,
    for_language_servers,
    shown,
)
from noodle_upgrade_compiler.errors import PhaseFailedError
from noodle_upgrade_compiler.pipeline import PhaseSet, compile_source, decoded
from noodle_upgrade_compiler.results import CompilationResult
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_core.errors import InvalidRequestError

__all__ = ["compile_command"]

_LOOK_SECONDS = 0.3
_FORMATS = ("text", "editor", "lsp")


@click.command(
    "compile",
    short_help="Compile Noodle files and folders.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("places", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--target",
    "targets",
    type=click.Choice(list(SUFFIXES)),
    multiple=True,
    help="What to make; may be given several times.  [default: python]",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Write it there."
)
@click.option("--emit", type=click.Choice(["tokens", "tree"]), help="Show what a phase makes of one file.")
@click.option(
    "--use",
    "versions",
    metavar="PHASE=VERSION",
    multiple=True,
    help="Another version of a phase than the settings name.",
)
@click.option("--watch", is_flag=True, help="Compile again whenever a file changes, until Ctrl-C.")
@click.option(
    "--content", is_flag=True, help="Tell by their content which files have changed, and not by their stamps."
)
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N", help="As many processes as there are processors.")
@click.option("--no-cache", is_flag=True, help="Keep nothing, and use nothing that was kept.")
@click.option("--daemon", is_flag=True, help="Keep a compiler warm, for --remote, until it is told to end.")
@click.option("--remote", is_flag=True, help="Have the running program compile: a daemon, or any other one.")
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True, help="How errors are written."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; progress goes to stderr.")
@click.pass_context
def compile_command(ctx: click.Context, /, places: tuple[Path, ...], **asked: Any) -> int:
    """Compile files, and all files in folders, that have changed since they were compiled.

    \b
      noodle compile src                          # check everything, and fill the cache
      noodle compile src --target python-source -o build
      noodle compile app.noodle --target nbc -o build
      noodle compile src --watch
      noodle compile src --use lexer=1.1.0        # by another version of a phase
      noodle compile app.noodle --emit tree

    With --daemon it stays, as a program under `noodle run` does: its phases are upgraded while it serves, and --remote
    has it compile.

    Ends with 1 when a file has errors. In the form `editor` each error is one line, `path:line:column: …`, as compilers
    have always written it; `lsp` is a document of diagnostics as language servers send them.
    """  # noqa: D301 - \b is click's mark for text that must not be wrapped
    if asked["daemon"]:
        return serve(ctx)
    if not places:
        raise click.UsageError("Name files or folders: noodle compile src.", ctx)
    if asked["remote"]:
        return _remote(ctx, places, asked)
    try:
        return _here(ctx, places, asked)
    except OSError as error:
        raise InvalidRequestError(
            f"{error.filename or 'A file'}: {error.strerror or error}.", safe="What was written before it is whole."
        ) from error


def _here(ctx: click.Context, places: Sequence[Path], asked: dict[str, Any]) -> int:
    """Compile in this process, and those that it starts."""
    compiler = compiler_of(ctx, asked["versions"])
    if asked["emit"]:
        return _emit(compiler, places, asked["emit"])
    targets = tuple(dict.fromkeys(asked["targets"])) or ("python",)
    store = Store(None, entries=1_000_000) if asked["no_cache"] else store_for(ctx)
    try:
        if asked["watch"]:
            return _watch(places, compiler.current, store, targets, asked)
        report = _build(places, compiler.current, store, targets, asked)
        _tell(report, asked)
        return 0 if report.success else 1
    finally:
        store.close()
        if store.failure:
            click.echo(f"Warning: {store.failure}. Nothing was kept.", err=True)


def _build(
    places: Sequence[Path], phases: PhaseSet, store: Store, targets: tuple[str, ...], asked: dict[str, Any]
) -> Report:
    internal = tuple(target.replace("-", "_") for target in targets)
    if asked["output"] is not None and "python-source" in targets:
        internal = (*internal, "source_map")
    with _bar(quiet=asked["as_json"]) as progress:
        report = build(
            places,
            phases,
            store,
            targets=internal,
            by="content" if asked["content"] else "stat",
            jobs=asked["jobs"],
            progress=progress,
        )
    if asked["output"] is not None:
        failed = {one.path for one in report.failed}
        good = [path for path in sources_under(places) if str(path) not in failed]

        def again(source: Path) -> CompilationResult:
            return compile_source(source.read_bytes(), str(source), phases, targets=internal, store=store)

        write_outputs(good, asked["output"], places, again)
    return report


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[int, int], object]]:
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console  # noqa: PLC0415 - only who looks on pays for it
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415 - likewise

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task("Compiling", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total, refresh=True)


# --- what is said ----------------------------------------------------------------------------------------------------


def _tell(report: Report, asked: dict[str, Any]) -> None:
    if asked["as_json"]:
        click.echo(json.dumps(_as_json(report), indent=2))
        return
    if asked["form"] == "lsp":
        documents = [_for_language_server(one) for one in report.built if one.diagnostics or one.failure]
        click.echo(json.dumps(documents, indent=2))
        return
    for one in report.built:
        _tell_of(one, asked["form"])
    if asked["form"] == "text":
        click.echo(_summary(report), err=True)


def _tell_of(one: Built, form: str) -> None:
    if one.failure:
        click.echo(f"{one.path}: {one.failure}")
    source = _source_of(one) if form == "text" and one.diagnostics else ""
    for diagnostic in one.diagnostics:
        click.echo(for_editors(diagnostic) if form == "editor" else f"{shown(diagnostic, source)}\n")


def _source_of(one: Built) -> str:
    try:
        return Path(one.path).read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _for_language_server(one: Built) -> dict[str, Any]:
    source = _source_of(one)
    told = list(one.diagnostics)
    if one.failure:
        told.append(
            Diagnostic(phase="", severity="error", code=PhaseFailedError.code, message=one.failure, path=one.path)
        )
    return {
        "uri": Path(one.path).absolute().as_uri(),
        "diagnostics": [for_language_servers(diagnostic, source) for diagnostic in told],
    }


def _summary(report: Report) -> str:
    parts = [f"{len(report.built) - len(report.failed):,} compiled"]
    if report.unchanged:
        parts.append(f"{report.unchanged:,} up to date")
    if report.failed:
        parts.append(f"{len(report.failed):,} with errors")
    if report.removed:
        parts.append(f"{len(report.removed):,} gone")
    return f"{', '.join(parts)} in {report.seconds:.2f} s"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "success": report.success,
        "files": [
            {
                "path": one.path,
                "success": one.success,
                "failure": one.failure,
                "errors": [d.to_wire() for d in one.diagnostics if d.is_error],
                "warnings": [d.to_wire() for d in one.diagnostics if not d.is_error],
                "phases_run": list(one.phases_run),
            }
            for one in report.built
        ],
        "unchanged": report.unchanged,
        "removed": list(report.removed),
        "seconds": report.seconds,
    }


# --- by another program ----------------------------------------------------------------------------------------------


def _remote(ctx: click.Context, places: Sequence[Path], asked: dict[str, Any]) -> int:
    """Have the running program compile; it writes nothing."""
    if asked["output"] is not None or asked["emit"] or asked["watch"]:
        raise click.UsageError("--remote compiles, and neither writes, shows nor watches.", ctx)
    told = ctx.obj.connect().operate(
        "compiler.compile",
        {
            "places": [str(place.absolute()) for place in places],
            "targets": [target.replace("-", "_") for target in asked["targets"]] or ["python"],
            "versions": dict(one.partition("=")[::2] for one in asked["versions"]),
        },
    )
    if asked["as_json"]:
        click.echo(json.dumps(told, indent=2))
        return 0 if told["success"] else 1
    built = tuple(
        Built(
            path=one["path"],
            success=one["success"],
            diagnostics=tuple(diagnostic_of(wire) for wire in (*one["errors"], *one["warnings"])),
        )
        for one in told["files"]
    )
    report = Report(built=built, unchanged=0, seconds=sum(one["seconds"] for one in told["files"]))
    _tell(report, asked)
    return 0 if report.success else 1


# --- other ways ------------------------------------------------------------------------------------------------------


def _watch(
    places: Sequence[Path], phases: PhaseSet, store: Store, targets: tuple[str, ...], asked: dict[str, Any]
) -> int:
    """Look again and again, and say something when there is something new to say.

    A file with errors is compiled each time, for what it imports may have changed; a place that is gone for a moment,
    as it is while another branch is checked out, is waited for.
    """
    told: tuple[Any, ...] | None = None
    try:
        while True:
            if told is None or all(place.exists() for place in places):
                report = _build(places, phases, store, targets, asked)
                wrong = tuple((one.path, one.diagnostics, one.failure) for one in report.failed)
                if told is None or report.removed or wrong != told or len(report.failed) != len(report.built):
                    _tell(report, asked)
                told = wrong
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return 0


def _emit(compiler: Compiler, places: Sequence[Path], what: str) -> int:
    """Show the tokens or the tree of one file, as the versions that are asked for make them."""
    if len(places) != 1 or not places[0].is_file():
        raise click.UsageError("--emit shows one file.")
    path = str(places[0])
    source, unreadable = decoded(places[0].read_bytes())
    if unreadable is not None:
        click.echo(shown(evolve(unreadable, path=path), source), err=True)
        return 1
    tokens = compiler.current.lexer.call(source)
    told = diagnosed(tokens.problems, phase="lexer", path=path, source=source)
    if what == "tokens":
        for kind, text, start in zip(tokens.kinds, tokens.texts, tokens.starts, strict=True):
            click.echo(f"{start >> 20}:{(start & 0xFFFFF) + 1}\t{kind}\t{text}")
    else:
        parsed = compiler.current.parser.call(tokens.kinds, tokens.texts, tokens.starts, tokens.ends)
        told += diagnosed(parsed.problems, phase="parser", path=path, source=source)
        for line in _drawn(parsed.tree):
            click.echo(line)
    for one in told:
        click.echo(f"{shown(one, source)}\n", err=True)
    return 1 if any(one.is_error for one in told) else 0


def _drawn(node: Any, depth: int = 0) -> Iterator[str]:
    """Yield a tree as lines, each node a level deeper than the one that it is part of."""
    plain = [repr(part) for part in node[3:] if not isinstance(part, tuple) or not part]
    yield f"{'  ' * depth}{node[0]} {node[1] >> 20}:{(node[1] & 0xFFFFF) + 1} {' '.join(plain)}".rstrip()
    waiting = [part for part in node[3:] if isinstance(part, tuple) and part]
    for part in waiting:
        yield from _drawn_part(part, depth + 1)


def _drawn_part(part: Any, depth: int) -> Iterator[str]:
    if isinstance(part[0], str) and len(part) > 2 and isinstance(part[1], int):  # noqa: PLR2004
        yield from _drawn(part, depth)
        return
    for one in part:
        if isinstance(one, tuple) and one:
            yield from _drawn_part(one, depth)
        elif not isinstance(one, tuple):
            yield f"{'  ' * depth}{one!r}"


compile_command.noodle_options = True  # type: ignore[attr-defined]
"""`noodle` gives it the common options: which program --remote means."""
