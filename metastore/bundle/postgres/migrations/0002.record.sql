-- depends: 0001.tables
-- The record: at COMMIT, one snapshot of each bundle that the transaction changed, whoever changed it and however.

CREATE OR REPLACE FUNCTION metastore_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(nullif(current_setting('metastore.at', true), '')::timestamptz, clock_timestamp());
$$;

-- The same as `chain_hash` in metastore/bundle/chains.py: netstrings without their commas. NULL parts are left out.
-- In plpgsql, which keeps its plan: SQL with an aggregate cannot be inlined, and would be parsed in each transaction.
CREATE OR REPLACE FUNCTION metastore_hash(parts text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (SELECT encode(sha256(convert_to(string_agg(
        octet_length(convert_to(part, 'UTF8'))::text || ':' || part, '' ORDER BY place), 'UTF8')), 'hex')
    FROM unnest(parts) WITH ORDINALITY AS each (part, place));
END $$;

CREATE OR REPLACE FUNCTION metastore_link(made snapshot_bundles, previous_hash text, devices text[])
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT metastore_hash(
        ARRAY[
            previous_hash, made.snapshot_id::text, made.name,
            to_char(made.created AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            made.updated_by, made.comment, made.action, made."delete"::text,
            made.event, made.ifb_group, made.storage, made.run::text, made.udp::text, made.writable::text,
            cardinality(made.hosts)::text
        ] || made.hosts || cardinality(devices)::text || devices);
$$;

-- Write the snapshot of a name, if its state is another one than its newest snapshot's (or in any case, where asked to).
-- plpgsql prepares each of its expressions anew in each transaction: so the row is made by one.
CREATE OR REPLACE FUNCTION metastore_snapshot(wanted text, always boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    live bundles;
    last snapshot_bundles;
    made snapshot_bundles;
    there boolean;
    known boolean;
    differs text[] := '{}';
    before text[] := '{}';
    devices text[];
BEGIN
    SELECT * INTO live FROM bundles WHERE name = wanted;
    there := FOUND;
    SELECT * INTO last FROM snapshot_bundles WHERE name = wanted ORDER BY snapshot_id DESC LIMIT 1;
    known := FOUND AND NOT last."delete";
    IF known THEN
        before := ARRAY(
            SELECT variable FROM snapshot_bundle_variables WHERE snapshot_id = last.snapshot_id ORDER BY variable);
    END IF;
    IF there THEN
        devices := ARRAY(SELECT variable FROM bundle_variables WHERE bundle = wanted ORDER BY variable);
        IF known THEN
            differs := array_remove(ARRAY[
                CASE WHEN live.event <> last.event THEN 'event' END,
                CASE WHEN live.ifb_group <> last.ifb_group THEN 'ifb_group' END,
                CASE WHEN live.storage <> last.storage THEN 'storage' END,
                CASE WHEN live.run <> last.run THEN 'run' END,
                CASE WHEN live.udp <> last.udp THEN 'udp' END,
                CASE WHEN live.writable <> last.writable THEN 'writable' END,
                CASE WHEN live.hosts <> last.hosts THEN 'hosts' END], NULL);
            IF differs = '{}' AND devices = before AND NOT always THEN
                UPDATE bundles SET updated = last.updated WHERE name = wanted AND updated <> last.updated;
                RETURN;
            END IF;
        END IF;
    ELSIF NOT known THEN
        RETURN;  -- made and deleted in one transaction
    ELSE
        devices := before;  -- a deletion keeps the last state
        SELECT last.name, last.event, last.storage, last.run, last.udp, last.writable, last.hosts, last.ifb_group
        INTO live.name, live.event, live.storage, live.run, live.udp, live.writable, live.hosts, live.ifb_group;
    END IF;

    made := (
        nextval('snapshot_bundles_snapshot_id_seq'), live.name, live.event, metastore_now(), live.storage,
        live.run, live.udp, live.writable, live.hosts, live.ifb_group,
        coalesce(nullif(current_setting('metastore.user', true), ''), session_user),
        NOT there,
        coalesce(current_setting('metastore.comment', true), ''),
        coalesce(nullif(current_setting('metastore.action', true), ''),
            CASE WHEN NOT there THEN 'delete' WHEN known THEN 'update' ELSE 'create' END),
        NULL, last.snapshot_id, NULL, session_user, clock_timestamp(), differs, 0, 0)::snapshot_bundles;
    made.created := made.updated;
    IF last.snapshot_id IS NULL AND current_setting('metastore.first', true) = 'true' THEN
        made.updated := live.updated;  -- it was there before the record
    END IF;
    made.hash := metastore_link(made, coalesce(last.hash, ''), devices);
    IF NOT there OR devices <> before THEN
        WITH
            after AS (SELECT variable FROM unnest(CASE WHEN there THEN devices END) AS each (variable)),
            old AS (SELECT variable FROM unnest(before) AS each (variable)),
            differing AS (
                INSERT INTO snapshot_variable_changes (variable, snapshot_id, added)
                SELECT coalesce(after.variable, old.variable), made.snapshot_id, old.variable IS NULL
                FROM after FULL JOIN old ON after.variable = old.variable
                WHERE after.variable IS NULL OR old.variable IS NULL
                RETURNING added)
        SELECT count(*) FILTER (WHERE added), count(*) FILTER (WHERE NOT added) INTO made.added, made.removed
        FROM differing;
    END IF;
    INSERT INTO snapshot_bundles SELECT made.*;
    INSERT INTO snapshot_bundle_variables (snapshot_id, bundle, variable)
    SELECT made.snapshot_id, wanted, variable FROM unnest(devices) AS each (variable);
    IF live.updated <> made.updated THEN
        UPDATE bundles SET updated = made.updated WHERE name = wanted;
    END IF;
END $$;

-- Of several changes of one row in a transaction, only the last finds the row as it left it.
CREATE OR REPLACE FUNCTION metastore_record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM bundles WHERE name = OLD.name) THEN
            PERFORM metastore_snapshot(OLD.name, false);
        END IF;
    ELSIF EXISTS (SELECT FROM bundles WHERE name = NEW.name AND ctid = NEW.ctid) THEN
        -- A transaction that does not see a deletion made meanwhile has to collide with it.
        PERFORM metastore_snapshot(NEW.name,
            TG_OP = 'INSERT' AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted'));
    END IF;
    RETURN NULL;
END $$;

-- A change of devices is a change of the bundle. FOR NO KEY UPDATE: a stronger lock would wait for the foreign key's own.
CREATE OR REPLACE FUNCTION metastore_touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM FROM bundles WHERE name IN (SELECT bundle FROM touched) ORDER BY name FOR NO KEY UPDATE;
    UPDATE bundles SET updated = metastore_now() WHERE name IN (SELECT bundle FROM touched);
    RETURN NULL;
END $$;

-- Bring bundles to new states, each with its snapshot, if their newest snapshots are those expected. It may do what its
-- caller may: it is only a way to send all of it as one statement, and what it sets holds until the transaction ends.
--
-- Returns the newest snapshot of each bundle afterwards; or a row without a hash, and has changed nothing, where another
-- one than the expected was found (or none, where one was to be deleted).
CREATE OR REPLACE FUNCTION metastore_write(who text, why text, at text, patience text, writes json)
RETURNS TABLE (whose text, number bigint, digest text) LANGUAGE plpgsql AS $$
DECLARE
    each record;
    there text[];
    follows bigint;
BEGIN
    PERFORM set_config('lock_timeout', patience, true), set_config('metastore.at', at, true),
        set_config('metastore.user', who, true), set_config('metastore.comment', why, true),
        set_config('plan_cache_mode', 'force_generic_plan', true);  -- planning takes longer than running
    FOR each IN SELECT name, expected FROM json_to_recordset(writes) AS (name text, expected bigint) ORDER BY name LOOP
        -- A name that is not there has no row to lock; a number stands for it.
        PERFORM pg_advisory_xact_lock(hashtextextended('metastore bundle ' || each.name, 0));
        PERFORM FROM bundles WHERE name = each.name FOR NO KEY UPDATE;
        whose := each.name;
        number := (SELECT snapshot_id FROM snapshot_bundles WHERE name = each.name ORDER BY snapshot_id DESC LIMIT 1);
        IF number IS DISTINCT FROM each.expected THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END LOOP;
    FOR each IN
        SELECT * FROM json_to_recordset(writes) AS (action text, deleted boolean, expected bigint, name text, event text,
            ifb_group text, storage text, run boolean, udp boolean, writable boolean, hosts text[], devices text[])
    LOOP
        PERFORM set_config('metastore.action', each.action, true);
        IF each.deleted THEN
            DELETE FROM bundles WHERE name = each.name;
        ELSE
            UPDATE bundles SET (event, ifb_group, storage, run, udp, writable, hosts)
                = (each.event, each.ifb_group, each.storage, each.run, each.udp, each.writable, each.hosts)
            WHERE name = each.name;
            IF NOT FOUND THEN
                INSERT INTO bundles (name, event, ifb_group, storage, run, udp, writable, hosts) VALUES (each.name,
                    each.event, each.ifb_group, each.storage, each.run, each.udp, each.writable, each.hosts);
            END IF;
            there := ARRAY(SELECT variable FROM bundle_variables WHERE bundle = each.name ORDER BY variable);
            IF there <> each.devices THEN
                DELETE FROM bundle_variables
                WHERE bundle = each.name AND variable NOT IN (SELECT unnest(each.devices));
                INSERT INTO bundle_variables (bundle, variable)
                SELECT each.name, variable FROM unnest(each.devices) AS wanted (variable)
                WHERE variable NOT IN (SELECT unnest(there)) ON CONFLICT DO NOTHING;
            END IF;
        END IF;
        SET CONSTRAINTS ALL IMMEDIATE;  -- the snapshot is made
        SET CONSTRAINTS ALL DEFERRED;
        SELECT name, snapshot_id, hash, previous INTO whose, number, digest, follows
        FROM snapshot_bundles WHERE name = each.name ORDER BY snapshot_id DESC LIMIT 1;
        IF number <> each.expected AND follows IS DISTINCT FROM each.expected THEN
            RAISE 'bundle % was changed in between', each.name USING ERRCODE = 'serialization_failure';
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- `updated` is the registry's: what is typed for it does not count.
CREATE OR REPLACE FUNCTION metastore_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.updated := metastore_now();
    ELSIF NEW.name <> OLD.name OR NEW.ifb_group <> OLD.ifb_group THEN
        RAISE EXCEPTION 'the name and the ifb_group of a bundle never change: copy it as a new one (%)', OLD.name
            USING ERRCODE = 'integrity_constraint_violation';
    ELSIF pg_trigger_depth() = 1 THEN
        NEW.updated := OLD.updated;
        IF NEW IS DISTINCT FROM OLD THEN
            NEW.updated := metastore_now();
        END IF;
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION metastore_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what was recorded of bundles stays', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE OR REPLACE TRIGGER metastore_guard BEFORE INSERT OR UPDATE ON bundles
    FOR EACH ROW EXECUTE FUNCTION metastore_guard();
CREATE OR REPLACE TRIGGER metastore_touch_insert AFTER INSERT ON bundle_variables
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION metastore_touch();
CREATE OR REPLACE TRIGGER metastore_touch_old AFTER UPDATE ON bundle_variables
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION metastore_touch();
CREATE OR REPLACE TRIGGER metastore_touch_new AFTER UPDATE ON bundle_variables
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION metastore_touch();
CREATE OR REPLACE TRIGGER metastore_touch_delete AFTER DELETE ON bundle_variables
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION metastore_touch();
DROP TRIGGER IF EXISTS metastore_record ON bundles;
CREATE CONSTRAINT TRIGGER metastore_record AFTER INSERT OR UPDATE OR DELETE ON bundles
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION metastore_record();

DO $$
DECLARE
    wanted regclass;
    held record;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['bundles', 'bundle_variables', 'snapshot_bundles', 'snapshot_bundle_variables',
        'snapshot_variable_changes']::regclass[]
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER metastore_truncate BEFORE TRUNCATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION metastore_refuse()', wanted);
        IF wanted::text LIKE '%snapshot_%' THEN
            EXECUTE format('CREATE OR REPLACE TRIGGER metastore_stays BEFORE UPDATE OR DELETE ON %s
                FOR EACH STATEMENT EXECUTE FUNCTION metastore_refuse()', wanted);
            -- Only from within a trigger does anything come in.
            EXECUTE format('CREATE OR REPLACE TRIGGER metastore_typed BEFORE INSERT ON %s
                FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION metastore_refuse()', wanted);
            EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', wanted);
        END IF;
        -- Also where session_replication_role says that triggers shall not fire.
        FOR held IN SELECT tgname FROM pg_trigger WHERE tgrelid = wanted AND tgname LIKE 'metastore\_%' LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', wanted, held.tgname);
        END LOOP;
    END LOOP;
    -- Whoever fires a trigger has a path of their own; what a trigger calls has the trigger's.
    FOR held IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'metastore\_%' AND prorettype = 'trigger'::regtype
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', held.signature, current_schema());
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION metastore_snapshot(text, boolean) FROM PUBLIC;
