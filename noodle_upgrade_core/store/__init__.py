"""The content store: artefacts by sha256."""

from noodle_upgrade_core.store.content import (
    Collected,
    ContentStore,
)

__all__ = [
    "Collected",
    "ContentStore",
]
