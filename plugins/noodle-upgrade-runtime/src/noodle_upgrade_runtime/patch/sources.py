"""The source of functions as syntax trees, and what is found in them: looked for once for as long as somebody reads.

A change asks the same of the same classes again and again: what a constructor assigns, which methods it calls. Nothing
of it changes while a change is planned, and everything of it may before the next one, so that nothing is kept beyond.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["definition_of", "once", "reading"]

A = TypeVar("A")
T = TypeVar("T")

_lock = threading.Lock()
_readers = 0
_Functions = Mapping[tuple[str, int], ast.FunctionDef]
_files: dict[Any, _Functions] = {}
_answers: list[dict[Any, Any]] = [_files]


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Remember what is found until the end of this; several may read at a time."""
    global _readers  # noqa: PLW0603 - of the process, as files are
    with _lock:
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                for found in _answers:
                    found.clear()


def once(question: Callable[[A], T]) -> Callable[[A], T]:
    """Have a question about a function, a class or a node answered once for each while somebody reads."""
    found: dict[Any, Any] = {}
    _answers.append(found)

    @functools.wraps(question)
    def ask(about: A) -> T:
        if not _readers:
            return question(about)
        # By its id, because a metaclass may have a hash of its own; it is held, so that the id stays its own.
        known = found.get(id(about))
        if known is None:
            known = found[id(about)] = about, question(about)
        answer: T = known[1]
        return answer

    return ask


@once
def definition_of(function: types.FunctionType) -> ast.FunctionDef | None:
    """Return the part of its file's syntax tree that defines a function, None when the file is not there."""
    code = function.__code__
    return _definitions(code.co_filename).get((code.co_name, code.co_firstlineno))


def _definitions(path: str) -> _Functions:
    if path not in _files:
        found = _functions_in(path)
        if not _readers:
            return found
        _files[path] = found
    return _files[path]


def _functions_in(path: str) -> _Functions:
    """Return the functions of a file by name and first line, that of a decorator where there is one."""
    try:
        tree = ast.parse(Path(path).read_bytes(), filename=path)
    except (OSError, SyntaxError, ValueError):
        return {}
    return {
        (node.name, min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])): node
        for node in _statements(tree.body)
        if isinstance(node, ast.FunctionDef)
    }


def _statements(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield statements with those inside them; no expression holds a definition by a name."""
    for statement in body:
        yield statement
        for part in _BLOCKS:
            yield from _statements(getattr(statement, part, ()))


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
