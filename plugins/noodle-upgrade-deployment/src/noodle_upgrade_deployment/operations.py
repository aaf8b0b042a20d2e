"""What the plugin can be asked for by name: for `noodle deploy`, and for whoever else speaks to the control API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from noodle_upgrade_core import Operation
from noodle_upgrade_core.errors import UpgradeDisabledError
from noodle_upgrade_core.model import UpgradeRequest
from noodle_upgrade_core.wire import from_wire, to_wire
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState
from noodle_upgrade_deployment.integration import DeploymentRuntimeUpgradeIntegration

__all__ = ["operations_of"]

T = TypeVar("T")


@frozen(kw_only=True)
class _None:
    """No arguments."""


@frozen(kw_only=True)
class _Several:
    """Which deployments: of one environment, or all; the newest `limit`."""

    environment: str = ""
    limit: int = 50


@frozen(kw_only=True)
class _One:
    """One deployment by its id."""

    deployment_id: str


@frozen(kw_only=True)
class _Abort:
    deployment_id: str
    why: str = ""


@frozen(kw_only=True)
class _Promote:
    deployment_id: str
    full: bool = False


@frozen(kw_only=True)
class _Start:
    """A deployment that is asked for; `approve` is the approval of who asks, `again` for a version that failed here."""

    deployment_id: str
    requests: tuple[UpgradeRequest, ...]
    environment: str = ""
    trigger: str = "manual"
    trigger_of: str = ""
    approve: bool = False
    again: bool = False


def operations_of(integration: Callable[[], DeploymentRuntimeUpgradeIntegration | None]) -> tuple[Operation, ...]:
    """Return the operations on an integration, which may only be there later."""
    asked = _Asked(integration)
    return (
        asked.offer("status", _None, asked.status, help="What is under way, and what waits."),
        asked.offer("list", _Several, asked.several, help="Deployments, newest first."),
        asked.offer("show", _One, asked.show, help="One deployment and what became of it."),
        asked.offer("start", _Start, asked.start, changes=True, help="Ask for a deployment."),
        asked.offer("trigger", _One, asked.trigger, changes=True, help="Begin one that waits for its trigger."),
        asked.offer("promote", _Promote, asked.promote, changes=True, help="Go on without waiting for evidence."),
        asked.offer("pause", _One, asked.pause, changes=True, help="Let no more traffic move."),
        asked.offer("resume", _One, asked.resume, changes=True, help="End a pause."),
        asked.offer("approve", _One, asked.approve, changes=True, help="Approve a plan, or open a gate."),
        asked.offer("abort", _Abort, asked.abort, changes=True, help="End it; what was moved goes back."),
    )


@frozen
class _Asked:
    """The operations, each with its arguments read strictly and who asks."""

    _integration: Callable[[], DeploymentRuntimeUpgradeIntegration | None] = field(alias="integration")

    def offer(
        self,
        name: str,
        arguments: type[T],
        call: Callable[[DeploymentRuntimeUpgradeIntegration, T, str], Awaitable[Any]],
        *,
        changes: bool = False,
        help: str,  # noqa: A002 - the word that `Operation` uses
    ) -> Operation:
        """Return one operation."""

        async def asked(given: dict[str, Any], by: str) -> Any:
            integration = self._integration()
            if integration is None:
                raise UpgradeDisabledError(
                    "Deployments are switched off.", hint="Set deployment.upgrade_integration.enabled."
                )
            return await call(integration, from_wire(arguments, given), by)

        return Operation(name=f"deployment.{name}", call=asked, changes=changes, help=help)

    async def status(self, integration: DeploymentRuntimeUpgradeIntegration, _: _None, __: str) -> Any:
        """See `get_integration_status`."""
        return integration.get_integration_status()

    async def several(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _Several, _: str) -> Any:
        """Return the newest deployments."""
        found = [one for one in integration.states() if asked.environment in ("", one.environment)]
        return {"deployments": [one.shown() for one in found[::-1][: max(0, asked.limit)]]}

    async def show(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _One, _: str) -> Any:
        """Return one deployment and its events."""
        state = integration.state(asked.deployment_id)
        return {**state.shown(), "events": to_wire(integration.events(asked.deployment_id))}

    async def start(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _Start, by: str) -> Any:
        """Ask for a deployment, and do not wait for its end: whoever asked may look."""
        again = {"again": True} if asked.again else {}
        # The connection says who asks; what the request says of it is not believed.
        requests = [evolve(one, requested_by=by, metadata={**one.metadata, **again}) for one in asked.requests]
        state = await integration.request_deployment_aware_upgrade(
            asked.deployment_id,
            requests,
            environment=asked.environment,
            trigger=asked.trigger,
            trigger_of=asked.trigger_of,
            approved_by=by if asked.approve else "",
            wait=False,
        )
        return state.shown()

    async def trigger(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _One, by: str) -> Any:
        """See `fire`."""
        return (await integration.fire(asked.deployment_id, by=by)).shown()

    async def promote(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _Promote, by: str) -> Any:
        """See `promote`."""
        return (await integration.promote(asked.deployment_id, by=by, full=asked.full)).shown()

    async def pause(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _One, by: str) -> Any:
        """See `pause`."""
        return (await integration.pause(asked.deployment_id, by=by)).shown()

    async def resume(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _One, by: str) -> Any:
        """See `resume`."""
        return (await integration.resume(asked.deployment_id, by=by)).shown()

    async def approve(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _One, by: str) -> Any:
        """See `approve`."""
        return (await integration.approve(asked.deployment_id, by=by)).shown()

    async def abort(self, integration: DeploymentRuntimeUpgradeIntegration, asked: _Abort, by: str) -> Any:
        """See `abort`."""
        state: DeploymentUpgradeState = await integration.abort(asked.deployment_id, by=by, why=asked.why)
        return state.shown()
