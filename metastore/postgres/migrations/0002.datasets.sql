-- Datasets: Git's objects, the branch of each dataset as numbered revisions, tags, and what happened. Ids are Git's, as 20
-- bytes. Only the functions below write; they run with the rights of the owner, so an application needs no right to write.
-- The file can be run again.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname ~ '^dataset(_|$)')
        AND to_regprocedure('metastore_dataset_settle(uuid, bigint)') IS NULL
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
    first integer NOT NULL,  -- the number with which its segment begins
    deleted boolean NOT NULL,
    attempt uuid UNIQUE,  -- that made it
    UNIQUE (owner, name)
) WITH (fillfactor = 80);  -- the head changes in place

-- All objects but those that `dataset_segment` has or stands for. `data` is the content; if `packed`, it is compressed with
-- zstd, and if there is a `base`, with the content of that object as dictionary. A base has no base itself.
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

-- What happened beside revisions, whose segments say that: the past of tags, and a part of the change feed. All
-- transactions before the oldest one that runs are over: up to there nothing is missing. An attempt that is recorded was
-- made, or is refused for ever ('settle', with an empty owner).
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

-- The commits of the branch, in order from 0, several in a row. A write adds its commit to the newest segment while that is
-- small, and otherwise begins another one. What the segment holds already stays. `xid` and `pos` are the place of its last
-- write in the change feed.
-- `contents` has the tree of each commit; where trees have the descriptor `alone`, it has that instead, and nothing else is
-- kept of the tree. Descriptors that are compressed with the `base` of the segment as dictionary are in `deltas`; the others,
-- NULL there, in `dataset_object`, or in an earlier segment. `rests` has the content of commits after the lines of tree and
-- parent; if the author is the committer, one identity stands for both lines, and otherwise it begins with the line break
-- before the next line. \x01 stands for `who`, \x00 for nothing. `deltas` and `attempts` are NULL while they have none.
CREATE TABLE IF NOT EXISTS dataset_segment (
    dataset bigint NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    pos bigint NOT NULL DEFAULT nextval('dataset_change_pos_seq'),
    first integer NOT NULL,
    alone boolean NOT NULL,
    "session_user" text COLLATE "C" NOT NULL DEFAULT session_user,
    parent bytea,  -- of the first commit
    base bytea,
    who bytea NOT NULL,
    commits bytea NOT NULL,  -- ids of 20 bytes each
    contents bytea NOT NULL,  -- the same
    rests bytea[] NOT NULL,
    deltas bytea[],
    attempts uuid[],
    recorded timestamptz[] NOT NULL,
    PRIMARY KEY (dataset, first),
    CHECK (length(commits) = 20 * cardinality(rests) AND length(contents) = length(commits)
        AND array_position(rests, NULL) IS NULL AND coalesce(cardinality(deltas), cardinality(rests)) = cardinality(rests)
        AND coalesce(cardinality(attempts), cardinality(rests)) = cardinality(rests)
        AND cardinality(recorded) = cardinality(rests))
);
CREATE INDEX IF NOT EXISTS dataset_segment_feed ON dataset_segment (xid, pos);
ALTER TABLE dataset_segment ALTER COLUMN rests SET STORAGE EXTERNAL, ALTER COLUMN deltas SET STORAGE EXTERNAL;

-- The commits of segments, one in a row.
CREATE OR REPLACE VIEW dataset_revision AS
SELECT s.dataset, s.first, s.commits, s.contents, s.first + u.at::integer - 1 AS n,
    substring(s.commits FROM 20 * u.at::integer - 19 FOR 20) AS id,
    CASE WHEN u.at = 1 THEN s.parent ELSE substring(s.commits FROM 20 * u.at::integer - 39 FOR 20) END AS parent,
    CASE WHEN NOT s.alone THEN substring(s.contents FROM 20 * u.at::integer - 19 FOR 20) END AS tree,
    CASE WHEN s.alone THEN substring(s.contents FROM 20 * u.at::integer - 19 FOR 20) END AS blob,
    CASE WHEN substring(u.rest FOR 1) = '\x01' THEN s.who ELSE '' END || substring(u.rest FROM 2) AS rest,
    CASE WHEN u.delta IS NOT NULL THEN s.base END AS base, u.delta, u.attempt, s."session_user", u.recorded
