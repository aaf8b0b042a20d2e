"""What a start costs: `noodle --help`, and an Upgrader with 500 plugins installed of which 5 take part."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from measuring import Options, Reading, alternately, pair_ratio

__all__ = ["help_cpu", "with_500"]

ENABLED = 5


def help_cpu(options: Options) -> list[Reading]:
    """Measure the CPU time of `noodle --help`, and of an interpreter that does nothing."""
    command = shutil.which("noodle", path=str(Path(sys.executable).parent)) or shutil.which("noodle")
    if command is None:
        return [Reading(name="help_cpu", note="not measured: the command `noodle` is not installed")]
    pieces = {
        "help": _cpu([command, "--help"], {}),
        "nothing": _cpu([sys.executable, "-c", "pass"], {}),
        "cli module": _cpu([sys.executable, "-c", "import noodle_upgrade_cli.main"], {}),
    }
    found = alternately(pieces, rounds=options.most(2 * options.rounds, 3))
    middle = {name: statistics.median(times) for name, times in found.items()}
    return [
        Reading(
            name="help_cpu",
            value=middle["help"],
            reference=middle["nothing"],
            ratio=middle["help"] / middle["nothing"],
            note=f"importing the module of the command alone takes {middle['cli module']:.0f} ms",
        )
    ]


def with_500(options: Options) -> list[Reading]:
    """Open and close an Upgrader where 500 plugins are installed, and where only the 5 that take part are."""
    pieces = {}
    for count in (options.most(500, 50), ENABLED):
        place = options.folder / str(count)
        for number in range(count):
            _install(place, number)
        environ = {"PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])}
        pieces[str(count)] = _cpu([sys.executable, "-c", _START, str(options.folder / f"state{count}")], environ)
    found = alternately(pieces, rounds=options.most(options.rounds, 2))
    many, few = found.values()
    return [
        Reading(
            name="startup_500",
            value=statistics.median(many),
            reference=statistics.median(few),
            ratio=pair_ratio(many, few),
            note="CPU time of a process that opens an Upgrader and closes it, interpreter and imports included",
        )
    ]


def _cpu(command: list[str], environ: Mapping[str, str]) -> Callable[[], float]:
    """Return a function that runs a command and gives the milliseconds of CPU that it and its children took."""

    def measure() -> float:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **environ}
        )
        if process.stderr is None:
            raise RuntimeError("no way to hear what went wrong")
        with process.stderr as stream:
            words = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command[0]} failed: {words.decode(errors='replace')[-500:]}")
        return (usage.ru_utime + usage.ru_stime) * 1000

    measure()  # bytecode is written, files are in memory
    return measure


def _install(place: Path, number: int) -> None:
    name = f"bench_plugin_{number:03}"
    info = place / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (place / f"{name}.py").write_text(_PLUGIN)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\nRequires-Dist: noodle-upgrade-core\n"
    )
    (info / "RECORD").write_text(f"{name}.py,,\n")
    (info / "entry_points.txt").write_text(f"[noodle_upgrade.plugins]\nbench-{number:03} = {name}:Plugin\n")


_PLUGIN = """
from noodle_upgrade_core import hookimpl


class Plugin:
    @hookimpl
    def discover(self):
        return ()
"""

_START = f"""
import sys
from noodle_upgrade_core import BlockingUpgrader, load_settings

names = [f"bench-{{number:03}}" for number in range({ENABLED})]
settings = load_settings([], environ={{}}, overrides={{
    "runtime_upgrade.state_directory": sys.argv[1],
    "runtime_upgrade.plugins.enabled": names,
}})
with BlockingUpgrader.open(settings) as upgrader:
    taking_part = set(upgrader.upgrader.plugins.names)
    if not taking_part.issuperset(names):
        raise SystemExit(f"these take part: {{sorted(taking_part)}}")
"""
