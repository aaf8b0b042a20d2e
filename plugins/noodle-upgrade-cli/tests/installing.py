"""A folder like site-packages for tests: distributions by metadata, with real modules."""

from __future__ import annotations

import base64
import hashlib
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[3]


def install(
    site: Path,
    name: str,
    version: str = "1.0",
    *,
    entry_points: str = "",
    requires: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """Put a distribution into a folder as pip would: files, metadata, RECORD."""
    site.mkdir(parents=True, exist_ok=True)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {need}\n" for need in requires)
    written = {f"{info.name}/METADATA": metadata, f"{info.name}/INSTALLER": "tests\n", **(files or {})}
    if entry_points:
        written[f"{info.name}/entry_points.txt"] = entry_points
    rows = []
    for path, text in written.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text)}")
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]) + "\n")
    return info


def install_core(site: Path) -> None:
    """Announce the core's own drivers where only its source is on the path; nothing to do where it is installed."""
    try:
        distribution("noodle-upgrade-core")
    except PackageNotFoundError:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        lines = []
        for group, entries in project["entry-points"].items():
            if group.startswith("noodle_upgrade."):
                lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
        install(site, "noodle-upgrade-core", project["version"], entry_points="\n".join(lines) + "\n")
