-- depends: 0003.first
-- A change takes the server less work. What is recorded stays as it was, and so does what is asked for it: a program that
-- knows only the earlier functions finds nothing changed.
--
-- PostgreSQL starts every statement of a function anew, reads the text of every CHECK anew for each statement, and parses
-- a function in SQL that it cannot inline anew in every transaction. So there are few of all of these here, and plain
-- assignments, which cost next to nothing, instead.

LOCK TABLE bundles, bundle_variables, snapshot_bundles IN ACCESS EXCLUSIVE MODE;

-- What is unsafe, in one rule that is compiled once a session; it says which column is at fault.
CREATE OR REPLACE FUNCTION metastore_safe(
    name text, event text, storage text, run boolean, writable boolean, hosts text[], ifb_group text
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    listed text := array_to_string(hosts, ',');
    unsafe text := CASE
        WHEN name !~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$' OR length(name) > 64 THEN 'name'
        WHEN event !~ '^[A-Za-z](,[^[:space:][:cntrl:],"''`;<>\\]+)*$' OR length(event) > 255 THEN 'event'
        WHEN storage NOT IN ('long', 'short') THEN 'storage'
        WHEN run AND NOT writable THEN 'run'
        WHEN array_ndims(hosts) > 1 OR cardinality(string_to_array(listed, ',')) <> cardinality(hosts)
            OR listed !~ '^([A-Za-z0-9][A-Za-z0-9.-]*(,[A-Za-z0-9][A-Za-z0-9.-]*)*)?$' THEN 'hosts'
        WHEN ifb_group !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' OR length(ifb_group) > 64 THEN 'ifb_group'
    END;
BEGIN
    IF unsafe IS NOT NULL THEN
        RAISE 'a bundle cannot have this %', unsafe USING ERRCODE = 'check_violation', COLUMN = unsafe;
    END IF;
    RETURN true;
END $$;

-- Rows that are there already were checked, or warned of, by an earlier file.
ALTER TABLE bundles
    DROP CONSTRAINT IF EXISTS metastore_name, DROP CONSTRAINT IF EXISTS metastore_event,
    DROP CONSTRAINT IF EXISTS metastore_storage, DROP CONSTRAINT IF EXISTS metastore_run,
    DROP CONSTRAINT IF EXISTS metastore_hosts, DROP CONSTRAINT IF EXISTS metastore_ifb_group,
    DROP CONSTRAINT IF EXISTS metastore_safe,
    ADD CONSTRAINT metastore_safe
        CHECK (metastore_safe(name, event, storage, run, writable, hosts, ifb_group)) NOT VALID;
-- `metastore_take` looks at it, the only one who writes there.
ALTER TABLE snapshot_bundles DROP CONSTRAINT IF EXISTS snapshot_bundles_action_check;

DROP FUNCTION IF EXISTS metastore_link(snapshot_bundles, text, text[]), metastore_hash(text[]);

-- Write the snapshot of a name, if its state is another one than its newest snapshot's (or in any case, where asked to)
-- and if `place` is where its row is now (NULL if it is deleted): else another call will come for it.
-- Returns number, hash, previous number and name of what it wrote, or NULL.
CREATE OR REPLACE FUNCTION metastore_take(wanted text, place tid, always boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    live record;
    last record;
    made snapshot_bundles;
    there boolean := place IS NOT NULL;
    known boolean;
    differs text[] := '{}';
    moment text;
    part text;
    lists text[] := '{}';
BEGIN
    IF there THEN
        SELECT *, ARRAY(SELECT variable FROM bundle_variables WHERE bundle = wanted ORDER BY variable) AS set_of_devices
        INTO live FROM bundles WHERE name = wanted AND ctid = place;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    ELSIF EXISTS (SELECT FROM bundles WHERE name = wanted) THEN
        RETURN NULL;
    END IF;
    SELECT *, ARRAY(
        SELECT variable FROM snapshot_bundle_variables AS v WHERE v.snapshot_id = s.snapshot_id ORDER BY variable
    ) AS set_of_devices
    INTO last FROM snapshot_bundles AS s WHERE name = wanted ORDER BY snapshot_id DESC LIMIT 1;
    known := FOUND AND NOT last."delete";
    IF there THEN
        IF known THEN
            differs := array_remove(ARRAY[
                CASE WHEN live.event <> last.event THEN 'event' END,
                CASE WHEN live.ifb_group <> last.ifb_group THEN 'ifb_group' END,
                CASE WHEN live.storage <> last.storage THEN 'storage' END,
                CASE WHEN live.run <> last.run THEN 'run' END,
                CASE WHEN live.udp <> last.udp THEN 'udp' END,
                CASE WHEN live.writable <> last.writable THEN 'writable' END,
                CASE WHEN live.hosts <> last.hosts THEN 'hosts' END], NULL);
            IF differs = '{}' AND live.set_of_devices = last.set_of_devices AND NOT always THEN
                IF live.updated <> last.updated THEN
                    UPDATE bundles SET updated = last.updated WHERE name = wanted;
                END IF;
                RETURN NULL;
            END IF;
        END IF;
    ELSIF known THEN
        live := last;  -- a deletion keeps the last state
    ELSE
        RETURN NULL;  -- made and deleted in one transaction
    END IF;

    made := (
        nextval('snapshot_bundles_snapshot_id_seq'), wanted, live.event, metastore_now(), live.storage,
        live.run, live.udp, live.writable, live.hosts, live.ifb_group,
        coalesce(nullif(current_setting('metastore.user', true), ''), session_user),
        NOT there,
        coalesce(current_setting('metastore.comment', true), ''),
        coalesce(nullif(current_setting('metastore.action', true), ''),
            CASE WHEN NOT there THEN 'delete' WHEN known THEN 'update' ELSE 'create' END),
        NULL, last.snapshot_id, NULL, session_user, clock_timestamp(), differs, 0, 0)::snapshot_bundles;
    IF made.action NOT IN ('create', 'update', 'delete', 'copy', 'restore', 'import') THEN
        RAISE 'there is no action %', made.action USING ERRCODE = 'check_violation';
    END IF;
    made.created := made.updated;
    IF last.snapshot_id IS NULL AND pg_trigger_depth() = 0 AND current_setting('metastore.first', true) = 'true' THEN
        made.updated := live.updated;  -- it was there before the record, says a migration
    END IF;
    -- The same as `chain_hash` in metastore/bundle/chains.py. The database is in UTF8: so `octet_length` counts what is
    -- hashed.
    moment := to_char(made.created AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
    FOREACH part IN ARRAY made.hosts || cardinality(live.set_of_devices)::text || live.set_of_devices LOOP
        lists := array_append(lists, concat(octet_length(part), ':', part));
    END LOOP;
    made.hash := encode(sha256(convert_to(concat(
        octet_length(coalesce(last.hash, '')), ':', last.hash,
        length(made.snapshot_id::text), ':', made.snapshot_id, octet_length(wanted), ':', wanted,
        length(moment), ':', moment,
        octet_length(made.updated_by), ':', made.updated_by, octet_length(made.comment), ':', made.comment,
        length(made.action), ':', made.action, CASE WHEN there THEN '5:false' ELSE '4:true' END,
        octet_length(made.event), ':', made.event, octet_length(made.ifb_group), ':', made.ifb_group,
        octet_length(made.storage), ':', made.storage, CASE WHEN made.run THEN '4:true' ELSE '5:false' END,
        CASE WHEN made.udp THEN '4:true' ELSE '5:false' END, CASE WHEN made.writable THEN '4:true' ELSE '5:false' END,
        length(cardinality(made.hosts)::text), ':', cardinality(made.hosts), array_to_string(lists, '')
    ), 'UTF8')), 'hex');
    IF NOT (there AND known) OR live.set_of_devices <> last.set_of_devices THEN
        WITH
            after AS (SELECT variable FROM unnest(CASE WHEN there THEN live.set_of_devices END) AS each (variable)),
            old AS (SELECT variable FROM unnest(CASE WHEN known THEN last.set_of_devices END) AS each (variable)),
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
    SELECT made.snapshot_id, wanted, variable FROM unnest(live.set_of_devices) AS each (variable);
    IF live.updated <> made.updated AND there THEN
        UPDATE bundles SET updated = made.updated WHERE name = wanted;
    END IF;
    RETURN concat(made.snapshot_id, ' ', made.hash, ' ', made.previous, ' ', wanted);
END $$;

-- As an earlier file calls it.
CREATE OR REPLACE FUNCTION metastore_snapshot(wanted text, always boolean) RETURNS void LANGUAGE sql AS $$
    SELECT metastore_take(wanted, (SELECT ctid FROM bundles WHERE name = wanted), always);
$$;

-- Of several changes of one row in a transaction, only the last finds the row as it left it.
CREATE OR REPLACE FUNCTION metastore_record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    made text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        made := metastore_take(OLD.name, NULL, false);
    ELSE
        -- A transaction that does not see a deletion made meanwhile has to collide with it.
        made := metastore_take(NEW.name, NEW.ctid,
            TG_OP = 'INSERT' AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted'));
    END IF;
    IF made IS NOT NULL THEN
        made := set_config('metastore.made', made, true);  -- for `metastore_write`, which waits for it
    END IF;
    RETURN NULL;
END $$;

-- Hold a name until the transaction ends, and return its newest snapshot (0 for none) if that is not the expected one, or
-- has another hash: numbers come again in a database that was restored. NULL if all is as expected.
CREATE OR REPLACE FUNCTION metastore_hold(wanted text, expected bigint, follows text, with_row boolean)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    -- A name that is not there has no row to lock; a number stands for it.
    held boolean := pg_advisory_xact_lock(hashtextextended('metastore bundle ' || wanted, 0)) IS NOT NULL;
    number bigint;
    digest text;
BEGIN
    IF with_row THEN
        PERFORM FROM bundles WHERE name = wanted FOR NO KEY UPDATE;
    END IF;
    SELECT snapshot_id, hash INTO number, digest
    FROM snapshot_bundles WHERE name = wanted ORDER BY snapshot_id DESC LIMIT 1;
    IF number IS DISTINCT FROM expected OR digest <> follows THEN
        RETURN coalesce(number, 0);
    END IF;
    RETURN NULL;
END $$;

-- Bring bundles to new states, each with its snapshot, if their newest snapshots are those expected. It may do what its
-- caller may: it is only a way to send all of it as one statement, and what it sets holds until the transaction ends.
-- Where a write has no devices, they stay as they are.
--
-- Returns the newest snapshot of each bundle afterwards; or a row without a hash, and has changed nothing, where another
-- one than the expected was found (or none, where one was to be deleted).
CREATE OR REPLACE FUNCTION metastore_write(who text, why text, at text, patience text, writes json)
RETURNS TABLE (whose text, number bigint, digest text) LANGUAGE plpgsql AS $$
DECLARE
    each record;
    many boolean := json_array_length(writes) > 1;
    newest bigint;
    owner text;
    there text[];
    made text[];
    nothing text;
BEGIN
    nothing := set_config('lock_timeout', patience, true);
    nothing := set_config('metastore.at', at, true);
    nothing := set_config('metastore.user', who, true);
    nothing := set_config('metastore.comment', why, true);
    nothing := set_config('plan_cache_mode', 'force_generic_plan', true);  -- planning takes longer than running
    IF many THEN  -- all of them before the first is changed, and in one order, also for whoever types
        FOR each IN
            SELECT * FROM json_to_recordset(writes) AS (name text, expected bigint, follows text) ORDER BY name
        LOOP
            newest := metastore_hold(each.name, each.expected, each.follows, true);
            IF newest IS NOT NULL THEN
                RETURN QUERY SELECT each.name, nullif(newest, 0), NULL;
                RETURN;
            END IF;
        END LOOP;
    END IF;
    FOR each IN
        SELECT * FROM json_to_recordset(writes) AS (action text, deleted boolean, expected bigint, follows text,
            name text, event text, ifb_group text, storage text, run boolean, udp boolean, writable boolean,
            hosts text[], devices text[])
    LOOP
        IF NOT many THEN
            newest := metastore_hold(each.name, each.expected, each.follows, false);
            IF newest IS NOT NULL THEN
                RETURN QUERY SELECT each.name, nullif(newest, 0), NULL;
                RETURN;
            END IF;
        END IF;
        nothing := set_config('metastore.action', each.action, true);
        nothing := set_config('metastore.made', '', true);
        IF each.deleted THEN
            DELETE FROM bundles WHERE name = each.name;
        ELSE
            UPDATE bundles SET (event, storage, run, udp, writable, hosts, updated)
                = (each.event, each.storage, each.run, each.udp, each.writable, each.hosts, metastore_now())
            WHERE name = each.name
            RETURNING ifb_group, ARRAY(SELECT variable FROM bundle_variables WHERE bundle = name ORDER BY variable)
            INTO owner, there;
            IF NOT FOUND THEN
                there := '{}';
                INSERT INTO bundles (name, event, ifb_group, storage, run, udp, writable, hosts) VALUES (each.name,
                    each.event, each.ifb_group, each.storage, each.run, each.udp, each.writable, each.hosts);
            ELSIF owner <> each.ifb_group THEN
                RAISE 'the ifb_group of a bundle never changes: copy it as a new one (%)', each.name
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
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
        made := string_to_array(current_setting('metastore.made'), ' ');
        IF array_to_string(made[4:], ' ') = each.name THEN
            number := made[1];
            digest := made[2];
            newest := nullif(made[3], '');
        ELSE  -- it altered nothing
            SELECT snapshot_id, hash, snapshot_id INTO number, digest, newest
            FROM snapshot_bundles WHERE name = each.name ORDER BY snapshot_id DESC LIMIT 1;
        END IF;
        -- Whoever types holds no number, and what they made meanwhile shows here.
        IF newest IS DISTINCT FROM each.expected THEN
            RAISE 'bundle % was changed in between', each.name USING ERRCODE = 'serialization_failure';
        END IF;
        whose := each.name;
        RETURN NEXT;
    END LOOP;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION metastore_record() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END $$;
REVOKE ALL ON FUNCTION metastore_take(text, tid, boolean) FROM PUBLIC;
CREATE OR REPLACE TRIGGER metastore_guard BEFORE INSERT OR UPDATE OF name, ifb_group ON bundles
    FOR EACH ROW EXECUTE FUNCTION metastore_guard();
ALTER TABLE bundles ENABLE ALWAYS TRIGGER metastore_guard;
