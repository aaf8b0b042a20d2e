"""A running program's control API for tests: a real server on a real Unix socket that speaks the documented routes.

What a program would do is scripted by the test: `Program.begin`, `Program.move`, `Program.emit`, `Program.finish`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

STARTED = "2031-05-04T10:00:00+00:00"


def step(name: str, old: str, new: str, **verdict: Any) -> dict[str, Any]:
    return {
        "component": {"name": name, "version": old, "component_type": "runtime"},
        "from_version": old,
        "to_version": new,
        "path": [old, new],
        "verdict": {
            "feasible": True,
            "mechanism": "patch",
            "reasons": ["every binding can be replaced"],
            "blockers": [],
            "warnings": [],
            "expected_seconds": 0.4,
            "pause_seconds": 0.0002,
        }
        | verdict,
    }


class Program:
    """The state behind the API. `on_start` is called with the upgrade id, in a thread of its own."""

    def __init__(self) -> None:
        self.components = [
            {
                "name": "greeter",
                "version": "1.0",
                "component_type": "runtime",
                "hot_swappable": True,
                "critical": False,
            },
            {"name": "engine", "version": "2.0", "component_type": "runtime", "critical": True},
        ]
        self.verdict: dict[str, Any] = {}
        self.findings: list[dict[str, Any]] = []
        self.level = "strict"
        self.critical = False
        self.plans: dict[str, dict[str, Any]] = {}
        self.upgrades: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.points: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.on_start: Callable[[str], None] = self.go_well
        self.drop_stream_after: list[int] = []
        self.overlap = 0
        self.doctor: list[dict[str, Any]] = []
        self.token = ""
        self.core_version = "0.1.0"
        self.pid = os.getpid()
        self.answers: dict[str, Callable[[], Response]] = {}
        self._changed: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.closing = False
        self._lock = threading.RLock()
        self._watched = threading.Event()

    # --- what happens --------------------------------------------------------------------------------------------

    def emit(self, kind: str, upgrade_id: str = "", message: str = "", **data: Any) -> None:
        with self._lock:
            self.events.append(
                {
                    "kind": kind,
                    "sequence": len(self.events) + 1,
                    "at": STARTED,
                    "upgrade_id": upgrade_id,
                    "component_name": "greeter",
                    "message": message,
                    "data": data,
                }
            )
            for loop, event in self._changed:
                loop.call_soon_threadsafe(event.set)

    def wait_for_a_watcher(self) -> None:
        assert self._watched.wait(20)

    def move(self, upgrade_id: str, phase: str) -> None:
        state = self.upgrades[upgrade_id]
        before, state["phase"] = state["phase"], phase
        state["awaits"] = ""
        self.emit("upgrade.phase", upgrade_id, f"greeter 1.0 -> 2.0: {phase}", **{"from": before, "to": phase})

    def wait_for_approval(self, upgrade_id: str) -> None:
        self.move(upgrade_id, "validated")
        self.upgrades[upgrade_id]["awaits"] = "a person's approval"
        self.emit("upgrade.approval_needed", upgrade_id, "greeter 1.0 -> 2.0 waits", awaits="a person's approval")

    def wait_at_a_gate(self, upgrade_id: str, gate: str) -> None:
        self.upgrades[upgrade_id]["awaits"] = f"the gate {gate!r}"
        said = f"greeter 1.0 -> 2.0 waits at the gate {gate!r}"
        self.emit("upgrade.approval_needed", upgrade_id, said, gate=gate, approvals=1)

    def pass_the_gate(self, upgrade_id: str) -> None:
        self.upgrades[upgrade_id]["awaits"] = ""
        self.emit("upgrade.step", upgrade_id, "shift to 100%", step="shift to 100%", weight=0.25)

    def finish(self, upgrade_id: str, phase: str = "done", error: dict[str, Any] | None = None) -> None:
        status = {"done": "completed", "rolled_back": "rolled_back"}.get(phase, "failed")
        self.upgrades[upgrade_id]["result"] = {
            "upgrade_id": upgrade_id,
            "success": phase == "done",
            "component_name": "greeter",
            "from_version": "1.0",
            "to_version": "2.0",
            "status": status,
            "phase": phase,
            "operations": ["staged greeter", "shift to 100%"],
            "error": error,
            "started_at": STARTED,
            "completed_at": "2031-05-04T10:00:02+00:00",
            "rollback_point": {"rollback_id": "rb-1"},
        }
        self.upgrades[upgrade_id]["error"] = error
        self.move(upgrade_id, phase)

    def go_well(self, upgrade_id: str) -> None:
        for phase in ("validated", "approved", "staged", "shifting"):
            self.move(upgrade_id, phase)
        arm = {"calls": 1200, "errors": 0, "in_flight": 2, "p50_ms": 1.2, "p99_ms": 8.0}
        self.emit(
            "upgrade.measured", upgrade_id, weight=1.0, safe=True,
            old=arm | {"version": "1.0"}, new=arm | {"version": "2.0"},
        )  # fmt: skip
        self.move(upgrade_id, "committed")
        self.finish(upgrade_id)

    def begin(self, upgrade_id: str, plan: dict[str, Any]) -> None:
        self.upgrades[upgrade_id] = {
            "upgrade_id": upgrade_id,
            "phase": "received",
            "status": "pending",
            "plan": plan,
            "plan_digest": "d1",
            "awaits": "",
            "weight": 0.0,
            "result": None,
            "error": None,
        }

    # --- the routes ----------------------------------------------------------------------------------------------

    @functools.cached_property
    def app(self) -> Starlette:
        routes = [
            Route("/v1/health", self._health),
            Route("/v1/components", self._components),
            Route("/v1/versions", self._versions),
            Route("/v1/plans", self._plan, methods=["POST"]),
            Route("/v1/upgrades", self._start, methods=["POST"]),
            Route("/v1/upgrades/{id}", self._upgrade),
            Route("/v1/upgrades/{id}/cancel", self._cancel, methods=["POST"]),
            Route("/v1/upgrades/{id}/approve", self._approve, methods=["POST"]),
            Route("/v1/status", self._status),
            Route("/v1/rollbacks", self._rollback, methods=["POST"]),
            Route("/v1/rollback-points", self._points),
            Route("/v1/history", self._history),
            Route("/v1/events", self._events),
            Route("/v1/doctor", self._doctor),
        ]
        return Starlette(routes=routes)

    async def _seen(self, request: Request) -> Response | None:
        body = await request.body()
        self.asked.append((request.method, request.url.path, json.loads(body) if body else None))
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return refusal(401, "control.unauthorized", "No.")
        answer = self.answers.get(request.url.path)
        return None if answer is None else answer()

    async def _health(self, request: Request) -> Response:
        return await self._seen(request) or JSONResponse(
            {"status": "ok", "pid": self.pid, "started_at": STARTED, "core_version": self.core_version}
        )

    async def _components(self, request: Request) -> Response:
        return await self._seen(request) or JSONResponse({"components": self.components})

    async def _versions(self, request: Request) -> Response:
        if (early := await self._seen(request)) is not None:
            return early
        if request.query_params["component"] != "greeter":
            return refusal(404, "component.unknown", "No such component.")
        return JSONResponse({"versions": ["1.0", "1.9", "1.10", "2.0"]})

    async def _plan(self, request: Request) -> Response:
        if (early := await self._seen(request)) is not None:
            return early
        requests = (await request.json())["requests"]
        known = {row["name"]: row["version"] for row in self.components}
        for one in requests:
            if one["component_name"] not in known:
                hint = "Did you mean 'greeter'?"
                return refusal(404, "component.unknown", f"No component {one['component_name']!r}.", hint)
        steps = [
            step(one["component_name"], str(known[one["component_name"]]), one["target_version"], **self.verdict)
            for one in requests
        ]
        for one in steps:
            one["component"]["critical"] = self.critical
        plan = {
            "plan_id": f"plan-{len(self.plans) + 1}",
            "requests": [{"strategy": "gradual", "validation_level": self.level} | one for one in requests],
            "steps": steps,
            "findings": self.findings,
            "dependents": [],
            "cost": {"seconds": 0.4, "pause_seconds": 0.0002, "download_bytes": 4096},
        }
        self.plans[plan["plan_id"]] = plan
        feasible = all(s["verdict"]["feasible"] for s in steps) and not self.findings
        return JSONResponse({"plan": plan, "text": "…", "feasible": feasible, "digest": "d1"})

    async def _start(self, request: Request) -> Response:
        if (early := await self._seen(request)) is not None:
            return early
        body = await request.json()
        upgrade_id = f"up-{len(self.upgrades) + 1}"
        self.begin(upgrade_id, self.plans[body["plan_id"]])
        threading.Thread(target=self.on_start, args=(upgrade_id,), daemon=True).start()
        return JSONResponse({"upgrade_id": upgrade_id}, status_code=202)

    async def _upgrade(self, request: Request) -> Response:
        if (early := await self._seen(request)) is not None:
            return early
        state = self.upgrades.get(request.path_params["id"])
        if state is None:
            return refusal(404, "upgrade.unknown", "No such upgrade.", "`noodle status` lists them.")
        return JSONResponse(state)

    async def _cancel(self, request: Request) -> Response:
        return await self._seen(request) or JSONResponse({"status": "cancelled"})

    async def _approve(self, request: Request) -> Response:
        if (early := await self._seen(request)) is not None:
            return early
        if (await request.json())["plan_digest"] != "d1":
            return refusal(422, "decision.approval_required", "This approval is for another plan.")
        return JSONResponse({"approved": True})

    async def _status(self, request: Request) -> Response:
        active = [state for state in self.upgrades.values() if not state["result"]]
        return await self._seen(request) or JSONResponse(
            {"enabled": True, "active": active, "counts": {"completed": 3}, "last_upgrade_at": STARTED}
        )

    async def _rollback(self, request: Request) -> Response:
        if (early := await self._seen(request)) is not None:
            return early
        self.begin("up-back", {})
        self.finish("up-back")
        return JSONResponse({"result": self.upgrades["up-back"]["result"]})

    async def _points(self, request: Request) -> Response:
        return await self._seen(request) or JSONResponse({"rollback_points": self.points})

    async def _doctor(self, request: Request) -> Response:
        return await self._seen(request) or JSONResponse({"findings": self.doctor})

    async def _history(self, request: Request) -> Response:
        return await self._seen(request) or JSONResponse({"history": self.history})

    async def _events(self, request: Request) -> Response:
        if (early := await self._seen(request)) is not None:
            return early
        after = int(request.headers.get("last-event-id") or request.query_params.get("after") or 0)
        after = max(0, after - self.overlap)
        return StreamingResponse(
            self._stream(after, request.query_params.get("upgrade_id", "")), media_type="text/event-stream"
        )

    async def _stream(self, after: int, upgrade_id: str) -> AsyncIterator[str]:
        changed = asyncio.Event()
        mine = (asyncio.get_running_loop(), changed)
        self._changed.append(mine)
        self._watched.set()
        budget = self.drop_stream_after.pop(0) if self.drop_stream_after else -1
        try:
            yield ": connected\nretry: 1000\n\n"
            while not self.closing:
                changed.clear()
                for event in [e for e in self.events if e["sequence"] > after]:
                    after = event["sequence"]
                    if upgrade_id and event["upgrade_id"] != upgrade_id:
                        continue
                    if budget == 0:
                        return
                    budget -= 1
                    yield f"id: {after}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n"
                try:
                    await asyncio.wait_for(changed.wait(), 0.2)
                except TimeoutError:
                    yield ": heartbeat\n\n"
        finally:
            self._changed.remove(mine)

    def hang_up(self) -> None:
        self.closing = True
        for loop, event in list(self._changed):
            loop.call_soon_threadsafe(event.set)


def refusal(status: int, code: str, message: str, hint: str = "") -> JSONResponse:
    error = {"code": code, "message": message, "hint": hint, "safe": "Nothing was changed.", "details": {}}
    return JSONResponse({"error": error}, status_code=status)


class Served:
    """A program's API on a Unix socket in a state directory, or on loopback TCP; stopped by `stop`."""

    def __init__(self, program: Program, directory: Path, *, tcp: bool = False) -> None:
        self.program = program
        self.directory = directory
        where: dict[str, Any] = {"host": "127.0.0.1", "port": 0} if tcp else {"uds": str(directory / "control.sock")}
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app, interface="asgi3", log_level="error", lifespan="off", timeout_graceful_shutdown=1, **where
            )
        )
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._ready = threading.Event()
        self.url = ""

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        # Whichever program is there now: several tests share one server.
        await self.program.app(scope, receive, send)

    def start(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup()
        if config.uds:
            pointer = {"socket": "control.sock", "pid": self.program.pid, "started_at": STARTED}
            (self.directory / "control.json").write_text(json.dumps(pointer))
        else:
            self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._server.main_loop()
        await self._server.shutdown()

    def stop(self) -> None:
        self._server.should_exit = True
        self.program.hang_up()
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def serving(program: Program, directory: Path, *, tcp: bool = False) -> Iterator[Served]:
    served = Served(program, directory, tcp=tcp).start()
    try:
        yield served
    finally:
        served.stop()
