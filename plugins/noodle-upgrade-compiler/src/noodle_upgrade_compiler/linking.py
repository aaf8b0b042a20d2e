"""What files take from one another by name: whether it is there."""

from __future__ import annotations

import difflib
import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path

from noodle_upgrade_compiler.contract import Problem
from noodle_upgrade_compiler.diagnostics import Diagnostic, diagnosed
from noodle_upgrade_compiler.graph import SUFFIX, ImportGraph, folders_above, places_of
from noodle_upgrade_compiler.pipeline import decoded
from noodle_upgrade_compiler.store import SourceFile
from noodle_upgrade_compiler.versions import PhaseVersion

__all__ = ["graph_of", "unresolved"]

_CODE = "imports.name"
_START = 1 << 20
_MOST_SHOWN = 8


def graph_of(files: Mapping[str, SourceFile]) -> ImportGraph:
    """Return who imports whom among some files."""
    return ImportGraph({path: tuple(one.imports.split()) for path, one in files.items()})


def unresolved(
    paths: Iterable[str], known: Callable[[str], SourceFile | None], lexer: PhaseVersion
) -> Iterator[tuple[str, tuple[Diagnostic, ...]]]:
    """Yield the files that take names from other files which do not offer them, and what is to be said of each.

    `known` says what is known of a file. Where several files may be meant, one that offers it is enough; where a module
    of Python's may be, it is not said.
    """

    @cache
    def offers(path: str) -> frozenset[str] | None:
        return None if (file := known(path)) is None else frozenset(file.offers.split())

    for path in paths:
        file = known(path)
        missing: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for taken in file.takes.split() if file is not None else ():
            module, _, name = taken.partition(":")
            meant = {one: names for one in places_of(path, module) if (names := offers(one)) is not None}
            if meant and all(name not in names for names in meant.values()) and not _is_pythons(path, module):
                missing[module][name] = _hint(*next(iter(meant.items())), name)
        if missing:
            yield path, _told(path, missing, lexer)


def _hint(path: str, offered: frozenset[str], name: str) -> str:
    near = difflib.get_close_matches(name, offered, 1) or sorted(offered)
    more = ", …" if len(near) > _MOST_SHOWN else ""
    return f"{path} offers {', '.join(near[:_MOST_SHOWN]) or 'nothing'}{more}."


def _is_pythons(path: str, module: str) -> bool:
    """Whether Python may have a module of this name, which comes before files of ours."""
    below = (Path(folder) / module for folder in folders_above(path))
    return _is_installed(module.partition("/")[0]) or any(
        place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() for place in below
    )


@lru_cache(1000)
def _is_installed(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    # A folder without an `__init__.py` has no origin: it may be one of ours.
    return spec is not None and spec.origin is not None and not spec.origin.endswith(SUFFIX)


def _told(path: str, missing: Mapping[str, Mapping[str, str]], lexer: PhaseVersion) -> tuple[Diagnostic, ...]:
    source, _ = decoded(Path(path).read_bytes())
    tokens = lexer.call(source)
    problems: list[Problem] = []
    for module, names in missing.items():
        for name, hint in names.items():
            start, end = _place(tokens.texts, tokens.starts, tokens.ends, module, name)
            problems.append(("error", _CODE, f"{module!r} has no {name!r} to import.", start, end, hint))
    return diagnosed(sorted(problems, key=lambda one: one[3]), phase="parser", path=path, source=source)


def _place(texts: list[str], starts: list[int], ends: list[int], module: str, name: str) -> tuple[int, int]:
    """Return where a name is taken from a module, the beginning of the file where that cannot be told."""
    inside = False
    for index, text in enumerate(texts):
        if text == "from":
            inside = texts[index + 1].strip("\"'") == module
        elif text == ";":
            inside = False
        elif inside and text == name and texts[index - 1] in ("import", ","):
            return starts[index], ends[index]
    return _START, _START
