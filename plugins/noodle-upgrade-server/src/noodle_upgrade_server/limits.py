"""How much one client may take: bytes, seconds, connections."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Limits"]


@frozen(kw_only=True)
class Limits:
    """The bounds of a control server; `_bytes` are bytes, `_seconds` seconds, the rest are counts.

    `answer_seconds` is for what only looks, `work_seconds` for what fetches or changes something, and for what plugins
    are asked for by name, whose own time limits may be shorter; `wait_seconds` is the most that a client may ask to
    wait for an upgrade's end. `send_seconds` is how long a client may leave what it was sent unread. `events` are kept
    for readers that come, or come back, later; `plans` for those who start one.
    """

    body_bytes: int = 1 << 20
    body_depth: int = 32
    body_seconds: float = 10.0
    head_bytes: int = 16 << 10
    head_seconds: float = 10.0
    idle_seconds: int = 30
    answer_seconds: float = 25.0
    work_seconds: float = 600.0
    wait_seconds: float = 300.0
    send_seconds: float = 20.0
    connections: int = 128
    streams: int = 32
    heartbeat_seconds: float = 10.0
    events: int = 2000
    event_bytes: int = 1 << 20
    plans: int = 100
