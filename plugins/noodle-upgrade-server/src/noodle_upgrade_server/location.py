"""Where a control server listens, and the files that say so: lock, socket, token, pointer; none readable by others.

The state directory holds `control.json` {socket or url, pid, started_at, token_file}, which clients read,
`control.sock`, and `control.token` on TCP. The lock keeps two servers apart, so that whatever a dead one left behind
can be replaced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from noodle_upgrade_core.journal.leases import Holder, this_process
from noodle_upgrade_server.errors import AlreadyServedError, NoRoomError, ServeError
from noodle_upgrade_server.security import check_bind, peer_of

__all__ = ["Listener", "Lock", "listen_tcp", "listen_unix", "remove_pointer", "write_pointer", "write_private"]

POINTER = "control.json"
SOCKET = "control.sock"
TOKEN = "control.token"  # noqa: S105 - a file's name
LOCK = "control.lock"
_MOST_PATH_BYTES = 107
_BACKLOG = 128
_SHORT_PREFIX = "noodle-"
_PROBE_SECONDS = 1.0
_LOCK_TRIES = 20


# --- one server per state directory ------------------------------------------------------------------------------


class Lock:
    """An exclusive lock on a state directory's control files; gone with the process, also after kill -9."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK
        self._handle = -1

    def acquire(self) -> None:
        """Take the lock; raises `AlreadyServedError` naming who has it, `ServeError` where there can be none."""
        with _told(self._path):
            for _ in range(_LOCK_TRIES):
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                try:
                    if self._try(handle):
                        self._handle, handle = handle, -1
                        return
                finally:
                    if handle >= 0:
                        os.close(handle)
        raise AlreadyServedError(f"{self._path} changes hands all the time.", hint="Start one program at a time.")

    def _try(self, handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = Holder.parse(os.pread(handle, 1000, 0).decode(errors="replace").strip())
            if holder is None or not holder.is_dead():
                raise _served_already(str(self._path.parent), holder.pid if holder else 0) from None
            # A child that the dead server forked has inherited the lock, and will never serve: leave it that file.
            self._path.unlink(missing_ok=True)
            return False
        if not _is_at(handle, self._path):
            return False  # whoever had it has removed it meanwhile
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{this_process()}\n".encode(), 0)
        return True

    def release(self) -> None:
        """Let others in; may be called twice."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            # A forked child may have this handle, too, and keep the lock: on a file that nobody else will open.
            if _is_at(handle, self._path):
                self._path.unlink(missing_ok=True)
            os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _served_already(where: str, pid: int) -> AlreadyServedError:
    who = f"process {pid}" if pid else "another process"
    return AlreadyServedError(
        f"{where} is served already, by {who}.",
        hint="Stop that one, or give this program another state directory.",
        details={"pid": pid},
    )


# --- sockets -----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Listener:
    """A listening socket. `path` is that of a Unix socket, `url` that of TCP; `folder` is removed with the socket."""

    socket: socket.socket
    path: Path | None = None
    url: str = ""
    folder: Path | None = None
    _identity: tuple[int, int] = field(default=(0, 0), alias="identity")

    def close(self) -> None:
        """Stop listening, and remove what is ours of the files."""
        self.socket.close()
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                found = self.path.lstat()
                if (found.st_dev, found.st_ino) == self._identity:
                    self.path.unlink()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def listen_unix(directory: Path, wanted: Path | None) -> Listener:
    """Listen at a Unix socket of mode 0600, in the state directory unless another path is wanted.

    Replaces the socket of a dead process. Raises `AlreadyServedError` for one that is served, `ServeError` for a path
    that cannot be a socket. A path that is too long for the system gives a short one in a folder of its own.
    """
    if wanted is None and _fits(directory.absolute() / SOCKET):
        return _bound(directory.absolute() / SOCKET)
    if wanted is not None:
        if not _fits(wanted.absolute()):
            raise ServeError(
                f"{wanted} is too long for a socket: the system takes {_MOST_PATH_BYTES} bytes.",
                hint="Leave it out: a short one is made, and control.json names it.",
            )
        return _bound(wanted.absolute())
    with _told(directory):
        folder = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir=_short_place()))
    try:
        return _bound(folder / SOCKET, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _fits(path: Path) -> bool:
    # The name under which it is bound first is as long as `control.sock`, or 12 bytes longer than another's folder.
    longest = max(len(os.fsencode(path)), len(os.fsencode(path.parent)) + len("/.cxxxxxxxx/s"))
    return longest <= _MOST_PATH_BYTES


def _short_place() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for place in (runtime, tempfile.gettempdir(), "/tmp"):  # noqa: S108 - the folder made in it has mode 0700
        if place and os.access(place, os.W_OK | os.X_OK) and _fits(Path(place) / (_SHORT_PREFIX + "xxxxxxxx") / SOCKET):
            return Path(place)
    raise ServeError("No folder has a path short enough for a socket.", hint="Set TMPDIR, or listen on a port.")


def _bound(path: Path, folder: Path | None = None) -> Listener:
    with _told(path):
        _check_replaceable(path)
        # Nobody else can enter a folder of mode 0700: so there is no moment in which the socket is open to others,
        # and none in which its name leads nowhere.
        cradle = Path(tempfile.mkdtemp(prefix=".c", dir=path.parent))
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(cradle / "s"))
            (cradle / "s").chmod(0o600)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            found = (cradle / "s").lstat()
            (cradle / "s").replace(path)
        except BaseException:
            listening.close()
            raise
        finally:
            shutil.rmtree(cradle, ignore_errors=True)
    return Listener(socket=listening, path=path, folder=folder, identity=(found.st_dev, found.st_ino))


def _check_replaceable(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ServeError(f"{path} is there, and is no socket.", hint="Move it away, or name another path.")
    pid = _served_by(path)
    if pid is not None:
        raise _served_already(str(path), pid)


def _served_by(path: Path) -> int | None:
    """Return the process that listens at a socket, 0 where the system does not tell, None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:
            return 0
        pid = peer_of(probe).pid or 0
    # A child that was forked may hold the socket of a dead server open: nobody will ever answer there.
    return None if pid and _has_ended(pid) else pid


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def listen_tcp(host: str, port: int) -> Listener:
    """Listen on a loopback address; port 0 takes a free one. Raises `ServeError`."""
    check_bind(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its number: asyncio turns Nagle's delay off only where a socket says that it is TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        listening.close()
        raise ServeError(
            f"The control API cannot listen at {host}:{port}: {error}.", hint="Use another port, or 0 for a free one."
        ) from error
    bound = listening.getsockname()
    shown = f"[{bound[0]}]" if family == socket.AF_INET6 else bound[0]
    return Listener(socket=listening, url=f"http://{shown}:{bound[1]}")


# --- files -------------------------------------------------------------------------------------------------------


def write_private(path: Path, text: str) -> None:
    """Put a file of mode 0600 in place, whole or not at all; raises `ServeError`."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    with _told(path):
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def write_pointer(directory: Path, pointer: Mapping[str, Any]) -> None:
    """Say where the server listens; sweeps away what a killed server had outside of the state directory."""
    _sweep(directory)
    write_private(directory / POINTER, json.dumps(dict(pointer), indent=2) + "\n")


def remove_pointer(directory: Path) -> None:
    """Nobody listens any more."""
    (directory / POINTER).unlink(missing_ok=True)


def _sweep(directory: Path) -> None:
    """Remove the short folder of a server that was killed: only one that is ours, private, and named like ours."""
    try:
        old = json.loads((directory / POINTER).read_bytes()[:10_000])
        socket_path = Path(str(old["socket"]))
        folder = socket_path.parent
        found = folder.lstat()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # no pointer, or none of ours
    ours = found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == stat.S_IRWXU
    if ours and socket_path.is_absolute() and folder.name.startswith(_SHORT_PREFIX) and socket_path.name == SOCKET:
        with contextlib.suppress(OSError):
            if _served_by(socket_path) is None:
                socket_path.unlink(missing_ok=True)
                folder.rmdir()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn an `OSError` about a file into an error that says what to do."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoRoomError(f"{path} cannot be used for the control API: {reason}.", hint="Make room.") from error
        hint = "Check that the folder is there, and that this user may write to it."
        if error.errno == errno.ELOOP:
            hint = "It is a symbolic link: remove it."
        raise ServeError(f"{path} cannot be used for the control API: {reason}.", hint=hint) from error
