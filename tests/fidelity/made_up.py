"""Making up packages and sdists."""

from __future__ import annotations

import textwrap
from pathlib import Path


def written(folder: Path, files: dict[str, str]) -> Path:
    """Write some files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    return folder
