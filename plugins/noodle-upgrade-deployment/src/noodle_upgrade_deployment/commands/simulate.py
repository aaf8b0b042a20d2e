"""The command `noodle deploy simulate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
from attrs import evolve, fields
from click.core import ParameterSource

from noodle_upgrade_core import JudgeDriver, Strategy
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.policies.policy import JUDGE, DeploymentUpgradePolicy
from noodle_upgrade_deployment.simulation.fleet import FleetModel
from noodle_upgrade_deployment.simulation.models import MODELS, model_named
from noodle_upgrade_deployment.simulation.plots import check_plot, plot
from noodle_upgrade_deployment.simulation.recordings import read_recording
from noodle_upgrade_deployment.simulation.replay import ReplayModel
from noodle_upgrade_deployment.simulation.report import Report, simulate_with
from noodle_upgrade_deployment.simulation.rollouts import CallsModel, MadeUp, Scenario
from noodle_upgrade_deployment.simulation.traffic import TrafficModel

__all__ = ["simulate", "study"]

_RUNS, _RUNS_OF_REPLAY, _REPLICAS_IN_ALL = 10_000, 1_000, 2_000_000
_MADE_UP = {"model": "--model", "rate": "--rate", "errors": "--errors", "slow": "--slow", "users": "--users"}
_OF_FLEETS = ("domains", "start", "fails", "surge", "unavailable")


@click.command(
    short_help="Carry rollouts out in virtual time.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--policy", metavar="ENVIRONMENT", default="", help="As the policy of an environment has it.")
@click.option("--strategy", metavar="NAME", default="gradual", show_default=True, help="How traffic moves.")
@click.option("--judge", metavar="NAME", default="betting", show_default=True, help="Who says harm and safe.")
@click.option(
    "--parameter",
    "--set",
    "parameters",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter: a plain KEY is the strategy's, judge.KEY the judge's.",
)
@click.option(
    "--model", type=click.Choice(list(MODELS)), default="plain", show_default=True, help="What else goes wrong."
)
@click.option("--replay", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Recorded calls.")
@click.option("--recorded-version", metavar="VERSION", default="", help="Which version's calls of the recording.")
@click.option("--rate", type=float, default=100.0, show_default=True, help="Calls a second, in all.")
@click.option("--errors", type=float, default=0.005, show_default=True, help="Share of calls that fail.")
@click.option("--slow", type=float, default=0.0, show_default=True, help="Share of calls that take a second.")
@click.option("--users", type=int, default=0, show_default=True, help="How many a router tells apart; 0: no end.")
@click.option(
    "--worse", type=float, default=10.0, show_default=True, help="A bad version fails so many times as often."
)
@click.option(
    "--slower", type=float, default=1.0, show_default=True, help="It is slow so many times as often, or so much."
)
@click.option("--replicas", type=int, metavar="N", help="Over a fleet of so many, and not a router.")
@click.option("--domains", type=int, default=3, show_default=True, help="Domains of the fleet.")
@click.option("--start", type=float, default=30.0, show_default=True, help="Seconds that a replica takes to start.")
@click.option("--fails", type=float, default=0.0, show_default=True, help="Share of starts that fail.")
@click.option("--surge", type=float, default=0.1, show_default=True, help="Share of replicas added at most.")
@click.option("--unavailable", type=float, default=0.0, show_default=True, help="Share missing at most.")
@click.option("--deadline", type=float, default=86_400.0, show_default=True, help="Seconds that a rollout may take.")
@click.option("--runs", type=click.IntRange(1, 10_000_000), metavar="N", help="Rollouts of each version.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same answer.")
@click.option("--processes", type=click.IntRange(1, 1024), metavar="N", help="As many as there are processors.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), metavar="FILE", help="Draw a PNG or an SVG.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; progress goes to stderr.")
@click.pass_context
def simulate(ctx: click.Context, /, *, picture: Path | None, as_json: bool, **asked: Any) -> int:
    """Carry rollouts out in virtual time, by the same strategy and judge as real ones.

    Two new versions are rolled out: a good one, which is no worse than the old one, and a bad one. It says how often
    the good one is taken back, how soon the bad one is, at what price, and how long a promotion takes.

    \b
      noodle deploy simulate --strategy canary --judge betting --worse 4
      noodle deploy simulate --set bake=60 --set judge.alpha=0.001 --model clumped --plot rates.svg
      noodle deploy simulate --strategy rolling --set surge=100 --replicas 1000 --runs 100
      noodle deploy simulate --replay calls.csv --worse 4 --slower 1.5
      noodle deploy simulate --policy production --config noodle.toml --rate 40

    With a policy its strategy, mode and judge are simulated, and its time limit is the deadline; its gates and windows
    are open, and of its metrics there are those of the calls.

    A recording is CSV with a line of names, or JSON lines (.jsonl): at (seconds, or an ISO time), seconds (how long the
    call took), error (true or false) or status, and if you like version and key (who called). An access log (.log) in
    the combined format with the duration as its last word is read as it is. Its calls are those of the old version.
    """  # noqa: D301 - \b is click's mark for text that must not be wrapped
    _check_together(ctx, asked)
    if picture is not None:
        check_plot(picture)
    policy = _policy_of(ctx, asked)
    strategy, judge = _factories(Drivers(), asked) if policy is None else _of_policy(Drivers(), policy)
    good, bad = _scenarios(asked)
    report = study(
        strategy,
        judge,
        good=good,
        bad=None if bad == good else bad,
        runs=asked["runs"] or _usual_runs(asked),
        seed=asked["seed"],
        processes=asked["processes"],
        subject=_subject(asked) | ({} if policy is None else _named(policy)),
        quiet=as_json,
    )
    if picture is not None:
        plot(report, picture)
    if as_json:
        click.echo(json.dumps(report.to_wire(), indent=2))
    else:
        _show(report, picture)
    return 0


def study(
    strategy_factory: Callable[[], Strategy],
    judge_factory: Callable[[], JudgeDriver],
    *,
    quiet: bool = False,
    **simulated: Any,
) -> Report:
    """Simulate as `simulate_with` does, with a bar on stderr where somebody can see it, unless it is to be `quiet`."""
    versions = sum(simulated[version] is not None for version in ("good", "bad"))
    with _bar(simulated["runs"] * versions, quiet=quiet) as progress:
        return simulate_with(strategy_factory, judge_factory, progress=progress, **simulated)


@contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Callable[[int], object] | None]:
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - only who looks on pays for it
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415 - likewise

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    # No thread of its own: processes are begun meanwhile, and a fork beside a thread may hang.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task("Simulating", total=total)
        yield lambda done: progress.update(task, completed=done, refresh=True)


_SAID_BY_POLICY = {"strategy": "--strategy", "judge": "--judge", "parameters": "--set"}


def _policy_of(ctx: click.Context, asked: dict[str, Any]) -> DeploymentUpgradePolicy | None:
    """Return the policy that is to be simulated, without what only people and other systems can say."""
    if not asked["policy"]:
        return None
    for name, option in _SAID_BY_POLICY.items():
        if ctx.get_parameter_source(name) not in {ParameterSource.DEFAULT, None}:
            raise click.UsageError(f"{option} is what the policy says already.", ctx)
    from noodle_upgrade_deployment.commands.settings import deployment_settings  # noqa: PLC0415 - only a policy needs it
    from noodle_upgrade_deployment.policies.choice import policy_for  # noqa: PLC0415 - likewise

    settings = deployment_settings(ctx)
    if ctx.get_parameter_source("deadline") is ParameterSource.DEFAULT:
        asked["deadline"] = settings.upgrade_integration.upgrade_timeout
    policy = policy_for(settings, asked["policy"])
    return evolve(policy, gates=(), metrics={}, on_failure="rollback", rollback_on_failure=True)


def _of_policy(
    drivers: Drivers, policy: DeploymentUpgradePolicy
) -> tuple[Callable[[], Strategy], Callable[[], JudgeDriver]]:
    from noodle_upgrade_deployment.deploying.carrying import judge_of  # noqa: PLC0415 - only a policy needs it
    from noodle_upgrade_deployment.policies.composition import composed  # noqa: PLC0415 - likewise

    name = policy.judge or JUDGE
    # What is made in other processes: no more than the two drivers, which are looked up once.
    own = {
        "strategies": {policy.strategy: drivers.get("strategies", policy.strategy)},
        "judges": {name: drivers.get("judges", name)},
    }
    sent, few = _sendable(policy), Drivers(extra=own)
    strategy, judge = partial(composed, sent, few), partial(judge_of, sent, few)
    strategy(), judge()
    return strategy, judge


def _sendable(policy: DeploymentUpgradePolicy) -> DeploymentUpgradePolicy:
    """Return a policy of plain values: tables of settings cannot be sent to another process."""
    plain = {field.name: _plain(getattr(policy, field.name)) for field in fields(DeploymentUpgradePolicy)}
    return evolve(policy, **plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _named(policy: DeploymentUpgradePolicy) -> dict[str, Any]:
    return {
        "policy": policy.deployment_environment,
        "mode": policy.deployment_mode.value,
        "strategy": policy.strategy,
        "judge": policy.judge or JUDGE,
        "parameters": dict(policy.strategy_parameters),
        "judge_parameters": dict(policy.judge_parameters),
    }


def _check_together(ctx: click.Context, asked: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing together: what is asked for is done, or refused by name."""

    def given(name: str) -> bool:
        return ctx.get_parameter_source(name) not in {ParameterSource.DEFAULT, None}

    if asked["replay"] is not None:
        for name, option in _MADE_UP.items():
            if given(name):
                raise click.UsageError(f"{option} is for made-up calls; those of --replay are as they were.", ctx)
    elif given("recorded_version"):
        raise click.UsageError("--recorded-version is for --replay.", ctx)
    if asked["replicas"] is None:
        for name in _OF_FLEETS:
            if given(name):
                raise click.UsageError(f"--{name} is for a fleet: give --replicas too.", ctx)
    elif given("users"):
        raise click.UsageError("--users is for a router; calls to a fleet are spread over its replicas.", ctx)


