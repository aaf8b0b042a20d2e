"""The canary: two published versions of a library serve side by side in one process, and evidence moves the traffic.

A good version gets all of it step by step; a worse one is taken back. Clients note who answered them.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from asking import FAILED, WRONG, Answer, Askers, seconds_together, share
from hosting import Service, noodle, serving, tell

ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from markdown_it import MarkdownIt
renderer = MarkdownIt("js-default", {"typographer": True})
print(json.dumps({text: renderer.render(text) for text in json.load(sys.stdin)}))
"""
SETTINGS = """
[deployment.policies.production]
deployment_mode = "canary"
upgrade_strategy = "ramp"
health_check_required = false

[deployment.policies.production.parameters]
start = 25
"""
ENDED = {"rejected", "succeeded", "rolled_back", "rollback_failed", "superseded", "inconclusive", "cancelled"}
SIGN = "<!-- worse -->\n"
# One call in ten raises; the others are signed, so that clients can tell them from those of the version it came from.
SOMETIMES_FAILS = f"""

import itertools

_calls = itertools.count(1)
_render = RendererHTML.render


def _sometimes(self, tokens, options, env):
    if next(_calls) % 10 == 0:
        raise RuntimeError("this version fails in one call of ten")
    return _render(self, tokens, options, env) + {SIGN!r}


RendererHTML.render = _sometimes
"""
EDGE_SECONDS = 0.1  # around a change of share: a request that is under way then belongs to neither side
TOLERANCE = 0.02
AFTERWARDS_SECONDS = 3.0


def known_answers(wheels: Mapping[str, pathlib.Path], texts: Sequence[str], worse: str, of: str) -> dict[str, Any]:
    """Return which version gives which answer to each text, as found in a process for each version alone."""
    known: dict[str, dict[str, str]] = {text: {} for text in texts}
    for version, wheel in wheels.items():
        if version == worse:
            continue
        done = subprocess.run(
            [sys.executable, "-c", ALONE, str(wheel)],
            input=json.dumps(list(texts)), capture_output=True, text=True, check=True,
        )  # fmt: skip
        for text, html in json.loads(done.stdout).items():
            if html in known[text]:
                raise SystemExit(f"{known[text][html]} and {version} answer {text!r} alike: choose another text")
            known[text][html] = version
            if version == of:
                known[text][html + SIGN] = worse
    return known


class Deployment:
    """One deployment, followed while clients ask: what was asked for, and what they saw.

    `signs` are what clients know the version by; it may take `limit` seconds.
    """

    def __init__(self, service: Service, askers: Askers, signs: Collection[str], *, limit: float) -> None:
        self.service = service
        self.askers = askers
        self.signs = signs
        self.limit = limit
        self.shown: dict[str, Any] = {}

    def follow(self, source: str) -> None:
        """Ask for it, and tell once a second how it goes, until it has ended."""
        state = self.service.state
        asked = noodle(
            "deploy", "start", "markdown-it-py", source, "-e", "production", "--yes", "--no-wait", state=state
        )
        due = began = time.monotonic()
        while True:
            self.shown = noodle("deploy", "show", asked["deployment_id"], state=state)
            self._tell(time.monotonic() - began)
            if self.shown["stage"] in ENDED:
                return
            if time.monotonic() - began > self.limit:
                raise SystemExit(f"{source} is {self.shown['stage']} after {self.limit:.0f} s: {self.shown['why']}")
            due += 1.0
            time.sleep(max(0.0, due - time.monotonic()))

    def _tell(self, seconds: float) -> None:
        now = time.time()
        lately = self.askers.answers(now - 1.0)
        pids = {one.pid for one in lately if one.pid}
        print(
            f"  {seconds:4.0f} s  {self.shown['stage']:<11} asked {self.shown['weight']:4.0%},"
            f" clients saw {share(lately, self.signs):6.1%} of {len(lately)} answers"
            f" from process {', '.join(sorted(pids))}; {bad(lately)} bad",
            flush=True,
        )

    @property
    def stage(self) -> str:
        """What it came to."""
        stage: str = self.shown["stage"]
        return stage

    @property
    def ended(self) -> float:
        """When, in seconds since 1970."""
        return at(self.shown["events"][-1])

    @property
    def reasons(self) -> list[str]:
        """Why the judge decided as it did, at each share."""
        return [
            f"{event['evidence']['weight']:.0%}: {'; '.join(event['evidence']['reasons'])}"
            for event in self.shown["events"]
            if event["evidence"].get("reasons")
        ]

    def shifts(self) -> list[tuple[float, float]]:
        """Return when traffic moved, and the share that was asked for, 0 to 1."""
        moved = [event for event in self.shown["events"] if event["why"].startswith("shift to ")]
        return [(at(event), float(event["why"].removeprefix("shift to ").rstrip("%")) / 100) for event in moved]

    def shares(self) -> list[dict[str, float]]:
        """Return the share that was asked for and the one that clients saw, while each was the share."""
        moved = self.shifts()
        ends = [*(moment for moment, _ in moved[1:]), time.time()]
        found = []
        for (begin, asked), end in zip(moved, ends, strict=True):
            seen = self.askers.answers(begin + EDGE_SECONDS, end - EDGE_SECONDS)
            found.append(
                {
                    "asked": asked,
                    "seen": round(share(seen, self.signs), 4),
                    "seconds": round(end - begin, 2),
                    "answers": len(seen),
                }
            )
        return found


def at(event: dict[str, Any]) -> float:
    """Return when something happened, in seconds since 1970."""
    return datetime.fromisoformat(event["at"]).timestamp()


def bad(answers: Sequence[Answer]) -> int:
    """Count the answers that no client should get."""
    return sum(one.who in (FAILED, WRONG) for one in answers)


