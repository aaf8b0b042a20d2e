"""`python -m killed --kills 1500`, from the folder above: deployments killed at every transition, and the planted bugs."""

import argparse
import sys
from pathlib import Path

from .matrix import main

parser = argparse.ArgumentParser(prog="python -m killed", description=__doc__)
parser.add_argument("--kills", type=int, default=300, help="how often to kill (300)")
parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same cases (0)")
parser.add_argument("--bug-kills", type=int, default=150, help="most kills to catch one planted bug (150)")
parser.add_argument("--report", type=Path, default=Path("build/killed.json"))
arguments = parser.parse_args()
sys.exit(main(arguments.kills, seed=arguments.seed, bug_kills=arguments.bug_kills, report=arguments.report))
