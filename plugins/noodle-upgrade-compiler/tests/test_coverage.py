"""Reports of coverage.py: which statements of a Noodle program ran, and which did not."""

import json
import subprocess
import sys

APP = 'from "shapes" import Square, area;\n\nprint(area(Square(3)));\n'
SHAPES = """\
# Shapes.
struct Square { side: int; }

def area(shape) {
    if is_a(shape, Square) {
        return shape.side
            * shape.side;
    }
    return 0;
}

def never(a) {  # pragma: no cover
    if a { return 1; }
    return 2;
}

def seldom(a) {
    let b = [
        a,
        1,
    ];
    return b;
}
"""


def coverage(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "coverage", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def reported(folder, *, files, run=True):
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / ".coveragerc").write_text("[run]\nplugins = noodle_upgrade_compiler.coverage\nsource = .\n")
    if run:
        coverage(folder, "run", "-m", "noodle_upgrade_compiler", "app.noodle")
    coverage(folder, "json", "-q")
    found = json.loads((folder / "coverage.json").read_text())["files"]
    return {
        name: {key: one[f"{key}_lines"] for key in ("executed", "missing", "excluded")} for name, one in found.items()
    }


def test_statements_that_ran_are_told_from_those_that_did_not(tmp_path):
    found = reported(tmp_path, files={"app.noodle": APP, "shapes.noodle": SHAPES})
    assert found["app.noodle"] == {"executed": [1, 3], "missing": [], "excluded": []}
    # A statement is where it begins, on however many lines it is; line 7 is a part of line 6.
    assert found["shapes.noodle"]["executed"] == [2, 4, 5, 6, 17]
    assert found["shapes.noodle"]["missing"] == [9, 18, 22]
    assert found["shapes.noodle"]["excluded"] == [12, 13, 14, 15]


def test_a_source_that_never_ran_is_reported_too(tmp_path):
    files = {"app.noodle": "print(1);\n", "shapes.noodle": SHAPES}
    assert reported(tmp_path, files=files)["shapes.noodle"]["missing"] == [2, 4, 5, 6, 9, 17, 18, 22]


def test_pages_show_the_source(tmp_path):
    reported(tmp_path, files={"app.noodle": APP, "shapes.noodle": SHAPES})
    coverage(tmp_path, "html", "-q")
    (page,) = (tmp_path / "htmlcov").glob("*shapes*.html")
    assert "def seldom(a)" in page.read_text()
