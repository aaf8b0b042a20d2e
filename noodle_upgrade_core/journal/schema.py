"""The tables of the SQLite journal. What can be made impossible by the schema is: see the comments, by invariant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from noodle_upgrade_core.journal.contract import TRANSITIONS
from noodle_upgrade_core.model import Phase

__all__ = ["APPLICATION_ID", "MIGRATIONS", "SCHEMA", "SCHEMA_VERSION"]

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x4E6F6F64
"""Written into the file's header, so that another program's database is never taken for a journal."""


def _one_of(phases: Iterable[Phase]) -> str:
    """Say that `phase` is one of these: compared one by one, for `IN` makes a table of a list at every statement."""
    return "(" + " OR ".join(f"phase IS '{phase}'" for phase in phases) + ")"


_STEPS: Final = " ".join(f"WHEN '{one}' THEN {_one_of(sorted(after))}" for one, after in TRANSITIONS.items() if after)

_LAST: Final = "FROM document_audit WHERE owner = NEW.owner AND key = NEW.key ORDER BY revision DESC LIMIT 1"

# The rows about documents lie in `audit` like all others. Which are whose is said beside it, and not by a column or an
# index of it: an upgrade, which waits for its own rows, must not pay for that.
_DOCUMENTS: Final[tuple[str, ...]] = (
    # `body` is last: what scans the table does not read over it.
    """CREATE TABLE documents (
        number INTEGER PRIMARY KEY,
        owner TEXT NOT NULL CHECK (owner <> ''),
        key TEXT NOT NULL CHECK (key <> ''),
        revision INTEGER NOT NULL CHECK (revision >= 1),
        ended INTEGER NOT NULL CHECK (ended IN (0, 1)),
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (owner, key)
    ) STRICT""",
    """CREATE TABLE document_audit (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        revision INTEGER NOT NULL,
        dropped INTEGER NOT NULL CHECK (dropped IN (0, 1)),
        sequence INTEGER NOT NULL,
        PRIMARY KEY (owner, key, revision)
    ) STRICT, WITHOUT ROWID""",
    # I14: revisions have no gap, and each has its audit row, which is there before the document is. That the row is
    # there is asked here: a reference to `audit` would be looked after with every row of an upgrade too.
    f"""CREATE TRIGGER document_chained BEFORE INSERT ON document_audit WHEN NEW.revision IS NOT
        1 + coalesce((SELECT revision {_LAST}), 0) OR NEW.sequence IS NOT (SELECT max(sequence) FROM audit)
        BEGIN SELECT RAISE(ABORT, 'I14: the audit of a document has a gap'); END""",  # noqa: S608 - constants
    """CREATE TRIGGER document_audit_kept BEFORE UPDATE ON document_audit
        BEGIN SELECT RAISE(ABORT, 'I14: the audit of a document is only added to'); END""",
    """CREATE TRIGGER document_audit_whole BEFORE DELETE ON document_audit
        BEGIN SELECT RAISE(ABORT, 'I14: the audit of a document is only added to'); END""",
    f"""CREATE TRIGGER document_begun BEFORE INSERT ON documents WHEN NEW.revision IS NOT
        (SELECT CASE dropped WHEN 0 THEN revision END {_LAST})
        BEGIN SELECT RAISE(ABORT, 'I14: a revision without its audit row'); END""",
    f"""CREATE TRIGGER document_changed BEFORE UPDATE ON documents WHEN NEW.revision IS NOT OLD.revision + 1 OR
        NEW.revision IS NOT (SELECT CASE dropped WHEN 0 THEN revision END {_LAST})
        BEGIN SELECT RAISE(ABORT, 'I14: a revision without its audit row'); END""",
    f"""CREATE TRIGGER document_dropped BEFORE DELETE ON documents WHEN OLD.revision + 1 IS NOT
        (SELECT CASE dropped WHEN 1 THEN revision END {_LAST.replace("NEW", "OLD")})
        BEGIN SELECT RAISE(ABORT, 'I14: dropped without an audit row'); END""",
)

MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = MappingProxyType({1: (*_DOCUMENTS, "PRAGMA user_version = 2")})
"""What leads from each schema to the next one."""

SCHEMA: Final[tuple[str, ...]] = (
    # `plan` is last: what scans the table does not read over it.
    f"""CREATE TABLE upgrades (
        number INTEGER PRIMARY KEY,
        upgrade_id TEXT NOT NULL UNIQUE CHECK (upgrade_id <> ''),
        phase TEXT NOT NULL CHECK {_one_of(Phase)},
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        fence INTEGER NOT NULL,
        soak_deadline TEXT,
        soak_tries INTEGER NOT NULL DEFAULT 0 CHECK (soak_tries >= 0),
        plan_digest TEXT NOT NULL,
        error TEXT,
        decision TEXT,
        result TEXT,
        evidence TEXT NOT NULL,
        plan TEXT NOT NULL
    ) STRICT""",
    # `before` is the pointer that the commit replaced: what a restart goes back to.
    """CREATE TABLE members (
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        position INTEGER NOT NULL,
        component_name TEXT NOT NULL CHECK (component_name <> ''),
        from_version TEXT NOT NULL,
        to_version TEXT NOT NULL,
        open INTEGER NOT NULL CHECK (open IN (0, 1)),
        before TEXT,
        PRIMARY KEY (upgrade_id, position)
    ) STRICT, WITHOUT ROWID""",
    # I4: one open upgrade per component.
    "CREATE UNIQUE INDEX one_open ON members (component_name) WHERE open = 1",
    # I1: one row per component.
    """CREATE TABLE pointers (
        component_name TEXT NOT NULL PRIMARY KEY CHECK (component_name <> ''),
        version TEXT NOT NULL CHECK (version <> ''),
        generation INTEGER NOT NULL CHECK (generation >= 0),
        artifact TEXT,
        upgrade_id TEXT NOT NULL,
        state_digest TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # I12: only steps that lead on, so that no phase comes twice but those of a rollback that is tried again.
    f"""CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY,
        upgrade_id TEXT NOT NULL,
        phase_from TEXT,
        phase TEXT CHECK (CASE WHEN upgrade_id = '' THEN phase IS NULL
            WHEN phase_from IS NULL THEN phase IS 'received'
            ELSE CASE phase_from {_STEPS} ELSE FALSE END END),
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        why TEXT NOT NULL,
        fence INTEGER NOT NULL,
        evidence TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX audit_of ON audit (upgrade_id, sequence)",
    """CREATE TABLE rollback_points (
        number INTEGER PRIMARY KEY,
        rollback_id TEXT NOT NULL,
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        component_name TEXT NOT NULL,
        expired INTEGER NOT NULL DEFAULT 0 CHECK (expired IN (0, 1)),
        expires_at TEXT,
        point TEXT NOT NULL
    ) STRICT""",
    "CREATE UNIQUE INDEX points_kept ON rollback_points (rollback_id) WHERE expired = 0",
    """CREATE TABLE approvals (
        number INTEGER PRIMARY KEY,
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        plan_digest TEXT NOT NULL,
        who TEXT NOT NULL CHECK (who <> ''),
        at TEXT NOT NULL,
        nonce TEXT NOT NULL UNIQUE,
        UNIQUE (upgrade_id, who, plan_digest)
    ) STRICT""",
    # I8: a nonce is used once.
    """CREATE TABLE nonces (
        nonce TEXT NOT NULL PRIMARY KEY,
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE lease (
        resource TEXT NOT NULL PRIMARY KEY CHECK (resource = 'journal'),
        number INTEGER NOT NULL CHECK (number >= 0),
        holder TEXT NOT NULL,
        expires TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO lease VALUES ('journal', 0, '', '')",
    # I7: a number that another controller has passed is not written with.
    """CREATE TRIGGER lease_grows BEFORE UPDATE ON lease WHEN NEW.number < OLD.number
        BEGIN SELECT RAISE(ABORT, 'I7: the fencing number only grows'); END""",
    """CREATE TRIGGER audit_fenced BEFORE INSERT ON audit WHEN NEW.fence <> (SELECT number FROM lease)
        BEGIN SELECT RAISE(ABORT, 'I7: an old fencing number'); END""",
    # I6: the audit says how each upgrade came to its phase, without a gap, and is never rewritten.
    """CREATE TRIGGER audit_chained BEFORE INSERT ON audit WHEN NEW.upgrade_id <> '' AND NEW.phase_from IS NOT
        (SELECT phase FROM audit WHERE upgrade_id = NEW.upgrade_id ORDER BY sequence DESC LIMIT 1)
        BEGIN SELECT RAISE(ABORT, 'I6: the audit has a gap'); END""",
    """CREATE TRIGGER audit_kept BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'I6: the audit is only added to'); END""",
    """CREATE TRIGGER audit_whole BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'I6: the audit is only added to'); END""",
    """CREATE TRIGGER begun_audited BEFORE INSERT ON upgrades WHEN NEW.phase IS NOT
        (SELECT phase FROM audit WHERE upgrade_id = NEW.upgrade_id ORDER BY sequence DESC LIMIT 1)
        BEGIN SELECT RAISE(ABORT, 'I6: a phase without its audit row'); END""",
    """CREATE TRIGGER phase_audited BEFORE UPDATE OF phase ON upgrades WHEN NEW.phase IS NOT
        (SELECT phase FROM audit WHERE upgrade_id = NEW.upgrade_id ORDER BY sequence DESC LIMIT 1)
        BEGIN SELECT RAISE(ABORT, 'I6: a phase without its audit row'); END""",
    # I5: the generation grows whenever the pointer moves.
    """CREATE TRIGGER generation_grows BEFORE UPDATE ON pointers WHEN NEW.generation <= OLD.generation
        BEGIN SELECT RAISE(ABORT, 'I5: the generation only grows'); END""",
    """CREATE TRIGGER pointer_kept BEFORE DELETE ON pointers
        BEGIN SELECT RAISE(ABORT, 'I1: a pointer is never taken away'); END""",
    # I11: what an open upgrade may go back to is kept.
    """CREATE TRIGGER point_kept BEFORE UPDATE OF expired ON rollback_points WHEN NEW.expired = 1 AND
        EXISTS (SELECT 1 FROM members WHERE upgrade_id = NEW.upgrade_id AND open = 1)
        BEGIN SELECT RAISE(ABORT, 'I11: the upgrade is still open'); END""",
    """CREATE TRIGGER point_whole BEFORE DELETE ON rollback_points
        BEGIN SELECT RAISE(ABORT, 'I11: rollback points expire, they are not deleted'); END""",
    *_DOCUMENTS,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
