-- The search index of datasets: each text that a dataset has had, with the period in which it held. The text of now has no
-- end. A write adds its texts in its own transaction; moves and purges keep the index right by triggers. The index can be
-- emptied at any time (TRUNCATE dataset_text): the next search makes it again. The file can be run again.

-- `words` are folded, each after a space; U+001E ends each text. `id_words` are those of the dataset's id, and of its name if
-- the descriptor has no title (`title` is NULL then). The values of facets are folded, too; `spelled` says how they are written
-- where that differs: facet -> folded value -> value. `access` has the owner and the id, for searches of part of the store.
CREATE TABLE IF NOT EXISTS dataset_text (
    dataset bigint NOT NULL,
    since bigint NOT NULL,  -- in seconds since 1970, as `until` and `changed`
    until bigint,
    changed bigint NOT NULL,  -- the time of the newest revision that has the text
    deleted boolean NOT NULL,
    blob bytea,  -- the descriptor
    findings text COLLATE "C",  -- the rules of the check, and '+' or '-': whether it found fault
    title text COLLATE "C",
    id_words text COLLATE "C" NOT NULL,
    words text COLLATE "C" NOT NULL,
    access text[] COLLATE "C" NOT NULL,
    licence text[] COLLATE "C" NOT NULL,
    keyword text[] COLLATE "C" NOT NULL,
    format text[] COLLATE "C" NOT NULL,
    field text[] COLLATE "C" NOT NULL,
    contributor text[] COLLATE "C" NOT NULL,
    spelled jsonb,
    PRIMARY KEY (dataset, since)
);
ALTER TABLE dataset_feed ADD COLUMN IF NOT EXISTS indexed boolean NOT NULL DEFAULT false;

CREATE OR REPLACE FUNCTION metastore_dataset_words(id_words text, words text) RETURNS tsvector LANGUAGE sql IMMUTABLE COST 1000
AS $$ SELECT array_to_tsvector(array_remove(string_to_array(id_words || words, ' '), E'\x1e')) $$;

-- The words of an id, as part of a text that may have a title.
CREATE OR REPLACE FUNCTION metastore_dataset_id_words(owner text, name text, has_title boolean) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT concat_ws(' ', nullif(btrim(regexp_replace(owner || '/' || name, '[^a-z0-9]+', ' ', 'g')), ''), E'\x1e',
        CASE WHEN NOT has_title THEN nullif(btrim(regexp_replace(name, '[^a-z0-9]+', ' ', 'g')), '') END,
        CASE WHEN NOT has_title THEN E'\x1e' END)
$$;

-- The time of a commit, in seconds since 1970.
CREATE OR REPLACE FUNCTION metastore_dataset_time(body bytea) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(substring(convert_from(body, 'LATIN1') FROM '\nauthor [^\n]*> ([0-9]{1,18})')::bigint, 0)
$$;

CREATE INDEX IF NOT EXISTS dataset_text_now ON dataset_text
    USING gin (metastore_dataset_words(id_words, words), access, licence, keyword, format, field, contributor) WHERE until IS NULL;
CREATE INDEX IF NOT EXISTS dataset_text_past ON dataset_text
    USING gin (metastore_dataset_words(id_words, words), access, licence, keyword, format, field, contributor)
    WHERE until IS NOT NULL;
CREATE INDEX IF NOT EXISTS dataset_text_changed ON dataset_text ((-changed)) WHERE until IS NULL;

-- Add texts to the index, if `head` is the newest revision of the dataset. They take the place of all texts from `cut` on; NULL
-- leaves those as they are. Without texts, the present one is still that of the newest revision. `now` is the time of that.
CREATE OR REPLACE FUNCTION metastore_dataset_index(
    wanted_owner text, wanted_name text, head bytea, cut bigint, texts jsonb, now bigint
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    here bigint;
BEGIN
    IF texts IS NULL THEN
        RETURN false;
    END IF;
    SELECT d.pk INTO here FROM dataset AS d
    WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.head = metastore_dataset_index.head FOR NO KEY UPDATE;
    IF here IS NULL THEN
        RETURN false;
    END IF;
    IF cut IS NOT NULL THEN
        DELETE FROM dataset_text AS t WHERE t.dataset = here AND t.since >= cut;
        UPDATE dataset_text AS t SET until = cut WHERE t.dataset = here AND (t.until IS NULL OR t.until > cut);
    ELSIF jsonb_array_length(texts) = 0 THEN
        UPDATE dataset_text AS t SET changed = now, findings = NULL WHERE t.dataset = here AND t.until IS NULL;
    END IF;
    INSERT INTO dataset_text (dataset, since, until, changed, deleted, blob, title, id_words, words, access, licence, keyword,
        format, field, contributor, spelled)
    SELECT here, t.since, t.until, t.changed, t.deleted, decode(t.blob, 'hex'), t.title,
        metastore_dataset_id_words(wanted_owner, wanted_name, t.title IS NOT NULL), t.words,
        ARRAY[wanted_owner, wanted_owner || '/' || wanted_name], t.licence, t.keyword, t.format, t.field, t.contributor,
        t.spelled
    FROM jsonb_to_recordset(texts) AS t(
        since bigint, until bigint, changed bigint, deleted boolean, blob text, title text, words text, licence text[],
        keyword text[], format text[], field text[], contributor text[], spelled jsonb
    );
    RETURN true;
END $$;

-- Say that the index has all texts of all datasets, after removing those of no dataset.
CREATE OR REPLACE FUNCTION metastore_dataset_indexed() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    DELETE FROM dataset_text AS t WHERE NOT EXISTS (SELECT FROM dataset AS d WHERE d.pk = t.dataset);
    UPDATE dataset_feed SET indexed = true WHERE NOT indexed;
$$;

-- Store what a check found in the present texts of datasets, unless they have changed since.
CREATE OR REPLACE FUNCTION metastore_dataset_check(places bigint[], blobs bytea[], found text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER AS $$
    UPDATE dataset_text AS t SET findings = c.found
    FROM unnest(places, blobs, found) AS c (place, blob, found)
    WHERE t.dataset = c.place AND t.until IS NULL AND t.blob IS NOT DISTINCT FROM c.blob;
$$;

CREATE OR REPLACE FUNCTION metastore_dataset_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM dataset_text WHERE dataset = OLD.pk;
    ELSE
        UPDATE dataset_text SET id_words = metastore_dataset_id_words(NEW.owner, NEW.name, title IS NOT NULL),
            access = ARRAY[NEW.owner, NEW.owner || '/' || NEW.name]
        WHERE dataset = NEW.pk;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION metastore_dataset_unindexed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE dataset_feed SET indexed = false;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER metastore_moved AFTER DELETE OR UPDATE OF owner, name ON dataset
    FOR EACH ROW EXECUTE FUNCTION metastore_dataset_moved();
ALTER TABLE dataset ENABLE ALWAYS TRIGGER metastore_moved;
CREATE OR REPLACE TRIGGER metastore_unindexed AFTER TRUNCATE ON dataset_text
    FOR EACH STATEMENT EXECUTE FUNCTION metastore_dataset_unindexed();
UPDATE dataset_feed SET indexed = true WHERE NOT EXISTS (SELECT FROM dataset);

DO $$
DECLARE
    function record;
BEGIN
    REVOKE ALL ON dataset_text FROM PUBLIC;
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

CREATE OR REPLACE FUNCTION metastore_schema() RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 3 $$;
