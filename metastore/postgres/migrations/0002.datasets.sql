-- Datasets: Git's objects, the branch of each dataset as numbered revisions, tags, and what happened. Ids are Git's, as 20
-- bytes. Only the functions below write; they run with the rights of the owner, so an application needs no right to write.
-- The file can be run again.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname ~ '^dataset(_|$)')
        AND to_regprocedure('metastore_dataset_settle(uuid)') IS NULL
    THEN
        RAISE 'the schema % has tables called dataset that are not of metastore: give metastore a schema of its own',
            current_schema() USING ERRCODE = 'duplicate_table';
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS dataset (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    head bytea NOT NULL,
    n integer NOT NULL,  -- the number of the newest revision
    deleted boolean NOT NULL,
    UNIQUE (owner, name)
) WITH (fillfactor = 80);  -- the head changes in place

-- The commits of the branch, in order from 0. `blob` is the descriptor, if the tree has that file alone: then nothing else is
-- kept of the tree. `rest` is the content of the commit after the lines of its tree and its parent. If the author is the
-- committer, one identity stands for both lines; otherwise it begins with the line break before the next line.
CREATE TABLE IF NOT EXISTS dataset_revision (
    dataset bigint NOT NULL,
    n integer NOT NULL,
    id bytea NOT NULL,
    tree bytea NOT NULL,
    blob bytea,
    rest bytea NOT NULL,
    PRIMARY KEY (dataset, n),
    UNIQUE (dataset, id)
);

-- All other objects, but the trees that `dataset_revision` stands for. `data` is the content; if `packed`, it is compressed with zstd, and if there is a `base`, with the
-- content of that object as dictionary. A base has no base itself.
CREATE TABLE IF NOT EXISTS dataset_object (
    dataset bigint NOT NULL,
    id bytea NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('blob', 'tree', 'commit', 'tag')),
    packed boolean NOT NULL,
    base bytea CHECK (base IS NULL OR packed),
    data bytea NOT NULL,
    PRIMARY KEY (dataset, id)
);
ALTER TABLE dataset_object ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE dataset_revision ALTER COLUMN rest SET STORAGE EXTERNAL;

-- `target` is what the reference holds, `revision` the commit that it leads to, if it leads to one.
CREATE TABLE IF NOT EXISTS dataset_tag (
    dataset bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    target bytea NOT NULL,
    revision bytea,
    PRIMARY KEY (dataset, name)
);

-- The former ids of a dataset that was moved.
CREATE TABLE IF NOT EXISTS dataset_forward (
    owner text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    dataset bigint NOT NULL,
    PRIMARY KEY (owner, name)
);
CREATE INDEX IF NOT EXISTS dataset_forward_of_dataset ON dataset_forward (dataset);

-- The change feed, and the past of tags. All transactions before the oldest one that runs are over: up to there nothing is
-- missing. An attempt that is recorded was made, or is refused for ever ('settle', with an empty owner).
CREATE TABLE IF NOT EXISTS dataset_change (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    pos bigint GENERATED ALWAYS AS IDENTITY,
    attempt uuid UNIQUE,
    owner text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    tag text COLLATE "C",
    before bytea,
    after bytea,
    "session_user" text COLLATE "C" NOT NULL DEFAULT session_user,
    recorded timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (xid, pos)
);

-- What cursors of the feed begin with (change it after a restore of an older state), and whose transactions are in the feed.
CREATE TABLE IF NOT EXISTS dataset_feed (id text COLLATE "C" NOT NULL, system bigint NOT NULL);
INSERT INTO dataset_feed SELECT left(replace(gen_random_uuid()::text, '-', ''), 16), system_identifier FROM pg_control_system()
WHERE NOT EXISTS (SELECT FROM dataset_feed);


