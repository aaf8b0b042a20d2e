"""A sample of the faults of the disk, and bugs that they must catch; `python -m tests.crash` does all of them."""

import contextlib
import errno
import os

import pytest

from noodle_upgrade_core.errors import JournalError, JournalFullError, UpgradeError
from noodle_upgrade_core.journal.file import SqliteFile
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_core.store import content
from noodle_upgrade_core.store.content import ContentStore
from tests.unit.shelf import ask, fill, opened, run

from . import disk
from .disk import Disk, Trouble


def test_whatever_operation_of_the_disk_fails_what_was_told_is_so_and_the_same_upgrade_succeeds_later():
    faults, violations = disk.matrix(stride=9)
    assert violations == []
    assert faults > 60


def operations(tmp_path):
    """Return what an upgrade does with the disk."""

    async def story():
        seen = Disk(tmp_path / "state")
        with seen.under():
            async with opened(fill(tmp_path)) as upgrader:
                (await upgrader.upgrade(ask())).raise_for_error()
        return seen.seen

    return run(story())


def test_the_operations_are_those_of_the_journal_and_of_the_store(tmp_path):
    seen = operations(tmp_path)
    assert {"write", "fsync", "replace", "rename", "mkdir", "open", "COMMIT"} <= set(seen)
    assert any(one.startswith("UPDATE pointers") for one in seen)


def _untyped_journal(monkeypatch):
    monkeypatch.setattr(SqliteFile, "_unopenable", lambda self, error: error)


def _believes_every_write(monkeypatch):
    """A write that failed is told as one that succeeded."""
    write = SqliteFile.write

    @contextlib.contextmanager
    def hopeful(self, *, sync):
        with contextlib.suppress(JournalError), write(self, sync=sync) as connection:
            yield connection

    monkeypatch.setattr(SqliteFile, "write", hopeful)


def _sync_again(monkeypatch):
    """A disk that has failed is written to again."""

    def usable(self):
        if self.refusal is not None:
            raise self.refusal
        return self._writer

    monkeypatch.setattr(SqliteFile, "_usable", usable)


def _leaves_halves(monkeypatch):
    """A file is written in its place, and what is there is believed."""

    def put(self, chunks, expected, what):
        place = self._folder("blobs") / expected
        if not place.exists():
            self._write(place, chunks)
        return expected

    def put_bytes(self, data, *, expected=""):
        import hashlib

        with content._storage("stored"):
            return put(self, iter((data,)), hashlib.sha256(data).hexdigest(), "the data")

    monkeypatch.setattr(ContentStore, "put_bytes", put_bytes)


BUGS = [
    (_untyped_journal, "a first start", "sync"),
    (_believes_every_write, "an upgrade", "full"),
    (_believes_every_write, "two documents", "full"),
    (_sync_again, "an upgrade", "sync"),
    (_leaves_halves, "an upgrade", "full"),
]


@pytest.mark.parametrize(("plant", "where", "kind"), BUGS, ids=[plant.__name__.strip("_") for plant, *_ in BUGS])
def test_the_faults_of_the_disk_catch_a_planted_bug(plant, where, kind, monkeypatch):
    plant(monkeypatch)
    _, violations = disk.matrix(only=where, kind=kind)
    assert violations


@pytest.mark.parametrize("kind", ["full", "broken", "sync"])
def test_a_folder_that_cannot_be_synced_at_a_start_is_an_error_of_ours(tmp_path, kind):
    seen = Disk(tmp_path)
    with seen.under():
        SqliteJournal(tmp_path / "a" / "journal.db").open().close()
    found = []
    for at in range(1, len(seen.seen) + 1):
        with Disk(tmp_path, Trouble(kind, at)).under(), contextlib.suppress(UpgradeError):
            SqliteJournal(tmp_path / f"{at}" / "journal.db").open().close()
            found.append(at)
    assert len(found) < len(seen.seen)


def test_without_room_to_keep_the_old_version_nothing_is_changed(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise JournalFullError(os.strerror(errno.ENOSPC))

    async def story():
        async with opened(fill(tmp_path)) as upgrader:
            plan = await upgrader.plan(ask())
            with monkeypatch.context() as patch:
                patch.setattr(ContentStore, "put_tree", full)
                result = await upgrader.upgrade(plan)
            assert isinstance(result.error, JournalFullError)
            assert result.phase == "aborted"
            assert upgrader.shelf.versions["lamp"] == "1.0"
            result = await upgrader.upgrade(plan)
            assert result.raise_for_error().rollback_point.artifact is not None

    run(story())
