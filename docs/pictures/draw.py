"""Draw the pictures of these documents; `--check` says whether they are as they would be drawn.

python docs/pictures/draw.py
"""

from __future__ import annotations

import pathlib
import sys

from drawing import Drawing

HERE = pathlib.Path(__file__).parent

LINE = (
    ("RECEIVED", "plan", "grey"),
    ("VALIDATED", "validate", "grey"),
    ("APPROVED", "decide", "grey"),
    ("STAGED", "swap, recompile", "grey"),
    ("SHIFTING", "deploy", "yellow"),
    ("COMMITTED", "one transaction", "green"),
    ("SOAKING", "watched on", "green"),
    ("DONE", "checked again", "green"),
)
"""The phases in order: name, what leads there, colour."""

WIDTH, GAP, LEFT = 106, 15, 16
STEP = WIDTH + GAP


def _middle(number: float) -> float:
    return LEFT + number * STEP + WIDTH / 2


def states() -> Drawing:
    """Draw the phases of an upgrade and the ways out of them."""
    made = Drawing(
        986, 372, "The phases of an upgrade",
        "From received over validated, approved and staged nothing is visible; shifting moves traffic; committed, soaking and"
        " done run the new version. Ways out are rejected, aborted, and rolling back to rolled back or stuck.",
    )  # fmt: skip
    made.area(8, 8, STEP * 4 - 7, 356, "grey")
    made.area(8 + STEP * 4, 8, STEP - 7, 356, "yellow")
    made.area(8 + STEP * 5, 8, STEP * 3 - 1, 356, "green")
    made.words(8 + STEP * 2, 30, "nothing is visible", size=14, strong=True)
    made.words(_middle(4), 30, "traffic moves", size=14, strong=True)
    made.words(_middle(6), 30, "the new version is active", size=14, strong=True)
    for number, (name, how, _) in enumerate(LINE):
        made.box(LEFT + number * STEP, 140, WIDTH, 54, "white", name, how)
        if number:
            made.arrow((LEFT + number * STEP - GAP, 167), (LEFT + number * STEP, 167))
    # Above: what is refused.
    made.arrow((_middle(0), 140), (_middle(0), 120), (_middle(1), 120), (_middle(1), 140), tips="none")
    made.arrow((_middle(0.5), 120), (_middle(0.5), 98))
    made.box(_middle(0.5) - WIDTH / 2, 58, WIDTH, 40, "red", "REJECTED")
    # Below: the ways back.
    for first, last, down in ((0, 3, 1.5), (4, 7, 5.5)):
        made.arrow(
            (_middle(first), 194), (_middle(first), 222), (_middle(last), 222), (_middle(last), 194), tips="none"
        )
        for between in range(first + 1, last):
            made.arrow((_middle(between), 194), (_middle(between), 222), tips="none")
        made.arrow((_middle(down), 222), (_middle(down), 262))
    made.words(_middle(1.5) + 10, 242, "a failure, a person, a restart", anchor="start", size=12)
    made.words(_middle(5.5) + 10, 242, "harm, a failure, noodle rollback", anchor="start", size=12)
    made.box(_middle(1.5) - WIDTH / 2, 262, WIDTH, 54, "red", "ABORTED", "old version")
    made.box(_middle(5.5) - WIDTH / 2 - 6, 262, WIDTH + 12, 54, "yellow", "ROLLING_BACK", "rollback")
    made.box(LEFT + 4 * STEP - 3, 262, WIDTH + 6, 54, "red", "ROLLED_BACK", "old version")
    made.box(LEFT + 7 * STEP, 262, WIDTH, 54, "red", "STUCK", "a person looks")
    made.arrow((_middle(5.5) - WIDTH / 2 - 6, 289), (LEFT + 4 * STEP + WIDTH + 3, 289))
    made.arrow((_middle(5.5) + WIDTH / 2 + 6, 289), (LEFT + 7 * STEP, 289), tips="both")
    made.words(8 + STEP * 2, 342, "whatever happens, it was as if nobody had asked", size=12)
    made.words(_middle(6), 342, "the way back stays open", size=12)
    return made


