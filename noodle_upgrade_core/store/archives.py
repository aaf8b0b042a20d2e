"""Archives from outside, read with care: every name and every size is checked before and while bytes are unpacked.

Nothing here writes. `Wheel.read` gives the members of a wheel one after the other, in chunks, and raises
`ArtifactDamagedError` or `ArtifactTooLargeError` at the first thing that is not as it should be.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import lzma
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from attrs import define, frozen

from noodle_upgrade_core.errors import ArtifactDamagedError, ArtifactTooLargeError

__all__ = ["CHUNK", "Limits", "Wheel", "check_names"]

CHUNK = 1 << 20
"""Bytes that are read at once."""
_NAME_BYTES = 255
_PATH_BYTES = 1024
_ENTRY_BYTES = 512
"""What one entry of a central directory may take on average; its own header has 46 bytes, the rest is its name."""
_WIDE = 0xFFFFFFFF
"""The length of a directory whose real length stands in the wide (ZIP64) record."""
_UNSIGNED = ("RECORD", "RECORD.jws", "RECORD.p7s")
"""The files of a wheel that its RECORD gives no hash for."""


@frozen(kw_only=True)
class Limits:
    """The most that one artefact may be: bytes packed, bytes unpacked, files."""

    max_bytes: int = 256 * 1024 * 1024
    max_unpacked_bytes: int = 1024 * 1024 * 1024
    max_files: int = 20_000


def check_names(names: Iterable[str]) -> None:
    """Refuse names of files that could leave their folder, or that not every file system tells apart."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        parts = _parts(name)
        folded = [unicodedata.normalize("NFC", part).casefold() for part in parts]
        key = "/".join(folded)
        if key in seen:
            same = "is there twice" if seen[key] == name else f"differs from {seen[key]!r} only in case"
            raise _damaged(f"{name!r} {same}")
        seen[key] = name
        for depth in range(1, len(parts)):
            folder, spelled = "/".join(folded[:depth]), "/".join(parts[:depth])
            if folders.setdefault(folder, spelled) != spelled:
                raise _damaged(f"the folder {spelled!r} differs from {folders[folder]!r} only in case")
    if both := sorted(seen.keys() & folders.keys()):
        raise _damaged(f"{seen[both[0]]!r} is a file and a folder")


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if "\\" in name or any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise _damaged(f"the name {name!r} has a backslash or a control character")
    if name.startswith("/") or (len(parts[0]) > 1 and parts[0][1] == ":"):
        raise _damaged(f"the name {name!r} is absolute")
    if any(part in {"", ".", ".."} for part in parts):
        raise _damaged(f"the name {name!r} leaves its folder")
    if len(name.encode()) > _PATH_BYTES or any(len(part.encode()) > _NAME_BYTES for part in parts):
        raise _damaged(f"the name {name[:40]!r}… is too long")
    return parts


