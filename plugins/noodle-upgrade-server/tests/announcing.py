"""What pip writes about our own distributions, where only their source is on the path."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROJECTS = (ROOT / "pyproject.toml", ROOT / "plugins" / "noodle-upgrade-server" / "pyproject.toml")


def announce(site: Path) -> None:
    """Write the metadata of those that are not installed into a folder for `sys.path`."""
    for file in PROJECTS:
        project = tomllib.loads(file.read_text())["project"]
        try:
            distribution(project["name"])
        except PackageNotFoundError:
            info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
            )
            lines = []
            for group, entries in project["entry-points"].items():
                if group.startswith("noodle_upgrade."):
                    lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
            (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
