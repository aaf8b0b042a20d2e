"""Write the reference pages that the code itself knows best; `--check` says whether they are up to date.

python docs/reference/generate.py
"""

from __future__ import annotations

import inspect
import pathlib
import sys
import types
from collections.abc import Iterable, Iterator

import attrs
import click
from describing import described, first_sentence, function_of, prose

import noodle_upgrade_core as core
import noodle_upgrade_runtime as runtime
import noodle_upgrade_server as server
from noodle_upgrade_cli import failures
from noodle_upgrade_cli.exits import MEANINGS
from noodle_upgrade_cli.main import cli
from noodle_upgrade_compiler import errors as compiling
from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_core import errors, hookspecs, steps, testing
from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.drivers import GROUPS
from noodle_upgrade_core.events import EventKind
from noodle_upgrade_core.hookspecs import UpgradeHooks
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_core.settings import SettingRow, meta_of
from noodle_upgrade_core.testing import pytest_plugin
from noodle_upgrade_deployment import fetching, resources
from noodle_upgrade_deployment.deploying import errors as deploying
from noodle_upgrade_deployment.metrics import metric
from noodle_upgrade_deployment.policies import choice, courses
from noodle_upgrade_deployment.policies.freezes import Freeze
from noodle_upgrade_deployment.policies.policy import DependsOn, PolicyGate
from noodle_upgrade_deployment.settings import DeploymentSettings, MaintenanceWindow
from noodle_upgrade_deployment.simulation import plots
from noodle_upgrade_runtime.settings import RuntimeSettings
from noodle_upgrade_server import errors as served

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
    "artifacts": "`tuple[ArtifactRef, ...]`: what `recompile` made.",
    "upgrader": "`Upgrader`: the one that has opened, see [from Python](python.md#upgrader).",
}
EXAMPLE = """
from noodle_upgrade_core import Finding, Severity, hookimpl


class NoFridays:
    @hookimpl
    def validate(self, plan, stage):
        if plan.created_at.weekday() == 4:
            yield Finding(
                severity=Severity.ERROR,
                code="acme.friday",
                message="No upgrades on Fridays.",
            )
"""
DRIVERS = {
    "strategies": "`drivers.strategy`, `--strategy`: a class with `rollout(plan)`, see [steps](steps.md).",
    "deciders": "`drivers.decider`: a class with `combine(plan, votes, approvals)` that returns a `Decision`.",
    "judges": "`drivers.judge`: a class with `observe(seen)` that returns an `Observation`, see [steps](steps.md).",
    "sources": "`sources.order`: where versions come from; a class with `versions(component)` and `fetch(component, version)`.",
    "journals": "`drivers.journal`: where durable state is kept; the core's `sqlite` shows what it must do.",
    "runners": "`noodle run FILE`: by the ending of the file's name; a function that is given its path and runs it as `__main__`.",
    "metrics": "`judge.metrics`: readings for a judge; a class with `read(version)` that returns a number, plain or `async`.",
    "engines": "`--mechanism`: how a plugin that swaps does it; engines belong to that plugin.",
    "servers": "what `noodle run` opens as the control API.",
    "commands": "a click command: `noodle` gets it as a command of its own, and imports it only when it is called.",
}
EVENTS = {
    EventKind.UPGRADE_REQUESTED: "Somebody asked for an upgrade; `data` has the plan's digest.",
    EventKind.UPGRADE_STARTED: "It was validated and approved, and is being staged.",
    EventKind.UPGRADE_COMPLETED: "It is done: the new version runs.",
    EventKind.UPGRADE_FAILED: "It failed; `data` is the error.",
    EventKind.UPGRADE_ROLLED_BACK: "The old version runs again; `data` is the error where one was the reason.",
    EventKind.AGENT_FEEDBACK: "For plugins with agents; nothing here emits it.",
    EventKind.DEPLOYMENT_STARTED: (
        "The deployment plugin: a deployment's traffic is about to move; `data` has `deployment_id` and `environment`, as in the three below."
    ),
    EventKind.DEPLOYMENT_COMPLETED: "It succeeded; `data` has `stage` too.",
    EventKind.DEPLOYMENT_FAILED: "It was rejected or cancelled, or going back failed; `data` has `stage` too.",
    EventKind.DEPLOYMENT_ROLLED_BACK: (
        "The old version serves again: it did harm, was aborted or superseded, or its time was over; `data` has `stage` too."
    ),
    EventKind.PHASE_CHANGED: "An upgrade came into another phase; `data` has `from` and `to`.",
    EventKind.PROGRESS: "For engines that can tell how far they are; nothing here emits it.",
    EventKind.STEP: "A step of the strategy is carried out; the message is the step in words.",
    EventKind.MEASURED: "What the judge saw of both versions.",
    EventKind.FINDING: "Something that a validation noticed.",
    EventKind.APPROVAL_NEEDED: "A person has to approve, or to open a gate.",
    EventKind.DRAINING: "Something still holds an old version; `data` names who.",
    EventKind.PLUGIN_FAILED: "A plugin could not be loaded, or one of its hooks failed; `data` is the error.",
}
OTHER_EVENTS = {
    "upgrade.recovered": "A start found an unfinished upgrade; `data` has `from` and `to`.",
    "upgrade.forced": "A change was made although threads were inside the code (`runtime.on_busy`); `data` names them.",
    "upgrade.held": "Traffic is not raised for now; `data` has `why`: somebody's pause, or what a policy says.",
    "upgrade.released": "What held it is over.",
    "upgrade.paused": "Somebody paused it; `data` has `by`.",
    "upgrade.resumed": "Somebody ended a pause; `data` has `by`.",
    "upgrade.promoted": "Somebody ended a wait without its evidence; `data` has `by`.",
    "journal.failed": "The journal could not be written; `data` is the error.",
    "upgrade.left_over": "Going back left something that could not be made whole; `data` says what.",
    "journal.recovered": "There is room for the journal again; upgrades can be made.",
    "compiler.recompiling": "Files that an upgrade of a phase affects are being compiled; `data` has `done` and `all`.",
    "compiler.affects_more": "A new version of a phase is about more than it says: all files are compiled.",
    "compiler.phase_failed": "A version of a phase has failed after it was taken into use: the one before is put back.",
    "deployment_upgrade.requested": "A deployment was asked for; `data` has `deployment_id` and `environment`.",
    "deployment_upgrade.validated": "The upgrade of a deployment was validated.",
    "deployment_upgrade.stage": "A deployment came to another stage, or something was noted; `data` has `stage`, `who` and the evidence.",
    "deployment_upgrade.rollback_triggered": "A deployment is about to go back; the message says why.",
    "deployment_upgrade.timeout": "Nothing of a deployment has moved on for `progress_deadline` seconds.",
    "deployment_upgrade.failed": "Deployments, or their triggers, could not be attended to; `data` is the error.",
    "runtime.sync_failed": "The runtime plugin could not re-read what is loaded.",
}
FINDINGS = {
    "active.differs": "The doctor: a component runs another version than the journal names.",
    "active.not_restored": "A start could not bring a component back to the version that the journal names.",
    "active.not_running": "The doctor: the journal names a component that is not loaded.",
    "artifact.foreign": "The new version brings a package that belongs to another distribution.",
    "calls.across": "Calls are, or were, under way for too long to wait for: each may see both versions.",
    "compiler.constraint": "The version of a phase does not meet the constraint of the settings.",
    "compiler.features": "The version of a phase does not say that it has a feature that the settings name.",
    "component.critical": "The component is critical for this program.",
    "component.duplicate": "Two plugins describe a component of one name; the first in order is believed.",
    "constraint.superseded": "What needed another version changes in the same plan.",
    "constraint.unmet": "Something that runs needs another version than the plan brings.",
    "constraint.unreadable": "A constraint that PEP 440 does not allow; it is ignored.",
    "deployment.absent": "After a restart the program does not run the component yet; the deployment waits for it.",
    "deployment.busy": "Another deployment changes the component here.",
    "deployment.carried_otherwise": "Another plugin moved the traffic, and not as the policy of the environment says.",
    "deployment.dependency": "What the policy's `depends_on` names has not succeeded.",
    "deployment.failed_before": "The version was taken back here before.",
    "deployment.frozen": "A version that does harm has frozen the environment.",
    "deployment.health": "A health check of this program fails.",
    "deployment.interval": "The last upgrade here ended too short a time ago.",
    "deployment.known_bad": "The version is on the policy's list `known_bad`.",
    "deployment.pressure": "A resource is used beyond its threshold, or cannot be read.",
    "deployment.window": "It is outside of the maintenance windows, or in a freeze.",
    "dependency.missing": "The new version needs something that is not there.",
    "dependency.optional_missing": "A component could use another one, which is not there.",
    "driver.unfit": "`noodle stack check`: a driver lacks a method that its group must have.",
    "health.failed": "The health check of the new version did not pass.",
    "hot_swap.disabled": "The settings forbid to change code in this process.",
    "requirement.unreadable": "A requirement of the new version that PEP 508 does not allow; it is ignored.",
    "policy.bake": "`noodle deploy lint`: the bake is longer than deployments are kept.",
    "policy.circle": "`noodle deploy lint`: environments wait for one another, so that none can begin.",
    "policy.deadline": "`noodle deploy lint`: one step may take longer than `progress_deadline`.",
    "policy.depends_on": "`noodle deploy lint`: a policy waits for an environment that has none.",
    "policy.freeze_over": "`noodle deploy lint`: a freeze is over.",
    "policy.gate": "`noodle deploy lint`: nobody can open a gate, or two have one name.",
    "policy.interval": "`noodle deploy lint`: the interval is longer than every window.",
    "policy.never_open": "`noodle deploy lint`: traffic may never be moved, or not within a year.",
    "policy.no_effect": "`noodle deploy lint`: a key that nothing reads with this mode and strategy.",
    "policy.settings": "`noodle deploy lint`: what `noodle config check` says of the section as well.",
    "policy.share_twice": "`noodle deploy lint`: a share is given twice in a row.",
    "policy.threshold": "`noodle deploy lint`: a threshold that lets no deployment start, or hardly any.",
    "policy.timeout": "`noodle deploy lint`: the steps may take longer than `upgrade_timeout`.",
    "policy.unjudged": "`noodle deploy lint`: traffic is raised although no judge has looked.",
    "plugin.left_behind": "The doctor: a call of a plugin was given up at its time limit, and still runs.",
    "restore.loaded": "A component was imported before the Upgrader opened, and could not be changed afterwards.",
    "restore.missing": "The files of an active version are not in the store.",
    "rollback.warm_only": "There is a way back only while the process lives: the old version's files cannot be kept.",
    "stack.lock": "`noodle stack check --locked`: what is installed is not what the lock says.",
    "strategy.all_or_nothing": "The change has one step, whatever the strategy.",
    "upgrade.stuck": "The doctor: an upgrade could not be taken back; a person must look.",
    "invariant.…": "The doctor: the journal breaks one of its invariants, whose name follows.",
    "stack.no_…": "`noodle stack check`: no plugin of the stack implements the hook that is named.",
}
VALUES = {
    "What a hook answers": ("Finding", "Severity", "Vote", "Ballot", "Recommendation", "Verdict", "Outcome", "Receipt", "Operation"),
    "What a hook is given": (
        "UpgradePlan", "PlanStep", "UpgradeRequest", "ComponentDescriptor", "ComponentType", "Dependency",
        "ArtifactRef", "Event", "StagedSwap", "Measurement", "Arm",
    ),
    "What an upgrade is, and how it ends": (
        "UpgradeResult", "UpgradeStatus", "Phase", "ValidationLevel", "RollbackPoint", "FeasibilityResult", "Decision",
    ),
}  # fmt: skip
DRIVER_LINES = [
    "## Drivers",
    "",
    "Where a name answers and not everybody: one line in the `pyproject.toml` of a distribution, in one of these groups, makes",
    "a driver. `noodle plugins list` shows those that are installed.",
    "",
    "| group of entry points | what names it, and what it is |",
    "|---|---|",
    *(f"| `{GROUPS[name]}` | {text} |" for name, text in DRIVERS.items()),
    "",
]
OTHER_ERRORS = {
    "Of the control API": (served,),
    "Of the command": (failures,),
    "Of the compiler plugin": (compiling,),
    "Of the deployment plugin": (deploying, choice, courses, metric, fetching, resources, plots),
}
TABLES = {
    "deployment.policies.NAME.gates": PolicyGate,
    "deployment.policies.NAME.freezes": Freeze,
    "deployment.policies.NAME.depends_on": DependsOn,
    "deployment.maintenance_windows.NAME": MaintenanceWindow,
}
"""Tables of which there may be several."""
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
            lines += [f"### `{name}({', '.join(arguments)})`", "", prose(function.__doc__), ""]
            lines += [f"- `{argument}`: {ARGUMENTS[argument]}" for argument in arguments]
            lines += [f"- returns `{signature.return_annotation}`", ""]
    lines += ["## What hooks are given", "", "Plans, steps, findings, votes and events: see [values](values.md).", ""]
    for cls in (hookspecs.UpgradeContext, hookspecs.Host, hookspecs.ActiveVersion):
        lines += described(cls, level="###")
    lines += [*DRIVER_LINES, *described(core.Decider, level="###")]
    return "\n".join(lines)