-- Store objects, which nobody sees before a revision or tag leads to them.
CREATE OR REPLACE FUNCTION metastore_dataset_put(
    place bigint, ids bytea[], kinds text[], packs boolean[], bases bytea[], datas bytea[]
) RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
    INSERT INTO dataset_object (dataset, id, kind, packed, base, data)
    SELECT place, o.id, o.kind, o.packed, o.base, o.data
    FROM unnest(ids, kinds, packs, bases, datas) AS o (id, kind, packed, base, data)
    WHERE EXISTS (SELECT FROM dataset WHERE pk = place)
    ON CONFLICT DO NOTHING;
$$;

-- Say why a dataset is not what a caller believed: 'missing', 'replaced' by another one, or a 'conflict' with its head.
CREATE OR REPLACE FUNCTION metastore_dataset_differs(wanted_owner text, wanted_name text, place bigint, OUT outcome text, OUT actual bytea)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    there record;
BEGIN
    SELECT d.pk, d.head INTO there FROM dataset AS d WHERE d.owner = wanted_owner AND d.name = wanted_name;
    actual := there.head;
    outcome := CASE WHEN there.pk IS NULL THEN 'missing' WHEN there.pk <> place THEN 'replaced' ELSE 'conflict' END;
END $$;

-- Add revisions, the oldest first, with the objects that they need. Each follows the one before it. Without a parent, make a dataset of them.
CREATE OR REPLACE FUNCTION metastore_dataset_write(
    this uuid, wanted_owner text, wanted_name text, place bigint, parent bytea,
    ids bytea[], kinds text[], packs boolean[], bases bytea[], datas bytea[],
    revisions bytea[], trees bytea[], blobs bytea[], rests bytea[],
    OUT outcome text, OUT actual bytea, OUT here bigint
) LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    total integer := cardinality(revisions);
    number integer;
    -- The tree of a deletion: the file `DELETED` alone.
    gone boolean := trees[total] = '\xe1e373936dd87c8e09b394e831ec4a1f90778fa4'::bytea;
BEGIN
    IF parent IS NULL THEN
        INSERT INTO dataset AS d (owner, name, head, n, deleted)
        VALUES (wanted_owner, wanted_name, revisions[total], total - 1, gone)
        ON CONFLICT (owner, name) DO NOTHING RETURNING d.pk, 0 INTO here, number;
    ELSE
        UPDATE dataset AS d SET head = revisions[total], n = d.n + total, deleted = gone
        WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.pk = place AND d.head = parent
        RETURNING d.pk, d.n - total + 1 INTO here, number;
    END IF;
    IF here IS NULL THEN
        IF EXISTS (SELECT FROM dataset_change WHERE attempt = this AND action <> 'settle') THEN
            outcome := 'done';
        ELSIF parent IS NULL THEN
            outcome := 'taken';
        ELSE
            SELECT d.outcome, d.actual INTO outcome, actual
            FROM metastore_dataset_differs(wanted_owner, wanted_name, place) AS d;
        END IF;
        RETURN;
    END IF;
    IF parent IS NULL THEN
        DELETE FROM dataset_forward AS f WHERE f.owner = wanted_owner AND f.name = wanted_name;
    END IF;
    INSERT INTO dataset_object (dataset, id, kind, packed, base, data)
    SELECT here, o.id, o.kind, o.packed, o.base, o.data
    FROM unnest(ids, kinds, packs, bases, datas) AS o (id, kind, packed, base, data)
    ON CONFLICT DO NOTHING;
    INSERT INTO dataset_revision (dataset, n, id, tree, blob, rest)
    SELECT here, number + r.at - 1, r.id, r.tree, r.blob, r.rest
    FROM unnest(revisions, trees, blobs, rests) WITH ORDINALITY AS r (id, tree, blob, rest, at);
    INSERT INTO dataset_change (attempt, owner, name, action, after)
    VALUES (this, wanted_owner, wanted_name, CASE WHEN parent IS NULL THEN 'create' ELSE 'append' END, revisions[total]);
    outcome := 'done';
END $$;

