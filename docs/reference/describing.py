"""Describe classes and functions in Markdown, from what they say of themselves."""

from __future__ import annotations

import enum
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import attrs

__all__ = ["call_of", "described", "first_sentence", "function_of", "prose"]


def prose(text: str | None) -> str:
    """Return a docstring as Markdown: code that is indented becomes a block of Python, what click must not wrap a text."""
    return "\n\n".join(_paragraphs(inspect.cleandoc(text or "")))


def _paragraphs(text: str) -> Iterator[str]:
    code: list[str] = []
    for part in text.split("\n\n"):
        if part.startswith("\b\n"):
            yield "```text\n" + textwrap.dedent(part.removeprefix("\b\n")) + "\n```"
            continue
        if part.startswith("    "):
            code.append(textwrap.dedent(part))
            continue
        yield from _fenced(code)
        code = []
        # A list that stands right below its sentence is one paragraph elsewhere.
        yield re.sub(r"(?<!\n)\n(?=- )", "\n\n", part, count=1) if not part.startswith("- ") else part
    yield from _fenced(code)


def _fenced(code: list[str]) -> Iterator[str]:
    if code:
        # As the formatter has it: two empty lines before a definition.
        spaced = [f"\n{part}" if part.startswith(("@", "class ", "def ")) else part for part in code[1:]]
        yield "```python\n" + "\n\n".join([code[0], *spaced]) + "\n```"


def first_sentence(text: str | None) -> str:
    """Return the first paragraph in one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def described(cls: type, *, level: str = "##") -> list[str]:
    """Return a section about a class: what it is, its fields or values, its properties and methods."""
    lines = [f"{level} `{cls.__name__}`", "", prose(cls.__doc__), ""]
    if issubclass(cls, enum.Enum):
        return [*lines, ", ".join(f"`{cls.__name__}.{one.name}`" for one in cls), ""]
    if attrs.has(cls):
        lines += _fields(cls)
    members = [_member(name, member) for name, member in vars(cls).items() if not name.startswith("_")]
    found = [member for member in members if member]
    return [*lines, *found, ""] if found else lines


def _fields(cls: type) -> list[str]:
    rows = [
        f"| `{one.name}` | `{_type(one.type)}` | {_default(one)} |"
        for one in attrs.fields(cls)
        if one.init and one.name[0] != "_"
    ]
    return ["| field | type | default |", "|---|---|---|", *rows, ""] if rows else []


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.replace("|", "\\|")


def _default(one: attrs.Attribute[Any]) -> str:
    if one.default is attrs.NOTHING:
        return "must be given"
    if isinstance(one.default, attrs.Factory):  # type: ignore[arg-type]
        empty = one.default.factory
        return f"`{empty()!r}`" if empty in {dict, list, tuple} else "made anew"
    if callable(one.default):
        return "does nothing"
    if isinstance(one.default, enum.Enum):
        return f"`{type(one.default).__name__}.{one.default.name}`"
    return f"`{one.default!r}`"


def _member(name: str, member: Any) -> str:
    if isinstance(member, property) and member.__doc__:
        return f"- `.{name}`: {first_sentence(member.__doc__)}"
    function = getattr(member, "__func__", member)
    if inspect.isfunction(function) and function.__doc__:
        text = f"- `{call_of('.' + name, function)}`: {' '.join(prose(function.__doc__).split())}"
        return text.replace(" - `", "\n  - `")
    return ""


def call_of(name: str, function: Callable[..., Any]) -> str:
    """Return how something is called, without types: `await plan(request)`, `with open(settings=None)`."""
    signature = inspect.signature(function)
    own = [p.replace(annotation=p.empty) for n, p in signature.parameters.items() if n not in {"self", "cls"}]
    words = str(signature.replace(parameters=own, return_annotation=signature.empty))
    return f"{_before(function)}{name}{words}"


def _before(function: Callable[..., Any]) -> str:
    made_by = inspect.unwrap(function)
    if inspect.isasyncgenfunction(made_by):
        return "async with "
    if inspect.isgeneratorfunction(made_by) and made_by is not function:
        return "with "
    return "await " if inspect.iscoroutinefunction(function) else ""


def function_of(name: str, function: Callable[..., Any]) -> list[str]:
    """Return a section about a function."""
    return [f"## `{call_of(name, function)}`", "", prose(function.__doc__), ""]
