"""The demo: a library is upgraded inside a serving process, and everything is done to break it.

A web service renders Markdown with markdown-it-py 2.2.0 while several clients ask without a pause and check every
answer against what each version answers alone. Then two versions serve side by side (`canary`), and a compiler is
upgraded while it compiles (`compiling`). Prints what it does and a table; writes build/demo.json.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from canary import SOMETIMES_FAILS, play_canary
from compiling import play_compiling
from hosting import Service, noodle, said, serving, tell
from traffic import Clients, Tally
from wheels import IMPORT_FAILS, RENDER_FAILS, altered, download

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[2] / "build"
COMPONENT = "markdown-it-py"
OLD, NEW, UNIMPORTABLE, RAISING, WORSE = "2.2.0", "3.0.0", "3.0.1", "3.0.2", "3.0.3"
TEXTS = [
    "\\(c) and (c)",
    '&quot;hello&quot; "world"',
    "a\\--b -- c",
    "1. one\n\n- \\(tm) two (tm)\n",
    "|a|b|\n|-|-|\n|\\(r)|(r)|\n",
    "# Title (c)\n\nsome \\(c) *text* `x`\n" * 20,
]
ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import service
print(json.dumps({text: service.answer(text)["html"] for text in json.load(sys.stdin)}))
"""


