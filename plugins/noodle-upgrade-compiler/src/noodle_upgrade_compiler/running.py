"""A Noodle file run as a program: `noodle run app.noodle`, or `python -m noodle_upgrade_compiler app.noodle`.

What was compiled for the stack machine runs the same way: `noodle run build/app.nbc`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from noodle_upgrade_compiler.compiler import process_compiler
from noodle_upgrade_compiler.diagnostics import shown
from noodle_upgrade_compiler.importing import NoodleLoader, install
from noodle_upgrade_compiler.nbc.code import Code
from noodle_upgrade_compiler.nbc.format import loads
from noodle_upgrade_compiler.nbc.machine import Machine
from noodle_upgrade_compiler.pipeline import decoded

__all__ = ["run_file", "run_nbc"]


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


def run_nbc(path: str) -> None:
    """Run a file of the stack machine's, with the modules that lie beside it. Raises `NbcError`, and what it raises."""
    place = Path(path).absolute()

    def beside(module: str) -> Code | None:
        # The verifier lets no name pass that leads out of the folder.
        other = place.parent.joinpath(*module.split("/")).with_suffix(place.suffix)
        return loads(other.read_bytes()) if other.is_file() else None

    code = loads(place.read_bytes())
    try:
        Machine(beside).run(code, path=str(place))
    except Exception as error:  # noqa: BLE001 - it is raised again
        # Where it happened the machine has noted; what the machine itself was doing says nothing.
        raise error.with_traceback(None) from None
