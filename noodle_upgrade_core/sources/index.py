"""The package index, through pip: pip knows the user's index, proxy, certificates and credentials; we need not.

Only wheels are asked for, so no code of a package ever runs here.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from attrs import frozen
from packaging.utils import InvalidName, canonicalize_name

from noodle_upgrade_core import versions
from noodle_upgrade_core.errors import (
    ArtifactDigestError,
    ArtifactIncompatibleError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
    InvalidRequestError,
    UpgradeError,
    VersionUnknownError,
)

__all__ = ["PackageIndex"]

_KEPT_BYTES = 64 << 10
_GRACE = 2.0  # seconds for the last output to be read after pip has ended
_SHOWN_LINES = 12
_SHOWN_CHARACTERS = 500
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_LISTED = re.compile(r"\(from versions: ([^)]*)\)")
_NO_NETWORK = (
    "Retrying (",
    "Could not fetch URL",
    "NewConnectionError",
    "NameResolutionError",
    "ProxyError",
    "SSLError",
    "Read timed out",
    "ReadTimeoutError",
    "ConnectTimeoutError",
    "Network is unreachable",
)


@frozen(kw_only=True)
class PackageIndex:
    """Asks pip for exact versions, at most `timeout` seconds each, and no file over `max_bytes`."""

    timeout: float = 120.0
    max_bytes: int = 256 << 20
    python: str = sys.executable

    def confirm(self, name: str, version: str) -> None:
        """Raise as `download` does unless the index has a wheel of this version that fits; keeps nothing."""
        with tempfile.TemporaryDirectory(prefix="noodle-pip-") as folder:
            target = ["--dry-run", "--ignore-installed", "--target", str(Path(folder, "target"))]
            self._run("install", target, name, version, Path(folder))

    @contextlib.contextmanager
    def download(self, name: str, version: str) -> Iterator[Path]:
        """Give the path of the wheel, which lasts as long as the block.

        Raises `VersionUnknownError` when the index has no such version as a wheel, `ArtifactIncompatibleError` when it
        is for another Python, `ArtifactTooLargeError`, `ArtifactDigestError` when it is not what the index announced,
        and `ArtifactUnavailableError` when pip or the network fails.
        """
        with tempfile.TemporaryDirectory(prefix="noodle-pip-") as folder:
            wheels = Path(folder, "wheels")
            self._run("download", ["--dest", str(wheels)], name, version, Path(folder))
            found = sorted(wheels.glob("*.whl"))
            if len(found) != 1:
                raise ArtifactUnavailableError(
                    f"pip said that it downloaded {name} {version}, and left {len(found)} wheels.",
                    hint="Download the wheel yourself and give its path.",
                )
            yield found[0]

    def _run(self, command: str, options: list[str], name: str, version: str, folder: Path) -> None:
        requirement = _requirement(name, version)
        arguments = [
            *(self.python, "-P", "-m", "pip", command, "--no-deps", "--only-binary", ":all:", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar", "off", *options, requirement),
        ]
        if not self.python:
            raise ArtifactUnavailableError("this program has no Python interpreter to run pip with.", hint=_BY_HAND)
        ended, output = self._output(arguments, folder)
        if ended is None:
            raise ArtifactUnavailableError(
                f"pip did not get {requirement} within {self.timeout:g} seconds.",
                hint="Raise `runtime_upgrade.sources.wheel.pip_timeout`, or give the path of a wheel.",
                details={"output": _last_lines(output)},
            )
        if ended != 0:
            raise self._error(requirement, version, output)

    def _output(self, arguments: list[str], folder: Path) -> tuple[int | None, str]:
        """Run to the end, or to the time limit (None); of what it prints the last part is kept."""
        environment = {**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8"}
        try:
            # A session of its own: what pip starts ends with it.
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ArtifactUnavailableError(
                f"pip could not be started: {error.strerror or error}.", hint=_BY_HAND
            ) from error
        self._limit_files(process.pid)
        with process:
            kept: collections.deque[bytes] = collections.deque(maxlen=_KEPT_BYTES // 1024)
            reader = threading.Thread(target=_keep, args=(process.stdout, kept), daemon=True, name="noodle-pip")
            reader.start()
            try:
                ended = process.wait(self.timeout)
                reader.join(_GRACE)
            except subprocess.TimeoutExpired:
                ended = None
            finally:
                # Whatever is left of the group keeps its number from being given to others.
                if process.poll() is None or reader.is_alive():
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                reader.join()
        return ended, b"".join(kept).decode("utf-8", "replace")

    def _limit_files(self, process_id: int) -> None:
        """Let the process write no file over the limit: a server must not be able to fill the disk through us."""
        try:
            import resource  # noqa: PLC0415 - not on every platform

            limit = getattr(resource, "prlimit", None)
            if limit is not None:
                limit(process_id, resource.RLIMIT_FSIZE, (self.max_bytes, self.max_bytes))
        except (ImportError, OSError, ValueError):
            return  # the size is checked again when the wheel is read

    def _error(self, requirement: str, version: str, output: str) -> UpgradeError:
        details = {"requirement": requirement, "output": _last_lines(output)}
        if "No module named pip" in output:
            return ArtifactUnavailableError(
                "there is no pip in this environment.",
                hint=f"Install it (`python -m ensurepip`). {_BY_HAND}",
                details=details,
            )
        if "File too large" in output or "Errno 27" in output:
            return ArtifactTooLargeError(
                f"{requirement} is larger than {self.max_bytes:,} bytes.",
                hint="Raise `runtime_upgrade.limits.max_artifact_bytes` if that is meant.",
                details=details,
            )
        if "DO NOT MATCH THE HASHES" in output:
            return ArtifactDigestError(
                f"{requirement} is not what the index announced.",
                hint="Somebody may have changed it on the way: look before you try again.",
                details=details,
            )
        if "No matching distribution found" in output or "Could not find a version" in output:
            return self._none_found(requirement, version, output, details)
        return ArtifactUnavailableError(
            f"pip could not get {requirement}: {_reason(output)}",
            hint=_BY_HAND,
            details=details,
        )

    def _none_found(self, requirement: str, version: str, output: str, details: Mapping[str, object]) -> UpgradeError:
        listed = _LISTED.search(output)
        names = [] if listed is None or listed[1] == "none" else [name.strip() for name in listed[1].split(",")]
        # An index that cannot be reached looks to pip like one that has nothing.
        if not names and any(sign in output for sign in _NO_NETWORK):
            return ArtifactUnavailableError(
                f"the package index could not be reached for {requirement}.",
                hint=f"Check the network and `pip config list`. {_BY_HAND}",
                details=details,
            )
        for line in output.splitlines():
            if "require a different python version" in line and re.search(rf"\b{re.escape(version)} Requires", line):
                return ArtifactIncompatibleError(
                    f"{requirement} is for another Python: {line.partition('version: ')[2] or line}.",
                    hint="Choose a version for this Python.",
                    details=details,
                )
        listed_names = versions.listing(names)
        return VersionUnknownError(
            f"the package index has no wheel of {requirement} for this Python.",
            hint=f"It has: {listed_names}." if listed_names else "It has no wheel of it at all; source is not built.",
            details={**details, "available": names},
        )


_BY_HAND = "Download the wheel yourself and give its path."


def _requirement(name: str, version: str) -> str:
    """Return `name==version`, sure to be nothing else: it becomes an argument of a command."""
    try:
        return f"{canonicalize_name(name, validate=True)}=={versions.parse(version)}"
    except InvalidName as error:
        raise InvalidRequestError(f"{name!r} cannot be the name of a distribution.") from error


def _keep(stream: IO[bytes] | None, kept: collections.deque[bytes]) -> None:
    while stream is not None and (chunk := stream.read(1024)):
        kept.append(chunk)


def _last_lines(output: str) -> list[str]:
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    return [_CREDENTIALS.sub("//***@", line)[:_SHOWN_CHARACTERS] for line in lines[-_SHOWN_LINES:]]


def _reason(output: str) -> str:
    lines = _last_lines(output)
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it gave no reason."])[-1]
