"""`python -m tests.crash --kills 10000`: the kill matrix, the faults of the disk and the planted bugs, into `build/crash.json`."""

import argparse
import sys
from pathlib import Path

from .matrix import main

parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
parser.add_argument("--kills", type=int, default=1000, help="how often to kill (1000)")
parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same cases (0)")
parser.add_argument("--bug-kills", type=int, default=400, help="most kills to catch one planted bug (400)")
parser.add_argument(
    "--faults", type=int, default=1, help="fail at every so many operations of the disk; 0: at none (1)"
)
parser.add_argument("--report", type=Path, default=Path("build/crash.json"))
arguments = parser.parse_args()
code = main(
    arguments.kills,
    seed=arguments.seed,
    bug_kills=arguments.bug_kills,
    report=arguments.report,
    stride=arguments.faults,
)
sys.exit(code)