-- Make a tag (no old name), replace one, or remove it (no new name).
CREATE OR REPLACE FUNCTION metastore_dataset_tag(
    this uuid, wanted_owner text, wanted_name text, place bigint,
    old_name text, expected bytea, new_name text, target bytea, revision bytea, content bytea,
    OUT outcome text, OUT actual bytea
) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- Moves and purges wait, revisions do not.
    PERFORM FROM dataset AS d
    WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.pk = place FOR KEY SHARE;
    IF NOT FOUND THEN
        SELECT d.outcome INTO outcome FROM metastore_dataset_differs(wanted_owner, wanted_name, place) AS d;
    ELSIF old_name IS NULL THEN
        INSERT INTO dataset_tag (dataset, name, target, revision)
        VALUES (place, new_name, metastore_dataset_tag.target, metastore_dataset_tag.revision) ON CONFLICT DO NOTHING;
        outcome := CASE WHEN FOUND THEN 'done' ELSE 'taken' END;
    ELSE
        BEGIN
            IF new_name IS NULL THEN
                DELETE FROM dataset_tag AS t WHERE t.dataset = place AND t.name = old_name AND t.target = expected;
            ELSE
                UPDATE dataset_tag AS t
                SET name = new_name, target = metastore_dataset_tag.target, revision = metastore_dataset_tag.revision
                WHERE t.dataset = place AND t.name = old_name AND t.target = expected;
            END IF;
            outcome := CASE WHEN FOUND THEN 'done' END;
        EXCEPTION WHEN unique_violation THEN
            outcome := 'taken';
        END;
        IF outcome IS NULL THEN
            SELECT t.target INTO actual FROM dataset_tag AS t WHERE t.dataset = place AND t.name = old_name;
            outcome := CASE WHEN FOUND THEN 'tag-conflict' ELSE 'tag-missing' END;
        END IF;
    END IF;
    IF outcome <> 'done' THEN
        IF EXISTS (SELECT FROM dataset_change WHERE attempt = this AND action <> 'settle') THEN
            outcome := 'done';
        END IF;
        RETURN;
    END IF;
    IF content IS NOT NULL THEN
        INSERT INTO dataset_object (dataset, id, kind, packed, data)
        VALUES (place, metastore_dataset_tag.target, 'tag', false, content) ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO dataset_change (attempt, owner, name, action, tag, before, after)
    VALUES (this, wanted_owner, wanted_name, 'tag', coalesce(old_name, new_name), expected, metastore_dataset_tag.target);
END $$;

-- Give a dataset another id; the old one leads there.
CREATE OR REPLACE FUNCTION metastore_dataset_move(
    this uuid, wanted_owner text, wanted_name text, place bigint, parent bytea, new_owner text, new_name text,
    OUT outcome text, OUT actual bytea
) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    BEGIN
        UPDATE dataset AS d SET owner = new_owner, name = new_name
        WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.pk = place AND d.head = parent;
        outcome := CASE WHEN FOUND THEN 'done' END;
    EXCEPTION WHEN unique_violation THEN
        outcome := 'taken';
    END;
    IF outcome IS NULL THEN
        SELECT d.outcome, d.actual INTO outcome, actual
        FROM metastore_dataset_differs(wanted_owner, wanted_name, place) AS d;
    END IF;
    IF outcome <> 'done' THEN
        IF EXISTS (SELECT FROM dataset_change WHERE attempt = this AND action <> 'settle') THEN
            outcome := 'done';
        END IF;
        RETURN;
    END IF;
    DELETE FROM dataset_forward AS f WHERE f.owner = new_owner AND f.name = new_name;
    INSERT INTO dataset_forward (owner, name, dataset) VALUES (wanted_owner, wanted_name, place)
    ON CONFLICT (owner, name) DO UPDATE SET dataset = excluded.dataset;
    INSERT INTO dataset_change (attempt, owner, name, action, before)
    VALUES (this, wanted_owner, wanted_name, 'move', parent), (NULL, new_owner, metastore_dataset_move.new_name, 'move', parent);
END $$;