def truth_of(wheel: pathlib.Path) -> dict[str, str]:
    """Return what a version answers alone, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(wheel)],
        input=json.dumps(TEXTS),
        cwd=HERE,
        capture_output=True,
        text=True,
        check=True,
    )
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


class Story:
    """The steps of the demo, told and recorded."""

    def __init__(self, service: Service, clients: Clients, wheels: dict[str, pathlib.Path]) -> None:
        self.service = service
        self.clients = clients
        self.wheels = wheels
        self.steps: list[dict[str, Any]] = []
        self.pids: set[int] = set()
        self.faults: list[str] = []

    def running(self) -> str:
        """Ask the process which version it runs."""
        found = noodle("components", state=self.service.state)["components"]
        version: str = next(one["version"] for one in found if one["name"] == COMPONENT)
        return version

    def step(self, title: str, before: str, *, expect: str, broken: bool = False) -> None:
        """Let traffic flow a little longer, and record what the clients saw during this step."""
        time.sleep(1.0)
        tally = self.clients.take()
        self.pids |= tally.pids
        after = self.running()
        row = {
            "step": title,
            "before": before,
            "after": after,
            "requests": tally.requests,
            "failed": tally.failed,
            "torn": tally.torn,
            "failed_is_the_point": broken,
            "longest_pause_ms": round(tally.longest * 1000, 1),
        }
        self.steps.append(row)
        print(
            f"  {title}: {before} -> {after}; {tally.requests} requests, {tally.failed} failed,"
            f" {tally.torn} torn, longest {row['longest_pause_ms']} ms"
        )
        self._judge(row, tally, expect=expect)

    def _judge(self, row: dict[str, Any], tally: Tally, *, expect: str) -> None:
        if row["after"] != expect:
            self.faults.append(f"{row['step']}: runs {row['after']}, expected {expect}")
        if tally.torn or (tally.failed and not row["failed_is_the_point"]):
            self.faults.append(f"{row['step']}: {tally.failures[:3]}")
        if not tally.requests:
            self.faults.append(f"{row['step']}: no traffic")


@dataclasses.dataclass(frozen=True)
class Kept:
    """What the live steps must not touch: the process, and what it holds in memory."""

    pid: bool
    state: bool


def play(story: Story) -> Kept:
    """Go through the whole story; returns what was kept through its live steps."""
    state = story.service.state
    tell(f"Traffic on {OLD}.")
    story.step("serve", OLD, expect=OLD)

    tell(f"Upgrade {COMPONENT} to {NEW} while it serves.")
    print(noodle("plan", COMPONENT, NEW, state=state)["text"])
    noodle("upgrade", COMPONENT, NEW, "--yes", state=state)
    story.step("upgrade live", OLD, expect=NEW)

    tell(f"Try {UNIMPORTABLE}, whose import raises: it must be refused, and nothing may change.")
    refused = noodle("upgrade", COMPONENT, str(story.wheels[UNIMPORTABLE]), "--yes", state=state, check=False)
    print(f"  refused with exit code {refused['exit_code']}: {said(refused)}")
    if refused["exit_code"] == 0:
        story.faults.append("a version whose import raises was not refused")
    story.step("refuse a broken version", NEW, expect=NEW)

    tell(f"Try {RAISING}, which imports well and raises under traffic: it must be rolled back by itself.")
    undone = noodle(
        "upgrade", COMPONENT, str(story.wheels[RAISING]), "--strategy", "immediate", "--set", "bake=5", "--yes",
        state=state, check=False,
    )  # fmt: skip
    print(f"  ended with exit code {undone['exit_code']}: {said(undone)}")
    story.step("roll back by itself", NEW, expect=NEW, broken=True)
    story.step("serve on", NEW, expect=NEW)

    tell(f"Go back to {OLD} by hand, then forward again: and kill -9 in the middle of it.")
    noodle("rollback", COMPONENT, "--yes", state=state)
    story.step("roll back by hand", NEW, expect=OLD)
    # The service counts its answers in memory: had it begun anew, it would be behind what the clients counted.
    kept = Kept(pid=story.pids == {story.service.process.pid}, state=story.clients.highest >= story.clients.answers > 0)
    kill_in_the_middle(story, state)
    return kept


def kill_in_the_middle(story: Story, state: pathlib.Path) -> None:
    """kill -9 while traffic is on the new version and not committed: a restart comes back on the old one."""
    noodle("upgrade", COMPONENT, NEW, "--strategy", "immediate", "--set", "bake=60", "--yes", "--no-wait", state=state)
    come_to(story, "the second upgrade never became visible", lambda: NEW in story.clients.take().versions)
    story.clients.pause()
    story.service.kill()
    story.service.start()
    story.clients.take()
    story.clients.go_on()
    story.step("killed with -9 before the commit", f"{OLD}+{NEW}", expect=OLD)
    found = noodle("doctor", state=state, check=False)
    if found["exit_code"]:
        story.faults.append(f"doctor: {json.dumps(found)[:500]}")
    noodle("upgrade", COMPONENT, NEW, "--strategy", "immediate", "--set", "soak=60", "--yes", "--no-wait", state=state)
    come_to(
        story,
        "the third upgrade never soaked",
        lambda: any(one["phase"] == "soaking" for one in noodle("status", state=state)["active"]),
    )
    story.clients.pause()
    story.service.kill()
    story.service.start()
    story.clients.take()
    story.clients.go_on()
    story.step("killed with -9 after the commit", f"{OLD}+{NEW}", expect=NEW)


def come_to(story: Story, otherwise: str, there: Callable[[], bool]) -> None:
    """Wait until the upgrade under way is there; where it ends instead, note its error as a fault."""
    until = time.monotonic() + 60
    while not there():
        newest = noodle("history", "--limit", "1", state=story.service.state)["history"][0]
        if newest.get("error") or time.monotonic() > until:
            story.faults.append(f"{otherwise}: it is {newest['phase']}. {said(newest)}")
            return


def report(story: Story, kept: Kept, canary: dict[str, Any], compiling: dict[str, Any]) -> int:
    """Print the table, write build/demo.json, and return the exit code."""
    rows = story.steps
    usual = [row for row in rows if not row["failed_is_the_point"]]
    summary = {
        "requests": sum(row["requests"] for row in rows),
        "failed": sum(row["failed"] for row in usual),
        "failed_by_the_broken_version": sum(row["failed"] for row in rows if row["failed_is_the_point"]),
        "torn": sum(row["torn"] for row in rows),
        "longest_pause_ms": max(row["longest_pause_ms"] for row in rows),
        "pid_kept": kept.pid,
        "state_kept": kept.state,
        "steps": rows,
        "canary": canary,
        "compiling": compiling,
        "faults": [
            *story.faults,
            *(fault for one in canary.values() for fault in one["faults"]),
            *compiling["faults"],
        ],
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "demo.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\n{'step':38} {'before':>12} {'after':>7} {'requests':>9} {'failed':>7} {'torn':>5} {'longest ms':>11}")
    for row in rows:
        mark = " (the broken version's own)" if row["failed_is_the_point"] else ""
        print(
            f"{row['step']:38} {row['before']:>12} {row['after']:>7} {row['requests']:>9} {row['failed']:>7}"
            f" {row['torn']:>5} {row['longest_pause_ms']:>11}{mark}"
        )
    print(
        f"\n{summary['requests']} requests, {summary['failed']} failed, {summary['torn']} torn;"
        f" process id kept: {'yes' if kept.pid else 'NO'}; counter in memory kept: {'yes' if kept.state else 'NO'};"
        f" longest pause {summary['longest_pause_ms']} ms"
    )
    print(
        f"{compiling['answers']} answers of a compiler whose phases were upgraded, {compiling['failed']} failed,"
        f" {compiling['torn']} torn, {compiling['failed_by_the_broken_version']} met the version that was taken back"
    )
    for fault in summary["faults"]:
        print(f"FAULT: {fault}")
    return 0 if kept.pid and kept.state and not summary["faults"] else 1


def main() -> int:
    """Play the story in a folder of its own."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="noodle-demo-"))
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    try:
        wheels = {version: download(f"{COMPONENT}=={version}", folder / "wheels") for version in (OLD, NEW)}
        wheels[UNIMPORTABLE] = altered(wheels[NEW], UNIMPORTABLE, {"markdown_it/__init__.py": IMPORT_FAILS})
        wheels[RAISING] = altered(wheels[NEW], RAISING, {"markdown_it/renderer.py": RENDER_FAILS})
        wheels[WORSE] = altered(wheels[NEW], WORSE, {"markdown_it/renderer.py": SOMETIMES_FAILS})
        truth = {version: truth_of(wheels[version]) for version in (OLD, NEW)}
        if any(truth[OLD][text] == truth[NEW][text] for text in TEXTS):
            raise SystemExit("the texts no longer tell the two versions apart")
        with serving("service:app", folder / "state") as service, Clients(service.port, TEXTS, truth) as clients:
            story = Story(service, clients, wheels)
            kept = play(story)
        beside = {version: wheels[version] for version in (OLD, NEW, WORSE)}
        # Without the last, which is long: a quick service gets more calls, and a judge needs calls.
        canary = play_canary(folder, beside, TEXTS[:-1])
        return report(story, kept, canary, play_compiling(folder / "compiling"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
