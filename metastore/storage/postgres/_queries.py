"""The SQL of datasets in PostgreSQL: one statement for each write, and for most reads.

The tables and functions are in `metastore/postgres/migrations`. Values are always parameters; the text is put together
from this module alone.
"""

from __future__ import annotations

_OBJECT = "{0}.kind, {0}.packed, {0}.data, {0}.base, b{0}.packed, b{0}.data"
_BASE = "LEFT JOIN dataset_object AS b{0} ON b{0}.dataset = {0}.dataset AND b{0}.id = {0}.base"
#: Where the segments of an id are: those whose commits, or contents, hold its bytes.
_IN = "r.dataset = {0} AND position({2} IN r.{1}) > 0"


def _at(place: str, commit: str) -> str:
    """Return the condition for the first row of a commit: an application could add another one with its id."""
    return f"""r.dataset = {place} AND r.first = (SELECT min(s.first) FROM dataset_segment AS s
        WHERE s.dataset = {place} AND position({commit} IN s.commits) > 0)
    AND r.n = r.first + (position({commit} IN r.commits) - 1) / 20 AND r.id = {commit}"""


def _content(place: str, identity: str) -> str:
    """Return a query for the rows of an object that is no commit of the branch, in parentheses."""
    return f"""(SELECT o.dataset, o.id, o.kind, o.packed, o.data, o.base FROM dataset_object AS o
    WHERE o.dataset = {place} AND o.id = {identity}
UNION ALL SELECT r.dataset, r.blob, 'blob', true, r.delta, r.base FROM dataset_revision AS r
    WHERE {_IN.format(place, "contents", identity)} AND r.blob = {identity} AND r.delta IS NOT NULL)"""


def _object(name: str, place: str, object_id: str) -> str:
    """Return a JOIN of one object, which is looked up by its key, however few there are."""
    key = f"o.dataset = metastore_dataset_sought({place}) AND o.id = {object_id}"
    return f"JOIN LATERAL (SELECT o.* FROM dataset_object AS o WHERE {key} LIMIT 1) AS {name} ON true"


def _look(revision: str) -> str:
    """Return a query for a dataset, a revision, its tree, the file of a name in the tree, and the base of either.

    The name is searched in the bytes of the tree, and may be found in an id: the caller looks whether it is. A packed
    tree cannot be searched, so there is never more than one base. The row of the revision may have the file itself.
    """
    needle = "%(needle)s::bytea"
    return f"""SELECT d.pk, d.head, r.id, r.parent, r.tree, r.blob, r.rest, t.kind, t.packed, t.data, t.base,
    f.id, f.kind, f.packed, f.data, f.base, b.packed, b.data
FROM dataset AS d
LEFT JOIN dataset_revision AS r ON r.dataset = d.pk AND {revision}
LEFT JOIN dataset_object AS t ON t.dataset = d.pk AND t.id = r.tree
LEFT JOIN LATERAL (SELECT CASE
    WHEN r.blob IS NULL THEN substring(t.data FROM position({needle} IN t.data) + length({needle}) FOR 20)
    WHEN {needle} = ' datapackage.json\\000'::bytea THEN r.blob END AS id WHERE t.packed IS NOT TRUE) AS w ON true
LEFT JOIN LATERAL (SELECT r.blob AS id, 'blob' AS kind, true AS packed, r.delta AS data, r.base
    WHERE r.blob = w.id AND r.delta IS NOT NULL
    UNION ALL SELECT o.id, o.kind, o.packed, o.data, o.base FROM {_content("d.pk", "w.id")} AS o
        WHERE r.delta IS NULL LIMIT 1) AS f ON true
LEFT JOIN dataset_object AS b ON b.dataset = d.pk AND b.id = CASE WHEN t.packed THEN t.base ELSE f.base END
WHERE d.owner = %(owner)s AND d.name = %(name)s"""


#: Only the key and the head are answered if the head is `known`: the objects of that revision are cached.
NEWEST = _look("r.first = CASE WHEN d.head IS DISTINCT FROM %(known)s::bytea THEN d.first END AND r.n = d.n")
BY_ID = _look(_at("d.pk", "%(revision)s::bytea"))
#: The same as the newest, but nothing if the dataset lacks a revision that the reader has to see.
SEEING = f"""{NEWEST} AND EXISTS (SELECT FROM dataset_segment AS r
    WHERE {_IN.format("d.pk", "commits", "%(least)s::bytea")})"""
#: The same of several revisions, the oldest first.
WALK = f"""{
    _look(
        "r.first BETWEEN coalesce((SELECT max(s.first) FROM dataset_segment AS s WHERE s.dataset = d.pk"
        " AND s.first <= %(first)s), 0) AND %(last)s AND r.n BETWEEN %(first)s AND %(last)s"
    )
} ORDER BY r.n"""

FORWARD = """SELECT d.owner, d.name FROM dataset_forward AS f JOIN dataset AS d ON d.pk = f.dataset
WHERE f.owner = %s AND f.name = %s"""

