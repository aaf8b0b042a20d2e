"""The settings of the deployment plugin: the section `deployment`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import field, frozen

from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_core.settings import Problem, setting, settings_error, suggestion
from noodle_upgrade_deployment.policies.policy import DeploymentUpgradePolicy
from noodle_upgrade_deployment.policies.vocabulary import DeploymentUpgradeTrigger
from noodle_upgrade_deployment.policies.windows import DAYS, Window
from noodle_upgrade_deployment.policies.zones import zone_of

__all__ = ["DEFAULT", "DeploymentSettings", "IntegrationSettings", "MaintenanceWindow", "TriggerSettings"]

DEFAULT = "default"
"""The policy of every environment that has none of its own."""

_YEAR = 366 * 86_400.0


@frozen(kw_only=True)
class IntegrationSettings:
    """How deployments are carried out in this program."""

    enabled: bool = setting(True, help="Whether this program deploys at all.")
    sync_interval: float = setting(
        60.0,
        env="NOODLE_DEPLOYMENT_UPGRADE_SYNC_INTERVAL",
        gt=0,
        le=86_400,
        help="Seconds between two looks at what is due.",
    )
    upgrade_timeout: float = setting(
        1800.0,
        env="NOODLE_UPGRADE_DEPLOYMENT_TIMEOUT",
        gt=0,
        le=_YEAR,
        help="Seconds that one deployment may take; what people take to open gates does not count.",
    )
    history_days: float = setting(
        30.0,
        env="NOODLE_DEPLOYMENT_UPGRADE_HISTORY_DAYS",
        gt=0,
        le=36_500,
        help="Days that ended deployments are kept for.",
    )


@frozen(kw_only=True)
class TriggerSettings:
    """What may begin deployments where a policy has `auto_trigger`; `manual` is people, with any policy."""

    deployment_start: bool = setting(True, help="The start of another deployment.")
    deployment_success: bool = setting(True, help="The success of another deployment.")
    deployment_failure: bool = setting(True, help="The failure of another deployment.")
    deployment_rollback: bool = setting(True, help="Another deployment that was taken back.")
    scheduled_maintenance: bool = setting(True, help="A maintenance window that opens.")
    health_degradation: bool = setting(True, help="A health check that fails.")
    resource_pressure: bool = setting(True, help="A resource that is used beyond its threshold.")
    manual: bool = setting(True, help="A person.")

    @property
    def allowed(self) -> frozenset[DeploymentUpgradeTrigger]:
        """The triggers that are switched on."""
        return frozenset(trigger for trigger in DeploymentUpgradeTrigger if getattr(self, trigger.value))


@frozen(kw_only=True)
class MaintenanceWindow:
    """One window of an environment, for policies that have none of their own."""

    start: str = setting(help="When it opens, by the clock on the wall: 02:00.")
    end: str = setting(help="Its last minute: 04:00. Before the start: on the next day.")
    days: tuple[str, ...] = setting(DAYS, help="The days on which it starts.")

    def __attrs_post_init__(self) -> None:
        self.window("UTC")

    def window(self, timezone: str) -> Window:
        """Return the window by the wall clock of a time zone."""
        return Window(self.start, self.end, self.days, timezone)


@frozen(kw_only=True)
class DeploymentSettings:
    """The section `deployment`."""

    upgrade_integration: IntegrationSettings = field(factory=IntegrationSettings)
    policies: Mapping[str, DeploymentUpgradePolicy] = setting(factory=dict, help="The policies, by environment.")
    triggers: TriggerSettings = field(factory=TriggerSettings)
    maintenance_windows: Mapping[str, MaintenanceWindow] = setting(
        factory=dict, help="A window for each environment; a policy's own windows win."
    )
    environment: str = setting(
        "", env="NOODLE_DEPLOYMENT_ENVIRONMENT", help="Which environment this program is; empty: none."
    )
    timezone: str = setting("UTC", blank=False, help="IANA time zone of windows and freezes.")

    def __attrs_post_init__(self) -> None:
        zone_of(self.timezone)
        problems = [one for name, policy in self.policies.items() for one in self._flaws(f"policies.{name}", policy)]
        if problems:
            raise settings_error(problems)

    def problems(self) -> Iterator[Problem]:
        """Yield what is allowed and yet has no effect, or an odd one."""
        for name in self.maintenance_windows:
            policy = self.policies.get(name)
            if policy is not None:
                yield from self._twice(name, policy)
            elif DEFAULT not in self.policies:
                hint = suggestion(name, self.policies) or f"Policies: {', '.join(self.policies) or 'none'}."
                yield Problem(key=f"maintenance_windows.{name}", problem="has no effect: there is no policy", hint=hint)
        if self.environment and self.environment not in self.policies and DEFAULT not in self.policies:
            hint = suggestion(self.environment, self.policies) or f"Policies: {', '.join(self.policies) or 'none'}."
            problem = f"is {self.environment!r}, which has no policy: every deployment here is refused"
            yield Problem(key="environment", problem=problem, hint=hint)

    def _flaws(self, key: str, policy: DeploymentUpgradePolicy) -> Iterator[Problem]:
        """Yield what cannot be seen from a policy alone: its name, and the zone that its freezes are read in."""
        name, said = key.partition(".")[2], policy.deployment_environment
        if said not in ("", name):
            problem = f"is {said!r}, and the policy stands under {name!r}"
            hint = "Leave it out, or give the policy the same name."
            yield Problem(key=f"{key}.deployment_environment", problem=problem, hint=hint)
        try:
            policy.calendar(self.timezone)
        except SettingsError as error:
            yield Problem(key=f"{key}.freezes", problem=f"cannot be used: {error.message.rstrip('.')}", hint=error.hint)

    def _twice(self, name: str, policy: DeploymentUpgradePolicy) -> Iterator[Problem]:
        own = policy.timing_constraints.windows(self.timezone)
        if own and own != (self.maintenance_windows[name].window(self.timezone),):
            theirs = f"policies.{name}.timing_constraints.maintenance_windows"
            hint = "Keep one of them, or make them alike."
            problem = f"has no effect: {theirs} differs, and a policy's own windows win"
            yield Problem(key=f"maintenance_windows.{name}", problem=problem, hint=hint)
