"""Searches without an index, by reading every dataset. It works on every store, and is as slow as reading all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from metastore.errors import NotFound, StorageCorrupt
from metastore.search.documents import Document, document
from metastore.search.port import Source, time_limit
from metastore.search.values import (
    MOST_COUNTED,
    MOST_UNREADABLE,
    FacetCount,
    Hit,
    Readable,
    Results,
    Wanted,
    counts,
    cursor,
    sort_key,
)
from metastore.search.words import fold, words_of
from metastore.types import DatasetId, Revision


@dataclass(frozen=True, slots=True)
class _Match:
    id: DatasetId
    document: Document
    revision: Revision
    key: Any


def scan(source: Source, wanted: Wanted, readable: Readable | None = None, within: float | None = None) -> Results:
    """Search by reading all datasets that the caller may read, or those that were read in so many seconds of CPU."""
    ids, unreadable = iter(source.ids()), list[DatasetId]()
    matches = list(_matches(source, _until(time_limit(within), ids), wanted, readable, unreadable))
    if len(matches) > MOST_COUNTED and wanted.order == "relevance":  # as an index does
        wanted = wanted.of_very_many()
        matches = [replace(each, key=_key(source, each.id, each.document, each.revision, wanted)) for each in matches]
    matches.sort(key=_place)
    page, is_first, is_last = _page(matches, wanted)
    return Results(
        tuple(_hit(match, wanted) for match in page),
        min(len(matches), MOST_COUNTED),
        len(matches) > MOST_COUNTED,
        {facet: _count(facet, matches[:MOST_COUNTED]) for facet in wanted.facets},
        None if is_last else cursor(*_place(page[-1])),
        None if is_first else cursor(*_place(page[0])),
        scanned=True,
        complete=next(ids, None) is None,
        unreadable=tuple(unreadable[:MOST_UNREADABLE]),
    )


def _until(is_over: Callable[[], bool], ids: Iterator[DatasetId]) -> Iterator[DatasetId]:
    """Yield ids until the time is over, the first one in any case."""
    for dataset_id in ids:
        yield dataset_id
        if is_over():
            return


def _page(matches: list[_Match], wanted: Wanted) -> tuple[list[_Match], bool, bool]:
    """Return a page, and whether it is the first and the last one."""
    if wanted.before is not None:
        ahead = [match for match in matches if list(_place(match)) < wanted.before]
        page = ahead[-wanted.limit :]
        return page, len(page) == len(ahead) or not page, len(ahead) == len(matches) or not page
    behind = [match for match in matches if wanted.after is None or list(_place(match)) > wanted.after]
    page = behind[: wanted.limit]
    return page, len(behind) == len(matches) or not page, len(page) == len(behind)


def _place(match: _Match) -> tuple[Any, str]:
    return match.key, sort_key(match.id)


def _matches(
    source: Source,
    ids: Iterator[DatasetId],
    wanted: Wanted,
    readable: Readable | None,
    unreadable: list[DatasetId],
) -> Iterator[_Match]:
    """Yield what is wanted, and note which datasets cannot be read."""
    for dataset_id in ids:
        if readable is not None and dataset_id not in readable:
            continue
        try:
            revision = revision_at(source, dataset_id, wanted.at)
            if revision is not None and _is_wanted(revision, wanted):
                seen = _document(source, dataset_id, revision)
                words = seen.words()
                fits = seen.fits(wanted.filters) and all(term.is_in(words) != term.negated for term in wanted.terms)
                if fits and _has_wanted_findings(source, dataset_id, revision, wanted):
                    yield _Match(dataset_id, seen, revision, _key(source, dataset_id, seen, revision, wanted))
        except NotFound:  # purged meanwhile
            continue
        except StorageCorrupt:  # `verify` says why
            if wanted.filters.get("owner") in (None, dataset_id.owner):
                unreadable.append(dataset_id)


def is_unreadable(source: Source, dataset_id: DatasetId) -> bool:
    """Tell whether there is something at an id that cannot be read."""
    try:
        next(source.history(dataset_id), None)
    except NotFound:
        return False
    except StorageCorrupt:
        return True
    return False


def revision_at(source: Source, dataset_id: DatasetId, at: datetime | None) -> Revision | None:
    """Return the newest revision of a dataset, or the one that was newest at a moment; None if there was none yet."""
    return next((revision for revision in source.history(dataset_id) if at is None or revision.created <= at), None)


def _is_wanted(revision: Revision, wanted: Wanted) -> bool:
    is_new = wanted.changed_since is None or revision.created >= wanted.changed_since
    return is_new and wanted.deleted in (None, revision.deleted)


def _has_wanted_findings(source: Source, dataset_id: DatasetId, revision: Revision, wanted: Wanted) -> bool:
    if wanted.findings is None:
        return True
    return source.has_findings(source.content(dataset_id, revision)) == wanted.findings


def _document(source: Source, dataset_id: DatasetId, revision: Revision) -> Document:
    return document(dataset_id, source.content(dataset_id, revision))


def _key(source: Source, dataset_id: DatasetId, seen: Document, revision: Revision, wanted: Wanted) -> Any:
    """Return the sort key of a result."""
    if wanted.order == "changed":
        changed = _since(source, dataset_id, seen, revision) if wanted.at else revision.created
        return -int(changed.timestamp())
    if wanted.order == "title":
        return seen.title
    if wanted.order == "id":
        return sort_key(dataset_id)
    sought = {word for term in wanted.terms if not term.negated for word in term.words}
    return -sum(word in sought for word in (*seen.words(), *(words_of(seen.title) * 10)))


def _hit(match: _Match, wanted: Wanted) -> Hit:
    revision, snippet = match.revision, match.document.snippet(wanted.terms)
    return Hit(match.id, match.document.title, snippet, revision.id, revision.created, revision.deleted)


def _since(source: Source, dataset_id: DatasetId, seen: Document, at: Revision) -> datetime:
    """Return the time since which a dataset has had the text that it has at a revision."""
    since, is_before = at.created, False
    for revision in source.history(dataset_id):
        is_before = is_before or revision.id == at.id
        if is_before:
            if revision.deleted != at.deleted or _document(source, dataset_id, revision) != seen:
                break
            since = revision.created
    return since


def _count(facet: str, matches: Sequence[_Match]) -> tuple[FacetCount, ...]:
    counted: dict[str, tuple[str, int]] = {}
    for match in matches:
        for value in match.document.values[facet]:
            written, count = counted.get(fold(value), (value, 0))
            counted[fold(value)] = min(written, value), count + 1
    return counts(counted)
