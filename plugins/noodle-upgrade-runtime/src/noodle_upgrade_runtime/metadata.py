"""What `importlib.metadata` says to the code of a private space: its own distributions are those of its own version.

Only one version is installed, and the entry points of its metadata lead to public names. Asked by code of the space,
own distributions are read from the trees of the space, and every entry point that names one of its modules loads the
private one, whoever declares it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.utils import canonicalize_name

__all__ = ["Metadata"]

_OF_ONE = ("files", "metadata", "requires", "version")


class Metadata:
    """Replaces functions of `importlib.metadata`, or of its backport.

    `private` and `public` translate module names; `trees` are the folders of the distributions.
    """

    def __init__(
        self, *, private: Callable[[str], str], public: Callable[[str], str], trees: Mapping[str, Path]
    ) -> None:
        self._private = private
        self._public = public
        self._trees = {canonicalize_name(name): tree for name, tree in trees.items()}
        self._kinds: dict[type, type] = {}

    def replaced(self, module: ModuleType) -> dict[str, Any]:
        """Return what stands in the place of names of this module."""
        made = {name: self._of_one(module, name) for name in _OF_ONE}
        made["distribution"] = lambda distribution_name: self._distribution(module, distribution_name)
        made["distributions"] = lambda **named: self._distributions(module, **named)
        made["entry_points"] = lambda **named: self._entry_points(module, **named)
        return {name: one for name, one in made.items() if hasattr(module, name)}

    # --- distributions -------------------------------------------------------------------------------------------

    def _of_one(self, module: ModuleType, name: str) -> Callable[[str], Any]:
        real = getattr(module, name)

        def ours(distribution_name: str) -> Any:
            name_of_it = self._public(distribution_name)
            found = self._own(module, name_of_it)
            return real(name_of_it) if found is None else getattr(found, name)

        return ours

    def _distribution(self, module: ModuleType, name: str) -> Any:
        # `distribution(__name__)` asks by the private name, which is nobody's.
        name = self._public(name)
        found = self._own(module, name)
        return module.distribution(name) if found is None else found

    def _distributions(self, module: ModuleType, **named: Any) -> Iterator[Any]:
        if "name" in named and len(named) == 1 and (own := self._own(module, self._public(named["name"]))) is not None:
            yield own
            return
        if named:  # a context, or a path of the caller's own: not what is installed
            yield from module.distributions(**named)
            return
        found = {name: one for name in self._trees if (one := self._own(module, name)) is not None}
        yield from found.values()
        for one in module.distributions():
            if canonicalize_name(_name_of(one)) not in found:
                yield one

    def _own(self, module: ModuleType, name: str) -> Any:
        """Return the distribution of this name that lies in a tree of the space, or None."""
        tree = self._trees.get(canonicalize_name(name))
        if tree is None:
            return None
        found = next(iter(module.distributions(name=name, path=[str(tree)])), None)
        if found is not None:
            found.__class__ = self._kind(type(found), self._leading)
        return found

    # --- entry points --------------------------------------------------------------------------------------------

    def _entry_points(self, module: ModuleType, **selected: Any) -> Any:
        real = module.entry_points(**selected)
        # 3.11 groups them where nothing was selected, in a dict that warns at whoever reads it as one.
        grouped = isinstance(real, dict)
        theirs = chain.from_iterable(dict.values(real)) if grouped else real
        own = {name: one for name in self._trees if (one := self._own(module, name)) is not None}
        ours = (one for distribution in own.values() for one in distribution.entry_points if one.matches(**selected))
        others = (one for one in theirs if canonicalize_name(_name_of(one.dist)) not in own)
        found = [*ours, *self._led(others)]
        return type(real).load(found) if grouped else type(real)(found)

    def _led(self, found: Iterable[Any]) -> Iterator[Any]:
        """Yield these entry points, those of modules of the space with a `load` that loads the private one."""
        for one in found:
            if self._private(one.module) == one.module:
                yield one
            else:
                made: Any = object.__new__(self._kind(type(one), self._loading))
                vars(made).update(vars(one))
                yield made

    # --- classes like theirs -------------------------------------------------------------------------------------

    def _kind(self, real: type, members: Callable[[type], dict[str, Any]]) -> type:
        if real not in self._kinds:
            self._kinds[real] = type(real.__name__, (real,), {"__module__": real.__module__, **members(real)})
        return self._kinds[real]

    def _loading(self, real: type) -> dict[str, Any]:
        del real

        def load(entry_point: Any) -> Any:
            module = importlib.import_module(self._private(entry_point.module))
            return functools.reduce(getattr, filter(None, (entry_point.attr or "").split(".")), module)

        return {"load": load}

    def _leading(self, real: Any) -> dict[str, Any]:
        def entry_points(distribution: Any) -> Any:
            theirs = real.entry_points.__get__(distribution)
            return type(theirs)(self._led(theirs))

        return {"entry_points": property(entry_points)}


def _name_of(distribution: Any) -> str:
    """Return the name of a distribution: "" for one that is damaged, or for none."""
    found = None if distribution is None else distribution.metadata["Name"]
    return found or ""
