"""The change log: the newest changes of datasets and bundles, in one list."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from flask import Blueprint, render_template, url_for

from metastore.bundle.port import LogEntry
from metastore.pages import bundle_parts as parts
from metastore.pages.changed_devices import Names
from metastore.pages.events import in_words, marked
from metastore.pages.languages import gettext as _
from metastore.pages.languages import later
from metastore.pages.paging import start_of
from metastore.search.values import Results, Wanted
from metastore.service.context import service
from metastore.service.datasets import find
from metastore.service.guard import may_read, readable
from metastore.types import DatasetId, JournalEntry, Revision, first_line

changelog = Blueprint("changelog", __name__)
#: The lines of a page, and the newest changes that the pages lead through.
_LINES, _READ = 50, 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """A change of a dataset or a bundle.

    Attributes:
        kind: A past participle such as `changed`: the badge of the line.
        name: What was changed.
        address: The page of it.
        user: Who changed it.
        created: When.
        detail: What changed, in words; may be empty.
        reason: Why; may be empty.
        change: The page of the change, or None.
        of_bundle: Whether it is a bundle.
        recorded: As in `LogEntry`.
    """

    kind: str
    name: str
    address: str
    user: str
    created: datetime
    detail: str
    reason: str
    change: str | None = None
    of_bundle: bool = False
    recorded: datetime | None = None


@changelog.get("/changes")
def index() -> str:
    """Show the newest changes, in pages."""
    first = min(start_of(), _READ - _LINES)
    lines = newest_lines(first + _LINES + 1)[first:]
    return render_template(
        "changes.html",
        lines=lines[:_LINES],
        first=first,
        following=first + _LINES if len(lines) > _LINES and first + _LINES < _READ else None,
        previous=max(0, first - _LINES) if first else None,
        is_end=first + _LINES >= _READ,
        indexed=service().store.is_indexed,
    )


def newest_lines(most: int) -> list[Line]:
    """Return the newest changes. Without an index, those of datasets are only the ones that leave no revision."""
    registry = service().bundles
    names = Names()
    of_bundles = (_of_bundle(entry, names) for entry in (registry.bundle_log(limit=most) if registry else ()))
    return list(islice(_merged((_revisions(most), _journal(most), of_bundles)), most))


def _merged(lists: Iterable[Iterable[Line]]) -> Iterator[Line]:
    """Merge lists of changes that are each newest first, and read of each only what is needed."""
    return heapq.merge(*lists, key=lambda line: line.created, reverse=True)


def _revisions(most: int) -> Iterator[Line]:
    """Yield the newest revisions of all datasets: they are among those of the `most` datasets that changed last."""
    store = service().store
    if not store.is_indexed:
        return iter(())
    found = last_changed(min(most, _READ), deleted=None).hits
    return _merged([_history(hit.id) for hit in found])


def _history(subject: DatasetId) -> Iterator[Line]:
    return (_of_revision(subject, revision) for revision in service().store.revision_list(subject))


def last_changed(most: int, *, deleted: bool | None) -> Results:
    """Return the datasets that changed last: live ones, deleted ones, or with None both."""
    wanted = Wanted.parse(
        "", {}, changed_since=None, deleted=deleted, at=None, order="changed", facets=(), after=None, limit=most
    )
    return find(wanted)


def _journal(most: int) -> Iterator[Line]:
    entries = service().store.journal(limit=most)
    told = (entry for entry in readable(entries, lambda entry: entry.dataset_id) if entry.action != "withdrawn")
    return map(_of_entry, told)


def _of_revision(subject: DatasetId, revision: Revision) -> Line:
    kind = "deleted" if revision.deleted else "changed" if revision.parent else later("created")
    change = _page("compare.show", subject, **{"from": revision.parent, "to": revision.id}) if revision.parent else None
    address = _page("datasets.show", subject)
    reason = first_line(revision.message)
    return Line(kind, subject, address, revision.author.name, revision.created, "", reason, change)


def _of_entry(entry: JournalEntry) -> Line:
    kind, detail, reason = *in_words(entry), first_line(entry.message)
    if entry.action == "move":
        new_id = DatasetId(*str(entry.details["new_id"]).split("/"))
        is_known = may_read(new_id)
        detail = _("to %(id)s", id=new_id) if is_known else _("to an id that you may not read")
        reason = reason if is_known else ""
    address = _page("datasets.show", entry.dataset_id)
    return Line(kind, entry.dataset_id, address, entry.author.name, entry.came, marked(entry, detail), reason)


def _of_bundle(entry: LogEntry, names: Names) -> Line:
    address = url_for("pages.bundles.show", name=entry.name)
    change = url_for("pages.bundles.snapshot", number=entry.id)
    done, changed = parts.done(entry.action), parts.changed(entry, names)
    return Line(
        done, entry.name, address, entry.user, entry.created, changed, entry.comment,
        change, of_bundle=True, recorded=entry.recorded,
    )  # fmt: skip


def _page(endpoint: str, subject: DatasetId, **more: Any) -> str:
    return url_for(f"pages.{endpoint}", owner=subject.owner, name=subject.name, **more)
