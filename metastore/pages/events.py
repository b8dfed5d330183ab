"""Changes that leave no revision, as lines between the revisions of a dataset: moves, purges and tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from metastore.pages import formatting
from metastore.pages.languages import gettext as _
from metastore.pages.languages import later
from metastore.service.context import service
from metastore.service.guard import may_read
from metastore.types import DatasetId, JournalEntry, Revision, Tag

#: The lines of the journal and the tags that are read for one history.
_LINES, _TAGS = 200, 500


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a history.

    Attributes:
        kind: `tagged`, `moved`, `purged` or another past participle: the badge of the line.
        dataset_id: The dataset, as it is called now.
        author: The name of who did it.
        created: When.
        detail: What was done, in words.
        message: Why; may be empty.
        revision: The revision that a tag names, or None.
    """

    kind: str
    dataset_id: DatasetId
    author: str
    created: datetime
    detail: str
    message: str = ""
    revision: str | None = None


def events_of(subject: DatasetId) -> tuple[list[Event], bool]:
    """Return the events of a dataset under all its names, newest first, and whether there may be more."""
    store = service().store
    tags, entries = list(islice(store.tag_list(subject), _TAGS + 1)), list(store.journal(limit=_LINES + 1))
    is_cut = len(tags) > _TAGS or len(entries) > _LINES
    newest = sorted(tags[:_TAGS], key=lambda tag: tag.name, reverse=True)  # those of one second
    tagged = [_of_tag(subject, tag) for tag in newest]
    told = [_of_entry(subject, entry) for entry in _entries_of(subject, entries[:_LINES])]
    return sorted(tagged + told, key=lambda event: event.created, reverse=True), is_cut


def _entries_of(subject: DatasetId, entries: Iterable[JournalEntry]) -> Iterator[JournalEntry]:
    """Yield the lines about a dataset under all its names; none about another one that had its name before."""
    name, withdrawn = str(subject), set[tuple[object, ...]]()
    for entry in entries:
        # A copied line withdraws one of the same dataset that the same user copied: anything else may be made up.
        told_by = entry.dataset_id, entry.copied and entry.copied.author
        if entry.action == "withdrawn":
            withdrawn.add((entry.details.get("entry"), *told_by))
        elif (entry.original_id, *told_by) in withdrawn:
            continue
        elif entry.copied:  # what was done elsewhere names nothing here
            if str(entry.details.get("new_id", entry.dataset_id)) == name:
                yield entry
        elif entry.action == "move" and entry.details.get("new_id") == name:
            yield entry
            name = str(entry.dataset_id)
        elif str(entry.dataset_id) == name:
            if entry.action == "move":  # of another dataset, away from this name
                return
            yield entry
            if entry.action == "purge":
                return


def _of_tag(subject: DatasetId, tag: Tag) -> Event:
    return Event(later("tagged"), subject, tag.author.name, tag.created, tag.name, tag.description, tag.revision)


def _of_entry(subject: DatasetId, entry: JournalEntry) -> Event:
    kind, detail = in_words(entry)
    # The message of a move may name an id that the caller may not know.
    message = "" if entry.action == "move" and not may_read(entry.dataset_id) else entry.message
    return Event(kind, subject, entry.author.name, entry.created, marked(entry, detail), message)


def in_words(entry: JournalEntry) -> tuple[str, str]:
    """Return a line of the journal as a past participle and a detail: of a move, the former id."""
    kind, detail = _IN_WORDS.get(entry.action, (entry.action, lambda entry: ""))
    return kind, detail(entry)


def marked(entry: JournalEntry, detail: str) -> str:
    """Return the detail of a line, with a note if another store wrote the line."""
    if (copied := entry.copied) is None:
        return detail
    note = _("copied here by %(name)s, %(day)s", name=copied.author.name, day=formatting.day(copied.created))
    contradicts = "; " + _("contradicts an earlier copy") if copied.contradicts else ""
    return f"{detail} ({note}{contradicts})".lstrip()


def _moved(entry: JournalEntry) -> str:
    return (
        _("from %(id)s", id=entry.dataset_id) if may_read(entry.dataset_id) else _("from an id that you may not read")
    )


def _retagged(entry: JournalEntry) -> str:
    old, new = str(entry.details.get("tag")), str(entry.details.get("new_name"))
    revision = str(entry.details.get("revision"))[:12]
    if entry.details.get("revision") == entry.details.get("old_revision"):
        return _("tag %(old)s", old=old) if old == new else _("tag %(old)s is now called %(new)s", old=old, new=new)
    if old == new:
        return _("tag %(old)s names revision %(revision)s", old=old, revision=revision)
    return _("tag %(old)s is now called %(new)s, and names revision %(revision)s", old=old, new=new, revision=revision)


_IN_WORDS: dict[str, tuple[str, Callable[[JournalEntry], str]]] = {
    "move": (later("moved"), _moved),
    "purge": (later("purged"), lambda entry: _("an earlier dataset of this name, with its history")),
    "tag_update": ("changed", _retagged),
    "tag_delete": ("deleted", lambda entry: _("tag %(old)s", old=entry.details.get("tag"))),
    "adopt": (later("adopted"), lambda entry: _("an existing repository")),
    "receive": (later("received"), lambda entry: _("history that was made elsewhere")),
}


def woven(
    revisions: Sequence[Revision], events: Sequence[Event], following: Revision | None, *, is_first: bool
) -> list[Revision | Event]:
    """Return a page of revisions with the events between them, each above the revisions that are as old or older.

    Args:
        revisions: Newest first.
        events: Newest first.
        following: The first revision of the next page; None if this is the last one.
        is_first: Whether events that are newer than all the revisions belong to this page.
    """
    rows, left = list[Revision | Event](), list(events)
    for number, revision in enumerate([*revisions, *([following] if following else [])]):
        while left and left[0].created >= revision.created:
            event = left.pop(0)
            if number or is_first:
                rows.append(event)
        if revision is not following:
            rows.append(revision)
    return rows if following else [*rows, *left]
