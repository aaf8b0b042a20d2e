"""What a probe is: one kind of reference, what is held of it, and what that sees after the commit and after going back."""

from __future__ import annotations

import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Group", "Probe", "both", "program", "state_of"]

BACK = "the old again"


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """Two versions of a package, and what a program holds of the old one.

    `hold(module)` takes hold of something, and returns what looks through it. What it sees is `before` with the old
    version, and `after` with the new one. Who takes hold only after the commit sees `fresh`, and after going back
    `later`; both are what they would be without an upgrade, if nothing is said. With `refused` the change is not made,
    for a reason that has these words; `let_go` says whether it would be once the program holds nothing any more.
    `since` says what cannot be led back of what was taken from the new version: it is named by the way back.
    `files` are submodules: the text of the old and of the new version, "" for none. PKG is the name of the package.
    """

    name: str
    sees: str
    old: str
    new: str
    hold: Callable[[Any], Any]
    before: Any = None
    after: Any = None
    fresh: Any = None
    later: Any = None
    back: str = BACK
    refused: str = ""
    let_go: bool = True
    told: str = ""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    once: bool = False
    since: str = ""


@dataclass(frozen=True)
class Group:
    """Probes that belong together."""

    title: str
    probes: list[Probe] = field(default_factory=list)

    def probe(self, name: str, **given: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        """Make a probe of the function that takes hold of something."""

        def decorate(hold: Callable[[Any], Any]) -> Callable[[Any], Any]:
            given.setdefault("fresh", given.get("after"))
            given.setdefault("later", given.get("before"))
            given.setdefault("sees", f"refused: {given.get('refused', '')}")
            self.probes.append(Probe(name=name, hold=hold, **given))
            return hold

        return decorate


def both(template: str) -> dict[str, str]:
    """Return the text of both versions: `@@` is `old` in the one and `new` in the other."""
    text = textwrap.dedent(template)
    return {"old": text.replace("@@", "old"), "new": text.replace("@@", "new")}


def program(module: types.ModuleType, source: str) -> types.ModuleType:
    """Return a module of the user's: the text is carried out as a module of a program that uses the package."""
    made = types.ModuleType(f"program_of_{module.__name__}")
    sys.modules[made.__name__] = made
    exec(textwrap.dedent(source).replace("PKG", module.__name__), vars(made))
    return made


_PARTS = (
    "__code__",
    "__defaults__",
    "__kwdefaults__",
    "__doc__",
    "__annotations__",
    "__name__",
    "__qualname__",
    "__module__",
)


def state_of(package: str) -> dict[str, Any]:
    """Return everything that the modules of a package, its classes and its functions bind: which objects, not equals."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            found[f"module {name}"] = Same(module)
            for key, value in vars(module).items():
                if key != "__builtins__":
                    found |= _state(f"{name}.{key}", value, package)
    return found


def _state(where: str, value: Any, package: str) -> Iterator[tuple[str, Any]]:
    found = {where: Same(value)}
    if isinstance(value, types.FunctionType) and value.__globals__["__name__"].partition(".")[0] == package:
        found |= {f"{where}.{part}": getattr(value, part) for part in _PARTS}
        found |= {f"{where}.{key}": held for key, held in vars(value).items()}
    elif isinstance(value, type) and type.__getattribute__(value, "__module__").partition(".")[0] == package:
        found[f"{where}.__mro__"] = type.__getattribute__(value, "__mro__")
        for key, held in type.__getattribute__(value, "__dict__").items():
            if key not in {"__dict__", "__weakref__", "_abc_impl"}:
                inner = {} if isinstance(held, type) else _state(f"{where}.{key}", held, package)
                found |= {f"{where}.{key}": Same(held), **inner}
    return found


class Same:
    """An object as such: equal to itself only."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    __hash__ = None

    def __repr__(self) -> str:
        return f"{self.value!r:.80} at {id(self.value):#x}"
