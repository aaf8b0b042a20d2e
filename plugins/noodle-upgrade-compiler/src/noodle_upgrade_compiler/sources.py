"""The source `phases`: the versions of the compiler's phases that come with this package."""

from __future__ import annotations

from typing import Any, ClassVar

from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.versions import BUNDLED
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.model import ArtifactRef, ComponentDescriptor
from noodle_upgrade_core.sources.directory import DirectorySource
from noodle_upgrade_core.store.content import ContentStore

__all__ = ["PhaseSource"]


class PhaseSource:
    """A driver of `noodle_upgrade.sources`. It knows the four phases and nothing else."""

    name: ClassVar[str] = "phases"

    def __init__(self, *, store: ContentStore, **_others: Any) -> None:
        self._bundled = DirectorySource(store=store, registry_path=BUNDLED)

    def versions(self, component: ComponentDescriptor) -> tuple[str, ...]:
        """Return the versions that come along, newest last."""
        return self._bundled.versions(component) if component.name in PHASES else ()

    def fetch(self, component: ComponentDescriptor, version: str) -> ArtifactRef | None:
        """Store the files of a version."""
        return self._bundled.fetch(component, version) if component.name in PHASES else None

    def capture(self, component: ComponentDescriptor) -> ArtifactRef | None:
        """Store the files of the version that runs, where it is one of these."""
        try:
            return self.fetch(component, component.version)
        except UpgradeError:
            return None
