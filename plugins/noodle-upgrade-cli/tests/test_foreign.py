"""A command of somebody else's package asks its own plugin in a running program, and imports nothing of this one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hosting import Hosted
from installing import install, install_core

pytest.importorskip("noodle_upgrade_server")

PLUGIN = """
from noodle_upgrade_core import hookimpl
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_core.hookspecs import Operation

class Reports:
    def __init__(self, host):
        self.emit = host.emit

    @hookimpl
    def operations(self):
        return [
            Operation(name="reports.latest", call=self.latest, help="The latest reports."),
            Operation(name="reports.tell", call=self.tell, changes=True),
        ]

    def latest(self, arguments, by):
        limit = arguments.get("limit", 1)
        if limit > 3:
            raise InvalidRequestError(f"There are no {limit} reports.", hint="Ask for 3 at most.")
        return {"reports": [f"report {number}" for number in range(limit)], "by": by}

    def tell(self, arguments, by):
        self.emit("reports.told", message=arguments["words"])
"""

COMMAND = """
import click

class Command(click.Command):
    noodle_options = True

class Group(click.Group):
    noodle_options = True

    def get_command(self, ctx, name):
        if name != "lazy":
            return super().get_command(ctx, name)

        @click.command()
        @click.pass_obj
        def lazy(noodle):
            noodle.connect().show_json("here")

        return lazy

@click.command(cls=Command)
@click.option("--limit", default=2)
@click.pass_obj
def report(noodle, limit):
    '''Show the latest reports.'''
    with noodle.connect() as program:
        answer = program.operate("reports.latest", {"limit": limit})
        if program.json:
            program.show_json(answer)
        else:
            for one in answer["reports"]:
                program.show(one)

@click.group(cls=Group)
def reports():
    '''Other things.'''

@reports.command()
@click.pass_obj
def listen(noodle):
    program = noodle.connect()
    program.note("listening")
    for event in program.events(beats=True):
        if event is None:
            program.operate("reports.tell", {"words": "the stream is open\\x1b[2J"})
        elif event["kind"] == "reports.told":
            program.show(event["message"])
            return 7

@reports.command()
@click.pass_obj
def names(noodle):
    program = noodle.connect()
    program.show_json([program.operations(), program.upgrade()["active"]])

@reports.command()
@click.pass_obj
def misspelt(noodle):
    noodle.connect().operate("reports.latset")

@reports.command()
@click.option("--at")
@click.pass_obj
def elsewhere(noodle, at):
    noodle.connect(state=at).operate("reports.latest")

@reports.command()
@click.argument("upgrade_id")
@click.pass_obj
def follow(noodle, upgrade_id):
    return noodle.connect().watch(upgrade_id)

@click.command()
@click.pass_obj
def bare(noodle):
    '''Without the common options.'''
    noodle.connect().operate("reports.latest")
"""

POINTS = """[noodle_upgrade.plugins]
reports = acme_reports:Reports

[noodle_upgrade.commands]
report = acme_report_commands:report
reports = acme_report_commands:reports
bare-report = acme_report_commands:bare
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    site = tmp_path_factory.mktemp("site")
    install_core(site)
    files = {"acme_reports.py": PLUGIN, "acme_report_commands.py": COMMAND}
    install(site, "acme-reports", entry_points=POINTS, files=files)
    hosted = Hosted(tmp_path_factory.mktemp("program"), site, "hosted.py", "reports")
    yield hosted
    hosted.end()


@pytest.fixture
def run(host, tmp_path):
    """Run `noodle` as its own process beside the program, or where there is none."""

    def ran(*words: str, where: Path = host.directory) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "noodle_upgrade_cli", *words],
            cwd=where, env=host.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    return ran


def test_a_foreign_command_asks_its_own_plugin_in_the_running_program(run):
    assert run("report") == Said(0, "report 0\nreport 1\n", "")
    assert run("report", "--limit", "3", "--json").json["reports"] == ["report 0", "report 1", "report 2"]
    assert run("--json", "report").json["by"]
    assert run("reports", "lazy", "--json").json == "here"