def values_page() -> str:
    """Return the page of values: what hooks are given and answer with."""
    lines = [
        "# Values",
        "",
        "Frozen values, all from `noodle_upgrade_core`: made with keywords (`Dependency` takes positions too), compared by",
        "content, and never changed. Times are aware and in UTC, durations are seconds, versions are PEP 440 strings, digests",
        "are sha256 in hexadecimal. Give enumerations as such (`Severity.ERROR`); only `ballot` and `validation_level` take a",
        "string in their place.",
        "",
    ]
    for title, names in VALUES.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += described(getattr(core, name), level="###")
    return "\n".join(lines)


def python_page() -> str:
    """Return the page of what a program calls."""
    lines = [
        "# From Python",
        "",
        "What a program uses: everything of the core comes from `noodle_upgrade_core`, `handle` from",
        "`noodle_upgrade_runtime`, `serve` from `noodle_upgrade_server`.",
        "",
    ]
    for cls in (
        core.Upgrader,
        core.BlockingUpgrader,
        core.Documents,
        core.Document,
        core.Settings,
        core.Gauge,
        core.EventBus,
    ):
        lines += described(cls)
    lines += function_of("load_settings", core.load_settings)
    lines += function_of("setting", core.setting)
    lines += function_of("handle", runtime.handle)
    lines += function_of("serve", server.serve)
    lines += described(server.Limits)
    return "\n".join(lines)