-- Remove a dataset with its whole history.
CREATE OR REPLACE FUNCTION metastore_dataset_purge(
    this uuid, wanted_owner text, wanted_name text, place bigint, parent bytea, OUT outcome text, OUT actual bytea
) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    DELETE FROM dataset AS d
    WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.pk = place AND d.head = parent;
    IF NOT FOUND THEN
        SELECT d.outcome, d.actual INTO outcome, actual
        FROM metastore_dataset_differs(wanted_owner, wanted_name, place) AS d;
        IF EXISTS (SELECT FROM dataset_change WHERE attempt = this AND action <> 'settle') THEN
            outcome := 'done';
        END IF;
        RETURN;
    END IF;
    PERFORM set_config('metastore.purging', place::text, true);
    DELETE FROM dataset_revision WHERE dataset = place;
    DELETE FROM dataset_object WHERE dataset = place;
    DELETE FROM dataset_tag WHERE dataset = place;
    DELETE FROM dataset_forward WHERE dataset = place;
    PERFORM set_config('metastore.purging', '', true);
    INSERT INTO dataset_change (attempt, owner, name, action, before)
    VALUES (this, wanted_owner, wanted_name, 'purge', parent);
    outcome := 'done';
END $$;

-- Tell whether an attempt was made; from now on it can no longer be. It waits for a transaction that is about to make it.
-- Each call writes: its COMMIT waits for the replicas that the attempt's has to wait for.
CREATE OR REPLACE FUNCTION metastore_dataset_settle(this uuid) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO dataset_change (attempt, owner, name, action) VALUES (this, '', '', 'settle') ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO dataset_change (owner, name, action) VALUES ('', '', 'settle');
    RETURN (SELECT action <> 'settle' FROM dataset_change WHERE attempt = this);
END $$;

-- Let all that happened come before what another server is going to write, where the database was restored. Its transactions
-- have numbers of their own, which may be lower.
CREATE OR REPLACE FUNCTION metastore_dataset_renumber() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here bigint := (SELECT system_identifier FROM pg_control_system());
BEGIN
    PERFORM FROM dataset_feed WHERE system <> here FOR UPDATE;
    IF FOUND THEN
        PERFORM set_config('metastore.renumbering', 'true', true);
        UPDATE dataset_change SET xid = '1';
        PERFORM set_config('metastore.renumbering', '', true);
        UPDATE dataset_feed SET system = here;
    END IF;
END $$;

-- What was written stays. A purge says which dataset it removes.
CREATE OR REPLACE FUNCTION metastore_dataset_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'dataset_change' AND current_setting('metastore.renumbering', true) = 'true' THEN
        NEW.xid := '1';
        IF to_jsonb(NEW) = to_jsonb(OLD) || '{"xid": "1"}' THEN
            RETURN NEW;
        END IF;
    END IF;
    IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME <> 'dataset_change' THEN
        IF OLD.dataset::text = current_setting('metastore.purging', true) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% on % is refused: the history of datasets stays', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

DO $$
DECLARE
    held regclass;
    function record;
BEGIN
    FOREACH held IN ARRAY ARRAY['dataset', 'dataset_revision', 'dataset_object', 'dataset_tag', 'dataset_forward',
        'dataset_change']::regclass[]
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER metastore_truncate BEFORE TRUNCATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION metastore_dataset_stays()', held);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER metastore_truncate', held);
        IF held::text ~ 'dataset_(revision|object|change)$' THEN
            EXECUTE format('CREATE OR REPLACE TRIGGER metastore_stays BEFORE UPDATE OR DELETE ON %s
                FOR EACH ROW EXECUTE FUNCTION metastore_dataset_stays()', held);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER metastore_stays', held);
        END IF;
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', held);
    END LOOP;
    FOR function IN
        SELECT oid::regprocedure AS signature, prosecdef FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'metastore\_dataset\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', function.signature, current_schema());
        IF function.prosecdef THEN
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function.signature);
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION metastore_schema() RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 2 $$;
