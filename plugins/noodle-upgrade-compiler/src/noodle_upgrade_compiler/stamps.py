"""What a store knows of a source file: whether it has changed since, and by what it was compiled, for what.

The column `built` has one entry for each set of targets: which versions made them, on which Python.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from noodle_upgrade_compiler.artifacts import PYTHON, digest_of
from noodle_upgrade_compiler.pipeline import PhaseSet
from noodle_upgrade_compiler.results import CompilationResult
from noodle_upgrade_compiler.store import SourceFile

__all__ = ["digest_of_source", "entry_of", "joined", "known_of", "stamp_of", "targets_in", "with_entry"]

_SOMEBODY = "?"


def stamp_of(status: os.stat_result | str) -> str:
    """Return what tells whether a file has changed, of its status or its path."""
    if isinstance(status, str):
        status = Path(status).stat()
    return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"


def digest_of_source(source: bytes) -> bytes:
    """Return what tells a source from others."""
    return hashlib.blake2b(source, digest_size=16).digest()


def known_of(path: str, stamp: str, source: bytes, result: CompilationResult) -> SourceFile:
    """Return what a store is to know of a file that was compiled; `stamp` is that of before it was read.

    By which versions it was is not known yet, and for which targets it is.
    """
    return SourceFile(
        path=path,
        stamp=stamp,
        source=digest_of_source(source),
        built=_entry(result.target, _SOMEBODY),
        imports=" ".join(result.facts.imports),
        words=" ".join(result.facts.words),
        offers=" ".join(result.facts.offers),
        takes=" ".join(result.facts.takes),
    )


def joined(before: SourceFile | None, now: SourceFile) -> SourceFile:
    """Return what is known of a file, with what was made for other targets of the same source."""
    if before is None or before.source != now.source:
        return now
    built = before.built
    for entry in now.built.split():
        targets = entry.partition("=")[0]
        if not entry.endswith(_SOMEBODY) or f"{targets}=" not in f" {built}":
            built = with_entry(built, entry)
    return now._replace(built=built)


# --- entries ---------------------------------------------------------------------------------------------------------


def entry_of(phases: PhaseSet, targets: Iterable[str]) -> str:
    """Return the entry of what a set of versions makes for some targets, on this Python; no other has it inside."""
    named = ",".join(sorted(targets))
    return _entry(targets, digest_of(phases.key.encode(), named.encode(), PYTHON).hex())


def _entry(targets: Iterable[str], made_by: str) -> str:
    return f"{','.join(sorted(targets))}={made_by}"


def with_entry(built: str, entry: str) -> str:
    """Return the entries with another one, in the place of that for the same targets."""
    named = entry.partition("=")[0] + "="
    return " ".join([*(one for one in built.split() if not one.startswith(named)), entry])


@lru_cache(1000)
def targets_in(built: str) -> tuple[tuple[str, ...], ...]:
    """Return the sets of targets that there are entries for."""
    return tuple(tuple(one.partition("=")[0].split(",")) for one in built.split())