def testing_page() -> str:
    """Return the page of the conformance kit: functions, checks, samples, fixtures."""

    class Everything:
        """A plugin that could implement every hook: no check leaves it out."""

    lines = ["# Testing", "", prose(testing.__doc__), ""]
    makers = ("parametrize_with_checks", "conformance_checks", "conformance_checks_of_strategy", "check_strategy")
    for name in makers:
        lines += function_of(name, getattr(testing, name))
    for title, checks in (
        ("Checks of a plugin", testing.conformance_checks(Everything)),
        ("Checks of a strategy", testing.conformance_checks_of_strategy(Everything)),
    ):
        lines += [f"## {title}", "", "| check | what it wants |", "|---|---|"]
        lines += [f"| `{check.name}` | {check.description} |" for check in checks]
        lines += [""]
    lines += [
        "## Samples",
        "",
        "Well-formed values about a component that no real plugin knows; every field can be given.",
        "",
    ]
    samples = [name for name in testing.__all__ if name.startswith("sample_")]
    lines += [f"- `{name}(...)`: {inspect.getdoc(getattr(testing, name))}" for name in samples]
    lines += ["", "## Fixtures for pytest", "", "Installed with the core; nothing has to be imported.", ""]
    for name in pytest_plugin.__all__:
        lines += [f"- `{name}`: {' '.join((inspect.getdoc(getattr(pytest_plugin, name)) or '').split())}"]
    return "\n".join([*lines, "", *described(testing.FakeStaged), *described(testing.Scenario)])


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
    lines += _error_rows(errors)
    for title, modules in OTHER_ERRORS.items():
        lines += ["", f"## {title}", "", "| code | class | meaning |", "|---|---|---|"]
        lines += [row for module in modules for row in _error_rows(module)]
    lines += [
        "",
        "## Codes of findings",
        "",
        "Findings have codes too: those above, when an error is reported as a finding, and these. Plugins add their own.",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| `{code}` | {text} |" for code, text in FINDINGS.items()),
    ]
    return "\n".join([*lines, ""])


