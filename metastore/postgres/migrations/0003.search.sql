-- The search index of datasets: the texts that datasets have and had, each with the period in which it held. `dataset_text` has
-- a row for each text. Present ones, which have no end, keep their words and facets there; former ones keep the words of their
-- title. The rest of the past is in `dataset_span`, for datasets that have one: what successive texts share is there once. A
-- write adds its texts in its own transaction; moves and purges keep the index right by triggers. The index can be emptied at
-- any time (TRUNCATE dataset_text): the next search makes it again. The file can be run again.

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
    licence text[] COLLATE "C",
    keyword text[] COLLATE "C",
    format text[] COLLATE "C",
    field text[] COLLATE "C",
    contributor text[] COLLATE "C",
    openness text[] COLLATE "C",
    spelled jsonb,
    PRIMARY KEY (dataset, since)
);

-- `items` are texts, as their folded words with spaces between them, and values of facets: U+001F, the facet, '=', the folded
-- value, and U+001F with the value as it is written, where that differs. The spans of a dataset that hold at a moment
-- have all items that the dataset has at that moment: at least one, which may be empty.
CREATE TABLE IF NOT EXISTS dataset_span (
    dataset bigint NOT NULL,
    since bigint NOT NULL,  -- in seconds since 1970, as `until`
    until bigint NOT NULL,  -- 2^63-1 if it holds on
    access text[] COLLATE "C" NOT NULL,
    items text[] COLLATE "C" NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS dataset_span_dataset ON dataset_span (dataset);
ALTER TABLE dataset_feed ADD COLUMN IF NOT EXISTS indexed boolean NOT NULL DEFAULT false;

-- The functions of the indexes are in PL/pgSQL, whose plans are kept: one in SQL is parsed and planned in each statement.

CREATE OR REPLACE FUNCTION metastore_dataset_words(id_words text, words text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE COST 1000 AS $$
BEGIN
    RETURN array_to_tsvector(array_remove(string_to_array(id_words || words, ' '), E'\x1e'));
END $$;

-- Return a value that rows are looked for by. A scan of an index asks for it once, a scan of all rows once for each of
-- them. So the planner chooses an index, however few rows there are, and whatever it believes that they hold.
CREATE OR REPLACE FUNCTION metastore_dataset_sought(value anyelement) RETURNS anyelement
LANGUAGE plpgsql STABLE COST 100000 AS $$
BEGIN
    RETURN value;
END $$;

-- The words of an id, as part of a text that may have a title.
CREATE OR REPLACE FUNCTION metastore_dataset_id_words(owner text, name text, has_title boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN concat_ws(' ', nullif(btrim(regexp_replace(owner || '/' || name, '[^a-z0-9]+', ' ', 'g')), ''), E'\x1e',
        CASE WHEN NOT has_title THEN nullif(btrim(regexp_replace(name, '[^a-z0-9]+', ' ', 'g')), '') END,
        CASE WHEN NOT has_title THEN E'\x1e' END);
END $$;

-- The time of a commit, in seconds since 1970, from its `rest`.
CREATE OR REPLACE FUNCTION metastore_dataset_time(rest bytea) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce(substring(encode(rest, 'escape') FROM '(?:^|\nauthor )[^\n]*> ([0-9]{1,18})')::bigint, 0);
END $$;

-- The words of the id of a span, and of its texts, between spaces; U+001E ends each text.
CREATE OR REPLACE FUNCTION metastore_dataset_span_words(access text[], items text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE COST 1000 AS $$
DECLARE
    item text;
    words text := ' ' || metastore_dataset_id_words(access[1], split_part(access[2], '/', 2), true);
BEGIN
    FOREACH item IN ARRAY items LOOP
        IF NOT starts_with(item, E'\x1f') THEN
            words := words || E' \x1e ' || item;
        END IF;
    END LOOP;
    RETURN words || ' ';
END $$;

-- What finds a span: the words of its id and of its texts, and its values of facets, without the way they are written.
CREATE OR REPLACE FUNCTION metastore_dataset_span_terms(access text[], items text[]) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE COST 1000 AS $$
DECLARE
    item text;
    terms text[] := string_to_array(metastore_dataset_id_words(access[1], split_part(access[2], '/', 2), true), ' ');
BEGIN
    FOREACH item IN ARRAY items LOOP
        IF starts_with(item, E'\x1f') THEN
            terms := terms || (E'\x1f' || split_part(item, E'\x1f', 2));
        ELSE
            terms := terms || string_to_array(item, ' ');
        END IF;
    END LOOP;
    RETURN array_to_tsvector(array_remove(array_remove(terms, ''), E'\x1e'));
END $$;

CREATE INDEX IF NOT EXISTS dataset_text_now ON dataset_text
    USING gin (metastore_dataset_words(id_words, words), access, licence, keyword, format, field, contributor, openness)
    WHERE until IS NULL;
CREATE INDEX IF NOT EXISTS dataset_text_former ON dataset_text USING gin (access) WHERE until IS NOT NULL;
-- Its condition is in the searches alone that may walk along it, past any number of texts: those that may show all.
CREATE INDEX IF NOT EXISTS dataset_text_changed ON dataset_text ((-changed))
    WHERE CASE WHEN until IS NULL THEN true ELSE false END;
CREATE INDEX IF NOT EXISTS dataset_span_terms ON dataset_span
    USING gin (metastore_dataset_span_terms(access, items), access);

-- The items of a text, which is a row of `dataset_text`, or as a client sends it.
CREATE OR REPLACE FUNCTION metastore_dataset_items(text jsonb) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce(nullif(ARRAY(
        SELECT btrim(words) FROM unnest(string_to_array(text ->> 'words', E' \x1e')) AS words WHERE words <> ''
        UNION
        SELECT E'\x1f' || facet || '=' || value || coalesce(E'\x1f' || (text #>> ARRAY['spelled', facet, value]), '')
        FROM unnest('{licence,keyword,format,field,contributor,openness}'::text[]) AS facet,
            jsonb_array_elements_text(text -> facet) AS value
    ), '{}'), '{""}');
END $$;

-- The facets that a dataset had at a moment, in the form of `dataset_text`.
CREATE OR REPLACE FUNCTION metastore_dataset_facets(wanted bigint, moment bigint, OUT licence text[], OUT keyword text[],
    OUT format text[], OUT field text[], OUT contributor text[], OUT openness text[], OUT spelled jsonb) LANGUAGE sql STABLE AS $$
    WITH held AS (
        SELECT p.parts[1] AS facet, p.parts[2] AS value, p.parts[3] AS written
        FROM dataset_span AS s, unnest(s.items) AS i,
            regexp_match(i, E'^\x1f([a-z]+)=([^\x1f]*)(?:\x1f(.*))?$') AS p (parts)
        WHERE s.dataset = metastore_dataset_sought(wanted) AND s.since <= moment AND s.until > moment
            AND starts_with(i, E'\x1f')
    )
    SELECT array_agg(value) FILTER (WHERE facet = 'licence'), array_agg(value) FILTER (WHERE facet = 'keyword'),
        array_agg(value) FILTER (WHERE facet = 'format'), array_agg(value) FILTER (WHERE facet = 'field'),
        array_agg(value) FILTER (WHERE facet = 'contributor'), array_agg(value) FILTER (WHERE facet = 'openness'),
        (SELECT jsonb_object_agg(facet, values) FROM (
            SELECT facet, jsonb_object_agg(value, written) AS values FROM held WHERE written IS NOT NULL GROUP BY facet
        ) AS by_facet)
    FROM held
$$;

-- End items of a dataset at a moment; those that began then were never there.
CREATE OR REPLACE FUNCTION metastore_dataset_end(wanted bigint, moment bigint, ended text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    forever CONSTANT bigint := 9223372036854775807;
    held record;
BEGIN
    -- The lock on the dataset keeps others away from its spans.
    FOR held IN
        SELECT s.ctid AS place, s.since, s.access, s.items FROM dataset_span AS s
        WHERE s.dataset = wanted AND s.until = forever AND s.items && ended
    LOOP
        IF held.items <@ ended AND held.since < moment THEN
            UPDATE dataset_span SET until = moment WHERE ctid = held.place;
        ELSE
            DELETE FROM dataset_span WHERE ctid = held.place;
            INSERT INTO dataset_span (dataset, since, until, access, items)
            SELECT wanted, held.since, CASE WHEN i = ANY (ended) THEN moment ELSE forever END, held.access, array_agg(i)
            FROM unnest(held.items) AS i WHERE held.since < moment OR i <> ALL (ended) GROUP BY i = ANY (ended);
        END IF;
    END LOOP;
END $$;

-- The same for a dataset that has no spans yet: its present text becomes some.
CREATE OR REPLACE FUNCTION metastore_dataset_first_end(wanted bigint, moment bigint, ended text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dataset_span (dataset, since, until, access, items)
    SELECT wanted, t.since, CASE WHEN i = ANY (ended) THEN moment ELSE 9223372036854775807 END, t.access, array_agg(i)
    FROM dataset_text AS t, unnest(metastore_dataset_items(to_jsonb(t))) AS i
    WHERE t.dataset = wanted AND t.until IS NULL AND (t.since < moment OR i <> ALL (ended))
    GROUP BY t.since, t.access, i = ANY (ended);
END $$;

-- Add texts to the index of a dataset that the caller has written (`place`), else of that whose newest revision is `head`.
-- They take the place of all texts from `cut` on; NULL leaves those as they are. `texts` has texts, new spans, and before
-- them the items that end; if it says nothing of those, all end at `cut`. Without texts, the present one is still that of
-- the newest revision. `now` is the time of that. A statement takes longer to begin than to find nothing to do, so those
-- that have nothing to do are left out.
CREATE OR REPLACE FUNCTION metastore_dataset_index(
    wanted_owner text, wanted_name text, place bigint, head bytea, cut bigint, texts jsonb, now bigint
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off  -- it is planned while the index is empty, and the plan is kept while it grows
AS $$
DECLARE
    here bigint := place;
    now_access text[] := ARRAY[wanted_owner, wanted_owner || '/' || wanted_name];
    says_what_ends boolean := texts -> 0 ? 'ended';
    has_spans boolean;
    change record;
    last bigint;
BEGIN
    IF texts IS NULL THEN
        RETURN false;
    END IF;
    IF here IS NULL THEN
        SELECT d.pk INTO here FROM dataset AS d
        WHERE d.owner = wanted_owner AND d.name = wanted_name AND d.head = metastore_dataset_index.head FOR NO KEY UPDATE;
        IF here IS NULL THEN
            RETURN false;
        END IF;
    END IF;
    IF says_what_ends THEN
        has_spans := EXISTS (SELECT FROM dataset_span AS s WHERE s.dataset = here);
        FOR change IN
            SELECT e.until, e.ended
            FROM ROWS FROM (jsonb_to_recordset(texts) AS (until bigint, ended text[])) WITH ORDINALITY AS e (until, ended, at)
            WHERE e.ended <> '{}' OR (e.ended IS NOT NULL AND NOT has_spans) ORDER BY e.at
        LOOP
            IF has_spans THEN
                PERFORM metastore_dataset_end(here, change.until, change.ended);
            ELSE
                PERFORM metastore_dataset_first_end(here, change.until, change.ended);
                has_spans := true;
            END IF;
        END LOOP;
    END IF;
    IF cut IS NOT NULL THEN
        IF NOT says_what_ends THEN
            DELETE FROM dataset_span AS s WHERE s.dataset = here AND s.since >= cut;
            UPDATE dataset_span AS s SET until = cut WHERE s.dataset = here AND s.until > cut;
        END IF;
        last := (SELECT max(t.since) FROM dataset_text AS t WHERE t.dataset = here);
        IF last >= cut THEN
            DELETE FROM dataset_text AS t WHERE t.dataset = here AND t.since >= cut;
        END IF;
        IF last <> cut THEN
            -- Texts follow each other, so only the last one can reach beyond `cut`, and none if one began then.
            UPDATE dataset_text AS t SET until = cut, licence = NULL, keyword = NULL, format = NULL, field = NULL,
                contributor = NULL, openness = NULL, spelled = NULL, findings = NULL, words = CASE WHEN t.title IS NULL THEN ''
                ELSE split_part(t.words, E'\x1e', 1) || E'\x1e' END
            WHERE t.dataset = here AND t.since = (SELECT max(l.since) FROM dataset_text AS l WHERE l.dataset = here)
                AND (t.until > cut) IS NOT FALSE;
        END IF;
    ELSIF jsonb_array_length(texts) = 0 THEN
        UPDATE dataset_text AS t SET changed = now, findings = NULL WHERE t.dataset = here AND t.until IS NULL;
    END IF;
    IF texts @? '$[*].items' THEN
        INSERT INTO dataset_span (dataset, since, until, access, items)
        SELECT here, s.since, s.until, now_access, s.items
        FROM jsonb_to_recordset(texts) AS s (since bigint, until bigint, items text[]) WHERE s.items IS NOT NULL;
    END IF;
    INSERT INTO dataset_text (dataset, since, until, changed, deleted, blob, title, id_words, words, access, licence, keyword,
        format, field, contributor, openness, spelled)
    SELECT here, t.since, t.until, t.changed, t.deleted, decode(t.blob, 'hex'), t.title,
        metastore_dataset_id_words(wanted_owner, wanted_name, t.title IS NOT NULL), t.words, now_access, t.licence, t.keyword,
        t.format, t.field, t.contributor, t.openness, t.spelled
    FROM jsonb_to_recordset(texts) AS t(
        since bigint, until bigint, changed bigint, deleted boolean, blob text, title text, words text, licence text[],
        keyword text[], format text[], field text[], contributor text[], openness text[], spelled jsonb
    ) WHERE t.words IS NOT NULL;
    RETURN true;
END $$;

-- Say that the index has all texts of all datasets, after removing those of no dataset.
CREATE OR REPLACE FUNCTION metastore_dataset_indexed() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    DELETE FROM dataset_text AS t WHERE NOT EXISTS (SELECT FROM dataset AS d WHERE d.pk = t.dataset);
    DELETE FROM dataset_span AS s WHERE NOT EXISTS (SELECT FROM dataset AS d WHERE d.pk = s.dataset);
    UPDATE dataset_feed SET indexed = true WHERE NOT indexed;
$$;

-- Store what a check found in the present texts of datasets, unless they have changed since. The texts are locked in the
-- order of ids, as by those who make the index again, so that neither waits for the other in a circle.
CREATE OR REPLACE FUNCTION metastore_dataset_check(places bigint[], blobs bytea[], found text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER AS $$
    WITH held AS MATERIALIZED (
        SELECT t.dataset FROM dataset_text AS t
        WHERE t.dataset = ANY (metastore_dataset_sought(places)) AND t.until IS NULL
        ORDER BY t.access[1], t.access[2] FOR NO KEY UPDATE
    )
    UPDATE dataset_text AS t SET findings = c.found
    FROM held AS h JOIN unnest(places, blobs, found) AS c (place, blob, found) ON c.place = h.dataset
    WHERE t.dataset = ANY (metastore_dataset_sought(places)) AND t.dataset = h.dataset AND t.until IS NULL
        AND t.blob IS NOT DISTINCT FROM c.blob;
$$;

CREATE OR REPLACE FUNCTION metastore_dataset_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM dataset_text WHERE dataset = OLD.pk;
        DELETE FROM dataset_span WHERE dataset = OLD.pk;
    ELSE
        UPDATE dataset_text SET id_words = metastore_dataset_id_words(NEW.owner, NEW.name, title IS NOT NULL),
            access = ARRAY[NEW.owner, NEW.owner || '/' || NEW.name]
        WHERE dataset = NEW.pk;
        UPDATE dataset_span SET access = ARRAY[NEW.owner, NEW.owner || '/' || NEW.name] WHERE dataset = NEW.pk;
    END IF;
    RETURN NULL;
END $$;

-- An empty index of texts has no spans.
CREATE OR REPLACE FUNCTION metastore_dataset_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE dataset_span;
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
CREATE OR REPLACE TRIGGER metastore_emptied AFTER TRUNCATE ON dataset_text
    FOR EACH STATEMENT EXECUTE FUNCTION metastore_dataset_emptied();
CREATE OR REPLACE TRIGGER metastore_unindexed AFTER TRUNCATE ON dataset_span
    FOR EACH STATEMENT EXECUTE FUNCTION metastore_dataset_unindexed();
UPDATE dataset_feed SET indexed = true WHERE NOT EXISTS (SELECT FROM dataset);

DO $$
DECLARE
    function record;
BEGIN
    REVOKE ALL ON dataset_text, dataset_span FROM PUBLIC;
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
