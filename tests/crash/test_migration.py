"""A file of the version before that is killed while it is migrated: the old file or the new one, and the lease."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from noodle_upgrade_core.journal.schema import SCHEMA_VERSION
from noodle_upgrade_core.journal.sqlite import SqliteJournal

pytestmark = [pytest.mark.crash, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

OLD_FILE = Path(__file__).parents[1] / "unit" / "journals" / "schema-1.sql"


def old(path):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(OLD_FILE.read_text())
    connection.close()
    return path


def killed(path, at):
    """Migrate in a child that is killed at a statement; return how many it passed when it came to the end, or 0."""
    pid = os.fork()
    if pid == 0:
        passed = 0

        def faults(_):
            nonlocal passed
            passed += 1
            if passed == at:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            SqliteJournal(path, faults=faults).open().acquire_lease("elsewhere:1:1", ttl=-1.0)
        finally:
            os._exit(min(passed, 255))
    _, status = os.waitpid(pid, 0)
    return 0 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def layout(path):
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'document%'")}
    connection.close()
    return version, names


def test_a_kill_anywhere_in_the_migration_leaves_the_old_file_or_the_new_one_and_the_next_start_succeeds(tmp_path):
    seen = set()
    whole = old(tmp_path / "whole" / "journal.db")
    points = killed(whole, 0)
    assert points > 10
    migrated = layout(whole)
    for at in range(1, points + 1):
        path = old(tmp_path / f"{at}" / "journal.db")
        assert killed(path, at) == 0
        assert layout(path) in ((1, set()), migrated), f"killed at {at}"
        seen.add(layout(path)[0])
        with SqliteJournal(path) as journal:
            journal.acquire_lease()
            assert journal.keep_document("acme", "one", {}, who="alice", why="", expected=0).revision == 1
            assert journal.problems() == ()
    assert seen == {1, SCHEMA_VERSION}
