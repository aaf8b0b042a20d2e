"""Durable state: intent before effect, one commit point, and a restart that always knows what to do."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from noodle_upgrade_core import doctor
from noodle_upgrade_core.errors import (
    DocumentConflictError,
    HarmDetectedError,
    InvalidRequestError,
    InvariantViolatedError,
    JournalCorruptError,
    JournalError,
    JournalFullError,
    JournalSchemaError,
    LeaseHeldError,
    LeaseLostError,
    UpgradeBusyError,
    UpgradeError,
    UpgradeUnknownError,
    VersionMismatchError,
)
from noodle_upgrade_core.journal import TRANSITIONS, Journal, PointerMove, way
from noodle_upgrade_core.journal.leases import Holder, this_process
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_core.model import Phase
from noodle_upgrade_core.store import ContentStore

from .plans import BEFORE_INTENT, WHO, artifact, bring, make_plan, moves_of, points_of

DEAD = "elsewhere:1:1"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.at = START

    def __call__(self):
        return self.at

    def pass_(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(path, clock):
    with SqliteJournal(path, clock=clock) as opened:
        opened.acquire_lease()
        yield opened


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


def crashed(path, clock):
    """What the next process finds: the file as it is, without anything that only lay in memory."""
    copy = path.parent.parent / f"copy{len(list(path.parent.parent.iterdir()))}" / path.name
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        if path.with_name(path.name + suffix).exists():
            shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    connection = sqlite3.connect(copy)
    connection.execute("UPDATE lease SET holder = '', expires = ''")
    connection.commit()
    connection.close()
    return SqliteJournal(copy, clock=clock)


def violations(journal, store):
    """What the doctor finds, but for bytes that these tests do not store."""
    return [f.message for f in doctor.check(journal, store) if f.code not in {"invariant.I2", "upgrade.stuck"}]


def reopened_as_newer(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_refused_as_corrupt(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalCorruptError) as caught:
        SqliteJournal(path).open()
    assert "backup" in caught.value.hint


def test_damage_inside_the_file_is_found_when_it_is_read(path, clock):
    with SqliteJournal(path, clock=clock) as journal:
        journal.acquire_lease()
        for number in range(60):
            bring(journal, f"up-{number}", make_plan(f"c{number}"), Phase.DONE)
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 7):
        data[at] = 0x5A
    path.write_bytes(bytes(data))
    with pytest.raises(JournalCorruptError), SqliteJournal(path) as journal:
        journal.history(1000)


def test_another_programs_database_is_not_touched(path):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(JournalCorruptError, match="another program"):
        SqliteJournal(path).open()
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_its_active_versions_are_still_told(path, clock):
    with SqliteJournal(path, clock=clock) as journal:
        journal.acquire_lease()
        bring(journal, "up-1", make_plan("a"), Phase.DONE)
    reopened_as_newer(path)
    before = path.read_bytes()
    with SqliteJournal(path, clock=clock) as journal:
        assert isinstance(journal.refusal, JournalSchemaError)
        assert [(row.component_name, row.version) for row in journal.active()] == [("a", "2.0")]
        for write in (
            journal.acquire_lease,
            lambda: journal.begin("up-2", make_plan("b"), who=WHO),
            lambda: journal.observe_active("c", "1"),
            lambda: journal.recover(WHO),
            journal.history,
        ):
            with pytest.raises(JournalSchemaError):
                write()
    assert path.read_bytes() == before


def test_pointers_of_a_newer_schema_that_cannot_be_understood_are_a_schema_error_too(path, clock):
    with SqliteJournal(path, clock=clock):
        pass
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE pointers RENAME TO heads")
    connection.commit()
    connection.close()
    reopened_as_newer(path)
    with SqliteJournal(path, clock=clock) as journal, pytest.raises(JournalSchemaError):
        journal.active()


def test_a_phase_that_nobody_knows_is_an_error_and_the_pointers_still_serve(journal, path):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints = 1")
    connection.execute("DROP TRIGGER phase_audited")
    journal.renew_lease()
    connection.execute("UPDATE upgrades SET phase = 'levitating'")
    connection.commit()
    connection.close()
    with pytest.raises(JournalCorruptError, match="levitating"):
        journal.record("up-1")
    assert journal.active()[0].version == "2.0"


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be opened"):
        SqliteJournal(tmp_path / "file" / "journal.db").open()


def test_only_the_owner_can_read_the_journal(journal, path):
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for place in path.parent.iterdir():
        assert place.stat().st_mode & 0o777 == 0o600


def test_a_closed_journal_says_so_and_may_be_closed_again(path):
    journal = SqliteJournal(path).open()
    journal.close()
    journal.close()
    with pytest.raises(JournalError):
        journal.active()
    with pytest.raises(JournalError):
        journal.acquire_lease()


def test_a_closed_journal_leaves_one_file(path):
    with SqliteJournal(path) as journal:
        journal.acquire_lease()
        bring(journal, "up-1", make_plan("a"), Phase.DONE)
    assert list(path.parent.iterdir()) == [path]


def test_the_default_driver_is_a_journal(path):
    with SqliteJournal(path) as journal:
        assert isinstance(journal, Journal)
        assert journal.schema_version == 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_cannot_write_with_its_parents_journal(journal):
    bring(journal, "up-1", make_plan("a"), Phase.SHIFTING)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            journal.commit("up-1", moves_of(make_plan("a")), who=WHO, why="")
        except JournalError as error:
            os.write(write, b"fork" if "fork" in str(error) else b"other")
        journal.close()
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"fork"
    os.close(read)
    assert journal.commit("up-1", moves_of(make_plan("a")), who=WHO, why="").phase is Phase.COMMITTED


# --- the disk --------------------------------------------------------------------------------------------------------


def full(journal, *, pages=0):
    """Let the file grow no further, as a full disk would."""
    writer = journal._file._writer
    count = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages or count}").fetchone()


def test_a_full_disk_refuses_the_intent_and_the_same_upgrade_goes_on_once_there_is_room(journal, store):
    plan = make_plan("a", parameters={"much": "x" * 50_000})
    bring(journal, "up-1", plan, Phase.STAGED)
    full(journal)
    with pytest.raises(JournalFullError) as caught:
        journal.intend("up-1", points_of(plan, "up-1"), who=WHO, why="")
    assert "Make room" in caught.value.hint
    assert journal.record("up-1").phase is Phase.STAGED
    assert journal.active() == ()
    full(journal, pages=100_000)
    journal.intend("up-1", points_of(plan, "up-1"), who=WHO, why="")
    journal.commit("up-1", moves_of(plan), who=WHO, why="")
    journal.finish("up-1", Phase.DONE, who=WHO, why="")
    assert violations(journal, store) == []


def test_a_full_disk_at_the_commit_leaves_every_pointer_where_it_was(journal):
    plan = make_plan("a", "b")
    bring(journal, "up-1", plan, Phase.SHIFTING)
    full(journal)
    with pytest.raises(JournalFullError):
        journal.commit("up-1", moves_of(plan), who=WHO, why="", evidence={"much": "x" * 50_000})
    assert [(row.version, row.generation) for row in journal.active()] == [("1.0", 0), ("1.0", 0)]
    assert journal.record("up-1").phase is Phase.SHIFTING


def io_error(name):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


def test_after_a_sync_that_failed_nothing_more_is_written_and_reads_go_on(journal):
    bring(journal, "up-1", make_plan("a"), Phase.SHIFTING)
    with pytest.raises(JournalError, match="restart"), journal._file.write(sync=True):
        raise io_error("SQLITE_IOERR_FSYNC")
    for _ in range(2):
        with pytest.raises(JournalError, match="nothing more is written"):
            journal.commit("up-1", moves_of(make_plan("a")), who=WHO, why="")
    with pytest.raises(JournalError):
        journal.renew_lease()
    assert journal.record("up-1").phase is Phase.SHIFTING
    journal.close()


class NoCheckpoint:
    """A connection that cannot bring its log into the file: it raises what SQLite would."""

    def __init__(self, connection, error):
        self._connection = connection
        self._error = error

    def execute(self, statement, *values):
        if "wal_checkpoint" in statement and self._error is not None:
            raise self._error
        return self._connection.execute(statement, *values)

    def mend(self):
        self._error = None

    def __getattr__(self, name):
        return getattr(self._connection, name)


def without_checkpoints(journal, name):
    """Let every checkpoint fail, beginning with the one that is due after the next transaction."""
    file = journal._file
    file._writer = NoCheckpoint(file._writer, io_error(name))
    file._since_checkpoint = 10_000
    return file._writer


def test_a_log_that_cannot_be_brought_into_the_file_for_want_of_room_fails_no_transaction(journal, path, clock, store):
    plan = make_plan("a")
    bring(journal, "up-1", plan, Phase.SHIFTING)
    writer = without_checkpoints(journal, "SQLITE_FULL")
    assert journal.commit("up-1", moves_of(plan), who=WHO, why="").phase is Phase.COMMITTED
    assert journal.record("up-1").phase is Phase.COMMITTED
    with crashed(path, clock) as other:
        assert (other.record("up-1").phase, other.active()[0].version) == (Phase.COMMITTED, "2.0")
    journal.finish("up-1", Phase.DONE, who=WHO, why="")
    bring(journal, "up-2", make_plan("a", before="2.0", after="3.0"), Phase.DONE)
    writer.mend()
    journal.renew_lease()
    assert violations(journal, store) == []


def test_a_disk_that_fails_in_a_checkpoint_stops_the_next_write_and_not_the_one_that_is_durable(journal):
    plan = make_plan("a")
    bring(journal, "up-1", plan, Phase.SHIFTING)
    without_checkpoints(journal, "SQLITE_IOERR_WRITE")
    assert journal.commit("up-1", moves_of(plan), who=WHO, why="").phase is Phase.COMMITTED
    with pytest.raises(JournalError, match="nothing more is written"):
        bring(journal, "up-2", make_plan("b"), Phase.SHIFTING)
    assert journal.active_of("a").version == "2.0"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the system's sync fail")
def test_a_real_sync_error_at_the_commit_stops_the_journal_and_a_restart_finds_one_of_the_two_versions(path, clock):
    code = textwrap.dedent(f"""
        import sys
        from noodle_upgrade_core.errors import JournalError
        from noodle_upgrade_core.journal.sqlite import SqliteJournal
        from tests.unit.plans import *
        plan = make_plan("a")
        journal = SqliteJournal({str(path)!r}).open()
        journal.acquire_lease()
        bring(journal, "up-1", plan, Phase.SHIFTING)
        open({str(path.parent / "now")!r}, "w").close()
        outcomes = []
        for _ in range(3):
            try:
                journal.commit("up-1", moves_of(plan), who=WHO, why="")
                outcomes.append("committed")
            except JournalError as error:
                outcomes.append(type(error).__name__)
        journal.close()
        print(outcomes)
    """)
    # The syncs of the opening, the lease and the intent go well; the commit's does not.
    trace = ["strace", "-qq", "-f", "-o", str(path.parent.parent / "trace"), "-e", "trace=fdatasync,fsync"]
    python = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}

    def run(*inject):
        command = [*trace, *inject, *python]
        root = Path(__file__).parents[2]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)

    counted = run()
    if counted.returncode or "committed" not in counted.stdout:
        pytest.skip(f"strace cannot be used here: {counted.stderr[-200:]}")
    log = (path.parent.parent / "trace").read_text().splitlines()
    syncs = sum("fdatasync(" in line for line in log)
    shutil.rmtree(path.parent)
    # The commit's sync, and those of the closing behind it.
    stopped = 0
    for failing in range(syncs - 3, syncs + 1):
        found = run("-e", f"inject=fdatasync:error=EIO:when={failing}")
        if "JournalError" in found.stdout:
            stopped += 1
            assert found.stdout.count("JournalError") >= 2
            with SqliteJournal(path, clock=lambda: datetime.now(UTC)) as journal:
                journal.acquire_lease()
                journal.recover(WHO)
                assert journal.active()[0].version in {"1.0", "2.0"}
                assert journal.problems() == ()
        shutil.rmtree(path.parent)
    assert stopped


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace counts the syncs")
def test_an_upgrade_waits_for_the_disk_twice(path):
    code = textwrap.dedent(f"""
        import os
        from noodle_upgrade_core.journal.sqlite import SqliteJournal
        from tests.unit.plans import *
        with SqliteJournal({str(path)!r}) as journal:
            journal.acquire_lease()
            os.write(1, b"begin")
            for number in range(5):
                plan = make_plan("a", before=f"{{number}}", after=f"{{number + 1}}")
                bring(journal, f"up-{{number}}", plan, Phase.DONE)
            os.write(1, b"end")
    """)
    found = subprocess.run(
        ["strace", "-qq", "-f", "-e", "trace=fdatasync,fsync,write", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    if found.returncode:
        pytest.skip(f"strace cannot be used here: {found.stderr[-200:]}")
    between = found.stderr.split('"begin"')[1].split('"end"')[0]
    assert between.count("sync(") == 10


# --- the lease -------------------------------------------------------------------------------------------------------


def test_a_second_controller_is_kept_out_and_told_by_whom_and_until_when(journal, path, clock):
    with SqliteJournal(path, clock=clock) as other:
        with pytest.raises(LeaseHeldError) as caught:
            other.acquire_lease()
        assert caught.value.details["holder"] == str(this_process())
        assert caught.value.details["expires"].startswith("2026-01-01T00:00:30")


def test_a_controller_without_a_lease_cannot_write(path, clock):
    with SqliteJournal(path, clock=clock) as journal:
        with pytest.raises(LeaseLostError, match="Acquire"):
            journal.observe_active("a", "1")
        with pytest.raises(LeaseLostError):
            journal.begin("up-1", make_plan("a"), who=WHO)
        with pytest.raises(LeaseLostError):
            journal.renew_lease()


def test_a_controller_that_was_taken_over_cannot_write_anything_any_more(path, clock):
    with SqliteJournal(path, clock=clock) as old, SqliteJournal(path, clock=clock) as new:
        first = old.acquire_lease(DEAD)
        bring(old, "up-1", make_plan("a"), Phase.SHIFTING)
        old.begin("up-2", make_plan("b"), who=WHO)
        clock.pass_(31)
        assert new.acquire_lease() > first
        for write in (
            lambda: old.commit("up-1", moves_of(make_plan("a")), who=WHO, why=""),
            lambda: old.rolled_back("up-1", who=WHO, why=""),
            lambda: old.observe_active("z", "1"),
            lambda: old.record_approval("up-1", "d", who=WHO, at=clock(), nonce="n"),
            lambda: old.finish("up-2", Phase.ABORTED, who=WHO, why="", durable=True),
            old.renew_lease,
            old.release_lease,
            old.digests,
        ):
            with pytest.raises(LeaseLostError):
                write()
        assert new.active()[0].version == "1.0"
        assert new.record("up-2") is None


def test_the_schema_itself_refuses_an_old_fencing_number(journal, path):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    journal.renew_lease()
    connection = sqlite3.connect(path)
    values = "(NULL, 'up-1', 'done', 'rolling_back', '', '', '', 0, '{}')"
    with pytest.raises(sqlite3.IntegrityError, match="I7"):
        connection.execute(f"INSERT INTO audit VALUES {values}")
    connection.close()


def test_a_lease_that_ran_out_can_be_taken_and_the_number_grows(path, clock):
    with SqliteJournal(path, clock=clock) as one, SqliteJournal(path, clock=clock) as two:
        first = one.acquire_lease(DEAD, ttl=10)
        clock.pass_(9)
        with pytest.raises(LeaseHeldError):
            two.acquire_lease()
        clock.pass_(2)
        assert two.acquire_lease() == first + 1


def test_a_lease_that_is_renewed_does_not_run_out(path, clock):
    with SqliteJournal(path, clock=clock) as one, SqliteJournal(path, clock=clock) as two:
        one.acquire_lease(DEAD, ttl=10)
        for _ in range(5):
            clock.pass_(9)
            assert one.renew_lease() == clock() + timedelta(seconds=10)
        with pytest.raises(LeaseHeldError):
            two.acquire_lease()


def test_a_holder_whose_process_has_ended_is_taken_over_at_once(path, clock):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = this_process()
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    holder = str(Holder(here.host, child.pid, start))
    with SqliteJournal(path, clock=clock) as one, SqliteJournal(path, clock=clock) as two:
        one.acquire_lease(holder)
        with pytest.raises(LeaseHeldError):
            two.acquire_lease()
        child.communicate(b"\n")
        assert two.acquire_lease() == 2


def test_a_number_that_another_process_has_by_now_is_not_mistaken_for_the_holder():
    here = this_process()
    assert not here.is_dead()
    assert Holder(here.host, here.pid, "1").is_dead()
    assert not Holder("another", 1, "1").is_dead()
    assert Holder.parse(str(here)) == here
    assert Holder.parse("nonsense") is None
    assert Holder.parse("a:b:c") is None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_nobody_has_waited_for_is_dead():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert Holder(this_process().host, pid, start).is_dead()
    os.waitpid(pid, 0)


def test_a_released_lease_lets_the_next_one_in(path, clock):
    with SqliteJournal(path, clock=clock) as one:
        one.acquire_lease()
    with SqliteJournal(path, clock=clock) as two:
        assert two.acquire_lease() == 2


def test_a_lease_is_acquired_again_by_who_has_it(journal):
    assert journal.acquire_lease() == 2
    journal.observe_active("a", "1")


# --- phases ----------------------------------------------------------------------------------------------------------


def test_every_phase_has_its_followers_and_only_ends_have_none():
    assert TRANSITIONS.keys() == set(Phase)
    assert {phase for phase in Phase if not TRANSITIONS[phase]} == {Phase.REJECTED, Phase.ROLLED_BACK, Phase.ABORTED}
    assert way(Phase.COMMITTED, Phase.ROLLED_BACK) == (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert way(Phase.RECEIVED, Phase.COMMITTED) == ()


REACHED = (*(Phase.RECEIVED, *BEFORE_INTENT), Phase.SHIFTING, Phase.COMMITTED, Phase.SOAKING, Phase.DONE, Phase.STUCK)


@pytest.mark.parametrize("phase", [*REACHED, Phase.ROLLING_BACK])
def test_from_every_phase_only_its_followers_can_be_reached(tmp_path, clock, phase):
    plan = make_plan("a")
    for asked in Phase:
        folder = tmp_path / asked
        with SqliteJournal(folder / "journal.db", clock=clock) as journal:
            journal.acquire_lease()
            bring(journal, "up-1", plan, phase)
            before = journal.audit("up-1")
            writes = {
                Phase.SHIFTING: lambda j: j.intend("up-1", who=WHO, why=""),
                Phase.COMMITTED: lambda j: j.commit("up-1", moves_of(plan), who=WHO, why=""),
                Phase.ROLLING_BACK: lambda j: j.rolling_back("up-1", who=WHO, why=""),
                Phase.ROLLED_BACK: lambda j: j.rolled_back("up-1", who=WHO, why=""),
            }
            write = writes.get(
                asked,
                lambda j, asked=asked: (
                    j.advance("up-1", asked, who=WHO, why="", soak_seconds=1)
                    if asked in {*BEFORE_INTENT, Phase.SOAKING}
                    else j.finish("up-1", asked, who=WHO, why="")
                ),
            )
            if (phase, asked) == (Phase.ROLLING_BACK, Phase.DONE):
                with pytest.raises(VersionMismatchError):  # it was never committed
                    write(journal)
            elif way(phase, asked):
                write(journal)
                assert journal.record("up-1").phase is asked
                assert [row.phase for row in journal.audit("up-1")[len(before) :]] == list(way(phase, asked))
            else:
                with pytest.raises(JournalError):
                    write(journal)
                assert journal.record("up-1").phase is phase
                assert journal.audit("up-1") == before
            assert violations(journal, ContentStore(tmp_path / "store")) == []


def test_an_unknown_upgrade_is_unknown_to_every_method(journal, clock):
    assert journal.record("up-x") is None
    for write in (
        lambda: journal.advance("up-x", Phase.VALIDATED, who=WHO, why=""),
        lambda: journal.intend("up-x", who=WHO, why=""),
        lambda: journal.commit("up-x", (), who=WHO, why=""),
        lambda: journal.rolling_back("up-x", who=WHO, why=""),
        lambda: journal.rolled_back("up-x", who=WHO, why=""),
        lambda: journal.finish("up-x", Phase.DONE, who=WHO, why=""),
        lambda: journal.record_approval("up-x", "d", who=WHO, at=clock(), nonce="n"),
    ):
        with pytest.raises(UpgradeUnknownError):
            write()


def test_the_whole_way_is_one_audit_row_a_phase_with_who_why_and_when(journal, clock, store):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    rows = journal.audit("up-1")
    assert [str(row.phase) for row in rows] == [
        "received",
        "validated",
        "approved",
        "staged",
        "shifting",
        "committed",
        "done",
    ]
    assert [row.sequence for row in rows] == list(range(1, 8))
    assert rows[0].phase_from is None
    assert {row.who for row in rows} == {WHO}
    assert rows[5].why == "fine"
    assert rows[5].at == clock()
    assert rows[5].evidence["moves"] == [
        {"component_name": "a", "from_version": "1.0", "version": "2.0", "generation": 1}
    ]
    assert violations(journal, store) == []


def test_one_component_has_one_open_upgrade(journal):
    bring(journal, "up-1", make_plan("a", "b"), Phase.SHIFTING)
    for names in (("a",), ("c", "b")):
        with pytest.raises(UpgradeBusyError, match="up-1"):
            journal.begin("up-2", make_plan(*names), who=WHO)
    journal.begin("up-3", make_plan("c"), who=WHO)
    with pytest.raises(UpgradeBusyError, match="up-3"):
        journal.begin("up-4", make_plan("c"), who=WHO)
    journal.finish("up-3", Phase.ABORTED, who=WHO, why="")
    journal.begin("up-5", make_plan("c"), who=WHO)


def test_a_finished_upgrade_cannot_go_back_while_another_one_changes_its_component(journal):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    bring(journal, "up-2", make_plan("a", before="2.0", after="3.0"), Phase.SHIFTING)
    with pytest.raises(UpgradeBusyError, match="up-2"):
        journal.rolling_back("up-1", who=WHO, why="")
    journal.rolled_back("up-2", who=WHO, why="")
    journal.rolling_back("up-1", who=WHO, why="")
    with pytest.raises(UpgradeBusyError, match="up-1"):
        journal.begin("up-3", make_plan("a"), who=WHO)


def test_an_upgrade_is_about_components_each_of_them_once(journal):
    with pytest.raises(InvalidRequestError):
        journal.begin("up-1", make_plan("a", "a"), who=WHO)
    with pytest.raises(InvalidRequestError):
        journal.begin("up-1", make_plan(), who=WHO)
    journal.begin("up-1", make_plan("a"), who=WHO)
    with pytest.raises(InvalidRequestError, match="already"):
        journal.begin("up-1", make_plan("b"), who=WHO)


def test_a_plan_that_is_not_json_is_refused_before_anything_is_kept(journal):
    with pytest.raises(InvalidRequestError, match="parameters"):
        journal.begin("up-1", make_plan("a", parameters={"x": object()}), who=WHO)
    assert journal.history() == ()


def test_words_and_evidence_that_no_database_can_hold_are_kept_as_well_as_can_be(journal, store):
    journal.begin("up-1", make_plan("a"), who="al\udcffice", why="\ud800")
    journal.advance("up-1", Phase.VALIDATED, who=WHO, why="", evidence={"x": object(), "y": float("nan")})
    journal.finish("up-1", Phase.ABORTED, who=WHO, why="", error=HarmDetectedError("\udcff", details={"x": object()}))
    journal.renew_lease()
    rows = journal.audit("up-1")
    assert rows[0].who == "al\\udcffice"
    assert "object" in rows[1].evidence["unreadable"]
    assert journal.record("up-1").error["code"] == "deploy.harm"
    assert violations(journal, store) == []


# --- the commit ------------------------------------------------------------------------------------------------------


def test_a_set_commits_whole(journal, store):
    plan = make_plan("a", "b", "c")
    bring(journal, "up-1", plan, Phase.COMMITTED)
    assert [(row.version, row.generation, row.upgrade_id) for row in journal.active()] == [("2.0", 1, "up-1")] * 3
    assert journal.active_of("b").artifact == artifact("b", "2.0")
    assert violations(journal, store) == []


def test_half_a_set_is_refused(journal):
    plan = make_plan("a", "b")
    bring(journal, "up-1", plan, Phase.SHIFTING)
    more = PointerMove(component_name="z", version="2.0", artifact=None)
    for moves in ((), moves_of(plan)[:1], (*moves_of(plan), more), moves_of(plan)[:1] * 2):
        with pytest.raises(InvalidRequestError):
            journal.commit("up-1", moves, who=WHO, why="")
    assert {row.version for row in journal.active()} == {"1.0"}
    assert journal.record("up-1").phase is Phase.SHIFTING


@pytest.mark.parametrize(("version", "expected"), [("3.0", "1.0"), ("2.0", "0.9"), ("1.0", "1.0")])
def test_a_move_that_is_not_the_plans_is_refused(journal, version, expected):
    bring(journal, "up-1", make_plan("a"), Phase.SHIFTING)
    move = PointerMove(component_name="a", version=version, artifact=None, expected_version=expected)
    with pytest.raises(InvalidRequestError):
        journal.commit("up-1", (move,), who=WHO, why="")


def test_a_pointer_that_is_elsewhere_refuses_the_whole_commit(journal, path):
    plan = make_plan("a", "b")
    bring(journal, "up-1", plan, Phase.SHIFTING)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE pointers SET version = '9', generation = 5 WHERE component_name = 'b'")
    connection.commit()
    connection.close()
    with pytest.raises(VersionMismatchError) as caught:
        journal.commit("up-1", moves_of(plan), who=WHO, why="")
    assert caught.value.details == {"component_name": "b", "found": "9", "expected": "1.0"}
    assert journal.active_of("a").version == "1.0"
    assert journal.record("up-1").phase is Phase.SHIFTING
    assert "committed" not in {str(row.phase) for row in journal.audit("up-1")}


def test_the_intent_is_refused_where_the_pointer_is_elsewhere_already(journal):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    bring(journal, "up-2", make_plan("a", before="1.0", after="3.0"), Phase.STAGED)
    with pytest.raises(VersionMismatchError):
        journal.intend("up-2", who=WHO, why="")
    assert journal.record("up-2").phase is Phase.STAGED


def test_versions_that_mean_the_same_are_the_same(journal):
    journal.observe_active("a", "1.0.0")
    plan = make_plan("a", before="1.0", after="2.0")
    bring(journal, "up-1", plan, Phase.COMMITTED)
    assert journal.active_of("a").version == "2.0"


def test_a_request_is_carried_out_once(journal):
    plan = make_plan("a")
    bring(journal, "up-1", plan, Phase.DONE)
    journal.rolled_back("up-1", who=WHO, why="")
    with pytest.raises(InvalidRequestError, match="carried out already, by up-1"):
        journal.begin("up-2", plan, who=WHO)
    bring(journal, "up-3", make_plan("a"), Phase.DONE)


def test_a_request_that_was_not_carried_out_may_be_tried_again(journal, store):
    plan = make_plan("a")
    bring(journal, "up-1", plan, Phase.SHIFTING)
    journal.rolled_back("up-1", who=WHO, why="")
    bring(journal, "up-2", plan, Phase.DONE)
    assert journal.active()[0].version == "2.0"
    assert violations(journal, store) == []


def test_of_two_upgrades_for_one_request_the_second_cannot_commit(journal):
    plan, other = make_plan("a"), make_plan("b")
    same = type(plan)(requests=plan.requests, steps=other.steps)
    bring(journal, "up-1", plan, Phase.SHIFTING)
    bring(journal, "up-2", same, Phase.SHIFTING)
    journal.commit("up-1", moves_of(plan), who=WHO, why="")
    with pytest.raises(InvalidRequestError, match="carried out"):
        journal.commit("up-2", moves_of(other), who=WHO, why="")
    assert journal.active_of("b").version == "1.0"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE pointers SET generation = 0", "I5"),
        ("UPDATE pointers SET version = '7'", "I5"),
        ("DELETE FROM pointers", "I1"),
        ("INSERT INTO pointers SELECT * FROM pointers", "UNIQUE"),
        ("UPDATE audit SET why = ''", "I6"),
        ("DELETE FROM audit", "I6"),
        ("UPDATE upgrades SET phase = 'done'", "I6"),
        ("INSERT INTO audit SELECT 99, upgrade_id, 'received', 'done', at, who, why, fence, '{}' FROM audit", "I6"),
        ("INSERT INTO nonces SELECT nonce, upgrade_id, at FROM nonces", "UNIQUE"),
        ("UPDATE rollback_points SET expired = 1", "I11"),
        ("DELETE FROM rollback_points", "I11"),
        ("UPDATE lease SET number = number - 1", "I7"),
        ("UPDATE upgrades SET phase = 'dreaming'", "I6"),
        ("INSERT INTO members VALUES ('up-1', 1, 'a', '', '', 1, NULL)", "UNIQUE"),
    ],
)
def test_the_schema_itself_keeps_the_invariants(journal, path, statement, words):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match=words):
        connection.execute(statement)
    connection.close()


def test_the_schema_takes_the_steps_that_there_are_and_no_other(journal, path):
    journal.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TRIGGER audit_chained")  # it would refuse them before their own check is asked
    insert = "INSERT INTO audit SELECT NULL, 'up-1', ?, ?, '', '', '', number, '{}' FROM lease"

    def taken(before, after):
        try:
            connection.execute(insert, (before, after))
        except sqlite3.IntegrityError:
            return False
        return True

    befores, afters = [*Phase, None, "dreaming"], [*Phase, None, "dreaming"]
    found = {(before, after) for before in befores for after in afters if taken(before, after)}
    connection.close()
    steps = {(before, after) for before, some in TRANSITIONS.items() for after in some}
    assert found == {*steps, (None, Phase.RECEIVED)}


def test_a_write_that_the_schema_refuses_is_our_error_and_leaves_nothing(journal):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED)

    def write():
        with journal._file.write(sync=True) as connection:
            connection.execute("INSERT INTO nonces VALUES ('n', 'up-1', '')")
            connection.execute("DELETE FROM audit")

    with pytest.raises(InvariantViolatedError):
        write()
    assert journal._rows("SELECT * FROM nonces WHERE nonce = 'n'") == []


# --- going back ------------------------------------------------------------------------------------------------------


def test_going_back_from_the_commit_restores_the_pointer_and_the_generation_still_grows(journal, store):
    bring(journal, "up-0", make_plan("a", before="0.9", after="1.0"), Phase.DONE)
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED)
    before = journal.active_of("a")
    journal.rolling_back("up-1", who=WHO, why="harm", error=HarmDetectedError("slow"))
    record = journal.rolled_back("up-1", who=WHO, why="harm")
    after = journal.active_of("a")
    assert (after.version, after.generation) == ("1.0", before.generation + 1)
    assert after.artifact == artifact("a", "1.0")
    assert record.error["message"] == "slow"
    assert violations(journal, store) == []


def test_going_back_before_the_commit_lets_the_generation_grow_too(journal, store):
    bring(journal, "up-1", make_plan("a"), Phase.ROLLING_BACK)
    journal.rolled_back("up-1", who=WHO, why="harm")
    assert [(row.version, row.generation) for row in journal.active()] == [("1.0", 1)]
    assert violations(journal, store) == []


def test_going_back_may_name_the_artefact_to_go_back_to(journal):
    bring(journal, "up-1", make_plan("a", "b"), Phase.DONE)
    kept = artifact("a", "1.0", "1" * 64)
    move = PointerMove(component_name="a", version="1.0", artifact=kept, expected_version="2.0")
    journal.rolled_back("up-1", (move,), who=WHO, why="")
    assert journal.active_of("a").artifact == kept
    assert (journal.active_of("b").version, journal.active_of("b").artifact) == ("1.0", None)


def test_a_set_goes_back_whole_or_not_at_all(journal):
    bring(journal, "up-1", make_plan("a", "b"), Phase.COMMITTED)
    wrong = PointerMove(component_name="b", version="1.0", artifact=None, expected_version="7")
    with pytest.raises(VersionMismatchError):
        journal.rolled_back("up-1", (wrong,), who=WHO, why="")
    assert {row.version for row in journal.active()} == {"2.0"}
    for move in (
        PointerMove(component_name="z", version="1.0", artifact=None),
        PointerMove(component_name="a", version="0.5", artifact=None),
    ):
        with pytest.raises(InvalidRequestError):
            journal.rolled_back("up-1", (move,), who=WHO, why="")


def test_going_back_needs_no_note_that_it_began(journal, store):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED)
    journal.rolled_back("up-1", who=WHO, why="harm")
    assert [str(row.phase) for row in journal.audit("up-1")][-2:] == ["rolling_back", "rolled_back"]
    assert violations(journal, store) == []


def test_a_finished_upgrade_that_stays_is_done_again_and_free_for_the_next(journal, store, path, clock):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    journal.rolling_back("up-1", who=WHO, why="asked for")
    journal.finish("up-1", Phase.DONE, who=WHO, why="it was refused")
    assert violations(journal, store) == []
    with crashed(path, clock) as restarted:
        restarted.acquire_lease()
        assert restarted.recover("restart") == ()
        assert restarted.active_of("a").version == "2.0"
        bring(restarted, "up-2", make_plan("a", before="2.0", after="3.0"), Phase.DONE)


def test_an_upgrade_that_was_never_committed_cannot_end_as_done_by_way_of_going_back(journal):
    bring(journal, "up-1", make_plan("a"), Phase.ROLLING_BACK)
    with pytest.raises(VersionMismatchError):
        journal.finish("up-1", Phase.DONE, who=WHO, why="a lie")


def test_an_upgrade_that_a_later_one_has_passed_cannot_be_taken_back(journal):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    bring(journal, "up-2", make_plan("a", before="2.0", after="3.0"), Phase.DONE)
    with pytest.raises(VersionMismatchError, match=r"3\.0"):
        journal.rolling_back("up-1", who=WHO, why="too late")


def test_a_stuck_upgrade_can_be_taken_back_again(journal, store):
    bring(journal, "up-1", make_plan("a"), Phase.STUCK)
    assert [f.code for f in doctor.check(journal, store) if f.code == "upgrade.stuck"] == ["upgrade.stuck"]
    journal.rolling_back("up-1", who=WHO, why="again")
    journal.finish("up-1", Phase.STUCK, who=WHO, why="again")
    journal.rolled_back("up-1", who=WHO, why="at last")
    assert journal.active_of("a").version == "1.0"
    assert violations(journal, store) == []


# --- what rides ------------------------------------------------------------------------------------------------------


def test_what_rides_is_read_back_as_if_it_were_written(journal):
    bring(journal, "up-1", make_plan("a"), Phase.APPROVED)
    assert journal.record("up-1").phase is Phase.APPROVED
    assert [record.upgrade_id for record in journal.open_upgrades()] == ["up-1"]
    assert [record.upgrade_id for record in journal.history()] == ["up-1"]
    assert [row.sequence for row in journal.audit()] == [1, 2, 3]
    assert [row.sequence for row in journal.audit("up-1", after=1, limit=1)] == [2]
    assert journal.statistics()["phases"] == {"approved": 1}


def test_what_rides_is_not_on_the_disk_until_something_is(journal, path, clock):
    bring(journal, "up-1", make_plan("a"), Phase.STAGED)
    with crashed(path, clock) as found:
        assert found.history() == ()
    journal.observe_active("z", "1")
    with crashed(path, clock) as found:
        assert [(r.upgrade_id, r.phase) for r in found.history()] == [("up-1", Phase.STAGED)]
        assert len(found.audit()) == 4


def test_what_rides_is_written_when_the_lease_is_renewed_and_when_the_journal_is_closed(path, clock):
    with SqliteJournal(path, clock=clock) as journal:
        journal.acquire_lease()
        bring(journal, "up-1", make_plan("a"), Phase.STAGED)
        with crashed(path, clock) as found:
            assert found.record("up-1") is None
        journal.renew_lease()
        with crashed(path, clock) as found:
            assert found.record("up-1").phase is Phase.STAGED
        bring(journal, "up-2", make_plan("b"), Phase.VALIDATED)
    with SqliteJournal(path, clock=clock) as journal:
        assert journal.record("up-2").phase is Phase.VALIDATED


@pytest.mark.parametrize("phase", [Phase.DONE, Phase.ABORTED, Phase.REJECTED])
def test_an_end_is_written_at_once_with_all_that_rode_before_it(journal, path, clock, phase):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED if phase is Phase.DONE else Phase.VALIDATED)
    journal.finish("up-1", phase, who=WHO, why="the end")
    with crashed(path, clock) as found:
        assert found.record("up-1").phase is phase
        assert found.audit()[-1].who == WHO


def test_an_end_that_there_is_no_room_for_rides_until_there_is(journal, path, clock, monkeypatch):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED)
    with monkeypatch.context() as full:

        @contextlib.contextmanager
        def no_room(*_, **__):
            raise JournalFullError("full")
            yield

        full.setattr(journal._file, "write", no_room)
        journal.finish("up-1", Phase.DONE, who=WHO, why="the end")
        assert journal.record("up-1").phase is Phase.DONE
    with crashed(path, clock) as found:
        assert found.record("up-1").phase is Phase.COMMITTED
    journal.renew_lease()
    with crashed(path, clock) as found:
        assert found.record("up-1").phase is Phase.DONE


def test_a_durable_beginning_is_on_the_disk_at_once(journal, path, clock):
    journal.begin("up-1", make_plan("a"), who=WHO, durable=True)
    with crashed(path, clock) as found:
        assert found.record("up-1").phase is Phase.RECEIVED


def test_upgrades_that_ride_together_keep_the_order_of_what_happened(journal, path, clock, store):
    for name in "abc":
        journal.begin(f"up-{name}", make_plan(name), who=WHO)
    journal.advance("up-b", Phase.VALIDATED, who=WHO, why="")
    journal.finish("up-a", Phase.REJECTED, who=WHO, why="")
    seen = journal.audit()
    journal.renew_lease()
    assert journal.audit() == seen
    with crashed(path, clock) as found:
        assert found.audit() == seen
        assert [r.upgrade_id for r in found.open_upgrades()] == ["up-b", "up-c"]
    assert violations(journal, store) == []


# --- what runs -------------------------------------------------------------------------------------------------------


def test_a_component_is_noted_at_first_sight_and_follows_the_environment_with_a_note(journal, store):
    first = journal.observe_active("a", "1.0")
    assert (first.version, first.generation, first.artifact) == ("1.0", 0, None)
    assert journal.observe_active("a", "1.0") == first
    assert journal.observe_active("a", "1.1").generation == 1
    (row,) = journal.audit()
    assert (row.upgrade_id, row.phase, row.evidence["moves"][0]["version"]) == ("", None, "1.1")
    assert violations(journal, store) == []


def test_a_pointer_with_an_artefact_does_not_follow_the_environment(journal):
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    assert journal.observe_active("a", "1.0").version == "2.0"


def test_a_component_under_way_does_not_follow_the_environment(journal):
    bring(journal, "up-1", make_plan("a"), Phase.SHIFTING)
    assert journal.observe_active("a", "2.0").version == "1.0"


def test_the_intent_notes_components_that_nobody_had_seen_or_that_changed_outside(journal, store):
    journal.observe_active("b", "0.5")
    bring(journal, "up-1", make_plan("a", "b"), Phase.SHIFTING)
    assert [(row.version, row.generation) for row in journal.active()] == [("1.0", 0), ("1.0", 1)]
    assert violations(journal, store) == []


# --- looking ---------------------------------------------------------------------------------------------------------


def test_history_is_newest_first_and_can_be_of_one_component(journal):
    for number, names in enumerate((("a",), ("b",), ("a", "b"))):
        before = "1.0" if number < 2 else "2.0"
        after = "2.0" if number < 2 else "3.0"
        bring(journal, f"up-{number}", make_plan(*names, before=before, after=after), Phase.DONE)
    assert [r.upgrade_id for r in journal.history()] == ["up-2", "up-1", "up-0"]
    assert [r.upgrade_id for r in journal.history(2)] == ["up-2", "up-1"]
    assert [r.upgrade_id for r in journal.history(component_name="a")] == ["up-2", "up-0"]
    assert journal.history(component_name="z") == ()


def test_a_record_comes_back_from_the_file_as_it_went_in(journal):
    plan = make_plan("a", "b")
    bring(journal, "up-1", plan, Phase.DONE)
    riding = journal.record("up-1")
    journal.renew_lease()
    assert journal._riding.records == {}
    assert journal.record("up-1") == riding
    assert riding.plan_digest == plan.digest
    assert riding.nonces == tuple(request.request_id for request in plan.requests)


def test_statistics_count_what_rides_once(journal):
    assert journal.statistics() == {
        "total": 0,
        "counts": dict.fromkeys(("pending", "in_progress", "completed", "failed", "cancelled", "rolled_back"), 0),
        "phases": {},
        "success_rate": None,
        "last_upgrade_at": None,
    }
    bring(journal, "up-1", make_plan("a"), Phase.DONE)
    bring(journal, "up-2", make_plan("b"), Phase.SHIFTING)
    journal.rolled_back("up-2", who=WHO, why="")
    bring(journal, "up-3", make_plan("c"), Phase.VALIDATED)
    for _ in range(2):
        found = journal.statistics()
        assert found["phases"] == {"done": 1, "rolled_back": 1, "validated": 1}
        assert found["success_rate"] == 0.5
        assert found["last_upgrade_at"].startswith("2026-01-01T00:00:00")
        journal.renew_lease()


def test_an_approval_counts_once_a_person_and_a_nonce(journal, clock):
    journal.begin("up-1", make_plan("a"), who=WHO)
    assert journal.record_approval("up-1", "d", who="bob", at=clock(), nonce="n1")
    assert not journal.record_approval("up-1", "d", who="bob", at=clock(), nonce="n2")
    assert journal.record_approval("up-1", "d", who="eve", at=clock(), nonce="n3")
    with pytest.raises(InvalidRequestError):
        journal.record_approval("up-1", "d", who="dan", at=clock(), nonce="n3")
    assert journal.approvals("up-1") == ("bob", "eve")


def test_reads_do_not_wait_for_a_write_that_waits(journal):
    bring(journal, "up-1", make_plan("a"), Phase.SHIFTING)
    with journal._file.write(sync=True) as connection:
        connection.execute("UPDATE lease SET expires = expires")
        found = []
        reader = threading.Thread(target=lambda: found.append((journal.active(), journal.record("up-1"))))
        reader.start()
        reader.join(10)
    assert found[0][0][0].version == "1.0"


def test_many_threads_may_use_one_journal(journal, store):
    failures = []

    def work(name):
        try:
            for number in range(10):
                plan = make_plan(name, before=f"{number}", after=f"{number + 1}")
                bring(journal, f"up-{name}{number}", plan, Phase.DONE)
                journal.history(5)
                journal.audit(limit=5)
                journal.statistics()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [(row.version, row.generation) for row in journal.active()] == [("10", 10)] * 4
    assert violations(journal, store) == []


# --- rollback points -------------------------------------------------------------------------------------------------


def test_rollback_points_are_there_from_the_intent_on_newest_first(journal):
    bring(journal, "up-1", make_plan("a"), Phase.STAGED)
    assert journal.rollback_points() == ()
    journal.intend("up-1", points_of(make_plan("a"), "up-1"), who=WHO, why="")
    journal.commit("up-1", moves_of(make_plan("a")), who=WHO, why="")
    journal.finish("up-1", Phase.DONE, who=WHO, why="")
    bring(journal, "up-2", make_plan("a", before="2.0", after="3.0"), Phase.DONE)
    assert [point.from_version for point in journal.rollback_points("a")] == ["2.0", "1.0"]
    assert journal.rollback_points("b") == ()


def test_a_rollback_point_of_another_upgrade_is_refused(journal):
    bring(journal, "up-1", make_plan("a"), Phase.STAGED)
    with pytest.raises(InvalidRequestError):
        journal.intend("up-1", points_of(make_plan("a"), "up-2"), who=WHO, why="")


def test_points_expire_by_number_by_time_and_by_age_and_those_of_open_upgrades_stay(journal, clock):
    for number in range(5):
        plan = make_plan("a", before=f"{number}", after=f"{number + 1}")
        bring(journal, f"up-{number}", plan, Phase.DONE)
    assert [p.from_version for p in journal.expire_rollback_points(3)] == ["1", "0"]
    assert [p.from_version for p in journal.rollback_points("a")] == ["4", "3", "2"]
    assert len(journal.rollback_points("a", include_expired=True)) == 5
    assert journal.expire_rollback_points(3) == ()
    assert len(journal.expire_rollback_points(3, before=journal.rollback_points("a")[0].created_at)) == 2

    plan = make_plan("b")
    bring(journal, "up-b", plan, Phase.STAGED)
    (point,) = points_of(plan, "up-b", expires_at=clock() + timedelta(days=1))
    journal.intend("up-b", (point,), who=WHO, why="")
    clock.pass_(2 * 86400)
    assert journal.rollback_points("b") == ()
    assert point not in journal.expire_rollback_points(0)
    journal.rolled_back("up-b", who=WHO, why="")
    assert journal.expire_rollback_points(9) == (point,)


def test_the_digests_that_must_stay_are_those_of_pointers_points_and_open_upgrades(journal):
    old, new, coming = "1" * 64, "2" * 64, "3" * 64
    bring(journal, "up-0", make_plan("a", before="0", after="1.0", digest=old), Phase.DONE)
    bring(journal, "up-1", make_plan("a", digest=new), Phase.COMMITTED)
    assert journal.digests() == {old, new}
    journal.finish("up-1", Phase.DONE, who=WHO, why="")
    assert journal.digests() == {new}
    bring(journal, "up-2", make_plan("b", digest=coming), Phase.RECEIVED)
    assert journal.digests() == {new, coming}
    journal.finish("up-2", Phase.ABORTED, who=WHO, why="")
    assert journal.digests() == {new}
    plan = make_plan("c")
    bring(journal, "up-3", plan, Phase.STAGED)
    point = points_of(plan, "up-3", artifact=artifact("c", "1.0", "4" * 64), state_digest="5" * 64)
    journal.intend("up-3", point, who=WHO, why="")
    journal.rolled_back("up-3", who=WHO, why="")
    assert journal.digests() == {new, "4" * 64, "5" * 64}
    journal.expire_rollback_points(0)
    assert journal.digests() == {new}


# --- after a crash ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "became", "version", "generation"),
    [
        (Phase.RECEIVED, Phase.ABORTED, None, None),
        (Phase.VALIDATED, Phase.ABORTED, None, None),
        (Phase.APPROVED, Phase.ABORTED, None, None),
        (Phase.STAGED, Phase.ROLLED_BACK, None, None),
        (Phase.SHIFTING, Phase.ROLLED_BACK, "1.0", 1),
        (Phase.ROLLING_BACK, Phase.ROLLED_BACK, "1.0", 1),
        (Phase.COMMITTED, Phase.DONE, "2.0", 1),
        (Phase.SOAKING, Phase.SOAKING, "2.0", 1),
        (Phase.STUCK, Phase.STUCK, "2.0", 1),
    ],
)
def test_a_restart_does_what_the_table_says_and_doing_it_again_changes_nothing(
    journal, path, clock, store, found, became, version, generation
):
    bring(journal, "up-1", make_plan("a"), found)
    journal.renew_lease()
    with crashed(path, clock) as restarted:
        assert violations(restarted, store) == []
        restarted.acquire_lease()
        (recovery,) = restarted.recover("restart")
        assert (recovery.upgrade_id, recovery.found, recovery.became) == ("up-1", found, became)
        assert restarted.record("up-1").phase is became
        if version is not None:
            (pointer,) = restarted.active()
            assert (pointer.version, pointer.generation) == (version, generation)
        assert violations(restarted, store) == []
        state = (restarted.active(), restarted.history(), restarted.audit())
        assert [again.became for again in restarted.recover("restart")] == ([became] if became is Phase.STUCK else [])
        assert (restarted.active(), restarted.history(), restarted.audit()) == state


def test_a_restart_while_a_finished_upgrade_goes_back_goes_back(journal, path, clock, store):
    bring(journal, "up-1", make_plan("a", "b"), Phase.DONE)
    journal.rolling_back("up-1", who=WHO, why="asked for")
    with crashed(path, clock) as restarted:
        restarted.acquire_lease()
        (recovery,) = restarted.recover("restart")
        assert {move.version for move in recovery.moves} == {"1.0"}
        assert [(row.version, row.generation) for row in restarted.active()] == [("1.0", 2)] * 2
        assert violations(restarted, store) == []


def test_a_soak_survives_as_many_restarts_as_it_has_tries(journal, path, clock, store):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED, soak_seconds=1000, soak_tries=2)
    found = [crashed(path, clock)]
    phases = []
    for _ in range(3):
        with found[-1] as restarted:
            restarted.acquire_lease()
            phases += [recovery.became for recovery in restarted.recover("restart")]
            restarted.recover("restart")
            assert violations(restarted, store) == []
            pointer = restarted.active()[0]
            found.append(crashed(restarted.path, clock))
    assert phases == [Phase.SOAKING, Phase.SOAKING, Phase.ROLLED_BACK]
    assert (pointer.version, pointer.generation) == ("1.0", 2)


@pytest.mark.parametrize("tries", [0, 3])
def test_a_soak_that_ended_well_stays_done_however_late_or_often_the_program_is_restarted(journal, path, clock, tries):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED, soak_seconds=10, soak_tries=tries)
    journal.advance("up-1", Phase.SOAKING, who=WHO, why="", soak_seconds=10, soak_tries=tries)
    clock.pass_(10)
    journal.finish("up-1", Phase.DONE, who=WHO, why="it runs")
    clock.pass_(3600)
    with crashed(path, clock) as other:
        other.acquire_lease()
        assert other.recover(WHO) == ()
        assert (other.record("up-1").phase, other.active()[0].version) == (Phase.DONE, "2.0")


@pytest.mark.parametrize(("seconds", "became"), [(100, Phase.SOAKING), (121, Phase.ROLLED_BACK)])
def test_a_soak_whose_deadline_has_passed_goes_back_unless_the_restart_was_quick(journal, path, clock, seconds, became):
    bring(journal, "up-1", make_plan("a"), Phase.SOAKING)
    with crashed(path, clock) as restarted:
        clock.pass_(seconds)
        restarted.acquire_lease()
        assert [recovery.became for recovery in restarted.recover("restart")] == [became]


def test_what_this_controller_has_under_way_is_not_recovered(journal):
    bring(journal, "up-1", make_plan("a"), Phase.SHIFTING)
    assert journal.recover("restart") == ()
    assert journal.record("up-1").phase is Phase.SHIFTING


def test_after_recovery_the_same_upgrade_can_be_tried_again(journal, path, clock, store):
    plan = make_plan("a")
    bring(journal, "up-1", plan, Phase.SHIFTING)
    with crashed(path, clock) as restarted:
        restarted.acquire_lease()
        restarted.recover("restart")
        bring(restarted, "up-2", plan, Phase.DONE)
        assert restarted.active()[0].version == "2.0"
        assert violations(restarted, store) == []


def test_a_new_controller_goes_on_counting_the_audit_where_the_old_one_stopped(journal, path, clock):
    bring(journal, "up-1", make_plan("a"), Phase.COMMITTED)
    journal.begin("up-2", make_plan("b"), who=WHO, why="rides, and is lost")
    with crashed(path, clock) as restarted:
        restarted.acquire_lease()
        restarted.recover("restart")
        assert [row.sequence for row in restarted.audit()] == list(range(1, 8))
        assert restarted.audit()[-1].who == "restart"


# --- all of it, in any order -----------------------------------------------------------------------------------------


class JournalMachine(RuleBasedStateMachine):
    """Any order of operations, with crashes anywhere: the doctor finds nothing, and a simple model agrees."""

    names = st.sampled_from("abc")

    @initialize()
    def begin(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = ContentStore(Path(self.folder.name) / "store")
        self.journal = SqliteJournal(Path(self.folder.name) / "s" / "journal.db", clock=self.clock).open()
        self.journal.acquire_lease(DEAD)
        self.versions = dict.fromkeys("abc", 1)
        self.generations = {}
        self.plans = {}
        self.count = 0
        self.documents = {}
        self.revisions = {}

    def teardown(self):
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()

    def phases(self):
        return {r.upgrade_id: r.phase for r in self.journal.history(1000)}

    def choose(self, data, *phases):
        found = sorted(key for key, phase in self.phases().items() if phase in phases)
        return data.draw(st.sampled_from(found)) if found else None

    @rule(names=st.sets(names, min_size=1))
    def ask(self, names):
        self.count += 1
        upgrade_id, names = f"up-{self.count}", sorted(names)
        plan = make_plan(*names)
        steps = tuple(
            step
            for name in names
            for step in make_plan(name, before=f"{self.versions[name]}", after=f"{self.versions[name] + 1}").steps
        )
        plan = type(plan)(requests=plan.requests, steps=steps)
        held = {n for u, p in self.phases().items() if not p.ended for n in self.plans[u].component_names}
        try:
            self.journal.begin(upgrade_id, plan, who=WHO)
        except UpgradeBusyError:
            assert held & set(names)
        else:
            assert not held & set(names)
            self.plans[upgrade_id] = plan

    @rule(data=st.data())
    def go_on(self, data):
        following = {
            Phase.RECEIVED: Phase.VALIDATED,
            Phase.VALIDATED: Phase.APPROVED,
            Phase.APPROVED: Phase.STAGED,
            Phase.COMMITTED: Phase.SOAKING,
        }
        chosen = self.choose(data, *following)
        if chosen:
            asked = following[self.phases()[chosen]]
            self.journal.advance(chosen, asked, who=WHO, why="", soak_seconds=60)

    @rule(data=st.data())
    def intend(self, data):
        chosen = self.choose(data, Phase.STAGED)
        if chosen:
            self.journal.intend(chosen, points_of(self.plans[chosen], chosen), who=WHO, why="")

    @rule(data=st.data(), soak=st.sampled_from([0, 60]))
    def commit(self, data, soak):
        chosen = self.choose(data, Phase.SHIFTING)
        if chosen:
            self.journal.commit(chosen, moves_of(self.plans[chosen]), who=WHO, why="", soak_seconds=soak)
            for name in self.plans[chosen].component_names:
                self.versions[name] += 1

    @rule(data=st.data())
    def finish(self, data):
        ends = {Phase.RECEIVED: Phase.REJECTED, Phase.STAGED: Phase.ABORTED, Phase.COMMITTED: Phase.DONE}
        ends |= {Phase.SOAKING: Phase.DONE}
        chosen = self.choose(data, *ends)
        if chosen:
            self.journal.finish(chosen, ends[self.phases()[chosen]], who=WHO, why="")

    @rule(data=st.data(), end=st.sampled_from([Phase.STUCK, Phase.DONE]))
    def give_up(self, data, end):
        chosen = self.choose(data, Phase.ROLLING_BACK)
        if not chosen:
            return
        committed = any(row.phase is Phase.COMMITTED for row in self.journal.audit(chosen))
        try:
            self.journal.finish(chosen, end, who=WHO, why="")
        except VersionMismatchError:
            assert end is Phase.DONE
            assert not committed
        else:
            assert committed or end is Phase.STUCK

    @rule(data=st.data())
    def turn_back(self, data):
        chosen = self.choose(data, Phase.SHIFTING, Phase.COMMITTED, Phase.SOAKING, Phase.STUCK, Phase.DONE)
        if not chosen:
            return
        names = self.plans[chosen].component_names
        held = {
            n for u, p in self.phases().items() if not p.ended and u != chosen for n in self.plans[u].component_names
        }
        try:
            self.journal.rolling_back(chosen, who=WHO, why="")
        except UpgradeBusyError:
            assert held & set(names)
        except VersionMismatchError:
            assert any(self.versions[step.name] != int(step.to_version) for step in self.plans[chosen].steps)

    @rule(data=st.data())
    def be_back(self, data):
        chosen = self.choose(data, Phase.SHIFTING, Phase.COMMITTED, Phase.SOAKING, Phase.STUCK, Phase.ROLLING_BACK)
        if chosen:
            committed = any(row.phase is Phase.COMMITTED for row in self.journal.audit(chosen))
            self.journal.rolled_back(chosen, who=WHO, why="")
            if committed:
                self.take_back(chosen)

    def take_back(self, upgrade_id):
        for step in self.plans[upgrade_id].steps:
            self.versions[step.name] = int(step.from_version)

    @rule(key=names, expected=st.none() | st.integers(0, 3), durable=st.booleans(), ended=st.booleans())
    def keep(self, key, expected, durable, ended):
        at = self.documents.get(key, (0,))[0]
        body = {"number": self.revisions.get(key, 0) + 1}
        try:
            kept = self.journal.keep_document(
                "acme", key, body, who=WHO, why="", expected=expected, durable=durable, ended=ended
            )
        except DocumentConflictError:
            assert expected not in {None, at}
        else:
            assert expected in {None, at}
            self.revisions[key] = kept.revision
            self.documents[key] = (kept.revision, body, ended)

    @rule(key=names)
    def drop(self, key):
        try:
            dropped = self.journal.drop_document("acme", key, who=WHO, why="")
        except DocumentConflictError:
            assert key not in self.documents
        else:
            assert dropped.revision == self.documents.pop(key)[0]
            self.revisions[key] += 1

    @rule(most=st.integers(0, 3))
    def expire(self, most):
        self.journal.expire_rollback_points(most)

    @rule()
    def renew(self):
        self.journal.renew_lease()

    @rule(minutes=st.sampled_from([0, 1, 5]))
    def crash(self, minutes):
        self.journal.renew_lease()
        known = self.phases()
        committed = {u for u in known if any(row.phase is Phase.COMMITTED for row in self.journal.audit(u))}
        old, self.journal = self.journal, crashed(self.journal.path, self.clock).open()
        old.close()
        self.clock.pass_(minutes * 60)
        self.journal.acquire_lease(DEAD)
        for recovery in self.journal.recover("restart"):
            if recovery.became is Phase.ROLLED_BACK and recovery.upgrade_id in committed:
                self.take_back(recovery.upgrade_id)
        assert {p for p in self.phases().values() if not p.ended} <= {Phase.SOAKING, Phase.STUCK}

    @precondition(lambda self: hasattr(self, "journal"))
    @invariant()
    def holds(self):
        assert violations(self.journal, self.store) == []
        for pointer in self.journal.active():
            assert pointer.version == str(self.versions[pointer.component_name])
            assert pointer.generation >= self.generations.get(pointer.component_name, 0)
            self.generations[pointer.component_name] = pointer.generation
        there = {one.key: (one.revision, one.body, one.ended) for one in self.journal.documents("acme")}
        assert there == self.documents
        for key, revision in self.revisions.items():
            assert len(self.journal.document_audit("acme", key)) == revision


class TestAnyOrder(JournalMachine.TestCase):
    settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_every_refusal_of_the_journal_is_one_of_our_errors():
    for name in ("JournalError", "LeaseHeldError", "LeaseLostError", "JournalFullError", "JournalCorruptError"):
        assert issubclass(globals()[name], UpgradeError)
