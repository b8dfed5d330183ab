"""The history of a dataset or of one part of it: who changed it, when and why, filtered by author, time and message."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from itertools import groupby, islice
from typing import Any

from flask import Blueprint, render_template, request

from metastore.descriptor.document import load
from metastore.errors import NotFound
from metastore.history.parts import Part, RevisionFilter, by_names, item_names, parse_part, pointer
from metastore.pages import activity, formatting
from metastore.pages.datasets import can, readable_id
from metastore.pages.events import Event, events_of, woven
from metastore.pages.paging import day_in
from metastore.pages.places import part_in_words
from metastore.service.context import service
from metastore.service.part_history import PartPage, part_page, summed_up
from metastore.store.summaries import last_state
from metastore.types import DatasetId, Revision

history = Blueprint("history", __name__)
_ROWS = 50
#: The newest revisions, which the chart and the counts cover, and those that a page of a filter looks at.
_SEEN, _LOOKED_AT = 1_000, 5_000
#: The tags that stand beside their revisions.
_TAGS = 500
#: The authors and the parts that the filter offers, and the largest descriptor, in bytes, that is read for its parts.
_AUTHORS, _PARTS, _LARGE = 100, 200, 1_000_000
_FILTERS = ("author", "since", "until", "grep", "path")


@dataclass(frozen=True, slots=True)
class Count:
    """How many revisions a filter finds.

    Attributes:
        found: Their number, or None if it is not known.
        total: The number of all revisions, at most 1,000.
        is_more: Whether there are more than that.
    """

    found: int | None
    total: int
    is_more: bool


@history.get("/datasets/<owner>/<name>/history")
def show(owner: str, name: str) -> str:
    """Show who changed a dataset, when and why, newest first."""
    subject, store, start = readable_id(owner, name), service().store, request.args.get("revision")
    given = {key: text for key in _FILTERS if (text := request.args.get(key, "").strip())}
    wanted, part = _wanted(given), parse_part(given.get("path"))
    descriptor = _descriptor(subject, start)
    page = _page(subject, start, part, wanted)
    seen = list(store.revision_list(subject, limit=_SEEN + 1)) if start is None else []
    named: dict[str, list[str]] = defaultdict(list)
    for tag in islice(store.tag_list(subject), _TAGS):
        named[tag.revision].append(tag.name)
    rows, is_cut = (page.revisions, False) if given else _with_events(subject, page, start)
    return render_template(
        "datasets/history.html",
        id=subject,
        revisions=page.revisions,
        following=page.following,
        start=start,
        given=given,
        count=_count(page, part, wanted, seen) if seen else None,
        authors=_authors(seen, given.get("author", "")),
        parts=_parts(descriptor, part),
        part=_in_words(descriptor, part, given.get("path", "")),
        days=_by_day(rows),
        is_cut=is_cut,
        changes=summed_up(subject, page.revisions) if request.args.get("changes") else None,
        tags=named,
        picture="" if given else activity.picture(each.created for each in seen[:_SEEN]),
        can=can(subject),
    )


def _wanted(given: Mapping[str, str]) -> RevisionFilter:
    """Return the filter that the address asks for; its last day belongs to it. Raises InvalidInput."""
    since, until = day_in("since"), day_in("until", timedelta(days=1, microseconds=-1))
    return RevisionFilter.parse(given.get("author"), since, until, given.get("grep"))


def _descriptor(subject: DatasetId, revision: str | None) -> Any:
    """Return the descriptor at a revision, or the one before its deletion; None if it is large or cannot be read."""
    try:
        content = last_state(service().store, subject, revision)[1]
        return load(content) if len(content) <= _LARGE else None
    except (NotFound, ValueError):
        return None


def _page(subject: DatasetId, start: str | None, part: Part | None, wanted: RevisionFilter) -> PartPage:
    """Return a page of revisions; it may be short although there is a next one."""
    if part is not None:
        return part_page(subject, start, part, wanted, _ROWS)
    found: list[Revision] = []
    for number, revision in enumerate(service().store.revision_list(subject, start)):
        if len(found) == _ROWS or number == _LOOKED_AT:
            return PartPage(tuple(found), {"revision": revision.id})
        if wanted.fits(revision):
            found.append(revision)
    return PartPage(tuple(found), None)


def _count(page: PartPage, part: Part | None, wanted: RevisionFilter, seen: Sequence[Revision]) -> Count:
    is_more = len(seen) > _SEEN
    if page.following is None:
        found: int | None = len(page.revisions)
    else:
        found = sum(map(wanted.fits, seen)) if part is None and not is_more else None
    return Count(found, min(len(seen), _SEEN), is_more)


def _authors(seen: Sequence[Revision], chosen: str) -> list[tuple[str, int]]:
    """Return the authors to choose from, each with the number of revisions that this choice finds among the newest."""
    names = [name for name, _number in Counter(each.author.name for each in seen).most_common(_AUTHORS)]
    if chosen and chosen not in names:
        names.insert(0, chosen)
    filters = [(name, RevisionFilter(author=name.casefold())) for name in names]
    writers = Counter((each.author.name, each.author.email) for each in seen)
    sample = {(each.author.name, each.author.email): each for each in seen}
    return [(name, sum(n for who, n in writers.items() if each.fits(sample[who]))) for name, each in filters]


def _parts(descriptor: Any, chosen: Part | None) -> list[tuple[str, str, bool]]:
    """Return the parts to choose from: the path of each, its name in words, and whether it is chosen."""
    if not isinstance(descriptor, dict):
        return []
    named = by_names(descriptor, chosen) if chosen is not None else None
    given = descriptor.get("resources")
    items = given if isinstance(given, list) else []
    names = item_names(items) if named is not None else map(str, range(len(items)))  # named once: there may be many
    resources = [(("resources", str(number)), ("resources", name)) for number, name in enumerate(islice(names, _PARTS))]
    members = [((key,), (key,)) for key in descriptor if key != "resources"]
    rows = [
        (pointer(part), _in_words(descriptor, part, pointer(part)), own == named)
        for part, own in (*members, *resources)[:_PARTS]
    ]
    if chosen and not any(is_chosen for *_part, is_chosen in rows):
        rows.insert(0, (pointer(chosen), _in_words(descriptor, chosen, pointer(chosen)), True))
    return rows


def _in_words(descriptor: Any, part: Part | None, path: str) -> str:
    """Return a part in words; its path if the descriptor has no such part."""
    return (part_in_words(descriptor, part) if part and descriptor is not None else None) or path


def _by_day(rows: Iterable[Revision | Event]) -> list[tuple[str, list[Revision | Event]]]:
    """Return the rows of a history by their days in UTC, each day in words."""
    days = groupby(rows, key=lambda row: row.created.astimezone(UTC).date())
    return [(formatting.day(day), list(of_day)) for day, of_day in days]


def _with_events(subject: DatasetId, page: PartPage, start: str | None) -> tuple[Sequence[Revision | Event], bool]:
    """Return a page of revisions with the moves, purges and tags between them, and whether these may be cut."""
    older = service().store.revision_read(subject, page.following["revision"]) if page.following else None
    events, is_cut = events_of(subject)
    return woven(page.revisions, events, older, is_first=start is None), is_cut
