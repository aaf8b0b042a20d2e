"""`python -m noodle_upgrade_compiler app.noodle`: run a file, without upgrades."""

from __future__ import annotations

import sys
from pathlib import Path

from noodle_upgrade_compiler.running import run_file

if __name__ == "__main__":
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():  # noqa: PLR2004 - this module, and the file
        sys.exit("usage: python -m noodle_upgrade_compiler FILE.noodle [ARGUMENTS]")
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).absolute().parent)
    run_file(sys.argv[0])
