"""Installed distributions, made of a folder on `sys.path`: what pip leaves behind, without pip."""

import importlib
import sys
import textwrap
from pathlib import Path


class Environment:
    """A folder of distributions and modules; `close` takes it off the path and its modules out of `sys.modules`."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.modules: set[str] = set()
        sys.path.insert(0, str(folder))

    def install(self, name, version="1.0", *, points=None, requires=(), folder=None):
        """Write a `.dist-info`: `points` maps groups to `{name: value}`, `requires` are `Requires-Dist` lines."""
        place = (folder or self.folder) / f"{name.replace('-', '_')}-{version}.dist-info"
        place.mkdir(parents=True)
        lines = [f"Requires-Dist: {line}\n" for line in requires]
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{''.join(lines)}\n")
        text = "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in named.items()) + "\n"
            for group, named in (points or {}).items()
        )
        (place / "entry_points.txt").write_text(text)
        return place

    def plugin(self, name, source, *, module=None, value=None, version="1.0", requires=(), distribution=None):
        """Install a distribution with one plugin whose class `Plugin` is in `source`."""
        module = self.module(module or f"zoo_{name.replace('-', '_')}", source)
        points = {"noodle_upgrade.plugins": {name: value or f"{module}:Plugin"}}
        self.install(distribution or f"acme-{name}", version, points=points, requires=requires)
        return module

    def module(self, name, source):
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))
        self.modules.add(name)
        importlib.invalidate_caches()
        return name

    def imported(self, name):
        return name in sys.modules

    def close(self):
        sys.path.remove(str(self.folder))
        for name in self.modules:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
