"""Write what the probes say as a page of the documents; `--check` says whether it is up to date.

python plugins/noodle-upgrade-runtime/tests/patch/matrix/page.py
"""

from __future__ import annotations

import sys
from pathlib import Path

PATCH = Path(__file__).parents[1]
sys.path.insert(0, str(PATCH))

from matrix import GROUPS, Probe

PAGE = PATCH.parents[3] / "docs" / "explanation" / "what-references-see.md"
INTRODUCTION = """\
# What references see

What a program holds of a package when a patch changes it: what that sees after the commit, and after going back. Every line is
a probe in `plugins/noodle-upgrade-runtime/tests/patch/matrix`, with the code of both versions. It is run on every supported
Python: before, after the commit, after going back, and both ways once more. "The old again" is exact, down to the identity of
each function and class. In {refused} of the {count} probes the change is refused before anything happens, for the reason that
stands there.

What the program makes or takes of the new version is led back as well, once that is left. Of four kinds it cannot be: "since"
says so here, and the way back names each one.
"""


def page() -> str:
    """Return the text of the page."""
    probes = [probe for group in GROUPS for probe in group.probes]
    refused = sum(bool(probe.refused) for probe in probes)
    lines = [INTRODUCTION.format(count=len(probes), refused=refused)]
    for group in GROUPS:
        lines += [f"## {group.title}", "", "| what is held | after the commit | after going back |", "|---|---|---|"]
        lines += [f"| {_cell(probe.name)} | {_cell(_after(probe))} | {_cell(_back(probe))} |" for probe in group.probes]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def _after(probe: Probe) -> str:
    if probe.refused:
        return f"refused: `{probe.refused.replace('PKG', 'package')}`"
    return probe.sees


def _back(probe: Probe) -> str:
    if probe.refused:
        return "possible once nothing holds it" if probe.let_go else "refused until it is taken back"
    return f"{probe.back}; {probe.since}, and is named" if probe.since else probe.back


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE.name} is out of date; run python {Path(__file__).relative_to(PATCH.parents[3])}")
