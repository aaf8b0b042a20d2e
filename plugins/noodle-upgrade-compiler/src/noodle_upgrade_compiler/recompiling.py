"""What an upgrade of a phase means for the files that were compiled: those that it affects are built before it serves.

A version says in its `component.toml` which kinds of tokens it is about (`metadata.affects`); a file without any of
them is not affected. What a version says is tried on a sample of the others: where it does not hold, all are built.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from noodle_upgrade_compiler.building import Progress, Report, build
from noodle_upgrade_compiler.errors import CompilationError
from noodle_upgrade_compiler.linking import graph_of
from noodle_upgrade_compiler.pipeline import PhaseSet, compile_source
from noodle_upgrade_compiler.stamps import entry_of, targets_in
from noodle_upgrade_compiler.store import SourceFile, Store
from noodle_upgrade_core.errors import UpgradeError

__all__ = ["Recompiled", "affected_files", "recompile"]

_SAMPLE = 16
_MOST_SHOWN = 5


@frozen(kw_only=True)
class Recompiled:
    """What was built for an upgrade. `tried` of the files that it does not affect were compiled to see that."""

    report: Report
    affected: tuple[str, ...]
    unaffected: int = 0
    tried: int = 0
    is_everything: bool = False
    why: str = field(default="")


def affected_files(files: Iterable[SourceFile], changed: PhaseSet, current: PhaseSet) -> tuple[str, ...]:
    """Return the files that the versions in which two sets differ are about, sorted."""
    about: set[str] | None = set()
    for new, old in zip(changed, current, strict=True):
        if new.key == old.key:
            continue
        about = None if about is None or new.affects is None else about | set(new.affects)
    if about is None:
        return tuple(sorted(one.path for one in files))
    # Thousands of files have the same few kinds of tokens.
    known: dict[str, bool] = {}
    found = []
    for one in files:
        if one.words not in known:
            known[one.words] = not about.isdisjoint(one.words.split(" "))
        if known[one.words]:
            found.append(one.path)
    return tuple(sorted(found))


def recompile(
    changed: PhaseSet,
    current: PhaseSet,
    store: Store,
    *,
    files: Sequence[str] | None = None,
    progress: Progress = lambda _done, _all: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Recompiled:
    """Build what a change of versions affects, by the new ones; or `files` and whatever imports them.

    Each file is built for what it was built for before, as often as that was for several sets of targets.
    Raises `CompilationError` when a file that was compiled before cannot be any more: nothing serves the new versions
    yet, and the upgrade ends.
    """
    known = store.files()

    def made(paths: Sequence[str]) -> Report:
        def one(targets: tuple[str, ...], some: Sequence[str], further: Progress) -> Report:
            return build([], changed, store, targets=targets, only=some, progress=further, cancelled=cancelled)

        return _for_all_targets(paths, known, progress, one)

    if files is not None:
        affected = graph_of(known).affected(files)
        report = _checked(made(affected))
        return Recompiled(report=report, affected=affected, unaffected=len(known) - len(affected))
    affected = affected_files(known.values(), changed, current)
    others = sorted(known.keys() - set(affected))
    sample = random.Random(changed.key).sample(others, min(_SAMPLE, len(others)))  # noqa: S311 - which files, no secret
    differs = next((path for path in sample if not _is_same(known[path], changed, current, store)), None)
    if differs is not None:
        affected = tuple(sorted(known))
    report = _checked(made(affected))
    if differs is None:
        # The others come out as before. Those that are built have no entry of the current versions any more.
        for targets in {targets for file in known.values() for targets in targets_in(file.built)}:
            store.replace_built(entry_of(current, targets), entry_of(changed, targets))
    return Recompiled(
        report=report,
        affected=affected,
        unaffected=len(known) - len(affected),
        tried=len(sample),
        is_everything=differs is not None,
        why="" if differs is None else f"{differs} comes out otherwise, which the new version does not say",
    )


def _for_all_targets(
    paths: Sequence[str],
    known: Mapping[str, SourceFile],
    progress: Progress,
    made: Callable[[tuple[str, ...], Sequence[str], Progress], Report],
) -> Report:
    """Build some files for what each was built for before."""
    wanted: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in paths:
        for targets in targets_in(known[path].built) if path in known else [("python",)]:
            wanted[targets].append(path)
    total, before = sum(map(len, wanted.values())), 0
    reports = []
    for targets, some in wanted.items():

        def further(done: int, _all: int, before: int = before) -> None:
            progress(before + done, total)

        reports.append(made(targets, some, further))
        before += len(some)
    return _together(reports)


def _together(reports: Sequence[Report]) -> Report:
    runs = Counter[str]()
    for one in reports:
        runs.update(one.phases)
    return Report(
        built=tuple(one for report in reports for one in report.built),
        unchanged=sum(one.unchanged for one in reports),
        seconds=sum(one.seconds for one in reports),
        phases=dict(runs),
    )


def _checked(report: Report) -> Report:
    """Return a report in which nothing has failed. Raises `CompilationError`."""
    if report.failed:
        # A file may have been built for several sets of targets.
        failed = {one.path: one.failure or f"{one.path}: {one.diagnostics[0].message}" for one in report.failed}
        told, count = list(failed.values()), len({one.path for one in report.built})
        more = f" and {len(told) - _MOST_SHOWN} more" if len(told) > _MOST_SHOWN else ""
        raise CompilationError(
            f"{len(told)} of {count} files cannot be compiled by the new version:"
            f" {'; '.join(told[:_MOST_SHOWN])}{more}.",
            hint="Correct the version, or the files, first.",
            safe="The versions that ran before serve on.",
            details={"errors": told[:100]},
        )
    return report


def _is_same(file: SourceFile, changed: PhaseSet, current: PhaseSet, store: Store) -> bool:
    """Whether a file comes out as before; one that is gone, or cannot be compiled, says nothing."""
    return all(_is_same_for(targets, file.path, changed, current, store) for targets in targets_in(file.built))


def _is_same_for(targets: tuple[str, ...], path: str, changed: PhaseSet, current: PhaseSet, store: Store) -> bool:
    try:
        source = Path(path).read_bytes()
        before = compile_source(source, path, current, targets=targets, store=store)
        after = compile_source(source, path, changed, targets=targets, store=store)
    except (OSError, UpgradeError):
        return True
    if not before.success:
        return True
    made = [(one.bytecode, one.nbc_bytecode, one.python_code, one.source_map) for one in (before, after)]
    return after.success and made[0] == made[1]
