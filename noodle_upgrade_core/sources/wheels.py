"""Wheel files: what their names and metadata promise, checked against this interpreter and against their bytes."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from attrs import frozen
from packaging.metadata import parse_email
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from noodle_upgrade_core.errors import (
    ArtifactDamagedError,
    ArtifactIncompatibleError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
)
from noodle_upgrade_core.sources.trees import Contents, is_regular
from noodle_upgrade_core.store import archives

__all__ = ["WheelFacts", "WheelName", "read_wheel", "supported_tags"]

_LONGEST_METADATA = 16 << 20
_SHOWN = 3


@frozen(kw_only=True)
class WheelName:
    """What a wheel's file name says; `name` is normalised, `tags` are those of PEP 425."""

    file: str
    name: str
    version: Version
    build: tuple[int, str] | tuple[()] = ()
    tags: frozenset[Tag] = frozenset()

    @classmethod
    def of(cls, file: str) -> WheelName:
        """Read a file name; raises `ArtifactDamagedError` when it is not a wheel's."""
        try:
            name, version, build, tags = parse_wheel_filename(file)
        except ValueError as error:
            raise ArtifactDamagedError(
                f"{file!r} is not the name of a wheel.",
                hint="A wheel is called name-version-python-abi-platform.whl; do not rename it.",
                details={"file": file},
            ) from error
        return cls(file=file, name=canonicalize_name(name), version=version, build=build, tags=tags)

    def rank(self, supported: Mapping[Tag, int]) -> int | None:
        """Return how specific it is for this interpreter, 0 the most, or None when it does not fit."""
        return min((supported[tag] for tag in self.tags if tag in supported), default=None)

    def check_tags(self, supported: Mapping[Tag, int]) -> None:
        """Raise `ArtifactIncompatibleError` unless it is for this interpreter and platform."""
        if self.rank(supported) is None:
            tags = sorted(str(tag) for tag in self.tags)
            here = str(next(iter(supported)))
            raise ArtifactIncompatibleError(
                f"{self.file} is for {', '.join(tags[:_SHOWN])}; this is {here}.",
                hint="Take the wheel for this platform and Python, or a pure one (py3-none-any).",
                details={"file": self.file, "tags": tags, "here": here},
            )


@frozen(kw_only=True)
class WheelFacts:
    """A wheel that has been read and checked.

    `name` and `version` are spelled as in its metadata, `digest` is the file's sha256, `size` its bytes. `contents` is
    about the names that its files get when it is unpacked.
    """

    path: Path
    name: str
    version: str
    digest: str
    size: int
    tags: tuple[str, ...]
    contents: Contents
    requirements: tuple[str, ...]
    requires_python: str


def supported_tags() -> dict[Tag, int]:
    """Return the tags that this interpreter takes, the most specific first, with their rank."""
    found: dict[Tag, int] = {}
    for rank, tag in enumerate(sys_tags()):
        found.setdefault(tag, rank)
    return found


def read_wheel(path: Path, *, limits: archives.Limits, supported: Mapping[Tag, int]) -> WheelFacts:
    """Read a wheel and check all that can be checked without running it.

    Its name must parse and fit this interpreter (`supported_tags`), Requires-Python must allow it, its metadata must
    agree with its name, and every file must be recorded with its size and hash. Raises `ArtifactUnavailableError` when
    there is no such file, `ArtifactTooLargeError`, `ArtifactIncompatibleError` or `ArtifactDamagedError`.
    """
    filename = WheelName.of(path.name)
    filename.check_tags(supported)
    _check_file(path, limits)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with _named(filename), archives.Wheel.open(path, limits) as wheel:
            facts = _metadata(wheel, filename)
            wheel.check_record({name: _hashed(wheel.read(name)) for name in wheel.members})
            files = tuple(wheel.members)
    except OSError as error:
        raise ArtifactUnavailableError(
            f"{path} cannot be read: {error.strerror or error}.", details={"path": str(path)}
        ) from error
    return WheelFacts(
        path=path,
        name=facts.name,
        version=facts.version,
        digest=digest,
        size=path.stat().st_size,
        tags=tuple(sorted(str(tag) for tag in filename.tags)),
        contents=Contents.of(files),
        requirements=facts.requirements,
        requires_python=facts.requires_python,
    )


@frozen(kw_only=True)
class _Metadata:
    name: str
    version: str
    requirements: tuple[str, ...]
    requires_python: str


