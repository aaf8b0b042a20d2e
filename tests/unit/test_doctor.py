"""The doctor finds every broken invariant by its name, and nothing where nothing is broken."""

import sqlite3

import pytest

from noodle_upgrade_core import doctor
from noodle_upgrade_core.errors import JournalError
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_core.model import Phase, Severity
from noodle_upgrade_core.store import ContentStore

from .plans import WHO, artifact, bring, make_plan, moves_of, points_of
from .wheels import make_wheel


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.fixture
def digest(store, tmp_path):
    made = store.put_file(make_wheel(tmp_path, "a", "2.0", {"a.py": ""}))
    store.unpack_wheel(made)
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path):
    with SqliteJournal(path) as opened:
        opened.acquire_lease()
        yield opened


def broken(path, *statements):
    """Change the file behind the journal's back, past every trigger and constraint."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = 1")
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def codes(journal, store):
    return {finding.code for finding in doctor.check(journal, store)}


@pytest.mark.parametrize(
    "phase",
    [
        Phase.RECEIVED,
        Phase.STAGED,
        Phase.SHIFTING,
        Phase.COMMITTED,
        Phase.SOAKING,
        Phase.DONE,
        Phase.ROLLING_BACK,
    ],
)
def test_a_sound_state_has_no_findings_in_any_phase(journal, store, digest, phase):
    bring(journal, "up-1", make_plan("a", digest=digest), phase)
    assert doctor.check(journal, store) == ()


def test_an_empty_state_is_sound(journal, store):
    assert doctor.check(journal, store) == ()


STAMP = "'2026-01-01T00:00:00.000000+00:00'"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE pointers SET version = '9'", "I3"),
        ("UPDATE pointers SET version = '1.0', generation = 2", "I3"),
        ("UPDATE pointers SET upgrade_id = 'up-unknown'", "I3"),
        ("UPDATE pointers SET generation = 7", "I5"),
        ("UPDATE pointers SET generation = 0", "I5"),
        ("UPDATE upgrades SET phase = 'shifting'", "I6"),
        ("DELETE FROM audit WHERE phase = 'committed'", "I6"),
        ("DELETE FROM audit WHERE phase = 'received'", "I6"),
        ("DELETE FROM audit", "I6"),
        ("UPDATE audit SET phase = 'rejected' WHERE phase = 'staged'", "I6"),
        (f"INSERT INTO audit VALUES (NULL, 'up-z', NULL, 'received', {STAMP}, '', '', 1, '{{}}')", "I6"),
        ("UPDATE audit SET fence = 9 WHERE phase = 'received'", "I7"),
        ("UPDATE rollback_points SET point = replace(point, 'up-1', 'up-y')", "I11"),
        ("UPDATE audit SET phase = 'validated' WHERE phase = 'approved'", "I12"),
        ("""UPDATE audit SET evidence = '{"moves": []}' WHERE phase = 'committed'""", "I13"),
    ],
)
def test_a_broken_invariant_is_found_by_its_name(journal, path, store, digest, statement, code):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.COMMITTED)
    broken(path, *statement.split("; "))
    found = {f.code: f for f in doctor.check(journal, store)}
    assert f"invariant.{code}" in found
    finding = found[f"invariant.{code}"]
    assert finding.severity is Severity.ERROR
    assert doctor.INVARIANTS[code] in finding.message
    assert finding.hint


def test_a_commit_that_moved_only_part_of_its_set_is_found(journal, path, store, digest):
    bring(journal, "up-1", make_plan("a", "b", digest=digest), Phase.COMMITTED)
    broken(path, "UPDATE pointers SET version = '1.0', upgrade_id = '' WHERE component_name = 'b'")
    assert "invariant.I13" in codes(journal, store)


def test_a_pointer_that_moved_before_its_commit_is_found(journal, path, store, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.SHIFTING)
    broken(path, "UPDATE pointers SET version = '2.0', generation = 1, upgrade_id = 'up-1'")
    assert "invariant.I3" in codes(journal, store)


def test_two_open_upgrades_of_one_component_are_found(journal, path, store, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.SHIFTING)
    bring(journal, "up-2", make_plan("b", digest=digest), Phase.SHIFTING)
    broken(path, "DROP INDEX one_open", "UPDATE members SET component_name = 'a'")
    assert "invariant.I4" in codes(journal, store)


def test_a_request_that_was_carried_out_twice_is_found(journal, path, store, digest):
    for number in (1, 2):
        plan = make_plan("a", before=f"{number}.0", after=f"{number + 1}.0", digest=digest)
        bring(journal, f"up-{number}", plan, Phase.DONE)
    journal.renew_lease()
    broken(path, "UPDATE upgrades SET plan = (SELECT plan FROM upgrades WHERE upgrade_id = 'up-1')")
    assert "invariant.I8" in codes(journal, store)


@pytest.mark.parametrize("damage", ["blob gone", "blob changed", "tree gone", "tree changed"])
def test_damaged_bytes_of_what_is_active_are_found(journal, store, digest, damage):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.DONE)
    blob, file = store.blob(digest), store.tree(digest) / "a.py"
    if damage == "blob gone":
        blob.unlink()
    elif damage == "blob changed":
        blob.write_bytes(b"")
    elif damage == "tree gone":
        store.tree(digest).rename(store.root / "elsewhere")
    else:
        file.write_text("a = 1\n")
    (finding,) = [f for f in doctor.check(journal, store) if f.code == "invariant.I2"]
    assert finding.subject == "a"
    assert "noodle upgrade a 2.0" in finding.hint


def test_the_bytes_that_an_open_upgrade_would_go_back_to_are_looked_for(journal, store, digest):
    plan = make_plan("a", digest=digest)
    bring(journal, "up-1", plan, Phase.STAGED)
    state = store.put_bytes(b"state")
    point = points_of(plan, "up-1", artifact=artifact("a", "1.0", digest), state_digest=state)
    journal.intend("up-1", point, who=WHO, why="")
    assert codes(journal, store) == set()
    store.discard(state)
    assert codes(journal, store) == {"invariant.I11"}
    journal.commit("up-1", moves_of(plan), who=WHO, why="")
    journal.finish("up-1", Phase.DONE, who=WHO, why="")
    assert codes(journal, store) == set()


def test_a_rollback_in_which_a_generation_did_not_grow_is_found(journal, path, store, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.SHIFTING)
    journal.rolled_back("up-1", who=WHO, why="")
    broken(path, "UPDATE pointers SET generation = 0", "UPDATE audit SET evidence = '{}'")
    assert codes(journal, store) == {"invariant.I5"}


def test_an_upgrade_that_a_restart_found_staged_and_took_back_is_sound(journal, store, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.DONE)
    bring(journal, "up-2", make_plan("a", before="2.0", after="3.0", digest=digest), Phase.STAGED)
    journal.renew_lease()  # writes what rode, as it does every few seconds
    journal.acquire_lease()
    assert [one.became for one in journal.recover(WHO)] == [Phase.ROLLED_BACK]
    assert journal.active_of("a").generation == 2
    assert doctor.check(journal, store) == ()


def test_a_stuck_upgrade_is_a_warning_that_says_what_to_do(journal, store, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.STUCK)
    (finding,) = doctor.check(journal, store)
    assert (finding.severity, finding.code, finding.subject) == (Severity.WARNING, "upgrade.stuck", "a")
    assert "noodle history" in finding.hint


def test_damage_of_the_file_itself_is_found(journal, path, store, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.DONE)
    journal.renew_lease()
    broken(path, "INSERT INTO nonces VALUES ('n', 'up-nobody', '')")
    (finding,) = doctor.check(journal, store)
    assert "nonces" in finding.message


def test_a_journal_that_cannot_be_read_is_one_finding(path, store):
    journal = SqliteJournal(path).open()
    journal.close()
    (finding,) = doctor.check(journal, store)
    assert finding.code == JournalError.code
    (finding,) = doctor.compare(journal, {})
    assert finding.code == JournalError.code


def test_the_checks_do_not_write(journal, path, store, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.APPROVED)
    before = (path.read_bytes(), sorted(store.root.rglob("*")))
    doctor.check(journal, store)
    assert (path.read_bytes(), sorted(store.root.rglob("*"))) == before
    assert journal._riding.records


def test_what_runs_is_compared_with_the_journal(journal, digest):
    bring(journal, "up-1", make_plan("a", "b", digest=digest), Phase.DONE)
    journal.observe_active("c", "1.0")
    journal.observe_active("d", "1.0")
    assert doctor.compare(journal, {"a": "2.0", "b": "2.0.0", "c": "1.0", "z": "7"}) == ()
    found = doctor.compare(journal, {"a": "1.0", "c": "1.5"})
    assert [(f.subject, f.code, f.severity) for f in found] == [
        ("a", "active.differs", Severity.ERROR),
        ("b", "active.not_running", Severity.WARNING),
        ("c", "active.differs", Severity.ERROR),
    ]


def test_versions_that_are_none_differ_by_their_text(journal):
    journal.observe_active("c", "not a version")
    assert doctor.compare(journal, {"c": "not a version"}) == ()
    assert len(doctor.compare(journal, {"c": "1.0"})) == 1


def test_components_under_way_are_not_compared(journal, digest):
    bring(journal, "up-1", make_plan("a", digest=digest), Phase.COMMITTED)
    assert doctor.compare(journal, {"a": "1.0"}) == ()
