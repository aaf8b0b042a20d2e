"""The optimizer of Noodle: constant folding, dead code, what follows from types, inlining and constant propagation.

Programs mean the same as before: what would fail when it runs still does, there and then. What is put in the place of
a name is private to the file (it begins with an underscore, so that no other file assigns it), is given its value once,
at the top level, and stands before whatever uses it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .folding import Problem
from .inlining import Inlining

__version__ = "2.0.0"
__hot_swappable__ = True
__critical__ = False

__all__ = ["Optimized", "optimize"]


class Optimized(NamedTuple):
    """The tree, and warnings about what cannot be meant."""

    tree: tuple[Any, ...]
    problems: tuple[Problem, ...]


def optimize(tree: tuple[Any, ...]) -> Optimized:
    """Return a tree that does the same with less."""
    inlining = Inlining(tree)
    done = inlining.module(tree)
    return Optimized(done, tuple(sorted(inlining.problems, key=lambda problem: problem[3])))
