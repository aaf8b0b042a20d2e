BEGIN TRANSACTION;
CREATE TABLE approvals (
        number INTEGER PRIMARY KEY,
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        plan_digest TEXT NOT NULL,
        who TEXT NOT NULL CHECK (who <> ''),
        at TEXT NOT NULL,
        nonce TEXT NOT NULL UNIQUE,
        UNIQUE (upgrade_id, who, plan_digest)
    ) STRICT;
CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY,
        upgrade_id TEXT NOT NULL,
        phase_from TEXT,
        phase TEXT CHECK (CASE WHEN upgrade_id = '' THEN phase IS NULL
            WHEN phase_from IS NULL THEN phase IS 'received'
            ELSE CASE phase_from WHEN 'received' THEN (phase IS 'aborted' OR phase IS 'rejected' OR phase IS 'validated') WHEN 'validated' THEN (phase IS 'aborted' OR phase IS 'approved' OR phase IS 'rejected') WHEN 'approved' THEN (phase IS 'aborted' OR phase IS 'staged') WHEN 'staged' THEN (phase IS 'aborted' OR phase IS 'rolled_back' OR phase IS 'shifting') WHEN 'shifting' THEN (phase IS 'committed' OR phase IS 'rolled_back' OR phase IS 'rolling_back') WHEN 'committed' THEN (phase IS 'done' OR phase IS 'rolling_back' OR phase IS 'soaking') WHEN 'soaking' THEN (phase IS 'done' OR phase IS 'rolling_back') WHEN 'done' THEN (phase IS 'rolling_back') WHEN 'rolling_back' THEN (phase IS 'done' OR phase IS 'rolled_back' OR phase IS 'stuck') WHEN 'stuck' THEN (phase IS 'rolling_back') ELSE FALSE END END),
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        why TEXT NOT NULL,
        fence INTEGER NOT NULL,
        evidence TEXT NOT NULL
    ) STRICT;
