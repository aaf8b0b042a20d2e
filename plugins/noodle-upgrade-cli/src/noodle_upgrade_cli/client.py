"""A client of a running program's control API: bounded in time and size, with typed errors."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from noodle_upgrade_cli.failures import ConnectionLostError, ControlRefusedError, NotRunningError, ProtocolError
from noodle_upgrade_cli.locate import Address, is_alive
from noodle_upgrade_cli.streaming import StreamEvent, split
from noodle_upgrade_core.errors import OperationUnknownError, UpgradeError, UpgradeUnknownError
from noodle_upgrade_core.isolation import in_words

__all__ = ["ControlClient"]

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 30.0
WORK_SECONDS = 660.0
"""For what fetches or changes something: planning may ask the index, a rollback may drain."""
SILENCE_SECONDS = 60.0
"""A stream that sends nothing for this long, not even a heartbeat, is dead."""
MOST_BYTES = 64 << 20

_UNTOUCHED = "Nothing was asked of the program."


class ControlClient:
    """Talks to one address; closed by `with`. Answers are the API's JSON objects, as they come.

    Every method raises `NotRunningError`, `ControlRefusedError`, `ConnectionLostError` or `ProtocolError` for what
    goes wrong on the way, and the program's own typed error for what it refuses.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        secure = address.url.startswith("https:")
        self._http = httpx.Client(
            base_url=address.url,
            transport=httpx.HTTPTransport(uds=address.socket or None, verify=secure),
            headers={"Authorization": f"Bearer {address.token}"} if address.token else {},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # --- the routes ----------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """Return who answers: `pid`, `program`, `started_at`, `core_version`."""
        if self.address.socket:
            self._knock()
        return self.get("/v1/health", limit=10.0)

    def components(self) -> list[dict[str, Any]]:
        """Return the components that run now."""
        return _rows(self.get("/v1/components", limit=WORK_SECONDS), "components")

    def plan(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Have a plan made; returns `plan`, `text`, `feasible`, `digest`."""
        return self.post("/v1/plans", {"requests": requests}, limit=WORK_SECONDS)

    def start(self, plan_id: str, *, approve: bool) -> str:
        """Begin to carry out a plan; returns the upgrade id."""
        answer = self.post("/v1/upgrades", {"plan_id": plan_id, "approve": approve}, limit=WORK_SECONDS)
        upgrade_id = answer.get("upgrade_id")
        if not isinstance(upgrade_id, str) or not upgrade_id:
            raise ProtocolError("The program started an upgrade without naming it.", hint="See `noodle status`.")
        return upgrade_id

    def upgrade(self, upgrade_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """Return one upgrade's state, after at most `wait` seconds or its end."""
        query = {"wait": f"{wait:g}"} if wait else {}
        return self.get(f"/v1/upgrades/{_segment(upgrade_id)}", query, limit=ANSWER_SECONDS + wait)

    def status(self) -> dict[str, Any]:
        """Return the active upgrades, counts and statistics."""
        return self.get("/v1/status")

    def cancel(self, upgrade_id: str) -> dict[str, Any]:
        """Stop an upgrade; returns `status`."""
        return self.post(f"/v1/upgrades/{_segment(upgrade_id)}/cancel", {}, limit=WORK_SECONDS)

    def approve(self, upgrade_id: str, plan_digest: str) -> dict[str, Any]:
        """Approve the plan with this digest."""
        return self.post(f"/v1/upgrades/{_segment(upgrade_id)}/approve", {"plan_digest": plan_digest})

    def pause(self, upgrade_id: str) -> dict[str, Any]:
        """Let no more traffic move until it is resumed; returns `by`."""
        return self.post(f"/v1/upgrades/{_segment(upgrade_id)}/pause", {})

    def resume(self, upgrade_id: str) -> dict[str, Any]:
        """End a pause; returns `by`."""
        return self.post(f"/v1/upgrades/{_segment(upgrade_id)}/resume", {})

    def promote(self, upgrade_id: str, *, full: bool = False) -> dict[str, Any]:
        """Go on without waiting for evidence: past the present wait, or past all that are left; returns `by`."""
        return self.post(f"/v1/upgrades/{_segment(upgrade_id)}/promote", {"full": full})

    def operations(self) -> list[dict[str, Any]]:
        """Return what plugins can be asked for by name."""
        return _rows(self.get("/v1/operations", limit=WORK_SECONDS), "operations")

    def operate(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Ask a plugin of the program for one of its operations; returns its JSON value."""
        if not name or "/" in name or name in {".", ".."}:
            raise OperationUnknownError(
                f"No plugin has an operation {name!r}.", hint="It is PLUGIN.OPERATION.", safe=_UNTOUCHED
            )
        path = f"/v1/operations/{quote(name, safe='')}"
        answer = self.post(path, {"arguments": dict(arguments or {})}, limit=WORK_SECONDS)
        if "result" not in answer:
            raise ProtocolError("The program answered an operation without a result.")
        return answer["result"]

    def rollback(self, component_name: str, rollback_id: str = "") -> dict[str, Any]:
        """Go back; returns `result`."""
        body = {"component_name": component_name} | ({"rollback_id": rollback_id} if rollback_id else {})
        return self.post("/v1/rollbacks", body, limit=WORK_SECONDS)

    def rollback_points(self, component_name: str = "") -> list[dict[str, Any]]:
        """Return what can be gone back to."""
        query = {"component": component_name} if component_name else {}
        return _rows(self.get("/v1/rollback-points", query), "rollback_points")

    def history(self, limit: int, component_name: str = "") -> list[dict[str, Any]]:
        """Return past upgrades, newest first."""
        query = {"limit": str(limit)} | ({"component": component_name} if component_name else {})
        return _rows(self.get("/v1/history", query), "history")

    def doctor(self) -> list[dict[str, Any]]:
        """Return what the program finds wrong with its own durable state."""
        return _rows(self.get("/v1/doctor", limit=WORK_SECONDS), "findings")

    # --- the wire ------------------------------------------------------------------------------------------------

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, limit: float = ANSWER_SECONDS
    ) -> dict[str, Any]:
        """Ask for a JSON object, within `limit` seconds."""
        return self._ask("GET", path, limit=limit, params=query)

    def post(self, path: str, body: Mapping[str, Any], *, limit: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Send a JSON object and return the one that is answered, within `limit` seconds."""
        return self._ask("POST", path, limit=limit, json=body)

    def events(self, *, after: int | None = 0, upgrade_id: str = "") -> Iterator[StreamEvent | None]:
        """Yield events as they happen, None for each heartbeat; ends when the other side closes.

        Raises `ConnectionLostError` when the stream breaks or falls silent.
        """
        query = {} if after is None else {"after": str(after)}
        query |= {"upgrade_id": upgrade_id} if upgrade_id else {}
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after else {})
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        with (
            self._translated("/v1/events", asked=True),
            self._http.stream("GET", "/v1/events", params=query, headers=headers, timeout=timeout) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise _refusal(response, _read(response, self._deadline(ANSWER_SECONDS)))
            yield from split(response.iter_bytes())

    def _knock(self) -> None:
        """Connect once by hand: the system's own errors say more than httpx hands on, and httpx forgets the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_SECONDS)
            try:
                probe.connect(self.address.socket)
            except OSError as error:
                raise _unreachable(self.address, error) from error

    def _ask(self, method: str, path: str, *, limit: float, **more: Any) -> dict[str, Any]:
        timeout = httpx.Timeout(limit, connect=CONNECT_SECONDS)
        deadline = self._deadline(limit)
        with (
            self._translated(path, asked=method == "GET"),
            self._http.stream(method, path, timeout=timeout, **more) as response,
        ):
            body = _read(response, deadline)
        if response.status_code >= httpx.codes.BAD_REQUEST:
            raise _refusal(response, body)
        return _object(body)

    @staticmethod
    def _deadline(limit: float) -> Callable[[], bool]:
        until = time.monotonic() + limit
        return lambda: time.monotonic() > until

    def _translated(self, path: str, *, asked: bool) -> _Translation:
        return _Translation(self.address, path, harmless=asked)


class _Translation:
    """Turns httpx's errors into ours; `harmless` says that the request could not have changed anything."""

    def __init__(self, address: Address, path: str, *, harmless: bool) -> None:
        self.address = address
        self.path = path
        self.safe = _UNTOUCHED if harmless else None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
            raise _unreachable(self.address, error) from error
        if isinstance(error, httpx.TimeoutException):
            raise ConnectionLostError(
                f"The program did not answer {self.path} in time.",
                hint="Look at it with `noodle status`; it may still be at work.",
                safe=self.safe,
            ) from error
        if isinstance(error, httpx.HTTPError):
            raise ConnectionLostError(
                f"The connection to the program broke: {in_words(error)}.",
                hint="Look at it with `noodle status`; after a crash a restart comes back on exactly one version.",
                safe=self.safe,
            ) from error


def _unreachable(address: Address, error: Exception) -> UpgradeError:
    if isinstance(error, PermissionError):
        return ControlRefusedError(
            f"The system does not let this user connect to {address.shown}.",
            hint="Run noodle as the user that runs the program.",
            safe=_UNTOUCHED,
        )
    if address.pid and not is_alive(address.pid):
        message = f"The program that listened at {address.shown} (process {address.pid}) is gone."
        hint = "Start it again: it comes back on the version that its journal names, which `noodle doctor` checks."
    elif address.pid:
        message = f"Process {address.pid} is there, but nothing listens at {address.shown}."
        hint = "Try again, in case it starts or stops just now; else look at its log."
    else:
        message = f"Nothing listens at {address.shown}: {error}."
        hint = "Start a program with `noodle run module:app`, or name the right address with --state or --url."
    return NotRunningError(message, hint=hint)


def _read(response: httpx.Response, late: Callable[[], bool]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        size += len(part)
        if size > MOST_BYTES:
            raise ProtocolError(f"The answer has more than {MOST_BYTES >> 20} MiB.")
        if late():
            raise httpx.ReadTimeout("the answer trickles in")
        parts.append(part)
    return b"".join(parts)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(
            "The answer is not JSON.", hint="Check --state and --url: this may be no control API of a noodle program."
        ) from error
    if not isinstance(value, dict):
        raise ProtocolError(f"The answer is JSON of type {type(value).__name__}, not an object.")
    return value


def _refusal(response: httpx.Response, body: bytes) -> UpgradeError:
    status = response.status_code
    try:
        wire = _object(body).get("error")
    except ProtocolError:
        wire = None
    if isinstance(wire, Mapping) and wire.get("message"):
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return ControlRefusedError(str(wire["message"]), hint=str(wire.get("hint") or _TOKEN_HINT), safe=_UNTOUCHED)
        return UpgradeError.from_wire(wire)
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return ControlRefusedError("The program does not accept this token.", hint=_TOKEN_HINT, safe=_UNTOUCHED)
    return ProtocolError(
        f"The program answered {response.request.url.path} with status {status} and no error of this API.",
        safe="",
    )


_TOKEN_HINT = "Give the program's token with --token-file or NOODLE_TOKEN."  # noqa: S105 - a hint, no token


def _rows(answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = answer.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ProtocolError(f"The answer has no list {key!r}.")
    return rows


def _segment(upgrade_id: str) -> str:
    """Return an id as one part of a path; raises `UpgradeUnknownError` for what no server would take for one."""
    if "/" in upgrade_id or upgrade_id in {"", ".", ".."}:
        raise UpgradeUnknownError(
            f"No upgrade has the id {upgrade_id!r}.",
            hint="`noodle status` and `noodle history` list them.",
            safe=_UNTOUCHED,
        )
    return quote(upgrade_id, safe="")
