"""Which file imports which: what has to be looked at again when one of them changes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

__all__ = ["SUFFIX", "ImportGraph", "folders_above", "places_of"]

SUFFIX = ".noodle"


def folders_above(path: str) -> Iterator[str]:
    """Yield the folder of a file and those above it, the nearest first."""
    folder = os.path.dirname(path)  # noqa: PTH120 - paths are texts here: there are tens of thousands of them
    while True:
        yield folder
        above = os.path.dirname(folder)  # noqa: PTH120 - likewise
        if above == folder:
            return
        folder = above


def places_of(path: str, module: str) -> Iterator[str]:
    """Yield where the file may be that another one means by a module, the nearest first."""
    name = module.replace("/", os.sep) + SUFFIX
    return (os.path.join(folder, name) for folder in folders_above(path))  # noqa: PTH118 - see above


@frozen
class ImportGraph:
    """The imports of some files, by path.

    A module is looked for beside the program that runs, and a file does not know which program that will be: all of
    `shapes/circle.noodle` in its own folder and in those above may be what it means by `shapes/circle`.
    """

    imports: Mapping[str, tuple[str, ...]]
    _importers: Mapping[str, tuple[str, ...]] = field(init=False, eq=False, repr=False)

    @_importers.default
    def _reversed(self) -> Mapping[str, tuple[str, ...]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for path in self.imports:
            for other in self.imported(path):
                found[other].append(path)
        return {path: tuple(importers) for path, importers in found.items()}

    def meant(self, path: str, module: str) -> tuple[str, ...]:
        """Return the files that one may mean by a module, the nearest first; none where it is no file here."""
        return tuple(one for one in places_of(path, module) if one in self.imports)

    def imported(self, path: str) -> tuple[str, ...]:
        """Return the files that one imports, each once."""
        return tuple(dict.fromkeys(one for module in self.imports.get(path, ()) for one in self.meant(path, module)))

    def importers(self, path: str) -> tuple[str, ...]:
        """Return the files that import one."""
        return self._importers.get(path, ())

    def affected(self, changed: Iterable[str]) -> tuple[str, ...]:
        """Return the files that have changed and all that import one of them, however far away; sorted."""
        waiting, found = list(changed), set()
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting.extend(self.importers(path))
        return tuple(sorted(found))