FROM dataset_segment AS s,
    unnest(s.rests, s.deltas, s.attempts, s.recorded) WITH ORDINALITY AS u (rest, delta, attempt, recorded, at);

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

-- Tell whether an attempt was made. `place` is the dataset that it was to add revisions to.
CREATE OR REPLACE FUNCTION metastore_dataset_made(this uuid, place bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM dataset WHERE attempt = this)
        OR EXISTS (SELECT FROM dataset_change WHERE attempt = this AND action <> 'settle')
        OR EXISTS (SELECT FROM dataset_segment WHERE dataset = place AND this = ANY (attempts));
END $$;

-- Add revisions, the oldest first, with the objects that they need. Each follows the one before it. Without a parent, make a
-- dataset of them. `starts` says with which revisions segments begin, from 1, and `segment_bases` what their deltas are
-- kept against; a single revision becomes part of the newest segment if it can.
CREATE OR REPLACE FUNCTION metastore_dataset_write(
    this uuid, wanted_owner text, wanted_name text, place bigint, parent bytea,
    ids bytea[], kinds text[], packs boolean[], bases bytea[], datas bytea[],
    revisions bytea[], trees bytea[], blobs bytea[], rests bytea[], deltas bytea[], starts integer[], segment_bases bytea[],
    OUT outcome text, OUT actual bytea, OUT here bigint
) LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    total integer := cardinality(revisions);
    newest integer := starts[cardinality(starts)] - 1;
    number integer;
    segment integer;
    -- The tree of a deletion: the file `DELETED` alone.
    gone boolean := trees[total] = '\xe1e373936dd87c8e09b394e831ec4a1f90778fa4'::bytea;
    added_rest bytea := rests[1];
    added_delta bytea := deltas[1];
    added_base bytea := segment_bases[1];
    until integer;
