"""Upgrading this process as the product does it: the engine stages, a `RuntimeSwap` commits and takes back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.model import ComponentDescriptor
from noodle_upgrade_runtime.distributions import Distributions
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.patch.patch import PatchEngine
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap

__all__ = ["Refused", "Upgrade", "import_names"]

LIMIT_SECONDS = 180.0


class Refused(Exception):  # noqa: N818 - not an error: an answer
    """The engine has said no, before anything happened."""

    def __init__(self, error: UpgradeError, stage: str) -> None:
        super().__init__(error.message)
        self.blockers = [str(one) for one in error.details.get("blockers", ())] if error.details else []
        self.stage = stage
        self.details = {key: str(value)[:4000] for key, value in (error.details or {}).items()}


@dataclass
class Upgrade:
    """One change of this process, forth and back; `swap_ms` is from the go to the commit, `commit_us` the commit."""

    package: str
    versions: tuple[str, str]
    old_tree: Path
    new_tree: Path
    tops: Sequence[str]
    swap_ms: float = 0.0
    commit_us: float = 0.0
    evidence: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    def change(self) -> Change:
        """Return the change as an engine is told it."""
        old, new = self.versions
        return Change(
            component=ComponentDescriptor(name=self.package, version=old),
            from_version=old,
            to_version=new,
            top_levels=tuple(dict.fromkeys(top.partition(".")[0] for top in self.tops)),
            # As the product has it: only what lies in a namespace that others share is named in full.
            import_names=tuple(self.tops) if any("." in top for top in self.tops) else (),
            new_tree=self.new_tree,
            old_tree=self.old_tree,
            path=(old, new),
            trees={old: self.old_tree, new: self.new_tree},
        )

    def forth(self) -> None:
        """Stage and commit; raises `Refused`."""
        change, until = self.change(), time.monotonic() + LIMIT_SECONDS
        engine: Any = PatchEngine()
        verdict = engine.assess(change)
        if not verdict.feasible:
            raise Refused(_as_error(verdict.blockers), "assess")
        planned: list[int] = []

        def note(_: Any) -> list[Any]:
            # The last thing before the atomic step: everything is planned, nothing is done.
            planned.append(time.perf_counter_ns())
            return []

        started = time.perf_counter_ns()
        try:
            part = engine.stage((change,), cancelled=lambda: time.monotonic() > until)
            self.swap = RuntimeSwap(
                [part],
                versions={self.package: self.versions},
                quiet=Quiet(names=change.names),
                ledger={},
                extra=note,
            )
            self.swap.shift(1.0)
            done = time.perf_counter_ns()
            self.swap.commit()
        except UpgradeError as error:
            raise Refused(error, "stage") from error
        sweeper = getattr(part, "sweeper", None)
        if sweeper is not None:
            sweeper.join()  # fields that instances gain are their own from then on, and no class shows them
        self.swap_ms, self.commit_us = (done - started) / 1e6, (done - planned[-1]) / 1e3
        self.evidence, self.warnings = dict(part.evidence), tuple(part.warnings)

    def back(self) -> None:
        """Take it back, live; raises `Refused` when that is not possible."""
        try:
            self.swap.revert()
        except UpgradeError as error:
            raise Refused(error, "revert") from error

    def let_go(self) -> None:
        """Let go of the version that is not used any more."""
        self.swap.release()


def import_names(package: str, import_name: str, site: Path, tree: Path) -> tuple[str, ...]:
    """Return the top-level names of both versions, as the product finds them; with dots where others share the top."""
    key = canonicalize_name(package)
    found = {
        top
        for root in (site, tree)
        for one in Distributions().along([str(root)])
        if canonicalize_name(one.name) == key
        for top in (one.import_names if "." in import_name else one.top_levels)
    }
    return tuple(sorted(found | {import_name}))


def _as_error(blockers: Sequence[str]) -> UpgradeError:
    return UpgradeError("; ".join(blockers), details={"blockers": list(blockers)})
