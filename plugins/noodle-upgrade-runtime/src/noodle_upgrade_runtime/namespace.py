"""A private import space: one version of some packages, loaded beside whatever else runs, under names of its own.

The modules are registered as `jinja2@3_0_3~1.environment`, because dataclasses, pickle and typing look a class's module
up in `sys.modules`; their `__name__` leads there and reads `jinja2.environment` (`ModuleName`). Every module has a
`__builtins__` dict of its own, whose `__import__` sends the packages' own names to the private modules and everything
else to the real import. Functions keep that dict, so that an import inside a function finds its own version at any
time, also after the space was released.
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
import threading
import typing
import weakref
from collections.abc import Iterable
from importlib.machinery import FileFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import ArtifactIncompatibleError, StageError
from noodle_upgrade_runtime.asking import codes_of
from noodle_upgrade_runtime.forked import Forked
from noodle_upgrade_runtime.importlib_bootstrap import FINDER, Importer
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.shades import put_shade, solid
from noodle_upgrade_runtime.substitutes import Substitutes

__all__ = ["Member", "Space"]

_numbers = itertools.count(1)  # a private name is never used twice in a process: what is still held must not mix


@frozen(kw_only=True)
class Member:
    """One component of a space: its import names, the folder that holds them, and the version for people."""

    name: str
    version: str
    tree: Path
    top_levels: tuple[str, ...]
    import_names: tuple[str, ...] = ()
    """Where a top level is a namespace that others share: which names under it are this component's, with dots."""


class Space:
    """Loads the packages of its members privately; nothing else in the process can tell.

    Open from the start. `release` takes the names away, so that the version can be collected when its last call has
    left; code of the space that still runs and imports something brings them back.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = tuple(members)
        self.codes: list[weakref.ref[CodeType]] = []
        self._lock = threading.RLock()
        self._private: dict[str, str] = {}
        self._public: dict[str, str] = {}
        self._trees: dict[str, Path] = {}
        self._shared: dict[str, tuple[str, ...]] = {}
        self._attic: dict[str, Any] = {}
        self._released = False
        self._abandoned = False
        for member in self.members:
            tag = f"{re.sub(r'[^0-9A-Za-z]+', '_', member.version)}~{next(_numbers)}"
            for top in member.top_levels:
                private = f"{top}@{tag}"
                self._private[top] = private
                self._public[private] = top
                self._trees[private] = member.tree
                shared = tuple(n for n in member.import_names if n.partition(".")[0] == top)
                if shared and shared != (top,):
                    self._shared[top] = shared
        importer = Importer(self)
        self.substitutes = Substitutes(
            private=self.sought_name,
            public=self.public_name,
            trees={m.name: m.tree for m in self.members},
            import_=importer.import_,
        )
        self._forked = Forked(__import__=importer.import_)
        self.folders: dict[str, FileFinder] = {}
        """What is known of the folders that its modules lie in."""
        FINDER.add(self, self._public)
        FINDER.come_first()

    @property
    def builtins(self) -> dict[str, Any]:
        """In what the code of this space looks builtins up."""
        return self._forked.names

    # --- names ---------------------------------------------------------------------------------------------------

    def private_name(self, name: str) -> str:
        """Return the private name of one of our modules; any other name comes back as it is."""
        if isinstance(name, ModuleName):
            return name.private
        top, dot, rest = name.partition(".")
        if top in self._shared and not any(
            _is_within(name, ours) or _is_within(ours, name) for ours in self._shared[top]
        ):
            return name
        return self._private.get(top, top) + dot + rest

    def sought_name(self, name: str) -> str:
        """Return the private name of what is about to be looked up: nobody but us may find a module of ours."""
        private = self.private_name(name)
        if self.owns(private):
            FINDER.come_first()
        return private

    def owns(self, private: str) -> bool:
        """Return whether a private name is one of ours."""
        return private.partition(".")[0] in self._public

    def public_name(self, name: str) -> str:
        """Return the name that a module of ours has in its own source; any other name comes back as it is."""
        top, dot, rest = name.partition(".")
        return self._public.get(top, top) + dot + rest

    def modules(self) -> dict[str, ModuleType]:
        """Return the loaded modules by private name."""
        with self._lock:
            found = {n: m for n, m in tuple(sys.modules.items()) if n.partition(".")[0] in self._public}
            return {**self._attic, **{n: solid(m) for n, m in found.items() if m is not None}}

    # --- loading -------------------------------------------------------------------------------------------------

    def load(self, name: str) -> ModuleType:
        """Import a module by its public name and return the private one.

        Raises `StageError` with what its code raised, `ArtifactIncompatibleError` for an extension module. Whatever was
        loaded stays until `abandon` or `release`.
        """
        try:
            return importlib.import_module(self.sought_name(name))
        except ArtifactIncompatibleError:
            raise
        except BaseException as error:
            # SystemExit and the like are the failure of what is loaded, not a wish of this program.
            if isinstance(error, KeyboardInterrupt):
                raise
            raise StageError(
                f"{name} could not be imported: {type(error).__name__}: {self._readable(error)}",
                hint="Try the version by itself first: python -c 'import " + name + "'.",
                details={"module": name, "error": type(error).__name__},
            ) from error

    def _readable(self, error: BaseException) -> str:
        text = str(error)
        for private, public in self._public.items():
            text = text.replace(private, public)
        return text

    # --- letting go ----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Keep the version no longer: from now on only running code and references hold it."""
        if not self._released:
            self._released = True
            _forget(self.fade())

    def fade(self) -> tuple[str, ...]:
        """Where it is released, leave shades in `sys.modules`, also of what was imported since; return the names."""
        if not self._released:
            return ()
        with self._lock:
            self._attic = self.modules()
            for name, module in self._attic.items():
                put_shade(name, module)
            return tuple(self._attic)

    def abandon(self) -> None:
        """Give up a version that nobody uses: its names go, and a thread that still loads it can load no more."""
        self._abandoned = self._released = True
        with self._lock:
            names = tuple(self.modules())
            for name in names:
                sys.modules.pop(name, None)
            self._attic = {}
        FINDER.remove(self._public)
        _forget(names)

    @property
    def is_abandoned(self) -> bool:
        """Whether the version was given up."""
        return self._abandoned

    def living_codes(self) -> tuple[CodeType, ...]:
        """Return the code objects of this version that something still holds: none once it has left the process."""
        return tuple(code for ref in self.codes if (code := ref()) is not None)

    def note_code(self, code: CodeType, module: str) -> None:
        """Note the code of a module, by public name: what holds it holds the version."""
        names: set[str] = set()
        for inner in codes_of(code):
            self.codes.append(weakref.ref(inner))
            names.update(inner.co_names)
        if "sys" in names and not names.isdisjoint({"modules", "meta_path"}):
            self.substitutes.reads_import_system(module)

    def where(self, name: str) -> str | None:
        """Return the folder that the package of a private name lies in; None for what is not ours, or was given up."""
        top = name.partition(".")[0]
        return None if top not in self._public or self._abandoned else str(self._trees[top])


def _forget(modules: Iterable[str]) -> None:
    """Make the standard library let go of these modules' classes: it keeps overloads by module, and caches generics."""
    overloads = getattr(typing, "_overload_registry", {})
    for name in modules:
        overloads.pop(name, None)
    for clear in getattr(typing, "_cleanups", ()):
        clear()


def _is_within(name: str, other: str) -> bool:
    return name == other or name.startswith(other + ".")
