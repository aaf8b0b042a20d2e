"""Outputs as files, beside one another as the sources lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from noodle_upgrade_compiler.results import CompilationResult, files_of
from noodle_upgrade_core.errors import InvalidRequestError

__all__ = ["SUFFIXES", "write_outputs"]

SUFFIXES = {"python": ".pyc", "python-source": ".py", "nbc": ".nbc"}


def write_outputs(
    sources: Iterable[Path], folder: Path, places: Sequence[Path], again: Callable[[Path], CompilationResult]
) -> None:
    """Write what was made of each source, where that is not there already; each file appears whole.

    `again` compiles a source once more, out of the store. Raises `InvalidRequestError` where two sources would be one
    file, or what is there is no output: nothing is written then.
    """
    planned: dict[Path, Path] = {}
    for source in sources:
        path = folder / _below(source, places)
        if (other := planned.setdefault(path, source)) != source:
            raise InvalidRequestError(
                f"{other} and {source} would both be {path.with_suffix('')}.",
                hint="Name the folder above both, or give each its own -o.",
                safe="Nothing was written.",
            )
    results = {path: again(source) for path, source in planned.items()}
    for path, result in results.items():
        if result.success and result.python_code is not None:
            _check_ours(path.with_suffix(".py"))
    for path, result in results.items():
        if result.success:
            _write(result, path)


def _check_ours(path: Path) -> None:
    """Refuse to write over a module that somebody has written: ours end with where their map is."""
    if path.is_file() and not path.read_bytes().rpartition(b"\n# ")[2].startswith(b"sourceMappingURL="):
        raise InvalidRequestError(
            f"{path} is there already, and no output of the compiler.",
            hint="Give another folder to -o.",
            safe="Nothing was written.",
        )


def _below(source: Path, places: Sequence[Path]) -> Path:
    """Return where a source lies below the place that it was found in."""
    inside = [place for place in places if place.is_dir() and source.is_relative_to(place)]
    return source.relative_to(inside[0]) if inside else Path(source.name)


def _write(result: CompilationResult, path: Path) -> None:
    for ending, data in files_of(result, path.stem).items():
        _put(path.with_suffix(ending), data)


def _put(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(path)