def crash() -> Drawing:
    """Draw what a start does with an upgrade, by the phase in which the process was killed."""
    made = Drawing(
        986, 300, "What a start finds after kill -9",
        "Killed up to approved: aborted, the old version runs. Killed in staged or shifting: rolled back, the old version"
        " runs. Killed from committed on: the new version runs. The disk is waited for before shifting and at the commit.",
    )  # fmt: skip
    made.words(16, 24, "the process is killed in …", size=14, strong=True, anchor="start")
    made.area(8, 190, STEP * 3 - 7, 98, "grey")
    made.area(8 + STEP * 3, 190, STEP * 2 - 7, 98, "yellow")
    made.area(8 + STEP * 5, 190, STEP * 3 - 1, 98, "green")
    for number, (name, _, fill) in enumerate(LINE):
        made.box(LEFT + number * STEP, 48, WIDTH, 40, fill, name)
        made.arrow((_middle(number), 88), (_middle(number), 190))
    for number, what in ((4, "the intent"), (5, "the commit")):
        x = LEFT + number * STEP - GAP / 2
        made.arrow((x, 40), (x, 150), tips="none", dashed=True)
        made.box(x - 55, 118, 110, 44, "blue", what, "is on the disk")
    for middle, phase, runs, how in (
        (1, "ABORTED", "the old version runs", "nothing had happened"),
        (3.5, "ROLLED_BACK", "the old version runs", "loaded from where it was"),
        (6, "as it was", "the new version runs", "it is loaded from the store; soaking goes on"),
    ):
        made.words(_middle(middle), 212, phase, size=14, strong=True)
        made.words(_middle(middle), 238, runs, strong=True)
        made.words(_middle(middle), 264, how, size=12)
    return made


def mechanisms() -> Drawing:
    """Draw the two ways to change code, side by side."""
    made = Drawing(
        986, 400, "Patch and generation",
        "Patch: the program keeps its references; functions, classes and instances stay the same objects and get the contents"
        " of the staged new version in one step. Generation: a handle sends each call to one of two versions, each in a"
        " namespace of its own, by share.",
    )  # fmt: skip
    made.area(8, 8, 478, 384, "grey")
    made.words(247, 32, "Patch: the same objects, new contents", size=15, strong=True)
    made.box(28, 60, 150, 118, "white")
    made.words(103, 80, "your program", strong=True)
    for number, text in enumerate(("from lib import f", "bound = o.method", "class C(lib.D)")):
        made.words(103, 107 + number * 20, text, size=11, code=True)
    made.box(316, 60, 150, 118, "green", "lib, live", "function f", "class D, its instances", "tables, registrations")
    for y in (107, 127, 147):
        made.arrow((178, y), (316, y))
    made.words(247, 88, "references stay", size=12)
    made.box(28, 250, 150, 70, "white", "old, pristine", "imported once more")
    made.box(316, 250, 150, 70, "blue", "new, staged", "imported privately")
    made.arrow((391, 250), (391, 178))
    made.words(382, 204, "one atomic step,", size=12, anchor="end")
    made.words(382, 222, "its inverse kept", size=12, anchor="end")
    made.arrow((178, 285), (316, 285), tips="both")
    made.words(247, 274, "what changed?", size=12)
    made.words(247, 350, "all at once · callers pay nothing · going back is the inverse", size=12)
    made.words(247, 370, "for packages that know nothing of upgrades", size=12)

    made.area(500, 8, 478, 384, "grey")
    made.words(739, 32, "Generation: two versions side by side", size=15, strong=True)
    made.box(520, 145, 116, 70, "white", "your program", "handle.call()")
    made.box(672, 145, 82, 70, "blue", "handle")
    made.arrow((636, 180), (672, 180))
    made.box(812, 72, 150, 78, "white", "version 2.2.0", "its own namespace")
    made.box(812, 210, 150, 78, "green", "version 3.0.0", "its own namespace")
    made.arrow((754, 168), (812, 118))
    made.arrow((754, 192), (812, 246))
    made.words(776, 128, "80 %", strong=True, anchor="end")
    made.words(776, 236, "20 %", strong=True, anchor="end")
    made.arrow((887, 150), (887, 210), tips="both", dashed=True)
    made.words(880, 172, "export_state,", size=11, code=True, anchor="end")
    made.words(880, 188, "import_state", size=11, code=True, anchor="end")
    made.words(739, 350, "any share; with state, all at once · a call stays where it began", size=12)
    made.words(739, 370, "going back is one flip · for what is called through handles", size=12)
    return made


