"""The control API: routes over an Upgrader, each bounded, with typed errors in both directions.

Every answer is a JSON object. An error is `{"error": {code, message, hint, safe, details}}` with the status that
`errors.status_of` gives. Values are those of `noodle_upgrade_core.wire`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from attrs import evolve, frozen
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_core.hookspecs import Operation
from noodle_upgrade_core.model import UpgradePlan, UpgradeRequest
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_core.wire import to_wire
from noodle_upgrade_server.bodies import (
    ApproveBody,
    EmptyBody,
    OperationBody,
    PlanBody,
    PromoteBody,
    Query,
    RollbackBody,
    StartBody,
    event_id,
    read_body,
    take,
    with_defaults,
)
from noodle_upgrade_server.bridge import Bridge
from noodle_upgrade_server.errors import (
    ControlInternalError,
    MethodError,
    NoAnswerError,
    OperationSlowError,
    PlanUnknownError,
    RouteUnknownError,
)
from noodle_upgrade_server.guard import Guard, answer, refusal
from noodle_upgrade_server.limits import Limits
from noodle_upgrade_server.protocol import PEER
from noodle_upgrade_server.security import Peer, Policy
from noodle_upgrade_server.streaming import EventStream, Feed

__all__ = ["ControlApi", "Identity", "control_app"]

_MOST_HISTORY = 1000
_METHOD_NOT_ALLOWED = 405


@frozen(kw_only=True)
class Identity:
    """What `/v1/health` says of the program."""

    program: str
    started_at: datetime
    core_version: str


class ControlApi:
    """The handlers; one per server, on the server's event loop."""

    def __init__(self, *, bridge: Bridge, feed: Feed, identity: Identity, limits: Limits) -> None:
        self._bridge = bridge
        self._feed = feed
        self._identity = identity
        self._limits = limits
        self._plans: collections.OrderedDict[str, UpgradePlan] = collections.OrderedDict()

    def routes(self) -> list[Route]:
        """Return the routes of the API."""

        def get(path: str, handler: Callable[[Request], Awaitable[Any]]) -> Route:
            return Route(f"/v1/{path}", handler, methods=["GET"])

        def post(path: str, handler: Callable[[Request], Awaitable[Any]]) -> Route:
            return Route(f"/v1/{path}", handler, methods=["POST"])

        return [
            get("health", self.health),
            get("status", self.status),
            get("components", self.components),
            get("versions", self.versions),
            post("plans", self.plan),
            post("upgrades", self.start),
            get("upgrades/{upgrade_id}", self.upgrade),
            post("upgrades/{upgrade_id}/cancel", self.cancel),
            post("upgrades/{upgrade_id}/approve", self.approve),
            post("upgrades/{upgrade_id}/pause", self.pause),
            post("upgrades/{upgrade_id}/resume", self.resume),
            post("upgrades/{upgrade_id}/promote", self.promote),
            post("rollbacks", self.rollback),
            get("rollback-points", self.rollback_points),
            get("history", self.history),
            get("events", self.events),
            get("operations", self.operations),
            post("operations/{name}", self.operate),
            get("plugins", self.plugins),
            get("config", self.config),
            get("doctor", self.doctor),
        ]

    # --- looking -------------------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """Say that the process lives, without asking its Upgrader."""
        Query.of(request)
        return answer({"status": "ok", "pid": os.getpid(), **to_wire(self._identity)})

    async def status(self, request: Request) -> Response:
        """Return the active upgrades and the statistics, or one upgrade."""
        upgrade_id = Query.of(request, "upgrade_id").text("upgrade_id")
        return answer(await self._look(lambda upgrader: upgrader.get_upgrade_status(upgrade_id)))

    async def components(self, request: Request) -> Response:
        """Return what runs now."""
        Query.of(request)
        found = await self._bridge.call(lambda upgrader: upgrader.components(), limit=self._limits.work_seconds)
        return answer({"components": found})

    async def versions(self, request: Request) -> Response:
        """Return the versions of a component that the sources can list without asking an index, newest last."""
        component = Query.of(request, "component").text("component")
        found = await self._look(lambda upgrader: upgrader.list_versions(component))
        return answer({"versions": found})

    async def upgrade(self, request: Request) -> Response:
        """Return one upgrade, after at most `wait` seconds or its end."""
        wait = Query.of(request, "wait").seconds("wait", most=self._limits.wait_seconds)
        upgrade_id = _segment(request, "upgrade_id")
        shown = await self._look(lambda upgrader: upgrader.get_upgrade_status(upgrade_id))
        if wait and shown.get("result") is None and shown.get("status") in {"pending", "in_progress"}:
            # That it has not ended yet is an answer.
            with contextlib.suppress(NoAnswerError):
                await self._bridge.call(lambda upgrader: _ended(upgrader, upgrade_id), limit=wait)
            shown = await self._look(lambda upgrader: upgrader.get_upgrade_status(upgrade_id))
        return answer({"result": None, **shown})

    async def rollback_points(self, request: Request) -> Response:
        """Return what can be gone back to."""
        component = Query.of(request, "component").text("component")
        points = await self._read(lambda upgrader: upgrader.list_rollback_points(component))
        return answer({"rollback_points": points})

    async def history(self, request: Request) -> Response:
        """Return past and present upgrades, newest first."""
        query = Query.of(request, "limit", "component")
        limit = query.number("limit", 50, least=1, most=_MOST_HISTORY)
        component = query.text("component")
        rows = await self._read(lambda upgrader: upgrader.get_upgrade_history(limit, component_name=component))
        return answer({"history": rows})

    async def events(self, request: Request) -> EventStream:
        """Send events as they happen; `Last-Event-ID` before `after`, without both from now on."""
        query = Query.of(request, "after", "upgrade_id")
        resumed = request.headers.get("last-event-id")
        after = event_id(query.text("after"), "after") if query.text("after") else None
        if resumed:
            after = event_id(resumed, "Last-Event-ID")
        return EventStream(self._feed, after=after, upgrade_id=query.text("upgrade_id"), limits=self._limits)

    async def operations(self, request: Request) -> Response:
        """Return what plugins can be asked for by name, and for how many seconds each may be waited for here."""
        Query.of(request)
        # Every plugin is asked, each within its own time limit.
        found = await self._work(lambda upgrader: upgrader.list_operations())
        return answer({"operations": [self._offered(one) for one in found]})

    async def plugins(self, request: Request) -> Response:
        """Return the plugins that take part, with their hooks, and those that were left out, with the reason."""
        Query.of(request)
        return answer(await self._look(_plugins))

    async def config(self, request: Request) -> Response:
        """Return every effective setting with its origin, and what is odd about them; secrets are masked."""
        Query.of(request)
        settings = self._bridge.upgrader.settings
        return answer({"settings": settings.explain(), "problems": settings.problems()})

    async def doctor(self, request: Request) -> Response:
        """Return what is wrong with the durable state."""
        Query.of(request)
        findings = await self._bridge.call(lambda upgrader: upgrader.doctor(), limit=self._limits.work_seconds)
        return answer({"findings": findings})

    # --- changing ------------------------------------------------------------------------------------------------

    async def plan(self, request: Request) -> Response:
        """Make a plan and keep it."""
        body = take(PlanBody, await self._body(request))
        plan = await self._plan(body.requests, _peer(request))
        return answer({"plan": plan, "text": str(plan), "feasible": plan.feasible, "digest": plan.digest})

    async def start(self, request: Request) -> Response:
        """Begin to carry out a plan, and answer at once."""
        body = take(StartBody, await self._body(request))
        peer = _peer(request)
        if bool(body.plan_id) == bool(body.requests):
            raise InvalidRequestError("Give either plan_id or requests.", hint="POST /v1/plans makes a plan.")
        plan = self._kept(body.plan_id) if body.plan_id else await self._plan(body.requests, peer)
        # Whoever starts it asks for it, whoever made the plan.
        plan = evolve(plan, requests=tuple(evolve(one, requested_by=peer.name) for one in plan.requests))
        by = peer.name if body.approve else ""
        upgrade_id = await self._work(lambda upgrader: upgrader.start(plan, approved_by=by))
        return answer({"upgrade_id": upgrade_id}, status=202)

    async def cancel(self, request: Request) -> Response:
        """Stop an upgrade."""
        take(EmptyBody, await self._body(request))
        upgrade_id, by = _segment(request, "upgrade_id"), _peer(request).name
        status = await self._work(lambda upgrader: upgrader.cancel_upgrade(upgrade_id, by=by))
        return answer({"upgrade_id": upgrade_id, "status": status})

    async def approve(self, request: Request) -> Response:
        """Approve an upgrade that waits, in the peer's name."""
        body = take(ApproveBody, await self._body(request))
        upgrade_id, by = _segment(request, "upgrade_id"), _peer(request).name
        await self._look(lambda upgrader: upgrader.approve(upgrade_id, by=by, plan_digest=body.plan_digest))
        return answer({"upgrade_id": upgrade_id, "approved": True, "by": by})

    async def pause(self, request: Request) -> Response:
        """Let no more traffic of an upgrade move until somebody resumes it."""
        take(EmptyBody, await self._body(request))
        upgrade_id, by = _segment(request, "upgrade_id"), _peer(request).name
        await self._look(lambda upgrader: upgrader.pause_upgrade(upgrade_id, by=by))
        return answer({"upgrade_id": upgrade_id, "paused": True, "by": by})

    async def resume(self, request: Request) -> Response:
        """End a pause."""
        take(EmptyBody, await self._body(request))
        upgrade_id, by = _segment(request, "upgrade_id"), _peer(request).name
        await self._look(lambda upgrader: upgrader.resume_upgrade(upgrade_id, by=by))
        return answer({"upgrade_id": upgrade_id, "paused": False, "by": by})

    async def promote(self, request: Request) -> Response:
        """Go on without waiting for evidence: past the present wait, or past all that are left."""
        body = take(PromoteBody, await self._body(request))
        upgrade_id, by = _segment(request, "upgrade_id"), _peer(request).name
        await self._look(lambda upgrader: upgrader.promote_upgrade(upgrade_id, by=by, full=body.full))
        return answer({"upgrade_id": upgrade_id, "promoted": True, "full": body.full, "by": by})

    async def operate(self, request: Request) -> Response:
        """Ask a plugin for one of its operations, in the peer's name.

        The operation's own time limit ends it with an error of the plugin; what takes longer than the server's limit
        for work is not waited for any more.
        """
        body = take(OperationBody, await self._body(request))
        name, by = _segment(request, "name"), _peer(request).name
        try:
            result = await self._work(lambda upgrader: upgrader.operate(name, body.arguments, by=by))
        except NoAnswerError as error:
            raise OperationSlowError(
                f"The operation {name[:80]!r} gave no answer within {self._limits.work_seconds:g} s.",
                hint="Ask its plugin how far it is; what takes this long should answer at once, and go on by itself.",
            ) from error
        return answer({"result": result})

    async def rollback(self, request: Request) -> Response:
        """Go back to the version before."""
        body, by = take(RollbackBody, await self._body(request)), _peer(request).name
        result = await self._work(
            lambda upgrader: upgrader.rollback(body.component_name, rollback_id=body.rollback_id, requested_by=by)
        )
        return answer({"result": result})

    # --- inside --------------------------------------------------------------------------------------------------

    async def _body(self, request: Request) -> Any:
        Query.of(request)
        return with_defaults(await read_body(request, self._limits), self._bridge.upgrader.settings)

    def _offered(self, one: Operation) -> dict[str, Any]:
        own = one.seconds
        if own is None:
            own = self._bridge.upgrader.settings.runtime_upgrade.plugins.hook_timeout
        seconds = min(own, self._limits.work_seconds)
        return {"name": one.name, "help": one.help, "changes": one.changes, "seconds": seconds}

    async def _plan(self, requests: tuple[UpgradeRequest, ...], peer: Peer) -> UpgradePlan:
        if not requests:
            raise InvalidRequestError("A plan needs at least one request.")
        # The connection says who asks; what the body says of it is not believed.
        asked = [evolve(one, requested_by=peer.name) for one in requests]
        plan: UpgradePlan = await self._work(lambda upgrader: upgrader.plan(asked))
        self._plans[plan.plan_id] = plan
        while len(self._plans) > self._limits.plans:
            self._plans.popitem(last=False)
        return plan

    def _kept(self, plan_id: str) -> UpgradePlan:
        try:
            return self._plans[plan_id]
        except KeyError:
            raise PlanUnknownError(
                f"No plan {plan_id[:80]!r} is kept here.",
                hint=f"Plan again: the last {self._limits.plans} plans are kept, until the program ends.",
            ) from None

    async def _look(self, function: Callable[[Upgrader], Any]) -> Any:
        return await self._bridge.call(function, limit=self._limits.answer_seconds)

    async def _work(self, function: Callable[[Upgrader], Any]) -> Any:
        return await self._bridge.call(function, limit=self._limits.work_seconds)

    async def _read(self, function: Callable[[Upgrader], Any]) -> Any:
        """Read the journal in a thread: a long history must not hold up the loop that the program may serve on."""
        return await self._look(lambda upgrader: asyncio.to_thread(function, upgrader))


