"""One case on one Python: the control processes, the live ones, and what comes out of comparing them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from fidelity.cases import Case
from fidelity.downloads import FetchError
from fidelity.environments import Environment, prepare
from fidelity.holds import Told, compare_held
from fidelity.outcomes import PASSED, Parity, by_file, compared
from fidelity.processes import Answer, Launcher
from fidelity.rows import Row
from fidelity.suites import SuiteError, lay_out, outside_of_package

__all__ = ["Campaign", "Wanted"]

_MOST_ATTEMPTS = 6
# What a refusal says when it is about what is held, and not about the change.
_HOLDERS = r"live instance|holds a class"


@frozen(kw_only=True)
class Wanted:
    """How the cases are run: `patch`, `generation` or `both`; `say` is told how far it is."""

    mechanism: str
    root: Path
    ours: Path
    limit: float
    keep: bool
    say: Callable[[str], None]

    def patch(self) -> bool:
        """Whether to patch."""
        return self.mechanism != "generation"

    def generation(self) -> bool:
        """Whether to load the new version beside the old one."""
        return self.mechanism != "patch"


# What a suite that does not run is tried with in turn: the latest pytest, what it says itself that it needs, and the
# pytests of its time.
_ATTEMPTS = (("pytest", False), ("pytest", True), ("pytest<9", True), ("pytest<8", True))


class CaseError(RuntimeError):
    """A case that cannot be run, so that nothing can be said of the engine."""


class SuiteNotRunError(CaseError):
    """A suite of which nothing passes, not even in a process that was started on its version."""


@frozen(kw_only=True)
class Controls:
    """What processes say that were started on a version: twice each, so that what is flaky shows."""

    old: tuple[Answer, ...]
    new: tuple[Answer, ...]


@frozen
class Campaign:
    """A case on a Python; `run` never raises for what the case or the engine does; `StoppedError` for a stop."""

    case: Case
    python: str
    version: str
    wanted: Wanted
    details: dict[str, Any] = field(factory=dict)
    made: list[Path] = field(factory=list)

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.case.name} on {self.version}"

    def run(self) -> Row:
        """Do all of it, and return the row; the details go to a file beside the table."""
        row = Row(
            package=self.case.package,
            old=self.case.old,
            new=self.case.new,
            python=self.version,
            mechanism="patch" if self.wanted.patch() else "generation",
            verdict="live",
        )
        try:
            launcher, controls = self._begun()
            if self.wanted.patch():
                self._patch(row, launcher, controls)
            if self.wanted.generation():
                self._generation(row, launcher, controls)
                self._canary(row, launcher)
        except (FetchError, SuiteError, CaseError) as error:
            row.verdict = f"error: {error}"
        finally:
            self._clear()
        self.details["missed"] = row.missed()
        name = f"{self.case.name}-{self.version}.json"
        text = json.dumps({"row": row.to_json(), **self.details}, indent=1)
        (self.wanted.root / name).write_text(text + "\n")
        return row

    def _clear(self) -> None:
        """Remove what this run made, and nothing else: another one may be at work in the same environment."""
        for folder in self.made:
            if self.wanted.keep:
                self._say(f"kept {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _say(self, word: str) -> None:
        self.wanted.say(f"{self.name}: {word}")

    def _begun(self) -> tuple[Launcher, Controls]:
        """Install the case and run its controls, in the first environment in which its suites run."""
        first: SuiteNotRunError | None = None
        for pytest, tools in _ATTEMPTS:
            self._say(f"installing with {pytest}{' and its own requirements' if tools else ''}")
            try:
                environment = prepare(self.case, self.python, self.wanted.root, pytest=pytest, with_its_tools=tools)
                launcher = self._launcher(environment)
                return launcher, self._controls(launcher)
            except SuiteNotRunError as error:
                first = first or error
            except FetchError as error:
                if first is None:
                    raise
                self._say(str(error))
        raise first or CaseError("there is no pytest")

    # --- getting ready -------------------------------------------------------------------------------------------

    def _launcher(self, environment: Environment) -> Launcher:
        work = environment.folder / f"work-{os.getpid()}"
        self.made.append(work)
        facts = Launcher(environment=environment, ours=self.wanted.ours, work=work, limit=120.0).run(
            "facts", mode="facts", package=self.case.package, import_name=self.case.import_name,
            tree=str(environment.tree), site=str(environment.site), tops=[], versions=[self.case.old, self.case.new],
        )  # fmt: skip
        if facts.trouble:
            raise CaseError(f"its interpreter does not run: {facts.trouble}")
        tops: list[str] = facts.report["tops"]
        suites = {}
        for name, sdist, tree in (
            ("old", environment.sdists[0], environment.site),
            ("new", environment.sdists[1], environment.tree),
        ):
            suite = lay_out(
                sdist, work / f"suite-{name}",
                import_name=self.case.import_name, tree=tree, tops=[top.partition(".")[0] for top in tops],
            )  # fmt: skip
            suites[name] = {
                "folder": str(suite.folder),
                "arguments": [*suite.arguments, *self.case.pytest_args],
            }
        return Launcher(
            environment=environment,
            ours=self.wanted.ours,
            work=work,
            limit=self.wanted.limit,
            base={
                "package": self.case.package, "versions": [self.case.old, self.case.new], "version": "old",
                "tree": str(environment.tree), "site": str(environment.site), "tops": tops,
                "imports": list(dict.fromkeys([self.case.import_name, *tops])), "suites": suites,
                "without_instances": list(self.case.without_instances),
            },
        )  # fmt: skip

    def _controls(self, launcher: Launcher) -> Controls:
        found: dict[str, tuple[Answer, ...]] = {}
        for version in ("new", "old"):
            answers = []
            for number in (1, 2):
                self._say(f"control {number} on the {version} version")
                answer = launcher.run(f"fresh-{version}-{number}", mode="fresh", version=version, run=[version])
                if not answer.report:
                    raise CaseError(f"the {version} version does not run: {answer.trouble}")
                answers.append(answer)
            found[version] = tuple(answers)
            if not any(outcome == "passed" for outcome in answers[0].outcomes.get(version, {}).values()):
                why = answers[0].trouble or answers[0].error or "it has none"
                raise SuiteNotRunError(f"no test of the {version} suite passes in a fresh process: {why}")
        unknown = set.intersection(*(set(side[0].report["unknown"]) for side in found.values()))
        if unknown:
            raise CaseError(f"without_instances: neither version has {', '.join(sorted(unknown))}")
        self.details["not_imported"] = found["old"][0].report.get("not_imported", {})
        return Controls(old=found["old"], new=found["new"])

    # --- patch ---------------------------------------------------------------------------------------------------

    def _patch(self, row: Row, launcher: Launcher, controls: Controls) -> None:
        launcher = evolve(launcher, base={**launcher.base, "survey": controls.new[0].report["survey"]})
        live, without = self._live(row, launcher, controls)
        self.details["live"] = {key: live.report.get(key) for key in ("evidence", "warnings", "refused")}
        self.details["trouble"] = live.trouble
        if (refused := live.report.get("refused")) and refused["stage"] != "revert":
            return
        if not live.report.get("swap_ms"):
            row.verdict = f"error: the live process {live.trouble or 'said nothing'}"
            return
        row.swap_ms, row.commit_us = round(live.report["swap_ms"], 2), round(live.report["commit_us"], 1)
        forth = compared([a.outcomes["new"] for a in controls.new], live.outcomes.get("new", {}))
        back = compared([a.outcomes["old"] for a in controls.old], live.outcomes.get("old", {}))
        row.fresh_passed, row.live_passed = forth.fresh, forth.live
        row.rollback_fresh_passed, row.rollback_live_passed = back.fresh, back.live
        self.details.update(new_suite=_told(forth), old_suite=_told(back))
        if back.lost:
            self._explain(row, launcher, controls, without)
        self._probe(row, launcher, controls, without)
        self._state(row, launcher, controls)
        self._conflict(row, launcher, controls)

    def _live(self, row: Row, launcher: Launcher, controls: Controls) -> tuple[Answer, list[str]]:
        """Upgrade live. What is refused stays refused; when instances are the reason, the rest is measured without them.

        Returns the answer, and the classes of which no instances were held.
        """
        without = list(self.case.without_instances)
        symbols = {key.partition("|")[0].replace(":", ".") for key in controls.old[0].report["held"]}
        while True:
            fewer = " (fewer instances)" if row.verdict != "live" else ""
            self._say(f"live: upgrade, new suite, rollback, old suite{fewer}")
            live = launcher.run("live", mode="live", run=["new", "old"], without_instances=without)
            refused = live.report.get("refused")
            if not refused or refused["stage"] == "revert":
                return live, without
            if row.verdict == "live":
                row.verdict = f"refused: {refused['reason']}"
                self.details["refused"] = refused
            words = set(re.findall(r"[\w.]+", " ".join(refused["blockers"])))
            named = sorted(words.intersection(symbols).difference(without))
            if not re.search(_HOLDERS, " ".join(refused["blockers"])) or not named:
                return live, without
            without += named

    def _explain(self, row: Row, launcher: Launcher, controls: Controls, without: Sequence[str]) -> None:
        """Tell what the new suite has left behind from what the rollback did.

        What passes after a rollback without the new suite before, and fails after the new suite in a process that was
        never upgraded, is not the rollback's: it counts for nobody.
        """
        self._say("live once more: upgrade, rollback, old suite")
        alone = launcher.run("live-old-suite-only", mode="live", run=["old"], without_instances=without)
        again = compared([a.outcomes["old"] for a in controls.old], alone.outcomes.get("old", {}))
        told = self.details["old_suite"]
        told["lost_without_the_new_suite_before"] = dict(again.lost)
        fine = set(told["lost"]) - set(again.lost)
        if not fine:
            return
        never: set[str] = set()
        # Tests that lie in the package are those of the old version, whichever suite is run: they come twice, then.
        for before in ("new", "old"):
            self._say(f"the old suite after the {before} one, without an upgrade")
            answer = launcher.run(f"fresh-old-after-{before}", mode="fresh", version="old", run=[before, "old"])
            outcomes = answer.outcomes.get("old", {})
            never |= {name for name in fine if outcomes.get(name, PASSED) != PASSED}
            if never == fine:
                break
        told["lost_without_an_upgrade_too"] = sorted(never)
        row.rollback_fresh_passed = told["fresh"] - len(told["lost_without_an_upgrade_too"])

    def _probe(self, row: Row, launcher: Launcher, controls: Controls, bare: Sequence[str]) -> None:
        """Measure what every reference leads to, in a process that has changed nothing, and what an undo leaves."""
        self._say("references and undo")
        answer = launcher.run("held", mode="held", without_instances=bare)
        told = answer.report.get("differences")
        row.undo_differences = None if told is None else len(told)
        self.details.update(differences=(told or [])[:500], restless=answer.report.get("restless", []))
        if not self._said_no("held", answer):
            self._held(row, answer.report, controls)

    def _said_no(self, name: str, answer: Answer) -> bool:
        """Note why there is nothing to measure, if so."""
        refused = answer.report.get("refused")
        if not answer.trouble and not refused:
            return False
        self.details[f"{name}_trouble"] = answer.trouble or refused
        return True

    def _state(self, row: Row, launcher: Launcher, controls: Controls) -> None:
        """Measure what is left of what a program has changed; a refusal that names a change is no loss of it."""
        survey, without, refusals = controls.new[0].report["survey"], list[str](), list[str]()
        for attempt in range(_MOST_ATTEMPTS):
            self._say("state" + (f", attempt {attempt + 1}" if attempt else ""))
            answer = launcher.run("state", mode="state", survey=survey, without=without)
            refused = answer.report.get("refused")
            named = _named_in(refused, answer.report.get("made", ())) if refused else []
            if not named:
                break
            refusals += named
            without += named
        told: dict[str, Any] = {"refused": refusals, "conflicts": answer.report.get("conflicts", [])}
        self.details["state"] = told
        if self._said_no("state", answer):
            return
        told["made"] = len(answer.report["made"])
        told["lost"] = {
            "after the upgrade": answer.report["lost_after"],
            "after the rollback": answer.report["lost_back"],
        }
        row.state_lost = len({path for paths in told["lost"].values() for path in paths})
        row.state_kept = told["made"] - row.state_lost
        row.undo_differences = (row.undo_differences or 0) + len(answer.report["differences"])
        told["differences"] = answer.report["differences"][:500]

    def _held(self, row: Row, report: Mapping[str, Any], controls: Controls) -> None:
        new, old = (side[0].report["held"] for side in (controls.new, controls.old))
        settled = compare_held(old, report["held_before"])
        forth = compare_held(new, report["held_after"], old, Told.by(report.get("evidence")))
        back = compare_held(old, report["held_back"])
        # What differs before anything has happened is not the engine's: the control cannot be believed there.
        unsettled = set(settled.wrong)
        wrong = {
            "after the upgrade": {k: v for k, v in forth.wrong.items() if k not in unsettled},
            "after the rollback": {k: v for k, v in back.wrong.items() if k not in unsettled},
        }
        row.held_wrong = sum(map(len, wrong.values()))
        row.held_right = forth.right + back.right
        self.details["held"] = {
            "wrong": wrong,
            "not comparable": sorted(unsettled),
            "gone": forth.gone,
            "told": forth.told,
        }

    def _conflict(self, row: Row, launcher: Launcher, controls: Controls) -> None:
        """What both sides change must be refused by name, or kept: anything else is state lost without a word."""
        if not self.details["state"]["conflicts"]:
            return
        self._say("conflicts")
        answer = launcher.run("conflict", mode="conflict", survey=controls.new[0].report["survey"])
        lost = answer.report.get("lost_after", [])
        refused = answer.report.get("refused")
        self.details["state"]["conflict"] = {"refused": refused, "lost": lost, "trouble": answer.trouble}
        if row.state_lost is not None:
            row.state_lost += len(lost)

    # --- generation ----------------------------------------------------------------------------------------------

    def _canary(self, row: Row, launcher: Launcher) -> None:
        """Serve with both versions at once, and count the answers that are neither's."""
        self._say("generation: a canary of both versions")
        found = {f"{one}_answers": self._answers(launcher, one) for one in ("old", "new")}
        answer = launcher.run("canary", mode="canary", **found)
        told = dict(answer.report.get("canary", {}))
        self.details["canary"] = {**told, "trouble": answer.trouble, "refused": answer.report.get("refused")}
        row.wrong_in_canary = told.get("wrong", 0) + told.get("both_versions", 0)

    def _answers(self, launcher: Launcher, version: str) -> dict[str, dict[str, str]]:
        """Return what a version answers, whichever of its functions are asked first."""
        forth, back = (
            launcher.run(f"answers-{version}-{number}", mode="answers", version=version, backwards=bool(number))
            for number in (0, 1)
        )
        others = back.report.get("answers", {})
        found = {
            key: {number: answer for number, answer in said.items() if others.get(key, {}).get(number) == answer}
            for key, said in forth.report.get("answers", {}).items()
        }
        return {key: said for key, said in found.items() if said}

    def _generation(self, row: Row, launcher: Launcher, controls: Controls) -> None:
        self._say("generation: the new suite against a private version")
        suite, moved = outside_of_package(launcher.base["suites"]["new"], launcher.environment.tree)
        answer = launcher.run("generation", mode="generation", run=["new"], suites={"new": suite})
        told, fresh = answer.outcomes.get("new", {}), [one.outcomes["new"] for one in controls.new]
        if moved:
            told, fresh = by_file(told), [by_file(one) for one in fresh]
        parity = compared(fresh, told)
        row.generation_passed = parity.live
        if row.fresh_passed is None:
            row.fresh_passed = parity.fresh
        self.details["generation"] = {
            **_told(parity),
            "trouble": answer.trouble,
            "refused": answer.report.get("refused"),
        }


def _told(parity: Parity) -> dict[str, Any]:
    return {
        "fresh": parity.fresh,
        "live": parity.live,
        "lost": dict(parity.lost),
        "flaky": list(parity.flaky),
        "failing_fresh_too": parity.failing,
    }


def _named_in(refused: Mapping[str, Any], made: Sequence[str]) -> list[str]:
    """Return the changes of the user's that a refusal names."""
    said = " ".join([refused["reason"], *refused["blockers"], *map(str, refused["details"].values())])
    return [path for path in made if _spoken(path) in said]


def _spoken(path: str) -> str:
    return path.partition(" + ")[0].rstrip(":").replace(":", ".")