def deployment() -> Drawing:
    """Draw the stages of a deployment, and its ends."""
    made = Drawing(
        986, 356, "The stages of a deployment",
        "Pending and queued wait. Preparing and warming change nothing that anybody sees. A step is running, judging,"
        " starved, gated, paused or frozen. Promoting and baking run the new version. Ends are rejected and cancelled before"
        " traffic moved; rolled back, inconclusive, superseded and rollback failed after aborting; and succeeded.",
    )  # fmt: skip
    made.area(8, 8, STEP * 4 - 7, 340, "grey")
    made.area(8 + STEP * 4, 8, STEP * 2 - 7, 340, "yellow")
    made.area(8 + STEP * 6, 8, STEP * 2 - 1, 340, "green")
    made.words(8 + STEP * 2, 30, "the old version serves", size=14, strong=True)
    made.words(_middle(4.5), 30, "traffic moves step by step", size=14, strong=True)
    made.words(_middle(6.5), 30, "all traffic is on the new one", size=14, strong=True)
    line = (("pending", "a trigger"), ("queued", "admission"), ("preparing", "plan, approval"), ("warming", "staged"))
    for number, (name, how) in enumerate(line):
        made.box(LEFT + number * STEP, 110, WIDTH, 54, "white", name, how)
        made.arrow((LEFT + (number + 1) * STEP - GAP, 137), (LEFT + (number + 1) * STEP, 137))
    for column, row, name, how in (
        (4, 52, "paused", "people, windows"), (4, 110, "running", "shift, probe"), (4, 168, "gated", "people"),
        (5, 52, "frozen", "harm, people"), (5, 110, "judging", "evidence"), (5, 168, "starved", "no calls"),
    ):  # fmt: skip
        made.box(LEFT + column * STEP, row, WIDTH, 46, "white", name, how)
    made.arrow((LEFT + 5 * STEP - GAP, 133), (LEFT + 5 * STEP, 133), tips="both")
    made.arrow((LEFT + 6 * STEP - GAP, 133), (LEFT + 6 * STEP, 133))
    made.box(LEFT + 6 * STEP, 110, WIDTH, 54, "white", "promoting", "the commit")
    made.arrow((LEFT + 7 * STEP - GAP, 137), (LEFT + 7 * STEP, 137))
    made.box(LEFT + 7 * STEP, 110, WIDTH, 54, "white", "baking", "watched on")
    made.arrow((_middle(7), 164), (_middle(7), 262))
    made.box(LEFT + 7 * STEP, 262, WIDTH, 54, "green", "succeeded")
    for number, (name, how) in ((0, ("rejected", "refused")), (1, ("cancelled", "called off"))):
        made.box(LEFT + (number + 0.5) * STEP, 262, WIDTH, 54, "red", name, how)
        made.arrow((_middle(number + 0.5), 220), (_middle(number + 0.5), 262))
    made.arrow((_middle(0), 164), (_middle(0), 220), (_middle(3), 220), (_middle(3), 164), tips="none")
    made.arrow((_middle(4.5), 214), (_middle(4.5), 240), (_middle(5.5), 240), (_middle(5.5), 262))
    made.arrow((_middle(6), 164), (_middle(6), 240), (_middle(5.5), 240), tips="none")
    made.box(_middle(5.5) - WIDTH / 2, 262, WIDTH, 54, "yellow", "aborting", "going back")
    made.box(
        LEFT + 2.75 * STEP, 254, WIDTH * 1.85, 70, "red", "rolled_back, superseded", "inconclusive", "rollback_failed"
    )
    made.arrow((_middle(5.5) - WIDTH / 2, 289), (LEFT + 2.75 * STEP + WIDTH * 1.85, 289))
    return made


PICTURES = {"deployment.svg": deployment, "states.svg": states, "crash.svg": crash, "mechanisms.svg": mechanisms}


def main() -> int:
    """Draw, or compare."""
    drawn = {HERE / name: str(make()) for name, make in PICTURES.items()}
    if "--check" in sys.argv:
        stale = [path.name for path, text in drawn.items() if not path.exists() or path.read_text() != text]
        print(f"out of date: {', '.join(stale)}; run python docs/pictures/draw.py" if stale else "up to date")
        return 1 if stale else 0
    for path, text in drawn.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
