"""One side of a comparison: a process that uses a package, is upgraded or not, and runs a suite."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fidelity.inside.canary import answers, canary
from fidelity.inside.changes import UsersChanges, registrations, survey
from fidelity.inside.generations import given_to_suite, load_beside
from fidelity.inside.holding import Held
from fidelity.inside.modules import import_all, imported, public_symbols
from fidelity.inside.snapshot import changed, differences, grown, take
from fidelity.inside.testing import run_suite
from fidelity.inside.upgrade import Refused, Upgrade, import_names

__all__ = ["main"]

_MOST_MEMORY = 6 << 30


def main(job_file: str) -> None:
    """Do what a job says and leave a report; ends at once, whatever threads a suite has left."""
    # A suite or a sample that goes wild must not take the machine with it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    job = json.loads(Path(job_file).read_text())
    side = Side(job)
    try:
        _MODES[job["mode"]](side)
    except Refused as refused:
        side.report["refused"] = {
            "reason": str(refused), "blockers": refused.blockers, "stage": refused.stage, "details": refused.details,
        }  # fmt: skip
    except BaseException as error:
        traceback.print_exc()
        side.report["trouble"] = f"{type(error).__name__}: {error}"
    side.write()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class Side:
    """The process: what it was asked for, and what it has found so far."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        self.report: dict[str, Any] = {}
        self.answers = Path(job["answers"])
        self.tree, self.site = Path(job["tree"]), Path(job["site"])
        self.tops: list[str] = job["tops"]
        self.upgrade = self.another_upgrade()

    def another_upgrade(self) -> Upgrade:
        """Return the change that this process is about."""
        versions: tuple[str, str] = tuple(self.job["versions"])
        return Upgrade(self.job["package"], versions, self.site, self.tree, self.tops)

    def write(self) -> None:
        """Leave the report where it is looked for."""
        (self.answers / "report.json").write_text(json.dumps(self.report))

    def begin(self) -> None:
        """Start as a program on its version, with everything imported that a suite needs anyway."""
        import pytest  # noqa: F401 - it may hold the package, in every process alike

        self.report["not_imported"] = import_all(self.job["imports"])

    def hold(self) -> None:
        """Hold what users hold, and register what does no harm to a suite."""
        self.held = Held(self.tops, self.job.get("without_instances", ()))
        self.changes = list(registrations(self.tops, self.job.get("survey")))

    def suite(self, name: str) -> None:
        """Run the suite of the old or the new version here."""
        job = self.job["suites"][name]
        tree = self.tree if name == "new" else self.site
        code = run_suite(Path(job["folder"]), job["arguments"], self.answers / f"{name}.jsonl", tree)
        self.report[f"{name}_exit"] = code

    def told_of_upgrade(self) -> None:
        """Report what the upgrade says of itself."""
        upgrade = self.upgrade
        self.report |= {
            "swap_ms": upgrade.swap_ms,
            "commit_us": upgrade.commit_us,
            "evidence": {key: value for key, value in (upgrade.evidence or {}).items() if key != "imported"},
            "warnings": list(upgrade.warnings),
        }


def facts(side: Side) -> None:
    """Say which import names the package has, old and new: what a change has to name."""
    side.report["tops"] = list(import_names(side.job["package"], side.job["import_name"], side.site, side.tree))


def fresh(side: Side) -> None:
    """Be a process that was started on a version: the control."""
    side.begin()
    side.report["survey"] = survey(side.tops)
    side.hold()
    side.report |= {"held": side.held.look(), "unknown": side.held.unknown()}
    side.write()
    for name in side.job["run"]:
        side.suite(name)


def live(side: Side) -> None:
    """Be upgraded, run the new suite, be taken back, run the old one."""
    side.begin()
    side.hold()
    side.upgrade.forth()
    side.told_of_upgrade()
    side.write()
    if "new" in side.job["run"]:
        side.suite("new")
        side.write()
    side.upgrade.back()
    side.report["rolled_back"] = True
    if "old" in side.job["run"]:
        side.suite("old")


def held(side: Side) -> None:
    """Be upgraded and taken back, and say what every reference leads to, and what differs in the end.

    Twice: looking at a reference runs the package's code, which counts and caches. What an undo leaves is first asked
    without a look in between, of everything; then with one, but for those places that looks change by themselves.
    """
    side.begin()
    side.hold()
    roots = [side.held.looks, side.changes]
    side.report["held_before"] = side.held.look()
    settled = take(side.tops, roots)
    side.held.look()
    before = take(side.tops, roots)
    restless, growing = set(changed(settled, before)), grown(settled, before)
    side.upgrade.forth()
    side.told_of_upgrade()
    side.write()
    side.upgrade.back()
    side.upgrade.let_go()
    found = changed(before, take(side.tops, roots))
    side.report["differences"] = list(found.values())
    again = side.another_upgrade()
    again.forth()
    side.report["held_after"] = side.held.look()
    side.write()
    again.back()
    again.let_go()
    late = changed(before, take(side.tops, roots))
    restless |= {place for place in late if place[0] in growing and before.lacks(place)}
    found |= {place: told for place, told in late.items() if place not in restless}
    side.report |= {"differences": list(found.values()), "restless": [late[one] for one in restless if one in late]}
    side.report["held_back"] = side.held.look()


def state(side: Side) -> None:
    """Change what a program may change, be upgraded and taken back, and say what is left of it."""
    side.begin()
    changes = UsersChanges(side.tops, side.job["survey"], side.job["without"])
    side.report |= {"made": [one.path for one in changes.made], "conflicts": changes.conflicts}
    before = take(side.tops, [changes.made])
    side.upgrade.forth()
    side.report["lost_after"] = changes.lost()
    side.upgrade.back()
    side.upgrade.let_go()
    side.report["lost_back"] = changes.lost()
    side.report["differences"] = differences(before, take(side.tops, [changes.made]))


def conflict(side: Side) -> None:
    """Change what the new version changes too: it must say no, or keep what the user has set."""
    side.begin()
    changes = UsersChanges(side.tops, side.job["survey"])
    side.report["conflicts"] = changes.conflicts
    both = changes.set_conflicts()
    side.upgrade.forth()
    side.report["lost_after"] = [one.path for one in both if not one.kept()]


def generation(side: Side) -> None:
    """Run the new version's suite against a private copy of it, while the process itself runs the old one."""
    side.begin()
    job = side.job
    space = load_beside(job["package"], job["versions"][1], side.tree, job["imports"][0], list(imported(side.tops)))
    suite = job["suites"]["new"]
    given_to_suite(space, Path(suite["folder"]), suite.get("homes", {}))
    side.write()
    side.suite("new")


def answer(side: Side) -> None:
    """Say what this version's functions answer."""
    side.begin()
    side.report["answers"] = answers(public_symbols(imported(side.tops), side.tops), backwards=side.job["backwards"])


def both(side: Side) -> None:
    """Serve calls with both versions, a share with the new one."""
    side.begin()
    side.report["canary"] = canary(side.upgrade, side.job["old_answers"], side.job["new_answers"])


_MODES = {
    "answers": answer,
    "canary": both,
    "generation": generation,
    "facts": facts,
    "fresh": fresh,
    "live": live,
    "held": held,
    "state": state,
    "conflict": conflict,
}
