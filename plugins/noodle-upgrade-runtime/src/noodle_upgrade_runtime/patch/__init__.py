"""The patch engine: a published package changes in place, and everything that holds a part of it follows."""

from __future__ import annotations

from noodle_upgrade_runtime.patch.patch import PatchEngine

__all__ = ["PatchEngine"]
