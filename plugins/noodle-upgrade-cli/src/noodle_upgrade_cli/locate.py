"""Find the running program: its state directory, and in it the file that says where its control API listens."""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from noodle_upgrade_cli.failures import ControlRefusedError, NotRunningError, UsageMistakeError
from noodle_upgrade_cli.options import Options
from noodle_upgrade_core import __version__ as core_version

__all__ = ["Address", "find", "is_alive", "state_directory", "version_warning"]

DEFAULT_DIRECTORY = ".noodle"
_MOST_BYTES = 1 << 20
_HOW_TO_START = (
    "Start a program with `noodle run module:app`, or embed `serve(upgrader)` in it; if one runs, name its state"
    " directory with --state or NOODLE_STATE_DIRECTORY."
)


@frozen(kw_only=True)
class Address:
    """Where a control API listens: a Unix socket, or a URL and a token. `pid` is 0 where it is not known."""

    socket: str = ""
    url: str = "http://localhost"
    token: str = field(default="", repr=False)
    pid: int = 0
    directory: str = ""

    @property
    def shown(self) -> str:
        """The address in words."""
        return self.socket or self.url


def find(options: Options, environ: Mapping[str, str], *, warn: Callable[[str], None]) -> Address:
    """Return where the running program listens.

    `--url` wins; else the state directory is read. Raises `NotRunningError` where there is nothing to talk to, and
    `ControlRefusedError` where what is there cannot be trusted or read.
    """
    if options.url:
        return Address(url=_checked_url(options.url), token=_token(options, environ, None))
    directory = state_directory(options, environ, warn=warn)
    pointer = _pointer(directory)
    socket = str(pointer.get("socket") or "")
    if socket:
        return Address(socket=str(directory / socket), pid=_pid(pointer), directory=str(directory))
    url = str(pointer.get("url") or "")
    if not url:
        raise NotRunningError(f"{directory / 'control.json'} names neither a socket nor a URL.", hint=_HOW_TO_START)
    named = str(pointer.get("token_file") or "")
    token = _token(options, environ, _named_token_file(directory, named) if named else _first_token_file(directory))
    return Address(url=_checked_url(url), token=token, pid=_pid(pointer), directory=str(directory))


def state_directory(options: Options, environ: Mapping[str, str], *, warn: Callable[[str], None]) -> Path:
    """Return the state directory: `--state`, NOODLE_STATE_DIRECTORY, a settings file's `state_directory`, `./.noodle`.

    Settings that cannot be read only warn here: who must roll back now must not have to mend a file first.
    """
    named = options.state or environ.get("NOODLE_STATE_DIRECTORY", "")
    if named:
        return Path(named)
    files = [Path(file) for file in options.config]
    files = files or [file for file in (Path("noodle.toml"), Path("noodle.json")) if file.is_file()]
    for file in reversed(files):
        try:
            text = file.read_bytes()[:_MOST_BYTES].decode()
            document = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
            value = document.get("runtime_upgrade", {}).get("state_directory")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            warn(f"{file} could not be read for its state_directory ({type(error).__name__}: {error}).")
            continue
        if isinstance(value, str) and value:
            return Path(value)
    return Path(DEFAULT_DIRECTORY)


def is_alive(pid: int) -> bool:
    """Return whether a process with this id runs, whoever owns it; an ended one that nobody waited for does not."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and another user's
    return not _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Return whether a process is only an entry in the system's table by now; False where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The name in brackets may hold anything, also brackets.
    return stat.rpartition(")")[2].lstrip()[:1] in {"Z", "X"}


def version_warning(health: Mapping[str, Any]) -> str:
    """Return a warning when the program's core is of another release series than the one installed here."""
    theirs = str(health.get("core_version") or "")
    if not theirs or _series(core_version) == _series(theirs):
        return ""
    words = f"The program runs noodle-upgrade-core {theirs}, this command {core_version}"
    return f"{words}: what one of them does not know is left out."


def _series(version: str) -> tuple[str, ...]:
    parts = version.split(".")
    return tuple(parts[:2] if parts[0] == "0" else parts[:1])


def _pointer(directory: Path) -> dict[str, Any]:
    path = directory / "control.json"
    try:
        with path.open("rb") as file:
            # Whoever writes this file decides whom we talk to, and with a token.
            owner = os.fstat(file.fileno()).st_uid
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        if (directory / "control.sock").exists():
            return {"socket": "control.sock"}
        raise NotRunningError(f"No running program was found in {directory}.", hint=_HOW_TO_START) from None
    except PermissionError as error:
        raise ControlRefusedError(
            f"{path} may not be read: it belongs to another user.",
            hint="Run noodle as the user that runs the program.",
        ) from error
    except OSError as error:
        raise NotRunningError(f"{path} could not be read: {error}.", hint=_HOW_TO_START) from error
    if owner != os.geteuid() and os.geteuid() != 0:
        raise ControlRefusedError(
            f"{path} belongs to user {owner}, so it is not believed.",
            hint="Run noodle as the user that runs the program, or name another directory with --state.",
        )
    try:
        pointer = json.loads(content)
    except (ValueError, RecursionError):
        pointer = None
    if not isinstance(pointer, dict):
        raise NotRunningError(f"{path} is damaged: it holds no JSON object.", hint=_HOW_TO_START)
    return pointer


def _pid(pointer: Mapping[str, Any]) -> int:
    pid = pointer.get("pid")
    return pid if isinstance(pid, int) and not isinstance(pid, bool) else 0


def _named_token_file(directory: Path, named: str) -> Path:
    file = directory / named
    # The pointer may be another user's where root runs this: it must not choose what root reads and sends.
    if file.resolve().parent != directory.resolve():
        raise ControlRefusedError(
            f"{directory / 'control.json'} names a token file outside its folder: {named!r}.",
            hint="Name the right one with --token-file.",
        )
    return file


def _first_token_file(directory: Path) -> Path | None:
    return next((f for n in ("control.token", "token") if (f := directory / n).is_file()), None)


def _token(options: Options, environ: Mapping[str, str], file: Path | None) -> str:
    file = Path(options.token_file) if options.token_file else file
    if not options.token_file and environ.get("NOODLE_TOKEN"):
        token = environ["NOODLE_TOKEN"].strip()
    elif file is not None:
        try:
            token = file.read_bytes()[:4096].decode("ascii").strip()
        except (OSError, ValueError) as error:
            raise ControlRefusedError(
                f"The token file {file} could not be read: {error}.", hint="Name it with --token-file."
            ) from error
    else:
        token = ""
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageMistakeError(
            "The token holds characters that no token has.", hint="Look into the token's file, and at NOODLE_TOKEN."
        )
    return token


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageMistakeError(f"{url!r} is no address of a control API.", hint="Write it as `http://127.0.0.1:8765`.")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise UsageMistakeError(
            f"{url!r} would send the token readable over the network.",
            hint="Use https, or a tunnel: `ssh -L 8765:127.0.0.1:8765 HOST`, then `--url http://127.0.0.1:8765`.",
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
