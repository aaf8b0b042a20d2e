"""uvicorn's HTTP/1.1 protocol, with what a control socket needs besides: who asks, and no patience without end."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from noodle_upgrade_core.wire import dumps
from noodle_upgrade_server.errors import TooManyError
from noodle_upgrade_server.limits import Limits
from noodle_upgrade_server.security import Peer, peer_of

__all__ = ["PEER", "ControlProtocol"]

PEER = "noodle.peer"
_NOBODY = Peer("nobody", uid=-1)


class ControlProtocol(H11Protocol):
    """One connection; the scope's `state` gets its `Peer`.

    A connection beyond the limit is told so and closed. One that does not finish the head of a request, or does not
    read what it was sent, is cut off: to close it would be to wait for it.
    """

    def __init__(self, *, limits: Limits, **options: Any) -> None:
        super().__init__(**options)
        # The program may run a uvicorn of its own, whose access log is not for what happens here.
        self.access_log = False
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Find out who it is."""
        super().connection_made(transport)
        try:
            peer = peer_of(transport.get_extra_info("socket"))
        except OSError:
            peer = _NOBODY  # gone already
        self.app_state = {**self.app_state, PEER: peer}
        if len(self.connections) > self._limits.connections:
            transport.write(_too_many(self._limits.connections))
            transport.close()
            return
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the clock for a head runs until it is whole."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clocks."""
        self._stop_watching()
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Go on with the next request; half a head of it may be here already."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()
            self._watch_head()

    def pause_writing(self) -> None:
        """The client is behind with reading: it has a while to catch up."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._stop_waiting()
        super().resume_writing()

    def _stop_waiting(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_overdue)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_overdue(self) -> None:
        self._head_timer = None
        # Between two requests the time for keeping a connection alive counts, and uvicorn keeps it.
        if self.timeout_keep_alive_task is None and self.conn.their_state is h11.IDLE:
            self.transport.abort()


def _too_many(most: int) -> bytes:
    error = TooManyError(f"{most} connections are open already.", hint="Close some, or try again in a moment.")
    body = dumps({"error": error}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
