-- The tables of bundles and of their record. `bundles` and `bundle_variables` may be there already, with rows in them:
-- they keep their rows and their other columns, and become what the record needs. Every file here can be run again.

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

-- Nobody changes a row between here and the first snapshots of a later file without a trigger seeing it.
LOCK TABLE bundles, bundle_variables IN ACCESS EXCLUSIVE MODE;

-- Columns of other types (varchar, timestamp, '0'/'1', hosts as a text with spaces or commas) are converted.
DO $$
DECLARE
    wanted record;
    found text;
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
        INTO found
        FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation
        WHERE attrelid = wanted.tab::regclass AND attname = wanted.col AND NOT attisdropped;
        IF found IS NULL THEN
            EXECUTE format('ALTER TABLE %I ADD COLUMN %I %s %s', wanted.tab, wanted.col, wanted.kind,
                CASE WHEN wanted.texts THEN 'COLLATE "C"' ELSE '' END);
        ELSIF found <> wanted.kind THEN
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I DROP DEFAULT', wanted.tab, wanted.col);
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE %s %s USING %s', wanted.tab, wanted.col, wanted.kind,
                CASE WHEN wanted.texts THEN 'COLLATE "C"' ELSE '' END,
                CASE
                    WHEN wanted.kind = 'text[]' AND found NOT LIKE '%[]%'
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

-- What is unsafe; the library refuses the same, and a little more. Rows that were there before are only warned of.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('bundles', 'name', $check$name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$' AND length(name) <= 64$check$),
            ('bundles', 'event', $check$event ~ '^[A-Za-z](,[^[:space:][:cntrl:],"''`;<>\\]+)*$' AND length(event) <= 255$check$),
            ('bundles', 'storage', $check$storage IN ('long', 'short')$check$),
            ('bundles', 'run', $check$writable OR NOT run$check$),
            ('bundles', 'hosts', $check$CASE WHEN array_ndims(hosts) > 1 THEN false ELSE
                array_position(hosts, NULL) IS NULL
                AND cardinality(string_to_array(array_to_string(hosts, ','), ',')) = cardinality(hosts)
                AND array_to_string(hosts, ',') ~ '^([A-Za-z0-9][A-Za-z0-9.-]*(,[A-Za-z0-9][A-Za-z0-9.-]*)*)?$'
                END$check$),
            ('bundles', 'ifb_group', $check$ifb_group ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' AND length(ifb_group) <= 64$check$),
            ('bundle_variables', 'variable', $check$variable ~ '^[^[:space:][:cntrl:],;"''<>\\`\u0080-\u009f]+$'
                AND length(variable) BETWEEN 3 AND 255$check$)
        ) AS each (tab, col, rule)
    LOOP
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS %I', wanted.tab, 'metastore_' || wanted.col);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (%s) NOT VALID',
            wanted.tab, 'metastore_' || wanted.col, wanted.rule);
        BEGIN
            EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT %I', wanted.tab, 'metastore_' || wanted.col);
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'a row of % has an unsafe %: it stays, but cannot be changed before that is', wanted.tab, wanted.col;
        END;
    END LOOP;
END $$;

CREATE SEQUENCE IF NOT EXISTS snapshot_bundles_snapshot_id_seq;

-- One row a change. What the requirement did not name: comment, action, created (`updated` of a row that was there
-- before is older), previous, hash, who was logged in, when the server's clock saw it, and what the log says about it.
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
    action text COLLATE "C" NOT NULL CHECK (action IN ('create', 'update', 'delete', 'copy', 'restore', 'import')),
    created timestamptz NOT NULL,
    previous bigint,
    hash text COLLATE "C" NOT NULL,
    "session_user" text COLLATE "C" NOT NULL,
    recorded timestamptz NOT NULL,
    changed text[] COLLATE "C" NOT NULL,
    added integer NOT NULL,
    removed integer NOT NULL
);
ALTER SEQUENCE snapshot_bundles_snapshot_id_seq OWNED BY snapshot_bundles.snapshot_id;
CREATE INDEX IF NOT EXISTS snapshot_bundles_of_name ON snapshot_bundles (name, snapshot_id);
CREATE INDEX IF NOT EXISTS snapshot_bundles_of_user ON snapshot_bundles (updated_by, snapshot_id);
CREATE INDEX IF NOT EXISTS snapshot_bundles_of_time ON snapshot_bundles (created, snapshot_id);
-- No chain forks: of two that follow the same snapshot (under REPEATABLE READ, say), one fails.
CREATE UNIQUE INDEX IF NOT EXISTS snapshot_bundles_follow ON snapshot_bundles (name, coalesce(previous, 0));

CREATE TABLE IF NOT EXISTS snapshot_bundle_variables (
    snapshot_id bigint NOT NULL,
    bundle text COLLATE "C" NOT NULL,
    variable text COLLATE "C" NOT NULL,
    PRIMARY KEY (snapshot_id, variable)
);

-- Which snapshot added or removed a device: an index for the log, made from the record as it grows.
CREATE TABLE IF NOT EXISTS snapshot_variable_changes (
    variable text COLLATE "C" NOT NULL,
    snapshot_id bigint NOT NULL,
    added boolean NOT NULL,
    PRIMARY KEY (variable, snapshot_id)
);