INSERT INTO "audit" VALUES(1,'up-1',NULL,'received','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(2,'up-1','received','validated','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(3,'up-1','validated','approved','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(4,'up-1','approved','staged','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(5,'up-1','staged','shifting','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(6,'up-1','shifting','committed','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{"moves":[{"component_name":"a","from_version":"1.0","version":"2.0","generation":1}]}');
INSERT INTO "audit" VALUES(7,'up-1','committed','done','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(8,'up-2',NULL,'received','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(9,'up-2','received','validated','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(10,'up-2','validated','approved','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(11,'up-2','approved','staged','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
INSERT INTO "audit" VALUES(12,'up-2','staged','shifting','2025-12-31T00:00:00.000000+00:00','alice','fine',1,'{}');
CREATE TABLE lease (
        resource TEXT NOT NULL PRIMARY KEY CHECK (resource = 'journal'),
        number INTEGER NOT NULL CHECK (number >= 0),
        holder TEXT NOT NULL,
        expires TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "lease" VALUES('journal',1,'','');
CREATE TABLE members (
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        position INTEGER NOT NULL,
        component_name TEXT NOT NULL CHECK (component_name <> ''),
        from_version TEXT NOT NULL,
        to_version TEXT NOT NULL,
        open INTEGER NOT NULL CHECK (open IN (0, 1)),
        before TEXT,
        PRIMARY KEY (upgrade_id, position)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "members" VALUES('up-1',0,'a','1.0','2.0',0,'{"version":"1.0","artifact":null,"state_digest":""}');
INSERT INTO "members" VALUES('up-2',0,'b','1.0','2.0',1,NULL);
CREATE TABLE nonces (
        nonce TEXT NOT NULL PRIMARY KEY,
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "nonces" VALUES('req-1a21be3ad4953a26a0b7','up-1','2025-12-31T00:00:00.000000+00:00');
CREATE TABLE pointers (
        component_name TEXT NOT NULL PRIMARY KEY CHECK (component_name <> ''),
        version TEXT NOT NULL CHECK (version <> ''),
        generation INTEGER NOT NULL CHECK (generation >= 0),
        artifact TEXT,
        upgrade_id TEXT NOT NULL,
        state_digest TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "pointers" VALUES('a','2.0',1,'{"name":"a","version":"2.0","digest":"0000000000000000000000000000000000000000000000000000000000000000","kind":"wheel","size":1,"tree":"trees/0000000000000000000000000000000000000000000000000000000000000000","source":"","top_levels":[],"requirements":[],"requires_python":"","extension_modules":[],"metadata":{}}','up-1','');
INSERT INTO "pointers" VALUES('b','1.0',0,NULL,'','');
CREATE TABLE rollback_points (
        number INTEGER PRIMARY KEY,
        rollback_id TEXT NOT NULL,
        upgrade_id TEXT NOT NULL REFERENCES upgrades (upgrade_id),
        component_name TEXT NOT NULL,
        expired INTEGER NOT NULL DEFAULT 0 CHECK (expired IN (0, 1)),
        expires_at TEXT,
        point TEXT NOT NULL
    ) STRICT;
INSERT INTO "rollback_points" VALUES(1,'rb-1a21be3ad4ae534210a5','up-1','a',0,NULL,'{"rollback_id":"rb-1a21be3ad4ae534210a5","upgrade_id":"up-1","component_name":"a","from_version":"1.0","to_version":"2.0","created_at":"2026-11-27T07:23:55.594080+00:00","expires_at":null,"artifact":null,"state_digest":""}');
INSERT INTO "rollback_points" VALUES(2,'rb-1a21be3ad4cc64937f9f','up-2','b',0,NULL,'{"rollback_id":"rb-1a21be3ad4cc64937f9f","upgrade_id":"up-2","component_name":"b","from_version":"1.0","to_version":"2.0","created_at":"2026-11-27T07:23:55.596643+00:00","expires_at":null,"artifact":null,"state_digest":""}');
CREATE TABLE upgrades (
        number INTEGER PRIMARY KEY,
        upgrade_id TEXT NOT NULL UNIQUE CHECK (upgrade_id <> ''),
        phase TEXT NOT NULL CHECK (phase IS 'received' OR phase IS 'validated' OR phase IS 'approved' OR phase IS 'staged' OR phase IS 'shifting' OR phase IS 'committed' OR phase IS 'soaking' OR phase IS 'done' OR phase IS 'rejected' OR phase IS 'rolling_back' OR phase IS 'rolled_back' OR phase IS 'aborted' OR phase IS 'stuck'),
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
    ) STRICT;
INSERT INTO "upgrades" VALUES(1,'up-1','done','2025-12-31T00:00:00.000000+00:00','2025-12-31T00:00:00.000000+00:00',1,NULL,0,'567ad9629bbd90f9ca6496bad461c093762d0417762fb398d373e58ba630bb44',NULL,NULL,NULL,'{}','{"plan_id":"plan-1a21be3ad4941470a142","requests":[{"component_name":"a","target_version":"2.0","request_id":"req-1a21be3ad4953a26a0b7","current_version":"1.0","strategy":"gradual","parameters":{},"constraints":[],"priority":5,"timeout_seconds":300.0,"rollback_enabled":true,"validation_level":"strict","requested_by":"system","requested_at":"2026-11-27T07:23:55.593388+00:00","metadata":{}}],"steps":[{"component":{"name":"a","version":"1.0","description":"","component_type":"runtime","dependencies":[],"upgrade_path":[],"hot_swappable":false,"critical":false,"compatibility_matrix":{},"location":"","entry_point":"","configuration_schema":{},"resource_requirements":{},"health_check":"","metadata":{}},"from_version":"1.0","to_version":"2.0","path":["1.0","2.0"],"artifacts":[{"name":"a","version":"2.0","digest":"0000000000000000000000000000000000000000000000000000000000000000","kind":"wheel","size":1,"tree":"trees/0000000000000000000000000000000000000000000000000000000000000000","source":"","top_levels":[],"requirements":[],"requires_python":"","extension_modules":[],"metadata":{}}],"verdict":{"feasible":true,"mechanism":"patch","engine":"","reasons":[],"blockers":[],"warnings":[],"capabilities":[],"expected_seconds":0.0,"pause_seconds":0.0,"evidence":{},"code":"","hint":""},"plugin":""}],"findings":[],"cost":{"seconds":0.0,"pause_seconds":0.0,"download_bytes":0},"dependents":[],"created_at":"2026-11-27T07:23:55.593483+00:00"}');
INSERT INTO "upgrades" VALUES(2,'up-2','shifting','2025-12-31T00:00:00.000000+00:00','2025-12-31T00:00:00.000000+00:00',1,NULL,0,'b4f95961c448fbcb67880ed8b3c490a002797201e09164fad73e42bae0defa02',NULL,NULL,NULL,'{}','{"plan_id":"plan-1a21be3ad4cdb29188e5","requests":[{"component_name":"b","target_version":"2.0","request_id":"req-1a21be3ad4cc6155e750","current_version":"1.0","strategy":"gradual","parameters":{},"constraints":[],"priority":5,"timeout_seconds":300.0,"rollback_enabled":true,"validation_level":"strict","requested_by":"system","requested_at":"2026-11-27T07:23:55.596314+00:00","metadata":{}}],"steps":[{"component":{"name":"b","version":"1.0","description":"","component_type":"runtime","dependencies":[],"upgrade_path":[],"hot_swappable":false,"critical":false,"compatibility_matrix":{},"location":"","entry_point":"","configuration_schema":{},"resource_requirements":{},"health_check":"","metadata":{}},"from_version":"1.0","to_version":"2.0","path":["1.0","2.0"],"artifacts":[{"name":"b","version":"2.0","digest":"0000000000000000000000000000000000000000000000000000000000000000","kind":"wheel","size":1,"tree":"trees/0000000000000000000000000000000000000000000000000000000000000000","source":"","top_levels":[],"requirements":[],"requires_python":"","extension_modules":[],"metadata":{}}],"verdict":{"feasible":true,"mechanism":"patch","engine":"","reasons":[],"blockers":[],"warnings":[],"capabilities":[],"expected_seconds":0.0,"pause_seconds":0.0,"evidence":{},"code":"","hint":""},"plugin":""}],"findings":[],"cost":{"seconds":0.0,"pause_seconds":0.0,"download_bytes":0},"dependents":[],"created_at":"2026-11-27T07:23:55.596366+00:00"}');
CREATE UNIQUE INDEX one_open ON members (component_name) WHERE open = 1;
CREATE INDEX audit_of ON audit (upgrade_id, sequence);
CREATE UNIQUE INDEX points_kept ON rollback_points (rollback_id) WHERE expired = 0;
CREATE TRIGGER lease_grows BEFORE UPDATE ON lease WHEN NEW.number < OLD.number
        BEGIN SELECT RAISE(ABORT, 'I7: the fencing number only grows'); END;
CREATE TRIGGER audit_fenced BEFORE INSERT ON audit WHEN NEW.fence <> (SELECT number FROM lease)
        BEGIN SELECT RAISE(ABORT, 'I7: an old fencing number'); END;
CREATE TRIGGER audit_chained BEFORE INSERT ON audit WHEN NEW.upgrade_id <> '' AND NEW.phase_from IS NOT
        (SELECT phase FROM audit WHERE upgrade_id = NEW.upgrade_id ORDER BY sequence DESC LIMIT 1)
        BEGIN SELECT RAISE(ABORT, 'I6: the audit has a gap'); END;
CREATE TRIGGER audit_kept BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'I6: the audit is only added to'); END;
CREATE TRIGGER audit_whole BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'I6: the audit is only added to'); END;
CREATE TRIGGER begun_audited BEFORE INSERT ON upgrades WHEN NEW.phase IS NOT
        (SELECT phase FROM audit WHERE upgrade_id = NEW.upgrade_id ORDER BY sequence DESC LIMIT 1)
        BEGIN SELECT RAISE(ABORT, 'I6: a phase without its audit row'); END;
CREATE TRIGGER phase_audited BEFORE UPDATE OF phase ON upgrades WHEN NEW.phase IS NOT
        (SELECT phase FROM audit WHERE upgrade_id = NEW.upgrade_id ORDER BY sequence DESC LIMIT 1)
        BEGIN SELECT RAISE(ABORT, 'I6: a phase without its audit row'); END;
CREATE TRIGGER generation_grows BEFORE UPDATE ON pointers WHEN NEW.generation <= OLD.generation
        BEGIN SELECT RAISE(ABORT, 'I5: the generation only grows'); END;
CREATE TRIGGER pointer_kept BEFORE DELETE ON pointers
        BEGIN SELECT RAISE(ABORT, 'I1: a pointer is never taken away'); END;
CREATE TRIGGER point_kept BEFORE UPDATE OF expired ON rollback_points WHEN NEW.expired = 1 AND
        EXISTS (SELECT 1 FROM members WHERE upgrade_id = NEW.upgrade_id AND open = 1)
        BEGIN SELECT RAISE(ABORT, 'I11: the upgrade is still open'); END;
CREATE TRIGGER point_whole BEFORE DELETE ON rollback_points
        BEGIN SELECT RAISE(ABORT, 'I11: rollback points expire, they are not deleted'); END;
PRAGMA application_id = 1315925860;
PRAGMA user_version = 1;
COMMIT;
