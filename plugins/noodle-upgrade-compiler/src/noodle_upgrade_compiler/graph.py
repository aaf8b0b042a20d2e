"""Which file imports which: what has to be looked at again when one of them changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import field, frozen

__all__ = ["ImportGraph", "module_path"]


def module_path(root: Path, path: Path) -> str:
    """Return what a file is imported as: its path below the root, without its ending."""
    return path.relative_to(root).with_suffix("").as_posix()


@frozen
class ImportGraph:
    """The imports of some files, by path; `modules` maps what is imported to the file that it is."""

    imports: Mapping[str, tuple[str, ...]]
    modules: Mapping[str, str]
    _importers: Mapping[str, tuple[str, ...]] = field(init=False, eq=False, repr=False)

    @_importers.default
    def _reversed(self) -> Mapping[str, tuple[str, ...]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for path, imported in self.imports.items():
            for module in imported:
                if (other := self.modules.get(module)) is not None:
                    found[other].append(path)
        return {path: tuple(importers) for path, importers in found.items()}

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

    def in_order(self) -> tuple[str, ...]:
        """Return the files so that each comes behind those that it imports; in a circle in the order of their names."""
        done: dict[str, None] = {}
        under_way: set[str] = set()
        for first in sorted(self.imports):
            waiting = [(first, False)]
            while waiting:
                path, is_left = waiting.pop()
                if is_left:
                    done.setdefault(path)
                elif path not in done and path not in under_way:
                    under_way.add(path)
                    waiting.append((path, True))
                    waiting.extend((other, False) for other in reversed(self._imported(path)))
        return tuple(done)

    def _imported(self, path: str) -> list[str]:
        return [self.modules[module] for module in self.imports.get(path, ()) if module in self.modules]