def _error_rows(module: types.ModuleType) -> list[str]:
    rows = []
    for name in module.__all__:
        cls = getattr(module, name)
        if isinstance(cls, type) and issubclass(cls, errors.UpgradeError):
            rows.append(f"| `{cls.code}` | `{name}` | {first_sentence(cls.__doc__)} |")
    return rows


def settings_page() -> str:
    """Return the page of settings: the core's and those of our plugins, each with its default and its variable."""
    sections = {"runtime": RuntimeSettings, "compiler": CompilerSettings, "deployment": DeploymentSettings}
    lines = [
        "# Settings",
        "",
        "From JSON and TOML files, and from variables. An argument wins over a variable, a variable over a file, a later",
        "file over an earlier one, a file over the default. Unknown keys are errors. `noodle config show` prints every",
        "effective value and where it came from. Plugins add sections of their own, named like their entry point (with `_`",
        "for `-`); the section `runtime` is the runtime plugin's, `compiler` the compiler plugin's, `deployment` the",
        "deployment plugin's. In a variable a list is written with commas, a switch as `1` or `0`; a plugin's own variables",
        "begin with `NOODLE_`. In TOML the part before the last dot is a table:",
        "",
        "```toml",
        "[runtime_upgrade.soak]",
        "seconds = 30.0",
        "```",
        "",
        "| key | default | variable | meaning |",
        "|---|---|---|---|",
        *_setting_rows(load_settings([], environ={}, sections=sections).explain()),
        "",
        *_policy_lines(),
    ]
    return "\n".join(lines)


