"""The reference says everything: looked up here in the code itself, not in what writes the pages."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from documents import ROOT

import noodle_upgrade_core
from noodle_upgrade_cli.exits import Exit
from noodle_upgrade_cli.main import cli
from noodle_upgrade_core import EventKind, UpgradeHooks, load_settings, testing
from noodle_upgrade_core.drivers import GROUPS
from noodle_upgrade_core.testing import pytest_plugin
from noodle_upgrade_deployment.settings import DeploymentSettings
from noodle_upgrade_runtime.settings import RuntimeSettings
from noodle_upgrade_server.app import ControlApi

REFERENCE = ROOT / "docs" / "reference"
SOURCES = [*ROOT.glob("noodle_upgrade_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]


def page(name):
    return (REFERENCE / f"{name}.md").read_text()


def readme(plugin):
    return (ROOT / "plugins" / f"noodle-upgrade-{plugin}" / "README.md").read_text()


def section(text, heading):
    """Return what stands below a heading, up to the next one."""
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no {heading!r}"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def trees():
    for path in SOURCES:
        yield ast.parse(path.read_text())


def test_the_pages_are_what_the_code_says():
    ran = subprocess.run(
        [sys.executable, str(REFERENCE / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_of_references_is_what_the_probes_say():
    writer = ROOT / "plugins" / "noodle-upgrade-runtime" / "tests" / "patch" / "matrix" / "page.py"
    ran = subprocess.run([sys.executable, str(writer), "--check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


HOOKS = [name for name, value in vars(UpgradeHooks).items() if inspect.isfunction(value)]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_described_with_every_argument_and_what_happens_when_it_fails(hook):
    arguments = [name for name in inspect.signature(getattr(UpgradeHooks, hook)).parameters if name != "self"]
    text = section(page("hooks"), f"### `{hook}({', '.join(arguments)})`")
    assert [name for name in arguments if f"\n- `{name}`: " not in text] == []
    assert "When it fails" in text
    assert "\n- returns `" in text


def test_every_code_of_an_error_or_a_finding_is_listed():
    codes = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "code":
                codes |= {one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)}
            elif isinstance(node, ast.ClassDef):
                for line in node.body:
                    target = getattr(line, "target", None) or next(iter(getattr(line, "targets", ())), None)
                    if getattr(target, "id", "") == "code" and isinstance(line.value, ast.Constant):
                        codes.add(line.value.value)
    listed = set(re.findall(r"^\| `([^`]+)` \|", page("errors"), re.MULTILINE))
    known = {code for code in codes if isinstance(code, str) and re.fullmatch(r"[a-z_]+\.[a-z_]+|usage", code)}
    assert len(known) > 60
    # The beginning of a code that is made at run time is listed with what follows left open.
    assert {code for code in known if not {code, f"{code}…"} & listed} == set()


def test_every_kind_of_event_that_is_emitted_is_listed():
    kinds = set(EventKind)
    for tree in trees():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", "") in {"emit", "tell", "_tell", "_told"}
                and node.args
            ):
                kind = node.args[0]
                if isinstance(kind, ast.Constant):
                    kinds.add(kind.value)
    listed = set(re.findall(r"^\| `([^`]+)` \|", section(page("events"), "## Kinds"), re.MULTILINE))
    assert kinds == listed


SECTIONS = {"runtime": RuntimeSettings, "deployment": DeploymentSettings}


@pytest.mark.parametrize("given", [{}, {"deployment.policies": {"NAME": {}}}], ids=["settings", "policies"])
def test_every_setting_is_listed_with_its_default_and_its_variables(given):
    text = page("settings")
    for row in load_settings([], environ={}, sections=SECTIONS, overrides=given).explain():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{row.key}` |"))
        assert f"| `{row.value!r}` |" in line
        assert [name for name in row.variables if f"`{name}`" not in line] == []
        assert row.help in line


def commands(command, name):
    yield name, command
    with click.Context(command, info_name=name) as context:
        for inner in command.list_commands(context) if isinstance(command, click.Group) else ():
            yield from commands(command.get_command(context, inner), f"{name} {inner}")


COMMANDS = dict(commands(cli, "noodle"))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "noodle"])
def test_a_command_is_described_with_every_option(name):
    command = COMMANDS[name]
    text = section(page("commands"), f"## `{name}`")
    assert command.get_short_help_str(1000).split(".")[0] in " ".join(text.split()), "what it is for"
    options = [
        option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts
    ]
    if not isinstance(command, click.Group):
        assert [option for option in options if option not in text] == []


@pytest.mark.parametrize("text", [page("commands"), readme("cli")], ids=["reference", "README"])
def test_every_exit_code_of_a_command_is_listed(text):
    listed = section(text, "## Exit codes")
    assert [int(code) for code in Exit if f"| {int(code)} |" not in listed] == []


def test_the_readme_of_the_command_names_every_command():
    text = section(readme("cli"), "## Commands")
    names = [name.removeprefix("noodle ") for name, one in COMMANDS.items() if not isinstance(one, click.Group)]
    assert [name for name in names if not re.search(rf"`{re.escape(name)}\b", text)] == []


def test_every_request_of_the_control_api_is_listed():
    text = section(readme("server"), "## The API")
    routes = ControlApi(bridge=None, feed=None, identity=None, limits=None).routes()
    paths = [route.path.replace("{upgrade_id}", "{id}") for route in routes]
    assert len(paths) > 10
    assert [path for path in paths if not re.search(rf"{re.escape(path)}[`\[ ]", text)] == []


def test_every_public_name_of_the_core_is_described_or_explained_by_what_is():
    described = "".join(page(name) for name in ("hooks", "values", "steps", "python", "events", "errors"))
    names = [name for name in noodle_upgrade_core.__all__ if f"`{name}" not in described]
    # The markers and aliases of types are used in examples; the rest is for the core's own plugins.
    assert set(names) <= {"ArmCounter", "Registry", "Rollout", "Step", "UpgradeHooks", "hookspec"}


def test_the_kit_for_authors_is_described_whole():
    text = page("testing")
    names = [*testing.__all__, *pytest_plugin.__all__, *map(str, testing.conformance_checks_of_strategy(object))]
    names.remove("Check")
    assert [name for name in names if f"`{name}" not in text] == []


def test_every_group_of_drivers_is_named():
    text = section(page("hooks"), "## Drivers")
    assert [group for group in GROUPS.values() if f"`{group}`" not in text] == []
