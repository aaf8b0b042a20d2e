"""Who is on the other end, and whether they may ask at all."""

from __future__ import annotations

import hmac
import ipaddress
import os
import pwd
import secrets
import socket
import struct
from collections.abc import Iterable

from attrs import frozen

from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_server.errors import ForbiddenError, ServeError, UnauthorizedError

__all__ = [
    "Peer",
    "Policy",
    "checked_token",
    "is_loopback",
    "new_token",
    "peer_of",
    "peers_can_be_told",
]

TOKEN_HOLDER = "token holder"  # noqa: S105 - a name for who has the token, no token
_CREDENTIALS = struct.Struct("3i")
_TOKEN_LENGTHS = range(16, 513)


@frozen
class Peer:
    """Who is connected. `uid` and `pid` are None on TCP, where nobody vouches for them."""

    name: str
    uid: int | None = None
    pid: int | None = None


def peers_can_be_told() -> bool:
    """Whether this system says which user is on the other end of a Unix socket."""
    return hasattr(socket, "SO_PEERCRED")


def peer_of(connection: socket.socket) -> Peer:
    """Return who is on the other end of a connected socket, as the kernel says; raises `OSError`."""
    if connection.family != socket.AF_UNIX:
        return Peer(TOKEN_HOLDER)
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return Peer(_user_name(uid), uid=uid, pid=pid)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def new_token() -> str:
    """Return a fresh token: 256 bits that nobody can guess, in letters that fit a header."""
    return secrets.token_urlsafe(32)


def checked_token(token: str) -> str:
    """Return a token that was given; raises `InvalidRequestError` for one that is weak or cannot be sent."""
    if not (token.isascii() and token.isprintable() and " " not in token) or len(token) not in _TOKEN_LENGTHS:
        raise InvalidRequestError(
            "A token must have 16 to 512 printable ASCII characters and no space.",
            hint="Leave it out: a good one is made and written where only this user can read it.",
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@frozen(kw_only=True)
class Policy:
    """Who is served: on a Unix socket this user and root, on TCP whoever has `token`."""

    token: str | None

    def check(self, peer: Peer, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `ForbiddenError` or `UnauthorizedError` unless this request may be looked at."""
        given: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            given.setdefault(name.lower(), []).append(value)
        if self.token is None:
            _check_user(peer)
        _check_host(given.get(b"host", []))
        if b"origin" in given:
            raise ForbiddenError(
                "The control API does not serve web pages of any origin.", hint="Use the `noodle` command."
            )
        if self.token is not None:
            self._check_token(self.token, given.get(b"authorization", []))

    @staticmethod
    def _check_token(token: str, given: list[bytes]) -> None:
        scheme, _, credentials = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        # Always one comparison, and in constant time: how long a refusal takes says nothing about the token.
        right = hmac.compare_digest(credentials.strip(), token.encode())
        if scheme.lower() != b"bearer" or not right:
            raise UnauthorizedError(
                "A bearer token is needed." if not given else "This token is not the one of this program.",
                hint="The file control.token in the state directory holds it, unless the program was given its own.",
            )


def _check_user(peer: Peer) -> None:
    if peer.uid not in {0, os.geteuid()}:
        raise ForbiddenError(
            f"This program is controlled by its own user and by root, not by {peer.name}.",
            hint="Run noodle as the user that runs the program.",
        )


def _check_host(given: list[bytes]) -> None:
    """Refuse names that are not this machine's: a page may have made one of its own point here (DNS rebinding)."""
    host = given[0].decode("latin-1").strip() if len(given) == 1 else ""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if not is_loopback(name.lower()):
        raise ForbiddenError(
            "The Host header must name this machine: localhost, or a loopback address.",
            hint="Connect to 127.0.0.1; for another machine, use a tunnel such as `ssh -L`.",
        )


def check_bind(host: str) -> None:
    """Raise `ServeError` unless a host to listen at is a loopback address."""
    if not is_loopback(host):
        raise ServeError(
            f"The control API listens at loopback addresses only, and {host!r} is none.",
            hint="Use 127.0.0.1, and a tunnel such as `ssh -L` from another machine.",
        )
