"""Where versions come from: folders, wheels, the package index, and what is installed.

The public names are loaded when they are first used: who only looks into a tree does not pay for the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noodle_upgrade_core.sources.chain import (
        DirectorySource,
        InstalledSource,
        Source,
        Sources,
        WheelSource,
        names_file,
    )

__all__ = [
    "DirectorySource",
    "InstalledSource",
    "Source",
    "Sources",
    "WheelSource",
    "names_file",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from noodle_upgrade_core.sources import chain  # noqa: PLC0415 - see above

    return getattr(chain, name)