BEGIN
    IF parent IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(this::text, 0));  -- 'settle' waits for it
        INSERT INTO dataset AS d (owner, name, head, n, first, deleted, attempt)
        VALUES (wanted_owner, wanted_name, revisions[total], total - 1, newest, gone, this)
        ON CONFLICT (owner, name) DO NOTHING RETURNING d.pk, 0 INTO here, number;
    ELSE
        UPDATE dataset AS d SET head = revisions[total], n = d.n + total, deleted = gone
        WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.pk = place AND d.head = parent
        RETURNING d.pk, d.n - total + 1, d.first INTO here, number, segment;
    END IF;
    IF here IS NULL THEN
        IF metastore_dataset_made(this, place) THEN
            outcome := 'done';
        ELSIF parent IS NULL THEN
            outcome := 'taken';
        ELSE
            SELECT d.outcome, d.actual INTO outcome, actual
            FROM metastore_dataset_differs(wanted_owner, wanted_name, place) AS d;
        END IF;
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM dataset_change WHERE attempt = this) THEN
        RAISE 'this change was given up' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF parent IS NULL THEN
        DELETE FROM dataset_forward AS f WHERE f.owner = wanted_owner AND f.name = wanted_name;
    END IF;
    IF cardinality(ids) > 0 THEN
        INSERT INTO dataset_object (dataset, id, kind, packed, base, data)
        SELECT here, o.id, o.kind, o.packed, o.base, o.data
        FROM unnest(ids, kinds, packs, bases, datas) AS o (id, kind, packed, base, data)
        ON CONFLICT DO NOTHING;
    END IF;
    outcome := 'done';
    IF total = 1 AND parent IS NOT NULL THEN
        UPDATE dataset_segment AS s SET xid = DEFAULT, pos = DEFAULT, base = coalesce(s.base, added_base),
            commits = s.commits || revisions[1], contents = s.contents || coalesce(blobs[1], trees[1]),
            rests = array_append(s.rests, CASE WHEN substring(added_rest FOR length(s.who)) = s.who
                THEN '\x01' || substring(added_rest FROM length(s.who) + 1) ELSE '\x00' || added_rest END),
            deltas = CASE WHEN s.deltas IS NOT NULL OR added_delta IS NOT NULL THEN array_append(
                coalesce(s.deltas, array_fill(NULL::bytea, ARRAY[cardinality(s.rests)])), added_delta) END,
            attempts = array_append(coalesce(s.attempts, array_fill(NULL::uuid, ARRAY[cardinality(s.rests)])), this),
            recorded = array_append(s.recorded, clock_timestamp())
        WHERE s.dataset = here AND s.first = segment AND s.alone = (blobs[1] IS NOT NULL)
            AND (added_base IS NULL OR s.base IS NULL OR s.base = added_base) AND s."session_user" = session_user
            AND s.xid <= pg_current_xact_id()  -- it is not after a restore, until 'renumber', nor behind a long transaction
            AND pg_column_size(s) + length(added_rest) + coalesce(length(added_delta), 0) < 1900;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    FOR part IN 1 .. cardinality(starts) LOOP
        segment := starts[part];
        until := coalesce(starts[part + 1] - 1, total);
        INSERT INTO dataset_segment AS s (dataset, first, alone, parent, base, who, commits, contents, rests, deltas, attempts,
            recorded)
        SELECT here, number + segment - 1, blobs[segment] IS NOT NULL,
            CASE WHEN segment = 1 THEN metastore_dataset_write.parent ELSE revisions[segment - 1] END, segment_bases[part], w.who,
            string_agg(r.id, '' ORDER BY r.at), string_agg(coalesce(r.blob, r.tree), '' ORDER BY r.at),
            array_agg(CASE WHEN substring(r.rest FOR length(w.who)) = w.who
                THEN '\x01' || substring(r.rest FROM length(w.who) + 1) ELSE '\x00' || r.rest END ORDER BY r.at),
            CASE WHEN count(r.delta) > 0 THEN array_agg(r.delta ORDER BY r.at) END,
            CASE WHEN until = total AND metastore_dataset_write.parent IS NOT NULL
                THEN array_agg(CASE WHEN segment + r.at - 1 = total THEN this END ORDER BY r.at) END,
            array_agg(clock_timestamp() ORDER BY r.at)
        FROM unnest(revisions[segment:until], trees[segment:until], blobs[segment:until],
                metastore_dataset_write.rests[segment:until], metastore_dataset_write.deltas[segment:until])
                WITH ORDINALITY AS r (id, tree, blob, rest, delta, at),
            substring(metastore_dataset_write.rests[segment]
                FOR position('> '::bytea IN metastore_dataset_write.rests[segment]) + 1) AS w (who)
        GROUP BY w.who;
    END LOOP;
    IF parent IS NOT NULL THEN
        UPDATE dataset AS d SET first = number + newest WHERE d.pk = here;
    END IF;
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
        IF metastore_dataset_made(this, NULL) THEN
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
        IF metastore_dataset_made(this, NULL) THEN
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
DECLARE
    creation uuid;
BEGIN
    DELETE FROM dataset AS d
    WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.pk = place AND d.head = parent RETURNING d.attempt INTO creation;
    IF NOT FOUND THEN
        SELECT d.outcome, d.actual INTO outcome, actual
        FROM metastore_dataset_differs(wanted_owner, wanted_name, place) AS d;
        IF metastore_dataset_made(this, NULL) THEN
            outcome := 'done';
        END IF;
        RETURN;
    END IF;
    PERFORM set_config('metastore.purging', place::text, true);
    INSERT INTO dataset_change (attempt, owner, name, action, after, "session_user", recorded)
    SELECT CASE WHEN r.n = 0 THEN creation ELSE r.attempt END, wanted_owner, wanted_name,
        CASE WHEN r.n = 0 THEN 'create' ELSE 'append' END, r.id, r."session_user", r.recorded
    FROM dataset_revision AS r WHERE r.dataset = place AND (r.n = 0 OR r.attempt IS NOT NULL) ORDER BY r.n
    ON CONFLICT (attempt) DO NOTHING;  -- an attempt may be settled without its dataset
    DELETE FROM dataset_segment WHERE dataset = place;
    DELETE FROM dataset_object WHERE dataset = place;
    DELETE FROM dataset_tag WHERE dataset = place;
    DELETE FROM dataset_forward WHERE dataset = place;
    PERFORM set_config('metastore.purging', '', true);
    INSERT INTO dataset_change (attempt, owner, name, action, before)
    VALUES (this, wanted_owner, wanted_name, 'purge', parent);
    outcome := 'done';