def _check_file(path: Path, limits: archives.Limits) -> None:
    if not is_regular(path):
        raise ArtifactUnavailableError(
            f"there is no wheel {path}.",
            hint="Give a path that the running process can read; addresses on the web are not fetched.",
            details={"path": str(path)},
        )
    if (size := path.stat().st_size) > limits.max_bytes:
        raise ArtifactTooLargeError(
            f"{path.name} has {size:,} bytes, and {limits.max_bytes:,} are allowed.",
            hint="Raise `runtime_upgrade.limits.max_artifact_bytes` if that is meant.",
            details={"bytes": size, "limit": limits.max_bytes},
        )


@contextlib.contextmanager
def _named(filename: WheelName) -> Iterator[None]:
    """Put the wheel's name into what is raised about an archive."""
    try:
        yield
    except (ArtifactDamagedError, ArtifactTooLargeError) as error:
        if error.message.startswith(filename.file):
            raise
        raise type(error)(
            f"{filename.file}: {error.message}",
            hint=error.hint or "Raise `runtime_upgrade.limits` if that is meant.",
            details={"file": filename.file, **error.details},
        ) from error


def _hashed(chunks: Iterator[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _metadata(wheel: archives.Wheel, filename: WheelName) -> _Metadata:
    folder = _dist_info(wheel, filename)
    _check_format(_text(wheel, f"{folder}/WHEEL", filename), filename)
    raw, _ = parse_email(_text(wheel, f"{folder}/METADATA", filename))
    name, version = raw.get("name", ""), raw.get("version", "")
    if canonicalize_name(name) != filename.name or _version(version) != filename.version:
        _damaged(filename, f"its metadata says that it is {name or 'nothing'} {version}".rstrip())
    requires_python = raw.get("requires_python", "")
    _check_python(requires_python, filename)
    return _Metadata(
        name=name,
        version=version,
        requirements=tuple(raw.get("requires_dist", ())),
        requires_python=requires_python,
    )


def _dist_info(wheel: archives.Wheel, filename: WheelName) -> str:
    folders = sorted({top for name in wheel.members if (top := name.partition("/")[0]).endswith(".dist-info")})
    if len(folders) != 1:
        _damaged(filename, f"it has {len(folders)} folders called *.dist-info, and one is needed")
    name, _, version = folders[0].removesuffix(".dist-info").partition("-")
    if canonicalize_name(name) != filename.name or _version(version) != filename.version:
        _damaged(filename, f"its metadata lies in {folders[0]!r}")
    return folders[0]


def _check_format(text: str, filename: WheelName) -> None:
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    version = lines.get("Wheel-Version", "").strip()
    if not version:
        _damaged(filename, "its WHEEL file names no Wheel-Version")
    if version.partition(".")[0] != "1":
        raise ArtifactIncompatibleError(
            f"{filename.file} is of wheel format {version}; formats 1.x can be read.",
            hint="Take a wheel of format 1.0.",
            details={"file": filename.file, "wheel_version": version},
        )


def _check_python(wanted: str, filename: WheelName) -> None:
    here = ".".join(str(part) for part in sys.version_info[:3])
    try:
        fits = SpecifierSet(wanted).contains(here, prereleases=True)
    except InvalidSpecifier as error:
        _damaged(filename, f"its Requires-Python {wanted!r} cannot be read", error)
    if not fits:
        raise ArtifactIncompatibleError(
            f"{filename.name} {filename.version} needs Python {wanted}; this is {here}.",
            hint="Choose a version for this Python.",
            details={"file": filename.file, "requires_python": wanted, "here": here},
        )


def _text(wheel: archives.Wheel, name: str, filename: WheelName) -> str:
    info = wheel.members.get(name)
    if info is None:
        _damaged(filename, f"{name} is missing")
    if info.file_size > _LONGEST_METADATA:
        _damaged(filename, f"{name} has {info.file_size:,} bytes: that is no metadata")
    try:
        return b"".join(wheel.read(name)).decode()
    except UnicodeDecodeError as error:
        _damaged(filename, f"{name} is not UTF-8", error)


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _damaged(filename: WheelName, what: str, cause: BaseException | None = None) -> NoReturn:
    raise ArtifactDamagedError(
        f"{filename.file} is damaged: {what}.",
        hint="Get the wheel again, from where it was built.",
        details={"file": filename.file},
    ) from cause
