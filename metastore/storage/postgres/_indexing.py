"""Makes the search index of datasets again, and compares it with the datasets. Writes keep it themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from metastore.descriptor.document import DESCRIPTOR
from metastore.errors import DatasetNotFound, NotFound, StorageBusy, StorageCorrupt
from metastore.git.cache import Cache
from metastore.git.repository import commit_at
from metastore.search.documents import Document
from metastore.search.values import FACETS
from metastore.storage.postgres import _queries
from metastore.storage.postgres._calls import Calls
from metastore.storage.postgres._repository import PostgresRepository
from metastore.storage.postgres._spans import Span, hold
from metastore.storage.postgres._texts import Version, raw_descriptor, states, texts, versions
from metastore.types import DatasetId, RevisionId

#: How many revisions are read at once.
_REVISIONS = 100
#: How often a dataset is read again that changes meanwhile.
_TRIES = 5
_CACHE = 64 * 1024 * 1024
#: How many datasets one statement indexes, and how large their texts may be before the last one, in characters.
_DATASETS, _MOST_TEXT = 20, 1024 * 1024
_PLAIN = ("since", "until", "changed", "deleted", "title", "id_words", "words", "access", "spelled", "findings")
_COLUMNS = (*_PLAIN, *FACETS[1:], "blob")
_TEXTS = _queries.TEXTS.format(", ".join((*_PLAIN, *FACETS[1:], "encode(blob, 'hex')")))


class History(NamedTuple):
    """A dataset, and what the index needs of its revisions, the oldest first."""

    repository: PostgresRepository
    versions: list[Version]


def history(calls: Calls, cache: Cache, dataset_id: DatasetId) -> History:
    """Read all revisions of a dataset. Raises DatasetNotFound and StorageCorrupt."""
    found, parent, first = list[Version](), None, 0
    while True:
        values = {"owner": dataset_id.owner, "name": dataset_id.name, "needle": b" %s\0" % DESCRIPTOR.encode()}
        rows = calls.rows(_queries.WALK, values | {"first": first, "last": first + _REVISIONS - 1})
        if not rows:
            raise DatasetNotFound(dataset_id)
        repository = PostgresRepository(calls, cache, rows[0][0], RevisionId(rows[0][1].hex()))
        rows = [row for row in rows if row[2] is not None]
        for _, _, commit, *columns in rows:
            with suppress(StorageCorrupt):  # `verify` names it; without the commit, `commit_at` raises
                repository.take_all(commit, columns)
        commits = [commit_at(repository, row[2].hex()) for row in rows]
        found += versions(commits, parent, repository.get)
        if len(rows) < _REVISIONS:
            return History(repository, found)
        parent, first = commits[-1], first + _REVISIONS


def index_all(calls: Calls, cache: Cache, dataset_ids: Iterable[DatasetId]) -> None:
    """Index datasets from scratch, and leave out what is removed meanwhile, or damaged, as `verify` reports.

    A statement by itself costs as much as the texts of a dataset, so one takes several datasets. Writers of these wait
    for it, but it waits for no writer that waits for it: nobody else locks two datasets that are listed.

    Raises:
        StorageBusy: A dataset changes too often.
    """
    some, size = list[dict[str, Any]](), 0
    for dataset_id in dataset_ids:
        with suppress(NotFound, StorageCorrupt):
            first, *more = islice(_statements(calls, cache, dataset_id), 2)
            if more:
                index(calls, cache, dataset_id)
                continue
            some.append(first)
            size += len(first["texts"])
        if len(some) == _DATASETS or size > _MOST_TEXT:
            _index_some(calls, cache, some)
            some, size = [], 0
    if some:
        _index_some(calls, cache, some)


def _index_some(calls: Calls, cache: Cache, some: list[dict[str, Any]]) -> None:
    """Index datasets by one statement, and again those that have changed since they were read."""
    for owner, name in calls.rows(_queries.INDEX_SOME, {column: [row[column] for row in some] for column in some[0]}):
        with suppress(NotFound, StorageCorrupt):
            index(calls, cache, DatasetId(owner, name))


def index(calls: Calls, cache: Cache, dataset_id: DatasetId) -> None:
    """Index a dataset from scratch. Raises DatasetNotFound, StorageCorrupt, or StorageBusy: it changes too often."""
    for _ in range(_TRIES):
        if all(calls.rows(_queries.INDEX, each)[0][0] for each in _statements(calls, cache, dataset_id)):
            return
    raise StorageBusy(f"{dataset_id} changes while it is indexed; try again")


def _statements(calls: Calls, cache: Cache, dataset_id: DatasetId) -> Iterator[dict[str, Any]]:
    """Yield the values of the calls that index a dataset from scratch. Raises DatasetNotFound and StorageCorrupt."""
    repository, found = history(calls, cache, dataset_id)
    values = {"owner": dataset_id.owner, "name": dataset_id.name, "head": bytes.fromhex(repository.head())}
    return (values | {"place": None} | each for each in texts(found, None, repository.get).statements())


def is_right(calls: Calls, dataset_id: DatasetId, judged: Callable[[str | None, bytes], bool]) -> bool:
    """Tell whether the index has what a dataset has.

    Args:
        calls: Of the database.
        dataset_id: The dataset.
        judged: Tells whether findings are those of a check of a descriptor.

    Raises:
        DatasetNotFound: There is no such dataset.
        StorageCorrupt: It cannot be read.
    """
    for _ in range(_TRIES):  # it may be changed while we look
        repository, found = history(calls, Cache(_CACHE), dataset_id)
        kept = [dict(zip(_COLUMNS, row, strict=True)) for row in calls.rows(_TEXTS, {"place": repository.place})]
        spans = [Span(*row) for row in calls.rows(_queries.SPANS, {"place": repository.place})]
        findings = [row.pop("findings") for row in kept][-1:]
        content = raw_descriptor(found[-1].blob, repository.get)
        expected = list(_expected(dataset_id, repository, found))
        held = [(row["since"], items) for row, items in expected]
        are_right = [row for row, _ in expected] == kept and hold(spans, held, kept[-1]["access"])
        if are_right and all(judged(each, content) for each in findings):
            return True
    return False


def _expected(
    dataset_id: DatasetId, repository: PostgresRepository, found: list[Version]
) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Yield the texts of a dataset as the index keeps them, and the items that the dataset has with each."""
    for row, items in states(found, repository.get):
        ids = (str(dataset_id),) if row["title"] is not None else (str(dataset_id), dataset_id.name)
        id_words = " ".join(Document("", ids, {}).words())
        yield {**row, "id_words": id_words, "access": [dataset_id.owner, str(dataset_id)]}, items
