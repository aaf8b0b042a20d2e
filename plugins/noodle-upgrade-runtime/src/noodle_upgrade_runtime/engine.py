"""What an engine is: the part that knows one mechanism of changing code in this process.

An engine is a driver of the group `noodle_upgrade.engines`. It is given changes, stages them together, and hands back
operations; it never carries them out itself: `RuntimeSwap` does, for all engines of one upgrade in one atomic step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from noodle_upgrade_core.model import ComponentDescriptor, Verdict
from noodle_upgrade_core.staged import Arm
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Operation

__all__ = ["Change", "Engine", "Prepared"]


@frozen(kw_only=True)
class Change:
    """One component's change as an engine sees it.

    `new_tree` is the folder with the new version unpacked, `old_tree` the folder that the running version was imported
    from (an entry of `sys.path`). `top_levels` are the first parts of the names that either version can be imported by;
    where one is a namespace that others share, `import_names` are all names of the component, with dots. `trees` maps
    every version on the path (the target included) to its folder: those between are there for chained migrations.
    """

    component: ComponentDescriptor
    from_version: str
    to_version: str
    top_levels: tuple[str, ...]
    new_tree: Path
    old_tree: Path | None = None
    path: tuple[str, ...] = ()
    trees: Mapping[str, Path] = field(factory=dict)
    parameters: Mapping[str, Any] = field(factory=dict)
    import_names: tuple[str, ...] = ()

    @property
    def names(self) -> Names:
        """Which modules are this component's."""
        return Names(self.import_names or self.top_levels)


class Prepared(Protocol):
    """A set of changes, staged by one engine: nothing of it is visible yet.

    One with the capability `members` has `members()`, the attribute `share` of those that serve the new version, and
    `crossing(names)`, the step after which just these do. One with `shadow` has `begin_shadow(share)`, which makes
    a double, `keep_shadow(double)` when copies are taken, `end_shadow()`, and the attribute `double`, which runs.
    """

    mechanism: str
    component_names: tuple[str, ...]
    capabilities: frozenset[str]
    evidence: Mapping[str, Any]
    """Plain numbers and strings for plan and journal: how many bindings, classes, instances, what was merged."""
    warnings: tuple[str, ...]

    def operations(self) -> Sequence[Operation]:
        """Return what puts the new version in the place of the old one, complete at this moment.

        Called right before every atomic step that goes to the new version: the place for a last short sweep.
        Raises `SwapRefusedError` when the process has changed so that the change is no longer safe.
        """

    def route(self, weight: float) -> None:
        """Move a share of calls; only with the capability `weights`. 0 and 1 are exact."""

    def arms(self) -> tuple[Arm, Arm] | None:
        """Return the counts of the old and the new version; only with the capability `counts`."""

    def settle(self) -> None:
        """The change is committed: counting and routing end, callers pay nothing from now on."""

    def running(self) -> dict[str, str]:
        """Return the version that each component really runs now, by asking it."""

    def release(self) -> None:
        """The old version will not be needed any more: let go of it."""


class Engine(Protocol):
    """A driver of `noodle_upgrade.engines`.

    One whose attribute `is_imported` is false changes what nobody imports: no import has to find the new version then.
    A plugin that describes components of its own, by the hook `discover`, names their engine in the descriptor's
    `metadata["engine"]`, and in that of each version's `component.toml`; such an engine has `running(name)` besides,
    the version that a component runs, None for what it does not know, so that versions are restored at a start.
    """

    mechanism: str

    def assess(self, change: Change) -> Verdict:
        """Say whether this mechanism fits, from metadata and files alone: without any effect."""

    def stage(self, changes: tuple[Change, ...], *, cancelled: Callable[[], bool]) -> Prepared:
        """Load the new versions beside the old ones and plan every operation; dependencies come first.

        Runs in a thread of its own with a time limit. Raises `StageError`, `MigrationError`, `StateConflictError` or
        `SwapRefusedError`, and has then left nothing behind.
        """