def _factories(drivers: Drivers, asked: Mapping[str, Any]) -> tuple[Callable[[], Strategy], Callable[[], JudgeDriver]]:
    """Return what makes the strategy and the judge, after both were made once: a wrong parameter is told at once."""
    own, judging = _parameters(asked["parameters"])
    made = []
    for group, name, arguments in (("strategies", asked["strategy"], own), ("judges", asked["judge"], judging)):
        drivers.make(group, name, **arguments)
        made.append(partial(drivers.get(group, name), **arguments))
    return made[0], made[1]


def _parameters(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the strategy's parameters and the judge's: a value that is JSON is that value, all else is text."""
    own: dict[str, Any] = {}
    judging: dict[str, Any] = {}
    for word in words:
        key, separator, text = word.partition("=")
        whose, name = (judging, key[len("judge.") :]) if key.startswith("judge.") else (own, key)
        if not separator or not name.isidentifier():
            raise InvalidRequestError(
                f"{word!r} is not KEY=VALUE.", hint="Write it as `--set bake=5`, or `--set judge.calls=20`."
            )
        if name in whose:
            raise InvalidRequestError(f"{key!r} is set twice.", hint="Set each parameter once.")
        whose[name] = _value(key, text)
    return own, judging


def _value(key: str, text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise InvalidRequestError(f"{key}={constant} is not a number that can be used.", hint="Give a finite number.")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


def _scenarios(asked: Mapping[str, Any]) -> tuple[Scenario, Scenario]:
    """Return those of a good version and of a bad one."""
    fleet = None
    if asked["replicas"] is not None:
        fleet = FleetModel(replicas=asked["replicas"], **{name: asked[name] for name in _OF_FLEETS})
    good, bad = _recorded(asked) if asked["replay"] is not None else _made_up(asked)
    scenario = Scenario(calls=good, fleet=fleet, users=asked["users"], deadline=asked["deadline"])
    return scenario, scenario if good == bad else evolve(scenario, calls=bad)


def _made_up(asked: Mapping[str, Any]) -> tuple[CallsModel, CallsModel]:
    model = model_named(asked["model"], TrafficModel(rate=asked["rate"], bad=asked["errors"], slow=asked["slow"]))
    return MadeUp(model), MadeUp(evolve(model, worse=asked["worse"], slower=asked["slower"]))


def _recorded(asked: Mapping[str, Any]) -> tuple[CallsModel, CallsModel]:
    recording = read_recording(asked["replay"], version=asked["recorded_version"])
    good = ReplayModel(recording=recording)
    if asked["worse"] == asked["slower"] == 1.0:
        return good, good
    return good, ReplayModel(recording=recording, worse=asked["worse"], slower=asked["slower"])


def _usual_runs(asked: Mapping[str, Any]) -> int:
    """Return how many runs are worth their time: rates need ten thousand, and large fleets take long."""
    most = _RUNS if asked["replay"] is None else _RUNS_OF_REPLAY
    return max(1, min(most, _REPLICAS_IN_ALL // (asked["replicas"] or 1)))


def _subject(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is simulated, in words and numbers."""
    own, judging = _parameters(asked["parameters"])
    subject: dict[str, Any] = {"strategy": asked["strategy"], "judge": asked["judge"]}
    subject |= {"parameters": own, "judge_parameters": judging}
    if asked["replay"] is None:
        subject |= {"calls": asked["model"], **{name: asked[name] for name in ("rate", "errors", "slow", "users")}}
    else:
        subject |= {"calls": asked["replay"].name, "recorded_version": asked["recorded_version"]}
    if asked["replicas"] is not None:
        subject |= {name: asked[name] for name in ("replicas", *_OF_FLEETS)}
    return subject | {name: asked[name] for name in ("worse", "slower", "deadline")}


def _show(report: Report, picture: Path | None) -> None:
    from noodle_upgrade_deployment.commands.tables import show  # noqa: PLC0415 - rich is only for people

    show(report)
    if picture is not None:
        click.echo(f"Drawn into {picture}.", err=True)
