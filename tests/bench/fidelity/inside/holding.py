"""Holding everything that a package offers, in every way there is, and saying later what each reference leads to."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any

from fidelity.inside.building import indoors
from fidelity.inside.kinds import CLASS_KINDS, FUNCTION_KINDS, INSTANCE_KIND, LOOSE_CLASS_KINDS, OBJECT_KINDS, Look
from fidelity.inside.modules import Symbol, imported, public_symbols
from fidelity.inside.prints import lead

__all__ = ["Held"]


class Held:
    """What a program holds of a package: the same, made in the same way, in every process that is compared.

    `without` names classes of which no instance and no subclass is held, `module.Class`.
    """

    def __init__(self, tops: Sequence[str], without: Sequence[str] = ()) -> None:
        self._without = frozenset(without)
        modules = imported(tops)
        self.symbols = public_symbols(modules, tops)
        self.looks: dict[str, Look] = {}
        with indoors():
            for symbol in self.symbols:
                self._hold(symbol)
        for name, module in modules.items():
            self.looks[f"{name}|module"] = _module_look(name, module)

    def _hold(self, symbol: Symbol) -> None:
        value = symbol.value
        module, name = sys.modules[symbol.module], symbol.name
        looks: dict[str, Look] = {
            "alias": lambda: [lead(value), value is _now(symbol)],
            "module alias": lambda: lead(getattr(module, name, None)),
        }
        for kind in self._kinds_of(value):
            try:
                looks |= kind(value)
            except Exception as error:
                # Not everything can be subclassed, pickled or hashed; the control process has no such look either.
                looks[f"cannot {kind.__name__}"] = (lambda said: lambda: said)(type(error).__name__)
        self.looks.update({f"{symbol.key}|{kind}": look for kind, look in looks.items()})

    def _kinds_of(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, type):
            return FUNCTION_KINDS if isinstance(value, types.FunctionType) else OBJECT_KINDS
        if not self._without.isdisjoint(_named(value)):
            return LOOSE_CLASS_KINDS
        return (*CLASS_KINDS, INSTANCE_KIND)

    def unknown(self) -> list[str]:
        """Return the names that were to be left out, and that nothing here has."""
        classes = (symbol.value for symbol in self.symbols if isinstance(symbol.value, type))
        return sorted(self._without.difference(*(_named(cls) for cls in classes)))

    def look(self) -> dict[str, Any]:
        """Return what every reference leads to now; what raises when it is looked at says so."""
        found: dict[str, Any] = {}
        with indoors():
            for key, look in self.looks.items():
                try:
                    found[key] = look()
                except Exception as error:
                    found[key] = ["raises", type(error).__name__]
        return found


def _named(cls: type) -> set[str]:
    """Return what a class and those that it is made from are called."""
    return {f"{one.__module__}.{one.__qualname__}" for one in cls.__mro__}


def _now(symbol: Symbol) -> Any:
    return getattr(sys.modules.get(symbol.module), symbol.name, None)


def _module_look(name: str, module: types.ModuleType) -> Look:
    """Return a look at a module object that somebody holds: it is the one that is imported, with these names in it."""

    def look() -> Any:
        names = [n for n, v in vars(module).items() if not isinstance(v, types.ModuleType)]
        left_out = ("__warningregistry__", "noodle_users_")
        return [sys.modules.get(name) is module, sorted(n for n in names if not n.startswith(left_out))]

    return look
