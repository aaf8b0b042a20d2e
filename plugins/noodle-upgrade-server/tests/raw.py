"""Bytes on a socket, for what no well-behaved client would send."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from noodle_upgrade_server import ControlServer


class Raw:
    def __init__(self, control: ControlServer, *, receive_buffer: int = 0) -> None:
        if control.socket is not None:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            where: object = str(control.socket)
        else:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            parts = urlsplit(control.url)
            where = (parts.hostname, parts.port)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(where)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def all(self) -> bytes:
        """Everything until the other side closes."""
        parts = []
        try:
            while part := self.socket.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def status(self) -> int:
        return int(self.all().split(b" ", 2)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