def good_version(service: Service, askers: Askers, old: str, new: str) -> dict[str, Any]:
    """Deploy a good version; returns what came of it, with `faults`."""
    tell(
        f"Deploy {new} beside {old}, in one process: a quarter of the calls first, more as soon as the evidence allows."
    )
    began = time.time()
    deployment = Deployment(service, askers, {new}, limit=150.0)
    deployment.follow(new)
    time.sleep(AFTERWARDS_SECONDS)
    answers = askers.answers(began)
    after = [one for one in answers if one.sent > deployment.ended]
    pid = str(service.process.pid)
    shares = deployment.shares()
    figures = {
        "stage": deployment.stage,
        "requests": len(answers),
        "failed": sum(one.who == FAILED for one in answers),
        "wrong": sum(one.who == WRONG for one in answers),
        "shares": shares,
        "evidence": deployment.reasons,
        "seconds_to_all": round(deployment.shifts()[-1][0] - deployment.shifts()[0][0], 2),
        "seconds_of_both_in_one_process": seconds_together(answers, (old, new), pid),
        "process_ids": sorted({one.pid for one in answers if one.pid}),
    }
    print_shares(figures)
    faults = []
    if deployment.stage != "succeeded":
        faults.append(f"{new} is {deployment.stage}: {deployment.shown['why']}")
    if bad(answers):
        faults.append(f"{figures['failed']} failed and {figures['wrong']} wrong answers while {new} was deployed")
    if figures["process_ids"] != [pid] or not figures["seconds_of_both_in_one_process"]:
        faults.append(f"the versions did not answer in the same second from one process: {figures['process_ids']}")
    if [one["asked"] for one in shares] != [0.25, 0.75, 1.0] or len(figures["evidence"]) < len(shares) - 1:
        faults.append(f"the share did not rise by evidence: {shares}, {figures['evidence']}")
    if not after or any(one.who != new for one in after):
        faults.append(f"not all of {len(after)} answers after the end are those of {new}")
    return {**figures, "faults": [*faults, *strayed(shares)]}


def print_shares(figures: dict[str, Any]) -> None:
    """Print what was asked for, what clients saw, and why it went on."""
    for one in figures["shares"]:
        print(
            f"  asked {one['asked']:.0%}, clients saw {one['seen']:.2%} of {one['answers']} answers"
            f" in {one['seconds']:.1f} s"
        )
    for reason in figures["evidence"]:
        print(f"  evidence at {reason}")


def strayed(shares: Sequence[dict[str, float]]) -> list[str]:
    """Return the shares that clients did not see as they were asked for; a handful of answers says nothing."""
    return [
        f"asked for {one['asked']:.0%}, clients saw {one['seen']:.1%}"
        for one in shares
        if one["answers"] >= 100 and abs(one["asked"] - one["seen"]) > TOLERANCE  # noqa: PLR2004 - see above
    ]


def worse_version(service: Service, askers: Askers, good: str, worse: str, wheel: pathlib.Path) -> dict[str, Any]:
    """Deploy a version that fails in one call of ten; returns what came of it, with `faults`."""
    tell(f"Deploy {worse}, which fails in one call of ten: it must be taken back, on evidence.")
    began = time.time()
    deployment = Deployment(service, askers, {worse, FAILED}, limit=60.0)
    deployment.follow(str(wheel))
    time.sleep(AFTERWARDS_SECONDS)
    answers = askers.answers(began)
    after = [one for one in answers if one.sent > deployment.ended]
    met = [one for one in answers if one.who in (worse, FAILED)]
    figures = {
        "stage": deployment.stage,
        "why": deployment.shown["why"],
        "evidence": deployment.reasons,
        "requests": len(answers),
        "met_it": len(met),
        "failed": sum(one.who == FAILED for one in answers),
        "wrong": sum(one.who == WRONG for one in answers),
        "seconds_until_gone": round(max((one.came for one in met), default=began) - deployment.shifts()[0][0], 2),
        "seen_afterwards": sum(one.who != good for one in after),
        "requests_afterwards": len(after),
    }
    print(
        f"  {figures['stage']}: {figures['why']}\n  {figures['met_it']} of {figures['requests']} requests met it,"
        f" {figures['failed']} failed; gone after {figures['seconds_until_gone']:.2f} s;"
        f" {figures['seen_afterwards']} of {figures['requests_afterwards']} requests saw it afterwards"
    )
    faults = []
    if deployment.stage != "rolled_back" or not any("errors" in one for one in figures["evidence"]):
        faults.append(f"{worse} is {deployment.stage}, with the evidence {figures['evidence']}")
    if figures["wrong"] or {one.pid for one in answers if one.pid} != {str(service.process.pid)}:
        faults.append(f"{figures['wrong']} wrong answers while {worse} was taken back, or another process answered")
    if not after or figures["seen_afterwards"]:
        faults.append(f"{figures['seen_afterwards']} of {len(after)} answers after the end were not those of {good}")
    return {**figures, "faults": faults}


def play_canary(folder: pathlib.Path, wheels: Mapping[str, pathlib.Path], texts: Sequence[str]) -> dict[str, Any]:
    """Play both; `wheels` are those of the old, the new and the worse version, in this order."""
    old, new, worse = wheels
    known = known_answers(wheels, texts, worse, new)
    config = folder / "canary.toml"
    config.write_text(SETTINGS)
    with serving("handled:app", folder / "canary", config=config) as service, Askers(service.port, known) as askers:
        return {
            "good_version": good_version(service, askers, old, new),
            "worse_version": worse_version(service, askers, new, worse, wheels[worse]),
        }
