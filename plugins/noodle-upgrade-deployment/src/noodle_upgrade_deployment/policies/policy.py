"""What one environment's policy says: the settings under `deployment.policies.NAME`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from attrs import field, frozen

from noodle_upgrade_core.settings import Problem, setting, settings_error, shown
from noodle_upgrade_core.versions import is_specifier, is_version
from noodle_upgrade_deployment.policies.calendars import Calendar
from noodle_upgrade_deployment.policies.freezes import Freeze
from noodle_upgrade_deployment.policies.stages import read_steps
from noodle_upgrade_deployment.policies.vocabulary import HARM_GATE, UpgradeDeploymentMode
from noodle_upgrade_deployment.policies.windows import Window, read_window
from noodle_upgrade_deployment.policies.zones import zone_of

__all__ = [
    "JUDGE",
    "DependsOn",
    "DeploymentUpgradePolicy",
    "PolicyGate",
    "ResourceThreshold",
    "TimingConstraints",
]

JUDGE = "betting"
"""The judge of a policy that names none."""

_YEAR = 366 * 86_400.0
_START = "start"
_STAGED = "staged"
_USUAL = "gradual"
_ALL = 100.0


@frozen(kw_only=True)
class ResourceThreshold:
    """The most of each resource that may be in use when a deployment starts, in percent; 100 lets everything pass."""

    cpu_usage: float = setting(100.0, ge=0, le=100, help="Percent of the processors.")
    memory_usage: float = setting(100.0, ge=0, le=100, help="Percent of the memory.")
    disk_usage: float = setting(100.0, ge=0, le=100, help="Percent of the disk that holds the state.")


@frozen(kw_only=True)
class TimingConstraints:
    """How often, and at which times of every day."""

    min_interval_between_upgrades: float = setting(
        0.0, ge=0, le=_YEAR, help="Seconds from the end of one deployment to the start of the next."
    )
    maintenance_windows: tuple[str, ...] = setting(
        (), help='Times such as "22:00-04:00"; none: those of the section, or always.'
    )

    def __attrs_post_init__(self) -> None:
        self.windows("UTC")

    def windows(self, timezone: str) -> tuple[Window, ...]:
        """Return the windows by the wall clock of a time zone."""
        return tuple(read_window(text, timezone=timezone) for text in self.maintenance_windows)


@frozen(kw_only=True)
class PolicyGate:
    """A place at which a deployment waits for people."""

    name: str = setting(blank=False, help="What people open it by.")
    approvals: int = setting(1, ge=1, le=1000, help="How many people have to approve.")
    of: tuple[str, ...] = setting((), help="Who may approve; nobody named: anybody.")
    expires: float = setting(
        86_400.0, gt=0, le=_YEAR, help="Seconds until a gate that nobody opened counts as refused."
    )
    before: Any = setting(_START, help='"start", or the share in percent that it stands before.')

    def __attrs_post_init__(self) -> None:
        if not all(name.strip() for name in self.of):
            raise settings_error([Problem(key="of", problem="must hold names of people, not empty ones")])
        if self.before == _START or (self._is_number and 0 < self.before <= _ALL):
            return
        problem = f'must be "start" or a share above 0 and at most 100 percent, not {shown(self.before)}'
        raise settings_error([Problem(key="before", problem=problem)])

    def __str__(self) -> str:
        where = "the start" if self.share == 0.0 else f"{self.share:.4g} percent"
        whom = f"of {', '.join(self.of)}" if self.of else "(anybody)"
        return f"gate {self.name!r} before {where}: {self.approvals} {whom}, within {self.expires:g} s"

    @property
    def share(self) -> float:
        """The share in percent that it stands before; 0 for the start."""
        return float(self.before) if self._is_number else 0.0

    @property
    def _is_number(self) -> bool:
        return isinstance(self.before, int | float) and not isinstance(self.before, bool)


@frozen(kw_only=True)
class DependsOn:
    """What must have succeeded before: a component in an environment.

    Without `component` it is the one that is deployed, in the very version that is asked for: `{"environment":
    "staging"}` lets production take only what staging has. Without `environment` it is this environment.
    """

    component: str = setting("", help="The component; empty: the same one, in the same version.")
    environment: str = setting("", help="The environment; empty: this one.")

    def __attrs_post_init__(self) -> None:
        if not self.component.strip() and not self.environment.strip():
            raise ValueError("it names neither a component nor an environment")

    def __str__(self) -> str:
        what = self.component or "this version"
        return f"{what} in {self.environment}" if self.environment else what


@frozen(kw_only=True)
class DeploymentUpgradePolicy:
    """How one environment is deployed to.

    `steps` and `upgrade_strategy` both say how traffic moves: a policy with steps has the strategy `staged`, and any
    other name beside them is an error; `strategy` is the one that counts.

    `rollback_on_failure` and `on_failure` both say what becomes of a version that fails. `false` alone means that it
    is paused for people, `true` alone, or neither, that it is taken back. Together they may not contradict each other:
    `true` goes with `rollback`, `false` with `freeze` or `pause`. `reaction` is what counts.
    """

    deployment_environment: str = setting("", help="The name that the policy stands under, once more; may be left out.")
    upgrade_strategy: str = setting("", help=f"The strategy; empty: {_STAGED} where there are steps, else {_USUAL}.")
    deployment_mode: UpgradeDeploymentMode = setting(
        UpgradeDeploymentMode.SYNCHRONOUS, help="How the deployment is carried out."
    )
    auto_trigger: bool = setting(False, help="Whether triggers begin deployments; else only people do.")
    rollback_on_failure: bool | None = setting(None, help="Whether a version that fails is taken back.")
    health_check_required: bool = setting(True, help="Whether the new version must say that it is well.")
    resource_threshold: ResourceThreshold = field(factory=ResourceThreshold)
    timing_constraints: TimingConstraints = field(factory=TimingConstraints)
    timezone: str = setting("", help="IANA time zone of windows and freezes; empty: that of the section.")
    steps: tuple[Mapping[str, Any], ...] = setting((), help="The steps of the strategy `staged`, a table each.")
    parameters: Mapping[str, Any] = setting(factory=dict, help="Parameters of the strategy.")
    judge: str = setting("", help=f"The judge; empty: {JUDGE}.")
    judge_parameters: Mapping[str, Any] = setting(factory=dict, help="Parameters of the judge.")
    metrics: Mapping[str, Any] = setting(factory=dict, help="What is judged besides calls, by name; or false.")
    health_checks: Mapping[str, Mapping[str, Any]] = setting(factory=dict, help="How health is asked for, by name.")
    freezes: tuple[Freeze, ...] = setting((), help="Spans of time in which nothing moves.")
    gates: tuple[PolicyGate, ...] = setting((), help="Where a deployment waits for people.")
    concurrency: Literal["queue", "supersede", "reject"] = setting(
        "queue", help="What becomes of a deployment that is asked for while another one runs."
    )
    on_failure: Literal["rollback", "freeze", "pause"] | None = setting(
        None, help="What becomes of a version that fails; none: as rollback_on_failure says."
    )
    on_restart: Literal["resume", "rollback"] | None = setting(
        None, help="What becomes of a deployment that a crash ended; none: resume if asynchronous, else rollback."
    )
    progress_deadline: float = setting(
        0.0, ge=0, le=_YEAR, help="Seconds without progress that are a failure; 0: none."
    )
    bake: float = setting(0.0, ge=0, le=_YEAR, help="Seconds to watch the new version after the promotion.")
    warm: float = setting(
        60.0, ge=0, le=_YEAR, help="Seconds that blue_green watches the new version, with the old one at hand."
    )
    known_bad: Mapping[str, tuple[str, ...]] = setting(
        factory=dict, help="Versions that may not be deployed, by component: versions or specifiers."
    )
    remember_failures: bool = setting(True, help="Whether a version that failed here may not be deployed here again.")
    depends_on: tuple[DependsOn, ...] = setting((), help="What must have succeeded before.")
    surge: int = setting(0, ge=0, le=100_000, help="Members that `rolling` may add meanwhile.")
    unavailable: int = setting(1, ge=0, le=100_000, help="Members that `rolling` may take out at once.")

    def __attrs_post_init__(self) -> None:
        if self.timezone:
            zone_of(self.timezone)
        if self.steps:
            read_steps(self.steps)
        problems = [*self._contradictions(), *self._bad_versions(), *self._same_gates(), *self._odd_metrics()]
        if problems:
            raise settings_error(problems)

    @property
    def strategy(self) -> str:
        """The strategy by name."""
        return self.upgrade_strategy or (_STAGED if self.steps else _USUAL)

    @property
    def strategy_parameters(self) -> Mapping[str, Any]:
        """What the strategy is made with: JSON values."""
        return {**self.parameters, "steps": self.steps} if self.steps else self.parameters

    @property
    def reaction(self) -> Literal["rollback", "freeze", "pause"]:
        """What becomes of a version that fails.

        `rollback`: all traffic goes back to the old version. `pause`: the shares stay as they are until a person says
        how to go on. `freeze`: the same, and nothing else is deployed here meanwhile.
        """
        return self.on_failure or ("pause" if self.rollback_on_failure is False else "rollback")

    @property
    def restart(self) -> Literal["resume", "rollback"]:
        """What becomes of a deployment that the end of its process ended."""
        asynchronous = self.deployment_mode is UpgradeDeploymentMode.ASYNCHRONOUS
        return self.on_restart or ("resume" if asynchronous else "rollback")

    def calendar(self, timezone: str, windows: tuple[Window, ...] = ()) -> Calendar:
        """Return when traffic may be moved: in its own windows, or in those given where it has none.

        `timezone` is that of the section; the policy's own wins. Raises `SettingsError` for a freeze that ends before
        it begins by the clock of that zone.
        """
        zone = self.timezone or timezone
        own = self.timing_constraints.windows(zone)
        freezes = tuple(freeze.span(zone_of(zone)) for freeze in self.freezes)
        return Calendar(windows=own or windows, freezes=freezes, timezone=zone)

    def _contradictions(self) -> Iterator[Problem]:
        told, back = self.on_failure, self.rollback_on_failure
        if told is not None and back is not None and back is not (told == "rollback"):
            word = "true" if back else "false"
            hint = "Leave rollback_on_failure out: on_failure says it."
            yield Problem(key="on_failure", problem=f"is {told}, and rollback_on_failure is {word}", hint=hint)
        if self.steps and self.upgrade_strategy not in ("", _STAGED):
            hint = f"Leave one of them out: the steps are the strategy {_STAGED!r}."
            yield Problem(
                key="upgrade_strategy", problem=f"is {self.upgrade_strategy!r}, and there are steps", hint=hint
            )
        if not self.steps and self.upgrade_strategy == _STAGED and "steps" not in self.parameters:
            yield Problem(key="steps", problem=f"is needed by the strategy {_STAGED!r}")
        if self.steps and "steps" in self.parameters:
            yield Problem(key="parameters.steps", problem="is given, and so is steps", hint="Keep one of them.")
        if not self.surge and not self.unavailable:
            hint = "One of them must be at least 1, or no member could ever change."
            yield Problem(key="unavailable", problem="is 0, and surge is 0", hint=hint)

    def _odd_metrics(self) -> Iterator[Problem]:
        for name, metric in self.metrics.items():
            if not isinstance(metric, Mapping | bool):
                hint = "Write a table, or false to leave out one that is built in."
                yield Problem(
                    key=f"metrics.{name}", problem=f"must be a table of settings, not {shown(metric)}", hint=hint
                )

    def _bad_versions(self) -> Iterator[Problem]:
        for component, versions in self.known_bad.items():
            for text in versions:
                if not is_specifier(text) and not is_version(text):
                    hint = 'Write a version or specifiers: "3.0.1", ">=3.0,<3.1".'
                    key = f"known_bad.{component}"
                    yield Problem(key=key, problem=f"has {shown(text)}, which is neither", hint=hint)

    def _same_gates(self) -> Iterator[Problem]:
        names = [gate.name for gate in self.gates]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem(key="gates", problem=f"has two of the name {name!r}", hint="People open them by their names.")
        if HARM_GATE in names:
            hint = "That gate is where people are asked about a version that does harm."
            yield Problem(key="gates", problem=f"has the name {HARM_GATE!r}, which is taken", hint=hint)