END $$;

-- Tell whether an attempt was made; from now on it can no longer be. It waits for a transaction that is about to make it.
-- `place` is the dataset that it was to add revisions to, if it was. Each call writes: its COMMIT waits for the replicas that
-- the attempt's has to wait for.
CREATE OR REPLACE FUNCTION metastore_dataset_settle(this uuid, place bigint DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(this::text, 0));
    PERFORM FROM dataset WHERE pk = place FOR NO KEY UPDATE;
    IF NOT metastore_dataset_made(this, place) THEN
        INSERT INTO dataset_change (attempt, owner, name, action) VALUES (this, '', '', 'settle') ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN false;
        END IF;
    END IF;
    INSERT INTO dataset_change (owner, name, action) VALUES ('', '', 'settle');
    RETURN metastore_dataset_made(this, place);
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
        UPDATE dataset_segment SET xid = '1';
        PERFORM set_config('metastore.renumbering', '', true);
        UPDATE dataset_feed SET system = here;
    END IF;
END $$;

-- What was written stays. A purge says which dataset it removes.
CREATE OR REPLACE FUNCTION metastore_dataset_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME IN ('dataset_change', 'dataset_segment') AND current_setting('metastore.renumbering', true) = 'true' THEN
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

-- A segment only grows.
CREATE OR REPLACE TRIGGER metastore_grows BEFORE UPDATE ON dataset_segment FOR EACH ROW WHEN (
    (NEW.dataset, NEW.first, NEW.alone, NEW."session_user", NEW.parent, NEW.who)
        IS DISTINCT FROM (OLD.dataset, OLD.first, OLD.alone, OLD."session_user", OLD.parent, OLD.who)
    OR NEW.base IS DISTINCT FROM coalesce(OLD.base, NEW.base) OR (NEW.xid, NEW.pos) <= (OLD.xid, OLD.pos)
    OR length(NEW.commits) < length(OLD.commits) + 20 OR substring(NEW.commits FOR length(OLD.commits)) <> OLD.commits
    OR substring(NEW.contents FOR length(OLD.contents)) <> OLD.contents
    OR NEW.rests[:cardinality(OLD.rests)] <> OLD.rests
    OR NEW.deltas[:cardinality(OLD.rests)] IS DISTINCT FROM coalesce(OLD.deltas,
        CASE WHEN NEW.deltas IS NOT NULL THEN array_fill(NULL::bytea, ARRAY[cardinality(OLD.rests)]) END)
    OR NEW.attempts[:cardinality(OLD.rests)] IS DISTINCT FROM coalesce(OLD.attempts,
        CASE WHEN NEW.attempts IS NOT NULL THEN array_fill(NULL::uuid, ARRAY[cardinality(OLD.rests)]) END)
    OR NEW.recorded[:cardinality(OLD.recorded)] <> OLD.recorded
) EXECUTE FUNCTION metastore_dataset_stays();
ALTER TABLE dataset_segment ENABLE ALWAYS TRIGGER metastore_grows;

DO $$
DECLARE
    held regclass;
    function record;
BEGIN
    FOREACH held IN ARRAY ARRAY['dataset', 'dataset_segment', 'dataset_object', 'dataset_tag', 'dataset_forward',
        'dataset_change']::regclass[]
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER metastore_truncate BEFORE TRUNCATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION metastore_dataset_stays()', held);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER metastore_truncate', held);
        IF held::text ~ 'dataset_(segment|object|change)$' THEN
            EXECUTE format('CREATE OR REPLACE TRIGGER metastore_stays BEFORE %s DELETE ON %s
                FOR EACH ROW EXECUTE FUNCTION metastore_dataset_stays()',
                CASE WHEN held::text ~ 'segment' THEN '' ELSE 'UPDATE OR' END, held);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER metastore_stays', held);
        END IF;
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', held);
    END LOOP;
    REVOKE ALL ON dataset_revision FROM PUBLIC;
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
