"""`python -m tests.crash --kills 10000`: the kill matrix and the planted bugs, into `build/crash.json`."""

import argparse
import sys
from pathlib import Path

from .matrix import main

parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
parser.add_argument("--kills", type=int, default=1000, help="how often to kill (1000)")
parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same cases (0)")
parser.add_argument("--bug-kills", type=int, default=400, help="most kills to catch one planted bug (400)")
parser.add_argument("--report", type=Path, default=Path("build/crash.json"))
arguments = parser.parse_args()
sys.exit(main(arguments.kills, seed=arguments.seed, bug_kills=arguments.bug_kills, report=arguments.report))
