"""What a compilation leaves behind, and how outputs of phases are written as bytes: without pickle."""

from __future__ import annotations

import hashlib
import marshal
import sys
from array import array
from types import CodeType
from typing import Any

from attrs import frozen

from noodle_upgrade_compiler.contract import Tokens
from noodle_upgrade_compiler.nbc.code import code_of
from noodle_upgrade_compiler.nbc.format import dumps

__all__ = ["PYTHON", "Made", "Tree", "digest_of", "tokens_as_bytes", "tree_as_bytes", "tree_from_bytes"]

_DIGEST = 16
_PLAIN = 2
"""The version of `marshal` that writes equal values as equal bytes; later ones tell interned strings apart."""
PYTHON = f"{sys.implementation.cache_tag} {sys.hexversion:x}".encode()
"""Which interpreter a code object is for."""


def digest_of(*parts: bytes) -> bytes:
    """Return a digest of some parts, which no other parts have."""
    total = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.digest()


@frozen
class Tree:
    """A tree that comes from the store."""

    tree: tuple[Any, ...]
    problems: tuple[Any, ...] = ()


def tree_as_bytes(tree: tuple[Any, ...]) -> bytes:
    """Return a tree as bytes: equal trees as equal ones."""
    return marshal.dumps(tree, _PLAIN)


def tree_from_bytes(data: bytes) -> Tree:
    """Return a tree of our own file, found by the digest of its content."""
    return Tree(marshal.loads(data))  # noqa: S302 - see the module `store`


def tokens_as_bytes(tokens: Tokens) -> bytes:
    """Return tokens as bytes, for their digest."""
    columns = ("\0".join(tokens.kinds), "\0".join(tokens.texts))
    texts = [column.encode(errors="surrogatepass") for column in columns]
    places = [array("Q", column).tobytes() for column in (tokens.starts, tokens.ends)]
    return b"".join(len(part).to_bytes(8, "little") + part for part in (*texts, *places))


@frozen(kw_only=True, eq=False)
class Made:
    """What a generator has made of a source; None is what was not asked for."""

    python: CodeType | None = None
    python_source: str | None = None
    nbc: bytes | None = None
    source_map: str | None = None

    @classmethod
    def of(cls, generated: Any) -> Made:
        """Take what a generator gave. Raises what encoding raises where that is malformed."""
        return cls(
            python=generated.python,
            python_source=generated.python_source,
            nbc=None if generated.nbc is None else dumps(code_of(generated.nbc)),
            source_map=generated.source_map,
        )

    def to_bytes(self) -> bytes:
        """Return it as bytes, which only the same version of Python reads."""
        return marshal.dumps((self.python, self.python_source, self.nbc, self.source_map))

    @classmethod
    def from_bytes(cls, data: bytes) -> Made:
        """Return what `to_bytes` has written into our own file."""
        python, python_source, nbc, source_map = marshal.loads(data)  # noqa: S302 - see the module `store`
        return cls(python=python, python_source=python_source, nbc=nbc, source_map=source_map)