def test_the_package_of_the_command_imports_nothing_of_the_command_line(run, host):
    for name in ("acme_report_commands.py", "acme_reports.py"):
        assert "noodle_upgrade_cli" not in (host.site / name).read_text()


def test_without_a_program_a_foreign_command_ends_as_ours_do(run, tmp_path):
    for words in (("report",), ("reports", "names"), ("bare-report",)):
        said = run(*words, where=tmp_path)
        assert said.code == run("status", where=tmp_path).code == 3
        assert said.err == run("status", where=tmp_path).err
    for words in (
        ("report", "--json"),
        ("reports", "names", "--json"),
        ("--json", "report"),
        ("--json", "bare-report"),
    ):
        said = run(*words, where=tmp_path)
        assert (said.code, said.json["error"]["code"]) == (3, "control.not_running"), words


def test_the_common_options_name_the_program_before_and_after_a_foreign_commands_name(run, host, tmp_path):
    state = str(host.directory / ".noodle")
    assert run("--state", state, "report", where=tmp_path).code == 0
    assert run("report", "--state", state, where=tmp_path).code == 0
    assert run("reports", "names", "--state", state, where=tmp_path).code == 0
    assert run("--state", state, "bare-report", where=tmp_path).code == 0
    assert run("bare-report", "--state", state).code == 2
    assert run("reports", "elsewhere", "--at", state, where=tmp_path).code == 0
    assert run("--url", "http://127.0.0.1:9", "reports", "elsewhere", "--at", state).code == 0
    assert run("reports", "elsewhere", "--at", str(tmp_path)).code == 3


def test_what_the_plugin_raises_is_the_commands_error_with_its_hint(run):
    said = run("report", "--limit", "4")
    assert said.code == 2
    assert "Error: There are no 4 reports." in said.err
    assert "Ask for 3 at most." in said.err
    assert run("report", "--limit", "4", "--json").json["error"]["code"] == "request.invalid"


def test_an_operation_that_no_plugin_has_is_wrong_usage_and_says_what_was_meant(run):
    said = run("reports", "misspelt")
    assert said.code == 2
    assert "Did you mean 'reports.latest'?" in said.err


def test_operations_and_upgrades_can_be_looked_at(run):
    offered, active = run("reports", "names").json
    assert [one["name"] for one in offered] == ["reports.latest", "reports.tell"]
    assert active == []


def test_events_of_the_plugin_reach_its_command_as_they_happen(run, host):
    with subprocess.Popen(
        [sys.executable, "-m", "noodle_upgrade_cli", "reports", "listen"],
        cwd=host.directory, env=host.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as listening:  # fmt: skip
        assert listening.stderr
        assert listening.stderr.readline() == "listening\n"
        assert listening.stdout
        # It is told by itself once it has heard that the stream is open.
        assert listening.stdout.readline() == "the stream is open\\x1b[2J\n"
    assert listening.returncode == 7


def test_a_foreign_command_can_stay_with_an_upgrade_and_ends_with_its_exit_code(run):
    started = run("upgrade", "greeter", "2.0", "--yes", "--set", "bake=0.05", "--no-wait", "--json").json
    said = run("reports", "follow", started["upgrade_id"])
    assert said.code == 0
    assert "done: greeter 1.0 -> 2.0" in said.out
    assert run("rollback", "greeter", "--yes").code == 0
    assert run("reports", "follow", "up-nothing", "--json").json["error"]["code"] == "upgrade.unknown"


def test_the_help_of_a_foreign_command_lists_the_common_options_once(run):
    for words in (("report",), ("reports", "names")):
        text = run(*words, "--help").out
        assert [text.count(option) for option in ("--json ", "--state ", "--no-color ")] == [1, 1, 1]
    assert "--json" not in run("bare-report", "--help").out