def _damaged(words: str) -> ArtifactDamagedError:
    return ArtifactDamagedError(f"The archive is refused: {words}.", hint="Fetch or build it again.")


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """What a damaged archive makes the standard library raise, as our error."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, NotImplementedError, RuntimeError,
        OverflowError, UnicodeError, ValueError, OSError,
    ) as error:  # fmt: skip
        raise _damaged(f"it cannot be read ({str(error) or type(error).__name__})") from error


@frozen
class _Entry:
    digest: str
    size: int | None


@define
class Wheel:
    """A wheel that is open; `members` maps the name that a file gets in the tree to its place in the archive.

    What lies under `<name>.data/purelib` and `platlib` belongs at the root, as an installer would put it.
    """

    file: BinaryIO
    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]
    limits: Limits

    @classmethod
    def open(cls, path: Path, limits: Limits) -> Self:
        """Open a wheel and check its names and declared sizes; close it, or use it in a `with` block."""
        file = path.open("rb")
        try:
            _check_directory(file, limits)
            with _reading():
                archive = zipfile.ZipFile(file)
            with contextlib.ExitStack() as undo:
                undo.callback(archive.close)
                members = _members(archive.infolist(), limits)
                undo.pop_all()
        except BaseException:
            file.close()
            raise
        return cls(file, archive, members, limits)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self.archive.close()
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes; more or fewer than its header declares, or another checksum, is damage."""
        info = self.members[name]
        left = info.file_size
        with _reading(), self.archive.open(info) as member:
            while chunk := member.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise _damaged(f"{info.filename!r} is longer than it says")
                yield chunk
        if left:
            raise _damaged(f"{info.filename!r} is shorter than it says")

    def record(self) -> Mapping[str, _Entry | None]:
        """Return what RECORD says, by name in the tree: a sha256 and a size, or None for the files without a hash."""
        target = next((t for t in self.members if t.endswith(".dist-info/RECORD") and t.count("/") == 1), "")
        if not target:
            raise _damaged("it has no RECORD: it is not a wheel")
        with _reading():
            text = b"".join(self.read(target)).decode("utf-8")
            rows = [row for row in csv.reader(io.StringIO(text)) if row]
            return {_target(row[0]): _entry(row) for row in rows}

    def check_record(self, digests: Mapping[str, tuple[str, int]]) -> None:
        """Compare what was unpacked, `{name: (sha256, size)}`, with RECORD."""
        recorded = self.record()
        if missing := sorted(recorded.keys() - digests.keys()):
            raise _damaged(f"RECORD names {missing[0]!r}, which is not there")
        for name, (digest, size) in digests.items():
            entry = recorded.get(name)
            if entry is None:
                folder, _, last = name.rpartition("/")
                if last in _UNSIGNED and folder.endswith(".dist-info"):
                    continue
                words = "RECORD gives no hash for" if name in recorded else "RECORD does not name"
                raise _damaged(f"{words} {name!r}")
            if entry.digest != digest or entry.size not in {None, size}:
                raise _damaged(f"{name!r} is not as RECORD says")


def _entry(row: list[str]) -> _Entry | None:
    name, digest, size = (*row, "", "")[:3]
    if not digest:
        return None
    algorithm, _, text = digest.partition("=")
    if algorithm != "sha256":
        # SPEC of wheels: sha256 or better; the better ones are not what the store is built on.
        if algorithm not in hashlib.algorithms_guaranteed:
            raise _damaged(f"RECORD has an unknown kind of hash for {name!r}: {algorithm!r}")
        raise _damaged(f"RECORD has a {algorithm} for {name!r}; sha256 is what is checked")
    return _Entry(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex(), int(size) if size else None)


def _members(infos: list[zipfile.ZipInfo], limits: Limits) -> dict[str, zipfile.ZipInfo]:
    if len(infos) > limits.max_files:
        raise ArtifactTooLargeError(f"The archive has {len(infos)} files, and {limits.max_files} are allowed.")
    if (size := sum(info.file_size for info in infos)) > limits.max_unpacked_bytes:
        raise ArtifactTooLargeError(
            f"The archive unpacks to {size} bytes, and {limits.max_unpacked_bytes} are allowed.",
            details={"size": size, "limit": limits.max_unpacked_bytes},
        )
    files: list[tuple[str, zipfile.ZipInfo]] = []
    for info in infos:
        if "\0" in info.orig_filename:
            raise _damaged(f"the name {info.orig_filename!r} has a control character")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & 0x1:
            raise _damaged(f"{info.filename!r} is encrypted")
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise _damaged(f"{info.filename!r} is a link or a device")
        if info.is_dir():
            _parts(info.filename.rstrip("/"))
        else:
            files.append((_target(info.filename), info))
    check_names(name for name, _ in files)
    return dict(files)


def _target(name: str) -> str:
    top, _, rest = name.partition("/")
    scheme, _, inner = rest.partition("/")
    return inner if inner and top.endswith(".data") and scheme in {"purelib", "platlib"} else name


def _check_directory(file: BinaryIO, limits: Limits) -> None:
    """Refuse a central directory of millions of entries before the standard library makes an object of each."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end >= 0 and len(tail) >= end + 22:
        (length,) = struct.unpack_from("<L", tail, end + 12)
        wide = tail.rfind(b"PK\6\6", 0, end)
        if wide >= 0 and len(tail) >= wide + 56:
            length = max(length if length != _WIDE else 0, struct.unpack_from("<Q", tail, wide + 40)[0])
        if min(length, size) > limits.max_files * _ENTRY_BYTES:
            raise ArtifactTooLargeError(f"The archive's directory has {length} bytes, too many for its limits.")
    file.seek(0)
