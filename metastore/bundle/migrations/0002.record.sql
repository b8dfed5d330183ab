-- depends: 0001.tables
-- The record: at COMMIT, one snapshot of each bundle that the transaction changed, whoever changed it and however.

CREATE OR REPLACE FUNCTION metastore_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(nullif(current_setting('metastore.at', true), '')::timestamptz, clock_timestamp());
$$;

-- The same as `chain_hash` in metastore/bundle/base.py: netstrings without their commas. NULL parts are left out.
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
CREATE OR REPLACE FUNCTION metastore_snapshot(wanted text, always boolean) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    live bundles;
    last snapshot_bundles;
    made snapshot_bundles;
    there boolean;
    known boolean;
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
    made := last;
    made.changed := '{}';
    IF there THEN
        devices := ARRAY(SELECT variable FROM bundle_variables WHERE bundle = wanted ORDER BY variable);
        made.name := live.name;
        made.event := live.event;
        made.storage := live.storage;
        made.run := live.run;
        made.udp := live.udp;
        made.writable := live.writable;
        made.hosts := live.hosts;
        made.ifb_group := live.ifb_group;
        IF known THEN
            made.changed := array_remove(ARRAY[
                CASE WHEN made.event <> last.event THEN 'event' END,
                CASE WHEN made.ifb_group <> last.ifb_group THEN 'ifb_group' END,
                CASE WHEN made.storage <> last.storage THEN 'storage' END,
                CASE WHEN made.run <> last.run THEN 'run' END,
                CASE WHEN made.udp <> last.udp THEN 'udp' END,
                CASE WHEN made.writable <> last.writable THEN 'writable' END,
                CASE WHEN made.hosts <> last.hosts THEN 'hosts' END], NULL);
            IF made.changed = '{}' AND devices = before AND NOT always THEN
                UPDATE bundles SET updated = last.updated WHERE name = wanted AND updated <> last.updated;
                RETURN;
            END IF;
        END IF;
    ELSIF NOT known THEN
        RETURN;  -- made and deleted in one transaction
    ELSE
        devices := before;  -- a deletion keeps the last state
    END IF;

    made.snapshot_id := nextval('snapshot_bundles_snapshot_id_seq');
    made.created := metastore_now();
    made.updated := made.created;
    IF last.snapshot_id IS NULL AND current_setting('metastore.first', true) = 'true' THEN
        made.updated := live.updated;  -- it was there before the record
    END IF;
    made.updated_by := coalesce(nullif(current_setting('metastore.user', true), ''), session_user);
    made.comment := coalesce(current_setting('metastore.comment', true), '');
    made.action := coalesce(nullif(current_setting('metastore.action', true), ''),
        CASE WHEN NOT there THEN 'delete' WHEN known THEN 'update' ELSE 'create' END);
    made."delete" := NOT there;
    made.previous := last.snapshot_id;
    made.hash := metastore_link(made, coalesce(last.hash, ''), devices);
    made."session_user" := session_user;
    made.recorded := clock_timestamp();
    WITH
        after AS (SELECT variable FROM unnest(CASE WHEN there THEN devices END) AS each (variable)),
        old AS (SELECT variable FROM unnest(before) AS each (variable)),
        differing AS (
            INSERT INTO snapshot_variable_changes (variable, snapshot_id, added)
            SELECT coalesce(after.variable, old.variable), made.snapshot_id, old.variable IS NULL
            FROM after FULL JOIN old ON after.variable = old.variable
            WHERE after.variable IS NULL OR old.variable IS NULL
            RETURNING added)
    SELECT count(*) FILTER (WHERE added), count(*) FILTER (WHERE NOT added) INTO made.added, made.removed FROM differing;
    INSERT INTO snapshot_bundles SELECT made.*;
    INSERT INTO snapshot_bundle_variables (snapshot_id, bundle, variable)
    SELECT made.snapshot_id, wanted, variable FROM unnest(devices) AS each (variable);
    UPDATE bundles SET updated = made.updated WHERE name = wanted AND updated <> made.updated;
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
    -- Those in plain SQL are part of whatever calls them; a path of their own would only keep them from being inlined.
    FOR held IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'metastore\_%'
            AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', held.signature, current_schema());
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION metastore_snapshot(text, boolean) FROM PUBLIC;