def _setting_rows(rows: Iterable[SettingRow]) -> Iterator[str]:
    for row in rows:
        variables = ", ".join(f"`{name}`" for name in row.variables)
        yield f"| `{row.key}` | `{row.value!r}` | {variables} | {row.help} |"


def _policy_lines() -> Iterator[str]:
    """Yield what stands in tables of a name of the user's own, and in lists of tables."""
    key = "deployment.policies.NAME"
    rows = load_settings(
        [], environ={}, overrides={"deployment.policies": {"NAME": {}}}, sections={"deployment": DeploymentSettings}
    ).explain()
    yield from ("## A policy", "")
    yield "One for each environment; `default` is that of every environment without one of its own."
    yield from ("", "| key | default | variable | meaning |", "|---|---|---|---|")
    yield from _setting_rows(row for row in rows if row.key.startswith(key))
    for place, cls in TABLES.items():
        yield from ("", f"### `{place}`", "", f"{first_sentence(cls.__doc__)}", "")
        yield from ("| key | default | meaning |", "|---|---|---|")
        for name, field in attrs.fields_dict(cls).items():
            default = "required" if field.default is attrs.NOTHING else f"`{field.default!r}`"
            yield f"| `{name}` | {default} | {meta_of(field).help} |"
    yield ""


def steps_page() -> str:
    """Return the page of steps."""
    lines = ["# Steps", "", prose(steps.__doc__), ""]
    for name in ("Shift", "Wait", "Gate", "Judge", "Probe", "Revert", "Observation", "Strategy", "JudgeDriver"):
        lines += described(getattr(steps, name))
    lines += [
        "# The judge of the core: `killswitch`",
        "",
        "Its fields are parameters of a request: `--set judge.calls=50`.",
        "",
    ]
    lines += described(KillSwitch)
    return "\n".join(lines)


def events_page() -> str:
    """Return the page of events."""
    lines = ["# Events", "", "What the hook `observe`, `noodle watch` and the control API are told.", ""]
    lines += described(core.Event)
    lines += [
        "## Kinds",
        "",
        "The core's are members of `EventKind`; plugins may emit others, by `host.emit` and `context.emit`.",
        "",
        "| kind | when |",
        "|---|---|",
    ]
    lines += [f"| `{kind}` | {EVENTS[kind]} |" for kind in EventKind]
    lines += [f"| `{kind}` | {text} |" for kind, text in OTHER_EVENTS.items()]
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
        short = [f"{command.short_help.rstrip('.')}.", ""] if command.short_help else []
        lines = [f"## `{title}`", "", *short, prose(command.help), ""]
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
    "values.md": values_page,
    "python.md": python_page,
    "testing.md": testing_page,
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
