"""A Noodle file run as a program: `noodle run app.noodle`, or `python -m noodle_upgrade_compiler app.noodle`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from noodle_upgrade_compiler.compiler import process_compiler
from noodle_upgrade_compiler.diagnostics import shown
from noodle_upgrade_compiler.importing import NoodleLoader, install
from noodle_upgrade_compiler.pipeline import decoded

__all__ = ["run_file"]


def run_file(path: str) -> None:
    """Run a file as `__main__`, as Python runs a script; modules that it imports lie beside it.

    What is wrong with the source is written to stderr, and the program ends with 1.
    """
    place = str(Path(path).absolute())
    result = process_compiler().compile_file(place)
    source = decoded(Path(place).read_bytes())[0]
    for one in (*result.errors, *result.warnings):
        sys.stderr.write(f"{shown(one, source)}\n\n")
    if result.bytecode is None:
        raise SystemExit(1)
    install()
    module = ModuleType("__main__")
    module.__file__ = place
    module.__loader__ = NoodleLoader("__main__", place)
    before = sys.modules.get("__main__")
    sys.modules["__main__"] = module
    try:
        exec(result.bytecode, module.__dict__)  # noqa: S102 - to run it is what was asked for
    finally:
        if before is not None:
            sys.modules["__main__"] = before