#: Select an object; for a commit of the branch, also those before it, as `limit` says, each with its parent, its tree
#: and its descriptor.
GET = f"""SELECT o.id, {_OBJECT.format("o")}, NULL, NULL, NULL
FROM {_content("%(place)s", "%(id)s::bytea")} AS o {_BASE.format("o")} WHERE NOT EXISTS (
    SELECT FROM dataset_revision AS r WHERE {_IN.format("%(place)s", "commits", "%(id)s::bytea")} AND r.id = %(id)s)
UNION ALL (SELECT r.id, 'commit', false, r.rest, NULL, NULL, NULL, r.parent, r.tree, r.blob
    FROM (SELECT r.n AS last, r.n - %(limit)s + 1 AS first FROM dataset_revision AS r
        WHERE {_at("%(place)s", "%(id)s::bytea")}) AS w,
    LATERAL (SELECT coalesce(max(s.first), 0) AS first FROM dataset_segment AS s
        WHERE s.dataset = %(place)s AND s.first <= w.first) AS s,
    dataset_revision AS r
    WHERE r.dataset = %(place)s AND r.first BETWEEN s.first AND w.last AND r.n BETWEEN w.first AND w.last)"""
#: Select the descriptors of trees that have no row, by 20 bytes.
ALONE = "SELECT contents FROM dataset_segment WHERE dataset = %(place)s AND alone"
IDS = "SELECT encode(id, 'hex') FROM dataset_object WHERE dataset = %s AND id > %s ORDER BY id LIMIT %s"
#: Select whether an object is compressed, its length, and its beginning.
SIZE = f"""SELECT o.packed, length(o.data), substring(o.data FOR 18)
FROM {_content("%(place)s", "%(id)s::bytea")} AS o"""
IS_BLOB = f"""SELECT FROM {_content("%(place)s", "%(id)s::bytea")} AS o WHERE o.kind = 'blob'"""
ON_BRANCH = f"""SELECT FROM dataset_revision AS r
WHERE {_IN.format("%(place)s", "commits", "%(id)s::bytea")} AND r.id = %(id)s"""
STARTING = "SELECT encode(id, 'hex') FROM dataset_revision WHERE dataset = %s AND id BETWEEN %s AND %s"
TAG = "SELECT encode(target, 'hex') FROM dataset_tag WHERE dataset = %s AND name = %s"
#: Select the tags of a dataset, each with its object.
TAGS = f"""SELECT g.name, g.target, {_OBJECT.format("o")} FROM dataset_tag AS g
LEFT JOIN dataset_object AS o ON o.dataset = g.dataset AND o.id = g.target {_BASE.format("o")}
WHERE g.dataset = %s ORDER BY g.name"""

PLACE = "SELECT pk, head FROM dataset WHERE owner = %(owner)s AND name = %(name)s"
_OBJECT_ARRAYS = "%(ids)b::bytea[], %(kinds)s::text[], %(packs)s::boolean[], %(bases)b::bytea[], %(datas)b::bytea[]"
_HERE = "%(attempt)s, %(owner)s, %(name)s, %(place)s"
PUT = f"SELECT metastore_dataset_put(%(place)s, {_OBJECT_ARRAYS})"
_INDEX = "metastore_dataset_index(%(owner)s, %(name)s, {}, %(head)s, %(cut)s::bigint, {}, %(now)s::bigint)"
#: Write revisions, and the texts by which they are found.
WRITE = f"""SELECT w.outcome, w.actual FROM metastore_dataset_write({_HERE}, %(parent)s,
    {_OBJECT_ARRAYS}, %(revisions)b::bytea[], %(trees)b::bytea[], %(blobs)b::bytea[], %(rests)b::bytea[],
    %(deltas)b::bytea[], %(starts)b::integer[], %(segment_bases)b::bytea[]) AS w
LEFT JOIN LATERAL {_INDEX.format("w.here", "CASE WHEN w.here IS NOT NULL THEN %(texts)s::jsonb END")} ON true"""
SET_TAG = f"""SELECT * FROM metastore_dataset_tag({_HERE},
    %(old_name)s, %(expected)s, %(new_name)s, %(target)s, %(revision)s, %(content)s)"""
MOVE = f"SELECT * FROM metastore_dataset_move({_HERE}, %(parent)s, %(new_owner)s, %(new_name)s)"
PURGE = f"SELECT * FROM metastore_dataset_purge({_HERE}, %(parent)s)"
SETTLE = "SELECT metastore_dataset_settle(%s::uuid, %s::bigint)"

#: Owners that start with `_` are listed only if they are asked for. PostgreSQL must not know the limit when it plans:
#: it expects a prefix to fit fewer ids than the limit, and would read and sort the whole table.
LIST = """SELECT owner, name FROM dataset
WHERE (owner, name) >= (%(owner)s, %(name)s) AND (owner, name) <= (%(until)s, %(last)s)
    AND starts_with(owner || '/' || name, %(prefix)s)
    AND (%(hidden)s OR NOT starts_with(owner, '_')) AND (%(deleted)s::boolean IS NULL OR deleted = %(deleted)s)
ORDER BY owner, name LIMIT (SELECT %(limit)s)"""