async def _ended(upgrader: Upgrader, upgrade_id: str) -> None:
    await upgrader.result(upgrade_id)


def _plugins(upgrader: Upgrader) -> dict[str, Any]:
    chosen = upgrader.plugins
    return {
        "plugins": [
            {
                "name": one.info.name,
                "distribution": one.info.distribution,
                "version": one.info.version,
                "hooks": chosen.hooks_of(one.info.name),
            }
            for one in chosen.plugins
        ],
        "failures": [{"name": failure.info.name, "error": failure.error} for failure in chosen.failures],
    }


def _peer(request: Request) -> Peer:
    peer: Peer = request.scope["state"][PEER]
    return peer


def _segment(request: Request, name: str) -> str:
    value: str = request.path_params[name]
    return value


def control_app(api: ControlApi, *, policy: Policy, limits: Limits) -> ASGIApp:
    """Return the ASGI application."""

    async def refused(_: Request, error: Exception) -> Response:
        return refusal(error if isinstance(error, UpgradeError) else _unexpected(error))

    async def no_route(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 0
        path = request.url.path[:200]
        if status == _METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
            return refusal(MethodError(f"{path} has no method {request.method}.", hint=f"It has {allowed}."))
        return refusal(RouteUnknownError(f"There is no {path} here.", hint="The API begins with /v1/."))

    app = Starlette(
        routes=api.routes(), exception_handlers={UpgradeError: refused, HTTPException: no_route, Exception: refused}
    )
    app.router.redirect_slashes = False
    return Guard(app, policy=policy, limits=limits)


def _unexpected(error: Exception) -> ControlInternalError:
    return ControlInternalError(
        f"The program met a defect while it answered: {type(error).__name__}.", hint="Its log has the whole story."
    )
