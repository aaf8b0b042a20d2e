"""Documents of plugins: each change whole with its audit row, by the revision that was read, or not at all."""

import asyncio
import json
import math
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import Document, Documents, doctor
from noodle_upgrade_core.errors import (
    DocumentConflictError,
    InternalError,
    InvalidRequestError,
    InvariantViolatedError,
    JournalCorruptError,
    JournalError,
    JournalFullError,
    JournalSchemaError,
    LeaseHeldError,
    LeaseLostError,
)
from noodle_upgrade_core.journal.contract import take_lease
from noodle_upgrade_core.journal.documents import MAX_BODY_BYTES, MAX_BODY_DEPTH, MAX_NAME_LENGTH
from noodle_upgrade_core.journal.schema import SCHEMA_VERSION
from noodle_upgrade_core.journal.sqlite import SqliteJournal
from noodle_upgrade_core.model import Phase
from noodle_upgrade_core.store import ContentStore

from .plans import WHO, bring, make_plan
from .shelf import ask, fill, opened, run

DEAD = "elsewhere:1:1"
OLD_FILE = Path(__file__).parent / "journals" / "schema-1.sql"
SAID = {"who": WHO, "why": "asked"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(path):
    with SqliteJournal(path) as opened:
        opened.acquire_lease(DEAD)
        yield opened


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.fixture
def old(path):
    """A file that the code of the first schema has written, with an upgrade that is done and one that was killed."""
    path.parent.mkdir(mode=0o700)
    connection = sqlite3.connect(path)
    connection.executescript(OLD_FILE.read_text())
    connection.close()
    return path


def tables(path):
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version, {(kind, name): " ".join(sql.split()) for kind, name, sql in rows}


def broken(path, *statements):
    """Change the file behind the journal's back, past every trigger and constraint."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = 1")
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def found(journal, store):
    return {finding.code: finding.message for finding in doctor.check(journal, store)}


def full(journal, *, pages=0):
    """Let the file grow no further, as a full disk would."""
    writer = journal._file._writer
    count = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages or count}").fetchone()


# --- what is refused ---------------------------------------------------------------------------------------------


def nested(levels):
    made = {}
    for _ in range(levels - 1):
        made = {"in": made}
    return made


CIRCLE = {}
CIRCLE["in"] = CIRCLE


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        "{}",
        {1: "a number as a key"},
        {"a": math.nan},
        {"a": [-math.inf]},
        {"a": object()},
        {"a": b"bytes"},
        {"a": 10**5000},
        {"a": "x" * MAX_BODY_BYTES},
        nested(MAX_BODY_DEPTH + 1),
        nested(5000),
        CIRCLE,
    ],
    ids=lambda body: type(body).__name__,
)
def test_a_body_that_is_no_bounded_json_object_is_refused_and_nothing_is_written(journal, body):
    before = journal.keep_document("acme", "one", {"fine": True}, **SAID)
    with pytest.raises(InvalidRequestError):
        journal.keep_document("acme", "one", body, **SAID)
    assert journal.document("acme", "one") == before
    assert len(journal.document_audit("acme", "one")) == 1


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x00", "\udc80", "\u202e", "x" * (MAX_NAME_LENGTH + 1), None, 7])
def test_owners_and_keys_are_bounded_printable_text(journal, name):
    for owner, key in ((name, "one"), ("acme", name)):
        for act in (
            lambda owner=owner, key=key: journal.keep_document(owner, key, {}, **SAID),
            lambda owner=owner, key=key: journal.drop_document(owner, key, **SAID),
            lambda owner=owner, key=key: journal.document(owner, key),
            lambda owner=owner, key=key: journal.document_audit(owner, key),
        ):
            with pytest.raises(InvalidRequestError) as caught:
                act()
            assert caught.value.hint
    with pytest.raises(InvalidRequestError):
        Documents(journal, name)
    assert journal.documents() == ()


@pytest.mark.parametrize("expected", [-1, True, 1.0, "1"])
def test_what_is_no_revision_is_refused_before_anything_is_compared_with_it(journal, expected):
    journal.keep_document("acme", "one", {}, **SAID)
    for act in (
        lambda: journal.keep_document("acme", "one", {}, expected=expected, **SAID),
        lambda: journal.drop_document("acme", "one", expected=expected, **SAID),
    ):
        with pytest.raises(InvalidRequestError, match="revision"):
            act()
    assert journal.document("acme", "one").revision == 1


@pytest.mark.parametrize(
    "evidence", [{"moves": []}, {"document": {}}, ["a"], {"a": math.nan}, {"a": "x" * MAX_BODY_BYTES}]
)
def test_evidence_that_the_audit_could_not_keep_or_would_mistake_is_refused(journal, store, evidence):
    with pytest.raises(InvalidRequestError):
        journal.keep_document("acme", "one", {}, evidence=evidence, **SAID)
    assert journal.documents() == ()
    assert doctor.check(journal, store) == ()


# --- keeping -------------------------------------------------------------------------------------------------------


def test_a_document_comes_back_as_it_went_in_with_the_row_that_says_who_and_why(journal, store):
    body = {"state": "judging", "weights": [0, 0.5, 1], "none": None, "odd": "\udc80 \u2028 '", "deep": nested(31)}
    kept = journal.keep_document("acme", "dep-1", body, who="alice", why="begun", evidence={"share": 0.5})
    assert kept == journal.document("acme", "dep-1")
    assert (kept.owner, kept.key, kept.revision, kept.ended, kept.body) == ("acme", "dep-1", 1, False, body)
    assert kept.created_at == kept.updated_at
    (row,) = journal.document_audit("acme", "dep-1")
    assert (row.who, row.why, row.at, row.upgrade_id, row.phase) == ("alice", "begun", kept.created_at, "", None)
    about = {"owner": "acme", "key": "dep-1", "revision": 1, "dropped": False}
    assert row.evidence == {"share": 0.5, "document": about}
    assert journal.audit()[-1] == row
    assert doctor.check(journal, store) == ()


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=MAX_NAME_LENGTH)


@given(body=st.dictionaries(st.text(), values, max_size=5), owner=names, key=names)
def test_any_json_object_under_any_printable_name_is_read_back_equal(body, owner, key, tmp_path_factory):
    with SqliteJournal(tmp_path_factory.mktemp("any") / "journal.db") as journal:
        journal.acquire_lease(DEAD)
        kept = journal.keep_document(owner, key, body, **SAID)
        assert kept.body == body
        assert journal.documents() == journal.documents(owner) == (kept,)
        assert json.dumps(kept.body) == json.dumps(body)


def test_only_the_revision_that_was_read_can_be_changed(journal):
    journal.keep_document("acme", "one", {"n": 1}, expected=0, **SAID)
    kept = journal.keep_document("acme", "one", {"n": 2}, expected=1, **SAID)
    for act, there in (
        (lambda: journal.keep_document("acme", "one", {}, expected=0, **SAID), 2),
        (lambda: journal.keep_document("acme", "one", {}, expected=1, **SAID), 2),
        (lambda: journal.keep_document("acme", "two", {}, expected=1, **SAID), 0),
        (lambda: journal.drop_document("acme", "one", expected=1, **SAID), 2),
        (lambda: journal.drop_document("acme", "two", expected=1, **SAID), 0),
        (lambda: journal.drop_document("acme", "two", **SAID), 0),
    ):
        with pytest.raises(DocumentConflictError) as caught:
            act()
        assert caught.value.details["found"] == there
        assert caught.value.hint
    assert journal.documents() == (kept,)
    assert [row.evidence["document"]["revision"] for row in journal.audit()] == [1, 2]


def test_of_many_threads_that_change_one_revision_one_succeeds(journal, store):
    journal.keep_document("acme", "one", {}, **SAID)
    won, lost, barrier = [], [], threading.Barrier(8)

    def change(number):
        barrier.wait()
        try:
            won.append(journal.keep_document("acme", "one", {"by": number}, expected=1, **SAID))
        except DocumentConflictError as error:
            lost.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert journal.document("acme", "one") == won[0]
    assert doctor.check(journal, store) == ()


def test_a_document_that_was_dropped_keeps_its_rows_and_its_key_goes_on_counting(journal, store):
    journal.keep_document("acme", "one", {"n": 1}, **SAID)
    second = journal.keep_document("acme", "one", {"n": 2}, **SAID)
    assert journal.drop_document("acme", "one", who="bob", why="over", expected=2) == second
    assert journal.document("acme", "one") is None
    assert [row.why for row in journal.document_audit("acme", "one")] == ["asked", "asked", "over"]
    assert doctor.check(journal, store) == ()
    again = journal.keep_document("acme", "one", {"n": 4}, expected=0, **SAID)
    assert again.revision == 4
    with pytest.raises(DocumentConflictError):
        journal.keep_document("acme", "one", {}, expected=2, **SAID)
    told = [row.evidence["document"] for row in journal.document_audit("acme", "one")]
    assert [(about["revision"], about["dropped"]) for about in told] == [(1, False), (2, False), (3, True), (4, False)]
    assert doctor.check(journal, store) == ()


def test_documents_are_listed_oldest_first_by_owner_and_by_what_is_under_way(journal):
    for key in ("b", "a", "c"):
        journal.keep_document("acme", key, {}, **SAID)
    journal.keep_document("other", "a", {}, **SAID)
    journal.keep_document("acme", "b", {}, ended=True, **SAID)
    assert [one.key for one in journal.documents("acme")] == ["b", "a", "c"]
    assert [one.key for one in journal.documents("acme", ended=False)] == ["a", "c"]
    assert [one.key for one in journal.documents("acme", ended=True)] == ["b"]
    assert [(one.owner, one.key) for one in journal.documents(ended=False)] == [
        ("acme", "a"),
        ("acme", "c"),
        ("other", "a"),
    ]
    assert len(journal.document_audit("acme", "b", limit=1)) == 1
    first, second = journal.document_audit("acme", "b")
    assert journal.document_audit("acme", "b", after=first.sequence) == (second,)


def test_rows_that_rode_go_first_and_those_of_an_upgrade_are_not_mixed_with_those_of_a_document(journal, store):
    bring(journal, "up-1", make_plan("a"), Phase.STAGED)
    journal.keep_document("acme", "up-1", {}, **SAID)
    sequences = [row.sequence for row in journal.audit()]
    assert sequences == sorted(sequences) == list(range(1, 6))
    assert [row.phase for row in journal.audit("up-1")][-1] is Phase.STAGED
    assert len(journal.document_audit("acme", "up-1")) == 1
    journal.finish("up-1", Phase.ABORTED, who=WHO, why="")
    assert doctor.check(journal, store) == ()


# --- what all writes obey --------------------------------------------------------------------------------------------


def test_a_controller_without_the_lease_or_that_was_taken_over_keeps_no_document(path):
    with SqliteJournal(path) as first, SqliteJournal(path) as second:
        with pytest.raises(LeaseLostError):
            first.keep_document("acme", "one", {}, **SAID)
        first.acquire_lease(DEAD, ttl=-1.0)
        kept = first.keep_document("acme", "one", {}, **SAID)
        second.acquire_lease(DEAD)
        for act in (
            lambda: first.keep_document("acme", "one", {"late": True}, **SAID),
            lambda: first.drop_document("acme", "one", **SAID),
        ):
            with pytest.raises(LeaseLostError):
                act()
        assert second.documents() == (kept,)


def test_a_full_disk_leaves_the_old_document_and_the_next_one_goes_on_once_there_is_room(journal, store):
    kept = journal.keep_document("acme", "one", {"n": 1}, **SAID)
    full(journal)
    with pytest.raises(JournalFullError, match="full"):
        journal.keep_document("acme", "one", {"much": "x" * 500_000}, **SAID)
    assert journal.document("acme", "one") == kept
    full(journal, pages=100_000)
    assert journal.keep_document("acme", "one", {"much": "x" * 500_000}, expected=1, **SAID).revision == 2
    assert doctor.check(journal, store) == ()


def test_a_closed_journal_keeps_no_document(path):
    journal = SqliteJournal(path).open()
    journal.close()
    with pytest.raises(JournalError):
        journal.keep_document("acme", "one", {}, **SAID)


def test_only_a_durable_change_waits_for_the_disk(path):
    said = []
    with SqliteJournal(path, faults=said.append) as journal:
        journal.acquire_lease(DEAD)
        for durable, mode in ((False, "NORMAL"), (True, "FULL")):
            said.clear()
            journal.keep_document("acme", "one", {}, durable=durable, **SAID)
            assert f"PRAGMA synchronous = {mode}" in said
            assert said.count("COMMITTED") == 1


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        '{"a": 1e999}',
        '{"a":' * 40 + "1" + "}" * 40,
        '{"a": "%s"}' % ("x" * MAX_BODY_BYTES),
    ],
    ids=lambda body: body[:12],
)
def test_a_body_that_was_damaged_is_told_by_its_name_and_can_be_kept_anew(journal, path, store, body):
    journal.keep_document("acme", "dep-1", {}, **SAID)
    journal.renew_lease()
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER document_changed")
    connection.execute("UPDATE documents SET body = ?", (body,))
    connection.commit()
    connection.close()
    for look in (lambda: journal.document("acme", "dep-1"), journal.documents):
        with pytest.raises(JournalCorruptError, match="'dep-1' of acme"):
            look()
    assert "dep-1" in found(journal, store)["journal.corrupt"]
    journal.keep_document("acme", "dep-1", {"well": True}, **SAID)
    assert doctor.check(journal, store) == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET revision = revision + 1",
        "UPDATE documents SET body = '{}'",
        "DELETE FROM documents",
        "DELETE FROM document_audit",
        "UPDATE document_audit SET revision = 9",
        "INSERT INTO document_audit VALUES ('acme', 'one', 3, 0, 1)",
        "INSERT INTO document_audit VALUES ('acme', 'one', 2, 0, 2)",
        "INSERT INTO documents VALUES (NULL, 'acme', 'two', 1, 0, '', '', '{}')",
    ],
)
def test_the_schema_itself_keeps_each_revision_with_its_audit_row(journal, path, statement):
    journal.keep_document("acme", "one", {}, **SAID)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="I14"):
        connection.execute(statement)
    connection.close()


def test_a_change_that_the_schema_refuses_is_our_error_and_leaves_nothing(journal, monkeypatch, store):
    monkeypatch.setattr("noodle_upgrade_core.journal.keeping._LAST", "SELECT 5 WHERE ? IS NOT ?")
    with pytest.raises(InvariantViolatedError):
        journal.keep_document("acme", "one", {}, **SAID)
    monkeypatch.undo()
    assert journal.documents() == journal.audit() == ()
    assert journal.keep_document("acme", "one", {}, **SAID).revision == 1
    assert doctor.check(journal, store) == ()


# --- the doctor --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE documents SET revision = 3", "is at revision 3, and the audit ends with 2"),
        ("UPDATE documents SET revision = 0", "is at revision 0"),
        ("DELETE FROM documents", "is gone, and the audit has it at revision 2"),
        (
            "UPDATE audit SET evidence = replace(evidence, '\"revision\":1', '\"revision\":9') WHERE sequence = 1",
            "went to revision 9 in the audit where 1 was due",
        ),
        ("DELETE FROM audit WHERE sequence = 1", "went to revision 2 in the audit where 1 was due"),
        ("DELETE FROM audit", "is at revision 2, and the audit does not have it"),
        ("DELETE FROM document_audit WHERE revision = 2", "has 2 row(s) in the audit, and 1 are found"),
        ("UPDATE audit SET evidence = '{}'", "is at revision 2, and the audit does not have it"),
        ("UPDATE audit SET evidence = '{\"document\": 7}' WHERE sequence = 2", "the audit ends with 1"),
    ],
)
def test_a_document_and_an_audit_that_differ_are_found(journal, path, store, statement, words):
    journal.keep_document("acme", "one", {"n": 1}, **SAID)
    journal.keep_document("acme", "one", {"n": 2}, **SAID)
    broken(path, statement)
    assert any(words in f.message for f in doctor.check(journal, store) if f.code == "invariant.I14")


# --- files of the version before ---------------------------------------------------------------------------------------


def test_a_file_of_the_version_before_is_migrated_with_the_lease_and_looks_like_a_new_one(old, tmp_path, store):
    with SqliteJournal(old) as journal:
        assert journal.schema_version == 1
        journal.acquire_lease(DEAD)
        assert journal.schema_version == SCHEMA_VERSION
        assert [(one.component_name, one.version) for one in journal.active()] == [("a", "2.0"), ("b", "1.0")]
        assert journal.record("up-1").phase is Phase.DONE
        kept = journal.keep_document("acme", "one", {}, expected=0, **SAID)
        assert [one.became for one in journal.recover(WHO)] == [Phase.ROLLED_BACK]
        assert [code for code in found(journal, store) if code != "invariant.I2"] == []
    with SqliteJournal(old) as journal:
        assert journal.documents() == (kept,)
    with SqliteJournal(tmp_path / "new" / "journal.db"):
        pass
    assert tables(old) == tables(tmp_path / "new" / "journal.db")


def test_who_only_looks_at_a_file_of_the_version_before_leaves_it_as_it_is(old, store):
    before = tables(old)
    with SqliteJournal(old) as journal:
        assert journal.documents() == journal.document_audit("acme", "one") == ()
        assert journal.document("acme", "one") is None
        assert len(journal.history()) == 2
        doctor.check(journal, store)
    assert tables(old) == before
    assert before[0] == 1


def test_a_file_that_another_controller_holds_is_not_migrated_under_it(old):
    connection = sqlite3.connect(old)
    connection.execute("UPDATE lease SET holder = ?, expires = '9999-01-01T00:00:00.000000+00:00'", (DEAD,))
    connection.commit()
    connection.close()
    with SqliteJournal(old) as journal, pytest.raises(LeaseHeldError):
        journal.acquire_lease()
    assert tables(old)[0] == 1


def test_who_looked_before_the_migration_sees_documents_after_it(old):
    with SqliteJournal(old) as looks, SqliteJournal(old) as manages:
        assert looks.documents() == ()
        manages.acquire_lease(DEAD)
        kept = manages.keep_document("acme", "one", {}, **SAID)
        assert looks.documents() == (kept,)


def test_a_file_that_a_newer_version_took_over_since_it_was_opened_is_left_alone(path):
    with SqliteJournal(path) as journal:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
        connection.close()
        take_lease(journal)
        assert isinstance(journal.refusal, JournalSchemaError)
        with pytest.raises(JournalSchemaError):
            journal.documents()
    assert tables(path)[0] == 99


def test_without_room_for_the_migration_the_file_is_left_alone_and_refused_until_there_is(old):
    with SqliteJournal(old) as journal:
        full(journal)
        take_lease(journal)
        assert isinstance(journal.refusal, JournalFullError)
    assert tables(old)[0] == 1
    with SqliteJournal(old) as journal:
        take_lease(journal)
        assert journal.refusal is None
        assert journal.keep_document("acme", "one", {}, **SAID).revision == 1


# --- from an Upgrader ----------------------------------------------------------------------------------------------------


def test_an_upgraders_documents_outlive_it_and_upgrades_between_them(tmp_path):
    async def story():
        folder = fill(tmp_path)
        async with opened(folder) as upgrader:
            documents = upgrader.documents("deployment")
            await documents.keep("dep-1", {"share": 0.1}, evidence={"e": 1.5}, expected=0, **SAID)
            (await upgrader.upgrade(ask())).raise_for_error()
            kept = await documents.keep("dep-1", {"share": 1}, expected=1, **SAID)
            await documents.keep("dep-2", {}, ended=True, **SAID)
            await documents.keep("dep-3", {}, **SAID)
            await documents.drop("dep-3", expected=1, who="bob", why="a mistake")
            assert upgrader.documents("other").all() == ()
        async with opened(folder) as upgrader:
            documents = upgrader.documents("deployment")
            assert documents.get("dep-1") == kept
            assert isinstance(kept, Document)
            assert documents.all(ended=False) == (kept,)
            assert [one.key for one in documents.all()] == ["dep-1", "dep-2"]
            assert [row.evidence.get("e") for row in documents.audit("dep-1")] == [1.5, None]
            assert [row.who for row in documents.audit("dep-3")] == [WHO, "bob"]
            assert await upgrader.doctor() == ()

    run(story())


def test_more_transitions_than_are_read_at_once_are_all_told(journal, monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.documents._AT_ONCE", 3)
    for number in range(7):
        journal.keep_document("acme", "one", {"n": number}, durable=False, **SAID)
    told = Documents(journal, "acme").audit("one")
    assert [row.evidence["document"]["revision"] for row in told] == list(range(1, 8))


class Slow:
    """A journal that writes when it is told to."""

    def __init__(self, journal):
        self._journal = journal
        self.entered, self.go_on = threading.Event(), threading.Event()

    def keep_document(self, *arguments, **said):
        self.entered.set()
        assert self.go_on.wait(30)
        return self._journal.keep_document(*arguments, **said)


def test_a_change_is_waited_for_however_often_the_caller_is_cancelled(journal):
    slow = Slow(journal)

    async def story():
        documents = Documents(slow, "acme")
        task = asyncio.create_task(documents.keep("one", {"n": 1}, **SAID))
        while not slow.entered.is_set():
            await asyncio.sleep(0.001)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        slow.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert journal.document("acme", "one").body == {"n": 1}

    run(story())


def test_what_is_kept_is_the_body_as_it_was_when_it_was_given(journal):
    slow = Slow(journal)

    async def story():
        body, evidence = {"shares": [0.1]}, {"seen": [1]}
        task = asyncio.create_task(Documents(slow, "acme").keep("one", body, evidence=evidence, **SAID))
        while not slow.entered.is_set():
            await asyncio.sleep(0.001)
        body["shares"].append(0.2)
        evidence["seen"].clear()
        slow.go_on.set()
        assert (await task).body == {"shares": [0.1]}
        assert journal.document_audit("acme", "one")[0].evidence["seen"] == [1]

    run(story())


def test_a_change_that_fails_while_its_caller_is_cancelled_is_no_reason_not_to_stop(journal):
    slow = Slow(journal)

    async def story():
        task = asyncio.create_task(Documents(slow, "acme").keep("one", {}, expected=7, **SAID))
        while not slow.entered.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0)
        slow.go_on.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert isinstance(caught.value.__cause__, DocumentConflictError)

    run(story())


def test_a_journal_that_fails_in_its_own_way_is_an_error_of_ours():
    class Odd:
        def keep_document(self, *arguments, **said):
            raise RuntimeError("can't start new thread")

    async def story():
        with pytest.raises(InternalError, match="new thread"):
            await Documents(Odd(), "acme").keep("one", {}, **SAID)

    run(story())
