-- Bundles and their record. Tables `bundles` and `bundle_variables` that exist keep their rows and other columns. The file
-- can be run again.

CREATE OR REPLACE FUNCTION metastore_is_time(at timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT at >= '0001-01-01 00:00:00+00'::timestamptz AND at < '10000-01-01 00:00:00+00'::timestamptz;
$$;

CREATE TABLE IF NOT EXISTS bundles (
    name text COLLATE "C" PRIMARY KEY,
    event text COLLATE "C",
    updated timestamptz,
    storage text COLLATE "C",
    run boolean,
    udp boolean,
    writable boolean,
    hosts text[] COLLATE "C",
    ifb_group text COLLATE "C"
);

CREATE TABLE IF NOT EXISTS bundle_variables (
    bundle text COLLATE "C",
    variable text COLLATE "C",
    PRIMARY KEY (bundle, variable)
);

-- Nobody changes a row before the triggers and the first snapshots are there.
LOCK TABLE bundles, bundle_variables IN ACCESS EXCLUSIVE MODE;

-- Columns of other types (varchar, timestamp, '0'/'1', hosts as a text with spaces or commas) are converted.
DO $$
DECLARE
    wanted record;
    present text;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('bundles', 'name', 'text', true, NULL),
            ('bundles', 'event', 'text', true, NULL),
            ('bundles', 'updated', 'timestamp with time zone', false, 'now()'),
            ('bundles', 'storage', 'text', true, '''short'''),
            ('bundles', 'run', 'boolean', false, 'false'),
            ('bundles', 'udp', 'boolean', false, 'false'),
            ('bundles', 'writable', 'boolean', false, 'false'),
            ('bundles', 'hosts', 'text[]', true, '''{}'''),
            ('bundles', 'ifb_group', 'text', true, NULL),
            ('bundle_variables', 'bundle', 'text', true, NULL),
            ('bundle_variables', 'variable', 'text', true, NULL)
        ) AS each (tab, col, kind, texts, fallback)
    LOOP
        SELECT format_type(atttypid, atttypmod) || CASE WHEN wanted.texts AND collname <> 'C' THEN ' other' ELSE '' END
        INTO present
        FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation
        WHERE attrelid = wanted.tab::regclass AND attname = wanted.col AND NOT attisdropped;
        IF present IS NULL THEN
            EXECUTE format('ALTER TABLE %I ADD COLUMN %I %s %s', wanted.tab, wanted.col, wanted.kind,
                CASE WHEN wanted.texts THEN 'COLLATE "C"' ELSE '' END);
        ELSIF present <> wanted.kind THEN
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I DROP DEFAULT', wanted.tab, wanted.col);
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE %s %s USING %s', wanted.tab, wanted.col, wanted.kind,
                CASE WHEN wanted.texts THEN 'COLLATE "C"' ELSE '' END,
                CASE
                    WHEN wanted.kind = 'text[]' AND present NOT LIKE '%[]%'
                        THEN 'array_remove(regexp_split_to_array(btrim(hosts::text, ''{}''), ''[\s,]+''), '''')'
                    WHEN wanted.kind = 'boolean' THEN format('%I::text::boolean', wanted.col)
                    ELSE format('%I::%s', wanted.col, wanted.kind)
                END);
        END IF;
        IF wanted.fallback IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT %s', wanted.tab, wanted.col, wanted.fallback);
            EXECUTE format('UPDATE %I SET %2$I = %3$s WHERE %2$I IS NULL', wanted.tab, wanted.col, wanted.fallback);
        END IF;
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET NOT NULL', wanted.tab, wanted.col);
    END LOOP;
END $$;

-- A time that a program cannot read would hide its row.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        UPDATE bundles SET updated = now() WHERE NOT metastore_is_time(updated) RETURNING bundles.name
    LOOP
        RAISE WARNING 'bundle % was updated at a time outside of the years 1 to 9999; now it is the time of the migration', name;
    END LOOP;
END $$;

-- Devices are a set.
DELETE FROM bundle_variables AS one USING bundle_variables AS other
WHERE one.bundle = other.bundle AND one.variable = other.variable AND one.ctid > other.ctid;

DO $$
DECLARE
    foreign_key text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_index WHERE indrelid = 'bundles'::regclass AND indisprimary) THEN
        ALTER TABLE bundles ADD PRIMARY KEY (name);
    END IF;
    -- A bundle takes its devices with it.
    FOR foreign_key IN
        SELECT conname FROM pg_constraint
        WHERE conrelid = 'bundle_variables'::regclass AND confrelid = 'bundles'::regclass AND contype = 'f'
    LOOP
        EXECUTE format('ALTER TABLE bundle_variables DROP CONSTRAINT %I', foreign_key);
    END LOOP;
END $$;

CREATE UNIQUE INDEX IF NOT EXISTS metastore_bundle_names ON bundles (name);
CREATE INDEX IF NOT EXISTS metastore_bundles_of_group ON bundles (ifb_group, name);
CREATE UNIQUE INDEX IF NOT EXISTS metastore_variables ON bundle_variables (bundle, variable);
CREATE INDEX IF NOT EXISTS metastore_bundles_of_variable ON bundle_variables (variable, bundle);
ALTER TABLE bundle_variables ADD CONSTRAINT metastore_variables_of_bundle
    FOREIGN KEY (bundle) REFERENCES bundles (name) ON DELETE CASCADE;


-- Refuse unsafe values, as the library does. One function, which is compiled once per session, names the column at fault.
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
        RAISE 'bundle % cannot have this %', name, unsafe USING ERRCODE = 'check_violation', COLUMN = unsafe;
    END IF;
    RETURN true;
END $$;


-- Rows that are unsafe already stay, with a warning.
ALTER TABLE bundles DROP CONSTRAINT IF EXISTS metastore_safe, DROP CONSTRAINT IF EXISTS metastore_updated,
    ADD CONSTRAINT metastore_safe
        CHECK (metastore_safe(name, event, storage, run, writable, hosts, ifb_group)) NOT VALID,
    ADD CONSTRAINT metastore_updated CHECK (metastore_is_time(updated));
ALTER TABLE bundle_variables DROP CONSTRAINT IF EXISTS metastore_variable, ADD CONSTRAINT metastore_variable
    CHECK (variable ~ '^[^[:space:][:cntrl:],;"''<>\\`\u0080-\u009f]+$' AND length(variable) BETWEEN 3 AND 255) NOT VALID;
DO $$
BEGIN
    ALTER TABLE bundles VALIDATE CONSTRAINT metastore_safe;
EXCEPTION WHEN check_violation THEN
    RAISE WARNING '% (perhaps others too): it stays, but cannot be changed before that is', SQLERRM;
END $$;
DO $$
BEGIN
    ALTER TABLE bundle_variables VALIDATE CONSTRAINT metastore_variable;
EXCEPTION WHEN check_violation THEN
    RAISE WARNING 'a device has an unsafe name (%): it stays, but cannot be changed before that is', SQLERRM;
END $$;

CREATE SEQUENCE IF NOT EXISTS snapshot_bundles_snapshot_id_seq;

-- One row per change. `updated` equals `created`, except for the first snapshot of a bundle that is older than the record.
-- `updated_by` and `created` are claims; "session_user" and `recorded` are the server's own.
CREATE TABLE IF NOT EXISTS snapshot_bundles (
    snapshot_id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    updated timestamptz NOT NULL,
    storage text COLLATE "C" NOT NULL,
    run boolean NOT NULL,
    udp boolean NOT NULL,
    writable boolean NOT NULL,
    hosts text[] COLLATE "C" NOT NULL,
    ifb_group text COLLATE "C" NOT NULL,
    updated_by text COLLATE "C" NOT NULL,
    "delete" boolean NOT NULL,
    comment text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    created timestamptz NOT NULL,
    previous bigint,
    hash text COLLATE "C" NOT NULL,
    "session_user" text COLLATE "C" NOT NULL,
    recorded timestamptz NOT NULL,
    changed text[] COLLATE "C" NOT NULL,
    added integer NOT NULL,
    removed integer NOT NULL,
    CONSTRAINT metastore_times CHECK (metastore_is_time(created) AND metastore_is_time(updated))
);
ALTER SEQUENCE snapshot_bundles_snapshot_id_seq OWNED BY snapshot_bundles.snapshot_id;
CREATE INDEX IF NOT EXISTS snapshot_bundles_of_name ON snapshot_bundles (name, snapshot_id);
CREATE INDEX IF NOT EXISTS snapshot_bundles_of_user ON snapshot_bundles (updated_by, snapshot_id);
CREATE INDEX IF NOT EXISTS snapshot_bundles_of_time ON snapshot_bundles (created, snapshot_id);
-- No chain forks: if two snapshots follow the same one (under REPEATABLE READ, say), one of them fails.
CREATE UNIQUE INDEX IF NOT EXISTS snapshot_bundles_follow ON snapshot_bundles (name, coalesce(previous, 0));

CREATE TABLE IF NOT EXISTS snapshot_bundle_variables (
    snapshot_id bigint NOT NULL,
    bundle text COLLATE "C" NOT NULL,
    variable text COLLATE "C" NOT NULL,
    PRIMARY KEY (snapshot_id, variable)
);

-- The devices that each snapshot added or removed: an index for the log.
CREATE TABLE IF NOT EXISTS snapshot_variable_changes (
    variable text COLLATE "C" NOT NULL,
    snapshot_id bigint NOT NULL,
    added boolean NOT NULL,
    PRIMARY KEY (variable, snapshot_id)
);

-- The time of a change: the claimed one, if there is one.
CREATE OR REPLACE FUNCTION metastore_now() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    claimed timestamptz := nullif(current_setting('metastore.at', true), '')::timestamptz;
BEGIN
    IF NOT metastore_is_time(claimed) THEN
        RAISE 'metastore.at is %, which is not in the years 1 to 9999', claimed USING ERRCODE = 'check_violation';
    END IF;
    RETURN coalesce(claimed, clock_timestamp());
END $$;

-- Tell whether a text may name a user. The library refuses the same, and characters that Unicode has not assigned yet.
CREATE OR REPLACE FUNCTION metastore_is_user(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT length($1) <= 255 AND $1 !~ '^ *$' AND $1 !~ '[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f\U000f0000-\U0010ffff]';
$$;

-- The user of a change: the claimed one, or else the role that logged in.
CREATE OR REPLACE FUNCTION metastore_user() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    claimed text := nullif(current_setting('metastore.user', true), '');
BEGIN
    IF NOT metastore_is_user(claimed) THEN
        RAISE 'metastore.user has to be text of 1 to 255 printable characters' USING ERRCODE = 'check_violation';
    END IF;
    RETURN coalesce(claimed, session_user);
END $$;

-- The comment of a change.
CREATE OR REPLACE FUNCTION metastore_comment() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    claimed text := coalesce(current_setting('metastore.comment', true), '');
BEGIN
    IF length(claimed) > 65536 THEN
        RAISE 'metastore.comment has to be text of at most 65536 characters' USING ERRCODE = 'check_violation';
    END IF;
    RETURN claimed;
END $$;

-- Write a snapshot of a bundle if its state differs from its newest snapshot (or `always`), and if its row is at `place`
-- (NULL if it is deleted): otherwise another call follows. Returns number, hash, previous number and name, or NULL.
--
-- PostgreSQL starts each statement of a function anew, so there are few, and plain assignments, which cost almost nothing.
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
        -- Not even by a deletion and an insertion, whose snapshots may be one (deferred) or two (immediate).
        IF live.ifb_group <> last.ifb_group AND (known OR last.recorded >= transaction_timestamp()) THEN
            RAISE 'the ifb_group of a bundle never changes: copy it as a new one (%)', wanted
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF known THEN
            differs := array_remove(ARRAY[
                CASE WHEN live.event <> last.event THEN 'event' END,
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
        metastore_user(),
        NOT there,
        metastore_comment(),
        coalesce(nullif(current_setting('metastore.action', true), ''),
            CASE WHEN NOT there THEN 'delete' WHEN known THEN 'update' ELSE 'create' END),
        NULL, last.snapshot_id, NULL, session_user, clock_timestamp(), differs, 0, 0)::snapshot_bundles;
    IF made.action NOT IN ('create', 'update', 'delete', 'copy', 'restore', 'import') THEN
        RAISE 'there is no action %', made.action USING ERRCODE = 'check_violation';
    END IF;
    made.created := made.updated;
    IF last.snapshot_id IS NULL AND pg_trigger_depth() = 0 AND current_setting('metastore.first', true) = 'true' THEN
        made.updated := live.updated;  -- the bundle is older than the record, says the migration
    END IF;
    -- The same as `chain_hash` in metastore/bundle/_chains.py. The database is in UTF8, so `octet_length` counts the bytes
    -- that are hashed.
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
        length(cardinality(made.hosts)::text), ':', cardinality(made.hosts), array_to_string(lists, ''),
        CASE WHEN made.updated <> made.created THEN
            '27:' || to_char(made.updated AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END
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


-- Of several changes of one row in a transaction, only the last finds the row where it left it.
CREATE OR REPLACE FUNCTION metastore_record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    made text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        made := metastore_take(OLD.name, NULL, false);
    ELSE
        -- A transaction that does not see a concurrent deletion has to collide with it.
        made := metastore_take(NEW.name, NEW.ctid,
            TG_OP = 'INSERT' AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted'));
    END IF;
    IF made IS NOT NULL THEN
        made := set_config('metastore.made', made, true);  -- for `metastore_write`
    END IF;
    RETURN NULL;
END $$;


-- A change of devices is a change of the bundle. FOR NO KEY UPDATE: a stronger lock would wait for the foreign key's.
CREATE OR REPLACE FUNCTION metastore_touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM FROM bundles WHERE name IN (SELECT bundle FROM touched) ORDER BY name FOR NO KEY UPDATE;
    UPDATE bundles SET updated = metastore_now() WHERE name IN (SELECT bundle FROM touched);
    RETURN NULL;
END $$;


-- Lock a name until the transaction ends. Return NULL if its newest snapshot has the expected number and, unless `follows`
-- is NULL, that hash: a database that was restored gives out numbers again. Otherwise return the newest number, 0 for none.
CREATE OR REPLACE FUNCTION metastore_hold(wanted text, expected bigint, follows text, with_row boolean)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    -- A new name has no row to lock.
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


-- Tell whether the state in the tables is that of a snapshot, the newest of its name.
CREATE OR REPLACE FUNCTION metastore_is_recorded(last snapshot_bundles) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN last."delete" THEN NOT EXISTS (SELECT FROM bundles WHERE name = last.name)
        ELSE EXISTS (
            SELECT FROM bundles AS b WHERE b.name = last.name
            AND (b.event, b.ifb_group, b.storage, b.run, b.udp, b.writable, b.hosts)
                = (last.event, last.ifb_group, last.storage, last.run, last.udp, last.writable, last.hosts)
        ) AND ARRAY(SELECT variable FROM bundle_variables WHERE bundle = last.name ORDER BY variable)
            = ARRAY(SELECT variable FROM snapshot_bundle_variables AS v WHERE v.snapshot_id = last.snapshot_id
                ORDER BY variable)
        END;
$$;

-- Change bundles in one statement, if their newest snapshots are the expected ones. It runs with the rights of its caller,
-- and its settings end with the transaction. A write without devices leaves them as they are.
--
-- Returns the newest snapshot of each bundle afterwards. If a newest snapshot is not the expected one, it changes nothing
-- and returns one row without a hash (and without a number if a bundle to delete never existed). An attempt that was given up
-- (`metastore_dataset_settle`) is refused. Who gives one up holds its names first.
CREATE OR REPLACE FUNCTION metastore_write(who text, why text, at text, patience text, writes json, this uuid DEFAULT NULL)
RETURNS TABLE (whose text, number bigint, digest text) LANGUAGE plpgsql AS $$
DECLARE
    each record;
    many boolean := json_array_length(writes) > 1;
    newest bigint;
    owner text;
    there text[];
    made text[];
    recorded boolean;
    nothing text;
BEGIN
    nothing := set_config('lock_timeout', patience, true);
    nothing := set_config('metastore.at', at, true);
    nothing := set_config('metastore.user', who, true);
    nothing := set_config('metastore.comment', why, true);
    nothing := set_config('plan_cache_mode', 'force_generic_plan', true);  -- planning takes longer than running
    IF many THEN  -- lock all names and rows first, in one order: no deadlock, not even with typed statements
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
        IF EXISTS (SELECT FROM dataset_change WHERE attempt = this) THEN
            RAISE 'this change was given up' USING ERRCODE = 'object_not_in_prerequisite_state';
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
        ELSE  -- nothing changed, or the triggers are disabled
            SELECT s.snapshot_id, s.hash, s.snapshot_id, metastore_is_recorded(s) INTO number, digest, newest, recorded
            FROM snapshot_bundles AS s WHERE s.name = each.name ORDER BY snapshot_id DESC LIMIT 1;
            IF recorded IS NOT TRUE THEN
                RAISE 'the triggers that record changes of bundles are disabled: nothing was changed'
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                    HINT = 'ALTER TABLE ... ENABLE ALWAYS TRIGGER ..., or migrate again';
            END IF;
        END IF;
        -- A typed statement locks no name; a snapshot that it made meanwhile shows here.
        IF newest IS DISTINCT FROM each.expected THEN
            RAISE 'bundle % was changed in between', each.name USING ERRCODE = 'serialization_failure';
        END IF;
        whose := each.name;
        RETURN NEXT;
    END LOOP;
END $$;


-- Name and group never change, and `updated` is set here: a typed value does not count.
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

CREATE OR REPLACE TRIGGER metastore_guard BEFORE INSERT OR UPDATE OF name, ifb_group ON bundles
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
            -- Only triggers insert rows.
            EXECUTE format('CREATE OR REPLACE TRIGGER metastore_typed BEFORE INSERT ON %s
                FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION metastore_refuse()', wanted);
            EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', wanted);
        END IF;
        -- Even if session_replication_role disables triggers.
        FOR held IN SELECT tgname FROM pg_trigger WHERE tgrelid = wanted AND tgname LIKE 'metastore\_%' LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', wanted, held.tgname);
        END LOOP;
    END LOOP;
    -- Triggers, and what they call, do not use the search path of the session.
    FOR held IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'metastore\_%' AND prorettype = 'trigger'::regtype
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', held.signature, current_schema());
        -- Or a role that only reads would run them with the rights of the owner, by a trigger on a temporary table of its own.
        -- The triggers above need no right to fire.
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', held.signature);
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION metastore_take(text, tid, boolean) FROM PUBLIC;

-- Rows that are older than the record get their first snapshot. They are not updated, which an unsafe row would refuse.

ALTER TABLE snapshot_bundles DISABLE TRIGGER metastore_typed;
ALTER TABLE snapshot_bundle_variables DISABLE TRIGGER metastore_typed;
ALTER TABLE snapshot_variable_changes DISABLE TRIGGER metastore_typed;

DO $$ BEGIN
    PERFORM set_config('metastore.first', 'true', true), set_config('metastore.action', 'import', true),
        set_config('metastore.comment', 'was there before the record began', true);
    LOCK TABLE bundles, bundle_variables IN SHARE ROW EXCLUSIVE MODE;
    PERFORM metastore_take(name, ctid, false) FROM bundles
    WHERE NOT EXISTS (SELECT FROM snapshot_bundles WHERE snapshot_bundles.name = bundles.name);
END $$;

ALTER TABLE snapshot_bundles ENABLE ALWAYS TRIGGER metastore_typed;
ALTER TABLE snapshot_bundle_variables ENABLE ALWAYS TRIGGER metastore_typed;
ALTER TABLE snapshot_variable_changes ENABLE ALWAYS TRIGGER metastore_typed;

-- The database is ready; the library asks for this number.
CREATE OR REPLACE FUNCTION metastore_schema() RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$;
