"""Server-sent events: bytes into events, bounded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from noodle_upgrade_cli.failures import ProtocolError

__all__ = ["StreamEvent", "split"]

MOST_EVENT_BYTES = 4 << 20


@frozen(kw_only=True)
class StreamEvent:
    """One event of the stream: its sequence number (0 when it has none), its kind, its JSON object."""

    sequence: int
    kind: str
    data: dict[str, Any]


def split(chunks: Iterable[bytes]) -> Iterator[StreamEvent | None]:
    """Yield the events of a stream as they complete, and None for each comment (a heartbeat).

    An event that is cut off at the end of the stream is dropped, as the standard says. Raises `ProtocolError` for an
    event that is too long or whose data is no JSON object.
    """
    fields: dict[str, list[str]] = {}
    size = 0
    for raw in _lines(chunks):
        size += len(raw)
        if size > MOST_EVENT_BYTES:
            raise ProtocolError("An event of the stream is too long.")
        if raw == b"":
            event = _event(fields)
            fields, size = {}, 0
            if event is not None:
                yield event
        elif raw.startswith(b":"):
            yield None
        else:
            name, _, value = raw.partition(b":")
            text = value.removeprefix(b" ").decode("utf-8", errors="replace")
            fields.setdefault(name.decode("ascii", errors="replace"), []).append(text)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *complete, rest = (rest + chunk).split(b"\n")
        for raw in complete:
            yield raw.removesuffix(b"\r")
        if len(rest) > MOST_EVENT_BYTES:
            raise ProtocolError("A line of the stream is too long.")


def _event(fields: dict[str, list[str]]) -> StreamEvent | None:
    if "data" not in fields:
        return None
    try:
        data = json.loads("\n".join(fields["data"]))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("An event of the stream is not JSON.") from error
    if not isinstance(data, dict):
        raise ProtocolError("An event of the stream is not an object.")
    number = fields.get("id", ["0"])[-1]
    sequence = int(number) if number.isascii() and number.isdigit() and len(number) < 20 else 0  # noqa: PLR2004 - 64 bits
    return StreamEvent(sequence=sequence, kind=fields.get("event", [str(data.get("kind", ""))])[-1], data=data)