#: Select what cursors begin with, and whether this server numbered the transactions.
FEED = """SELECT left(md5(id || system_identifier), 16), system = system_identifier
FROM dataset_feed, pg_control_system()"""
#: Select what changed after a place in the feed, and whether all before it is known.
TOUCHED = """SELECT xid::text, pos, owner, name, xid < pg_snapshot_xmin(pg_current_snapshot()) FROM (
    (SELECT xid, pos, owner, name FROM dataset_change WHERE (xid, pos) > (%(xid)s::text::xid8, %(pos)s) AND owner <> ''
        ORDER BY dataset_change.xid, pos LIMIT %(limit)s)
    UNION ALL (SELECT s.xid, s.pos, d.owner, d.name FROM dataset_segment AS s JOIN dataset AS d ON d.pk = s.dataset
        WHERE (s.xid, s.pos) > (%(xid)s::text::xid8, %(pos)s) ORDER BY s.xid, s.pos LIMIT %(limit)s)
) AS f ORDER BY f.xid, f.pos LIMIT %(limit)s"""
PING = "SELECT metastore_schema()"

INDEX = f"SELECT {_INDEX.format('%(place)s', '%(texts)s::jsonb')}"
#: Index several datasets, and select those that have changed.
INDEX_SOME = """SELECT s.owner, s.name FROM unnest(%(owner)b::text[], %(name)b::text[], %(head)b::bytea[],
    %(cut)b::bigint[], %(texts)b::text[], %(now)b::bigint[]) AS s (owner, name, head, cut, texts, now)
WHERE NOT metastore_dataset_index(s.owner, s.name, NULL, s.head, s.cut, s.texts::jsonb, s.now)"""
INDEXED = "SELECT indexed FROM dataset_feed"
SET_INDEXED = "SELECT metastore_dataset_indexed()"
SET_FINDINGS = "SELECT metastore_dataset_check(%(places)s::bigint[], %(blobs)s::bytea[], %(found)s::text[])"
TEXTS = "SELECT {} FROM dataset_text AS t WHERE t.dataset = %(place)s ORDER BY t.since"
SPANS = "SELECT since, until, access, items FROM dataset_span WHERE dataset = %(place)s"
STRAY_TEXTS = """SELECT FROM (SELECT dataset FROM dataset_text UNION ALL SELECT dataset FROM dataset_span) AS t
    LEFT JOIN dataset AS d ON d.pk = t.dataset WHERE d.pk IS NULL LIMIT 1"""
#: Select the descriptors of some datasets, as long as those before them are not too large together.
DESCRIPTORS = f"""SELECT s.dataset, s.blob, {_OBJECT.format("s")} FROM (
    SELECT w.blob, w.at, x.*, sum(length(x.data)) OVER (ORDER BY w.at) - length(x.data) AS before
    FROM unnest(%(places)s::bigint[], %(blobs)s::bytea[]) WITH ORDINALITY AS w (dataset, blob, at),
    LATERAL (SELECT * FROM {_content("metastore_dataset_sought(w.dataset)", "w.blob")} AS o LIMIT 1) AS x
) AS s LEFT {_object("bs", "s.dataset", "s.base")}
WHERE s.before <= %(most)s ORDER BY s.at"""

#: Select rows that do not agree with each other: the id of the dataset, and the problem.
STRAYS = """SELECT d.owner || '/' || d.name, 'its branch does not end with its head' FROM dataset AS d
    LEFT JOIN dataset_revision AS r ON r.dataset = d.pk AND r.first = d.first AND r.n = d.n
    WHERE r.id IS DISTINCT FROM d.head
UNION ALL SELECT d.owner || '/' || d.name, format('it has %s revisions, not %s', count(DISTINCT r.id), d.n + 1)
    FROM dataset AS d JOIN dataset_revision AS r ON r.dataset = d.pk
    GROUP BY d.pk HAVING count(r.n) <> d.n + 1 OR min(r.n) <> 0 OR count(DISTINCT r.id) <> d.n + 1
UNION ALL SELECT 'dataset ' || r.dataset, 'its revisions are there, but it is not' FROM dataset_segment AS r
    LEFT JOIN dataset AS d ON d.pk = r.dataset WHERE d.pk IS NULL GROUP BY r.dataset
UNION ALL SELECT 'dataset ' || o.dataset, 'its objects are there, but it is not' FROM dataset_object AS o
    LEFT JOIN dataset AS d ON d.pk = o.dataset WHERE d.pk IS NULL GROUP BY o.dataset
UNION ALL SELECT d.owner || '/' || d.name,
    format('the object %s cannot be read: its base %s has a base itself', encode(o.id, 'hex'), encode(b.id, 'hex'))
    FROM (SELECT dataset, id, base FROM dataset_object UNION ALL SELECT dataset, blob, base FROM dataset_revision) AS o
    JOIN dataset_object AS b ON b.dataset = o.dataset AND b.id = o.base
    JOIN dataset AS d ON d.pk = o.dataset WHERE b.base IS NOT NULL"""
