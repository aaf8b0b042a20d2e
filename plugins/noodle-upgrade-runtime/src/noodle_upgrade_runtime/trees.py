"""What lies in an unpacked version, and how it becomes a private space."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noodle_upgrade_core.errors import ArtifactUnavailableError
from noodle_upgrade_core.sources.trees import Contents, is_made_by_tools
from noodle_upgrade_runtime.namespace import Member

__all__ = ["contents_of", "declared", "member_of"]


def contents_of(tree: Path) -> Contents:
    """Return what a folder provides as an entry of `sys.path`. Raises `ArtifactUnavailableError` without one."""
    if not tree.is_dir():
        raise ArtifactUnavailableError(
            f"{tree} is not there.", hint="Fetch the version again.", details={"path": str(tree)}
        )
    found = []
    for folder, inner, files in os.walk(tree):
        inner[:] = [name for name in inner if name != "__pycache__"]
        relative = os.path.relpath(folder, tree)
        prefix = "" if relative == "." else relative.replace(os.sep, "/") + "/"
        found += [prefix + name for name in files if not is_made_by_tools(prefix + name)]
    return Contents.of(found)


def member_of(name: str, version: str, tree: Path) -> Member:
    """Return a folder as a member of a private space."""
    contents = contents_of(tree)
    return Member(
        name=name,
        version=version,
        tree=tree,
        top_levels=contents.top_levels,
        import_names=contents.import_names if contents.namespaces else (),
    )


def declared(tree: Path) -> Mapping[str, Any]:
    """Return what a component says of itself in `component.toml` or `component.json`; empty where it says nothing.

    A file that cannot be read says nothing here: the source that it came from has refused it already.
    """
    for name, read in (("component.toml", tomllib.loads), ("component.json", json.loads)):
        try:
            told = read((tree / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict):
            return told
    return {}
