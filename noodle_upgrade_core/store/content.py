"""The content store: every artefact by its sha256, kept so that a power loss leaves the whole of it or nothing.

    <root>/blobs/<digest>     a wheel, the manifest of a tree, a saved state
    <root>/trees/<digest>/    the unpacked files of a wheel or a tree
    <root>/tmp/               what is being made; leftovers of a crash are collected

Bytes are written beside their place, synced, and moved there in one step; then the folder is synced. What has a digest
is never changed again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import BinaryIO, NoReturn

from attrs import frozen

from noodle_upgrade_core.errors import (
    ArtifactDamagedError,
    ArtifactDigestError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
    InvalidRequestError,
    JournalFullError,
)
from noodle_upgrade_core.store.archives import CHUNK, Limits, Wheel, check_names

__all__ = ["Collected", "ContentStore"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MANIFEST = b'{"noodle_tree":1,'
_IGNORED = "__pycache__"


@frozen(kw_only=True)
class Collected:
    """What a collection removed: digests of blobs and trees, the number of leftovers, bytes in all."""

    blobs: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    leftovers: int = 0
    size: int = 0


class ContentStore:
    """Artefacts by sha256 under `root`; safe from several threads and processes at once.

    Limits: `max_bytes` of one blob, `max_unpacked_bytes` and `max_files` of one tree. `faults`, for tests, is called
    with the name of every operation on the disk before it is done, and may raise or end the process.

    Raised by whatever writes: `JournalFullError` when the disk is full; nothing is left behind then.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_bytes: int = Limits().max_bytes,
        max_unpacked_bytes: int = Limits().max_unpacked_bytes,
        max_files: int = Limits().max_files,
        faults: Callable[[str], None] | None = None,
    ) -> None:
        self.root = Path(root)
        self.limits = Limits(max_bytes=max_bytes, max_unpacked_bytes=max_unpacked_bytes, max_files=max_files)
        self._faults = faults

    # --- putting in ----------------------------------------------------------------------------------------------

    def put_file(self, path: str | os.PathLike[str], *, expected: str = "") -> str:
        """Store a file's bytes and return their sha256.

        Raises `ArtifactDigestError` when it is not the `expected` one, `ArtifactTooLargeError`,
        `ArtifactUnavailableError` when there is no such file.
        """
        try:
            with _regular(Path(path)) as source:
                return self._put(iter(lambda: source.read(CHUNK), b""), expected, str(path))
        except OSError as error:
            raise ArtifactUnavailableError(f"{path} cannot be read: {error.strerror or error}.") from error

    def put_bytes(self, data: bytes, *, expected: str = "") -> str:
        """Store bytes and return their sha256; raises as `put_file` does."""
        return self._put(iter((data,)), expected, "the data")

    def put_tree(self, files: Mapping[str, str | os.PathLike[str]]) -> str:
        """Store files under the relative names that they are given, and return the digest of their manifest.

        The manifest lists every name, size and sha256 in order, so equal files have an equal digest. It is a blob, and
        the files lie in `tree(digest)`.
        """
        check_names(files)
        if len(files) > self.limits.max_files:
            raise ArtifactTooLargeError(f"The tree has {len(files)} files, and {self.limits.max_files} are allowed.")
        with self._making_folder() as folder:
            found = {name: self._copy(Path(files[name]), folder / name) for name in sorted(files)}
            _check_sizes(found, self.limits)
            manifest = _manifest(found)
            digest = hashlib.sha256(manifest).hexdigest()
            # The tree first: whoever finds the manifest finds the files.
            self._settle_tree(folder, digest, found)
        self.put_bytes(manifest, expected=digest)
        return digest

    def unpack_wheel(self, digest: str) -> Path:
        """Return the folder with a stored wheel's files, unpacked and checked against its RECORD when it is new.

        Raises `ArtifactDamagedError`, `ArtifactTooLargeError`, `ArtifactUnavailableError`.
        """
        place = self.tree(digest)
        if place.is_dir():
            return place
        self._check_blob(digest)
        with Wheel.open(self.blob(digest), self.limits) as wheel, self._making_folder() as folder:
            found = {name: self._write(folder / name, wheel.read(name)) for name in wheel.members}
            wheel.check_record(found)
            self._settle_tree(folder, digest, found)
        return place

    # --- taking out ----------------------------------------------------------------------------------------------

    def blob(self, digest: str) -> Path:
        """Return where a blob lies, or would lie."""
        return self.root / "blobs" / _checked(digest)

    def tree(self, digest: str) -> Path:
        """Return where a tree lies, or would lie; `tree(digest).relative_to(root)` is what an `ArtifactRef` holds."""
        return self.root / "trees" / _checked(digest)

    def has(self, digest: str) -> bool:
        """Whether the blob is there; `verify` says whether it is whole."""
        return self.blob(digest).is_file()

    def size(self, digest: str) -> int:
        """Return a blob's size in bytes; raises `ArtifactUnavailableError`."""
        with _missing(digest):
            return self.blob(digest).stat().st_size

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading, checked; raises `ArtifactDigestError`, `ArtifactUnavailableError`."""
        with _missing(digest):
            file = self.blob(digest).open("rb")
        try:
            if _digest_of(file) != digest:
                _damaged_blob(digest)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def read(self, digest: str) -> bytes:
        """Return a blob's bytes, checked; raises as `open` does."""
        with _missing(digest):
            data = self.blob(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            _damaged_blob(digest)
        return data

    def verify(self, digest: str) -> None:
        """Check a blob against its digest, and its tree, where it has one, file by file; `__pycache__` does not count.

        A tree artefact must have its tree. Raises `ArtifactUnavailableError`, `ArtifactDigestError`,
        `ArtifactDamagedError`.
        """
        self._check_blob(digest)
        place = self.tree(digest)
        with self.blob(digest).open("rb") as file:
            is_manifest = file.read(len(_MANIFEST)) == _MANIFEST
        if is_manifest:
            if not place.is_dir():
                raise ArtifactUnavailableError(f"The files of the tree {digest[:12]}… are gone.", hint=_FETCH)
            self._compare(place, _manifest_in(self.read(digest)))
        elif place.is_dir():
            with Wheel.open(self.blob(digest), self.limits) as wheel:
                self._compare(place, {name: _digest_chunks(wheel.read(name)) for name in wheel.members})

    def digests(self) -> frozenset[str]:
        """Return the digests of all blobs and trees."""
        return frozenset(_digests_in(self.root / "blobs")) | frozenset(_digests_in(self.root / "trees"))

    # --- throwing away -------------------------------------------------------------------------------------------

    def discard(self, digest: str) -> int:
        """Remove a blob and its tree; returns the bytes that it took, 0 when there was none."""
        size = 0
        # The blob first: a tree without its blob is worth nothing, a manifest without its tree would lie.
        with _storage("removed"):
            for place in (self.blob(digest), self.tree(digest)):
                size += self._remove(place)
        return size

    def collect(self, keep: AbstractSet[str], *, min_age: float = 3600.0) -> Collected:
        """Remove every blob, tree and leftover that is not in `keep` and is older than `min_age` seconds.

        The age keeps what somebody has just put in, and has not yet told the journal about.
        """
        oldest = time.time() - min_age
        gone: dict[str, list[str]] = {"blobs": [], "trees": []}
        size = leftovers = 0
        with _storage("collected"):
            for kind, digests in gone.items():
                for digest in sorted(_digests_in(self.root / kind) - keep):
                    # A blob and its tree age together: putting one in again renews both.
                    if max(_age(self.blob(digest)), _age(self.tree(digest))) <= oldest:
                        size += self._remove(self.root / kind / digest)
                        digests.append(digest)
            for place in _entries(self.root / "tmp"):
                if _age(place) <= oldest:
                    size += self._remove(place)
                    leftovers += 1
        return Collected(blobs=tuple(gone["blobs"]), trees=tuple(gone["trees"]), leftovers=leftovers, size=size)

    # --- the disk ------------------------------------------------------------------------------------------------

    def _fault(self, operation: str) -> None:
        if self._faults is not None:
            self._faults(operation)

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        if not folder.is_dir():
            self._fault(f"mkdir {name}")
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            self._sync(self.root)
            self._sync(self.root.parent)
        return folder

    def _temporary(self) -> Path:
        return self._folder("tmp") / secrets.token_hex(12)

    def _put(self, chunks: Iterator[bytes], expected: str, what: str) -> str:
        with _storage("stored"):
            temporary = self._temporary()
            try:
                digest, _ = self._write(temporary, _bounded(chunks, self.limits.max_bytes, what))
                if expected and digest != expected:
                    raise ArtifactDigestError(
                        f"{what} has the sha256 {digest}, and {expected} was expected.",
                        hint="Fetch it again; if it stays so, do not trust where it comes from.",
                        details={"expected": expected, "found": digest},
                    )
                place = self._folder("blobs") / digest
                self._sync(temporary)
                self._fault("rename blob")
                temporary.replace(place)
                self._sync(place.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return digest

    def _copy(self, source: Path, target: Path) -> tuple[str, int]:
        try:
            file = _regular(source)
        except OSError as error:
            raise ArtifactUnavailableError(f"{source} cannot be read: {error.strerror or error}.") from error
        with file:
            chunks = iter(lambda: file.read(CHUNK), b"")
            return self._write(target, _bounded(chunks, self.limits.max_unpacked_bytes, str(source)))

    def _write(self, place: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Write a new file and return its sha256 and size; `_sync` comes later, when all are written."""
        self._fault("write file")
        digest, size = hashlib.sha256(), 0
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += file.write(chunk)
        return digest.hexdigest(), size

    @contextlib.contextmanager
    def _making_folder(self) -> Iterator[Path]:
        with _storage("unpacked"):
            folder = self._temporary()
            folder.mkdir(mode=0o700)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _settle_tree(self, folder: Path, digest: str, names: Mapping[str, tuple[str, int]]) -> None:
        """Sync a finished folder from the inside out, and move it to its place."""
        folders = {folder}
        for name in names:
            self._sync(folder / name)
            folders.update(p for p in (folder / name).parents if p != folder and p.is_relative_to(folder))
        for inner in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            self._sync(inner)
        place = self._folder("trees") / digest
        self._fault("rename tree")
        try:
            folder.rename(place)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            self._keep_or_mend(place, folder, names)
        self._sync(place.parent)

    def _keep_or_mend(self, place: Path, folder: Path, expected: Mapping[str, tuple[str, int]]) -> None:
        """Somebody was faster, or the tree is an old one: it stays if it is whole, and its age starts anew."""
        try:
            self._compare(place, expected)
            os.utime(place)
        except ArtifactDamagedError:
            self._remove(place)
            folder.rename(place)

    def _sync(self, place: Path) -> None:
        self._fault("sync folder" if place.is_dir() else "sync file")
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _remove(self, place: Path) -> int:
        size = _size(place)
        if not os.path.lexists(place):
            return 0
        self._fault("remove")
        if place.is_dir() and not place.is_symlink():
            # Out of its place in one step: nobody may find half a tree there.
            gone = place if place.parent.name == "tmp" else self._temporary()
            if gone != place:
                place.rename(gone)
            shutil.rmtree(gone)
        else:
            place.unlink()
        self._sync(place.parent)
        return size

    # --- checking ------------------------------------------------------------------------------------------------

    def _check_blob(self, digest: str) -> None:
        self.open(digest).close()

    def _compare(self, place: Path, expected: Mapping[str, tuple[str, int]]) -> None:
        found = {path.relative_to(place).as_posix(): path for path in _files(place)}
        if missing := sorted(expected.keys() - found.keys()):
            raise ArtifactDamagedError(f"{missing[0]} is missing in the tree {place.name[:12]}….", hint=_FETCH)
        if extra := sorted(found.keys() - expected.keys()):
            raise ArtifactDamagedError(f"{extra[0]} does not belong in the tree {place.name[:12]}….", hint=_FETCH)
        for name, (digest, size) in expected.items():
            path = found[name]
            info = path.lstat()
            if not stat.S_ISREG(info.st_mode) or info.st_size != size:
                raise ArtifactDamagedError(f"{name} was changed in the tree {place.name[:12]}….", hint=_FETCH)
            with path.open("rb") as file:
                if _digest_of(file) != digest:
                    raise ArtifactDamagedError(f"{name} was changed in the tree {place.name[:12]}….", hint=_FETCH)


_FETCH = "Discard it and fetch it again; `noodle doctor` checks the rest of the store."


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequestError(f"{digest!r} is no sha256 in lower-case hexadecimal.")
    return digest


@contextlib.contextmanager
def _storage(what: str) -> Iterator[None]:
    """The disk's errors, as ours."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise JournalFullError(
                f"The artefact could not be {what}: {error.strerror}.", hint="Make room, then try again."
            ) from error
        raise ArtifactUnavailableError(
            f"The artefact could not be {what}: {error.strerror or error}.",
            hint="Look at the disk and the permissions of the store's folder.",
        ) from error


@contextlib.contextmanager
def _missing(digest: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactUnavailableError(
            f"The artefact {digest[:12]}… is not in the store: {error.strerror or error}.", hint=_FETCH
        ) from error


def _damaged_blob(digest: str) -> NoReturn:
    raise ArtifactDigestError(f"The stored bytes of {digest[:12]}… are not what was put in.", hint=_FETCH)


def _regular(path: Path) -> BinaryIO:
    """Open a regular file; a pipe or a device would block, or never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def _bounded(chunks: Iterable[bytes], limit: int, what: str) -> Iterator[bytes]:
    left = limit
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise ArtifactTooLargeError(f"{what} has more than the {limit} bytes that are allowed.")
        yield chunk


def _check_sizes(found: Mapping[str, tuple[str, int]], limits: Limits) -> None:
    if (size := sum(size for _, size in found.values())) > limits.max_unpacked_bytes:
        raise ArtifactTooLargeError(f"The tree has {size} bytes, and {limits.max_unpacked_bytes} are allowed.")


def _digest_of(file: BinaryIO) -> str:
    return _digest_chunks(iter(lambda: file.read(CHUNK), b""))[0]


def _digest_chunks(chunks: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _manifest(found: Mapping[str, tuple[str, int]]) -> bytes:
    rows = [[name, size, digest] for name, (digest, size) in sorted(found.items())]
    return json.dumps({"noodle_tree": 1, "files": rows}, separators=(",", ":")).encode()


def _manifest_in(data: bytes) -> dict[str, tuple[str, int]]:
    return {name: (digest, size) for name, size, digest in json.loads(data)["files"]}


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _digests_in(folder: Path) -> set[str]:
    return {path.name for path in _entries(folder) if _DIGEST.fullmatch(path.name)}


def _files(folder: Path) -> Iterator[Path]:
    for inner, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != _IGNORED and not (Path(inner) / name).is_symlink()]
        yield from (Path(inner) / name for name in files)


def _age(place: Path) -> float:
    """Return when a blob, tree or leftover was last touched, in seconds since the epoch."""
    try:
        return place.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(place: Path) -> int:
    if place.is_dir() and not place.is_symlink():
        return sum(path.lstat().st_size for path in _files(place))
    try:
        return place.lstat().st_size
    except FileNotFoundError:
        return 0
