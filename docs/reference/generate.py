"""Write the reference pages that the code itself knows best; `--check` says whether they are up to date.

python docs/reference/generate.py
"""

from __future__ import annotations

import inspect
import pathlib
import sys

import click

from noodle_upgrade_cli.exits import MEANINGS
from noodle_upgrade_cli.main import cli
from noodle_upgrade_core import errors, hookspecs, steps
from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.events import EventKind
from noodle_upgrade_core.hookspecs import UpgradeHooks

HERE = pathlib.Path(__file__).parent
ARGUMENTS = {
    "plan": "`UpgradePlan`: what is to happen; `plan.steps` are the components, dependencies first.",
    "stage": '`"before"` anything is staged, or `"after"`: the new version is staged, or live.',
    "context": "`UpgradeContext`: what this upgrade gives to its hooks, see below.",
    "step": "`PlanStep`: one component's part of the plan.",
    "steps": "`tuple[PlanStep, ...]`: all steps that this plugin's `assess` answered for, dependencies first.",
    "staged": "`StagedSwap`: the new version beside the old one; ask it, do not shift it (that is for `deploy`).",
    "reached": "`Phase`: the furthest phase that the upgrade came to.",
    "active": "`tuple[ActiveVersion, ...]`: what the journal says each component runs.",
    "event": "`Event`: what happened.",
}
EXAMPLE = """
from noodle_upgrade_core import Finding, Severity, hookimpl


class NoFridays:
    @hookimpl
    def validate(self, plan, stage):
        if plan.created_at.weekday() == 4:
            yield Finding(severity=Severity.ERROR, code="acme.friday", message="No upgrades on Fridays.")
"""
PHASES = ("validate", "decide", "swap", "recompile", "deploy", "rollback")


def hooks() -> str:
    """Return the page of hooks: every hook, every argument."""
    lines = [
        "# Hooks",
        "",
        "A plugin is a class, a module or an object whose methods are marked with `hookimpl`. It names only the arguments",
        "that it uses. Every implementation may be plain or `async`, is given a time limit, and runs on its own: what it",
        "raises is an answer of the phase, never the end of the host or of another plugin.",
        "",
        "```python",
        EXAMPLE.strip(),
        "```",
        "",
    ]
    names = [name for name, value in vars(UpgradeHooks).items() if callable(value) and not name.startswith("_")]
    for title, chosen in (("The six phases", PHASES), ("Not phases", [n for n in names if n not in PHASES])):
        lines += [f"## {title}", ""]
        for name in chosen:
            function = getattr(UpgradeHooks, name)
            signature = inspect.signature(function)
            arguments = [argument for argument in signature.parameters if argument != "self"]
            lines += [f"### `{name}({', '.join(arguments)})`", "", inspect.getdoc(function) or "", ""]
            lines += [f"- `{argument}`: {ARGUMENTS[argument]}" for argument in arguments]
            lines += [f"- returns `{signature.return_annotation}`", ""]
    lines += ["## What hooks are given", ""]
    for cls in (hookspecs.UpgradeContext, hookspecs.Host, hookspecs.ActiveVersion):
        lines += [f"### `{cls.__name__}`", "", inspect.getdoc(cls) or "", ""]
    return "\n".join(lines)


def error_page() -> str:
    """Return the page of errors: every code."""
    lines = [
        "# Errors",
        "",
        "Every error has a stable `code`, a `message` for people, `safe` (what is still true), a `hint` (what to do) and",
        "`details` with JSON values. All are subclasses of `noodle_upgrade_core.UpgradeError`; `to_wire` and `from_wire`",
        "carry them over the control API.",
        "",
        "| code | class | meaning |",
        "|---|---|---|",
    ]
    for name in errors.__all__:
        cls = getattr(errors, name)
        meaning = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
        lines.append(f"| `{cls.code}` | `{name}` | {meaning} |")
    return "\n".join([*lines, ""])


def settings_page() -> str:
    """Return the page of the core's settings: every key, its default and its variable."""
    lines = [
        "# Settings",
        "",
        "From JSON and TOML files, and from variables. An argument wins over a variable, a variable over a file, a later",
        "file over an earlier one, a file over the default. Unknown keys are errors. `noodle config show` prints every",
        "effective value and where it came from. Plugins add sections of their own; their READMEs list them.",
        "",
        "| key | default | variable | meaning |",
        "|---|---|---|---|",
    ]
    for row in load_settings([], environ={}).explain():
        variables = ", ".join(f"`{name}`" for name in row.variables)
        lines.append(f"| `{row.key}` | `{row.value!r}` | {variables} | {row.help} |")
    return "\n".join([*lines, ""])


def steps_page() -> str:
    """Return the page of steps."""
    lines = ["# Steps", "", inspect.getdoc(steps) or "", ""]
    for name in ("Shift", "Wait", "Gate", "Judge", "Probe", "Revert", "Observation", "Strategy", "JudgeDriver"):
        cls = getattr(steps, name)
        lines += [f"## `{name}`", "", inspect.getdoc(cls) or "", ""]
    return "\n".join(lines)


def events_page() -> str:
    """Return the page of events."""
    lines = ["# Events", "", "Kinds that the core emits; plugins may emit others.", ""]
    lines += [f"- `{kind}`" for kind in EventKind]
    return "\n".join([*lines, ""])


def commands_page() -> str:
    """Return the page of commands: what each says of itself, and the exit codes."""
    lines = ["# Commands", "", "`--json` gives one JSON document on standard output, errors too.", ""]
    with click.Context(cli, info_name="noodle") as root:
        for name in cli.list_commands(root):
            command = cli.get_command(root, name)
            if command is not None:
                lines += _command(command, root, f"noodle {name}")
    lines += ["## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join([*lines, ""])


def _command(command: click.Command, parent: click.Context, title: str) -> list[str]:
    with click.Context(command, info_name=title.rpartition(" ")[2], parent=parent) as context:
        lines = [f"## `{title}`", "", inspect.cleandoc(command.help or "").replace("\b\n", ""), ""]
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner is not None:
                    lines += _command(inner, context, f"{title} {name}")
            return lines
        usage = command.collect_usage_pieces(context)
        lines += ["```text", f"{title} {' '.join(usage)}", "```", ""]
        records = [p.get_help_record(context) for p in command.get_params(context)]
        lines += [f"- `{names}`: {' '.join(text.split())}" for names, text in filter(None, records) if text]
        return [*lines, ""]


PAGES = {
    "commands.md": commands_page,
    "hooks.md": hooks,
    "errors.md": error_page,
    "settings.md": settings_page,
    "steps.md": steps_page,
    "events.md": events_page,
}


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for name, make in PAGES.items():
        text = make().rstrip() + "\n"
        path = HERE / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.write_text(text)
    if stale:
        print(f"out of date: {', '.join(stale)}; run python docs/reference/generate.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
