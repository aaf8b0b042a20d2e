"""The byte-code generator of Noodle: from a tree to what runs.

Targets: `python`, a code object that Python's own compiler makes of its own `ast`; `python_source`, the same as text to
read; `nbc`, code for Noodle's stack machine; `source_map`, where each place of that text comes from.
"""

from __future__ import annotations

import ast
from types import CodeType
from typing import Any, NamedTuple

from .python_tree import python_tree
from .source_map import source_map
from .stack_code import stack_code

__version__ = "1.0.0"
__hot_swappable__ = True
__critical__ = True

__all__ = ["TARGETS", "Generated", "generate"]

TARGETS = ("python", "python_source", "nbc", "source_map")


class Generated(NamedTuple):
    """What was asked for; None is what was not."""

    python: CodeType | None = None
    python_source: str | None = None
    nbc: tuple[Any, ...] | None = None
    source_map: str | None = None


def generate(tree: tuple[Any, ...], filename: str, targets: tuple[str, ...] = ("python",)) -> Generated:
    """Return what the targets are for a tree; `filename` is what tracebacks and maps name."""
    if unknown := set(targets).difference(TARGETS):
        raise ValueError(f"There is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}.")
    # The text and its map look at a tree again and again; the compiler once.
    has_text = not {"python_source", "source_map"}.isdisjoint(targets)
    module = python_tree(tree, later=not has_text) if set(targets) != {"nbc"} else None
    text = ast.unparse(module) + "\n" if module and has_text else None
    if text is not None:
        # What Python reads may be less deep than what it is asked to run.
        ast.parse(text)
    return Generated(
        python=compile(module, filename, "exec", dont_inherit=True) if module and "python" in targets else None,
        python_source=text if "python_source" in targets else None,
        nbc=stack_code(tree) if "nbc" in targets else None,
        source_map=source_map(module, text, filename) if module and text and "source_map" in targets else None,
    )
