"""Datasets in lists, one card each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from metastore.descriptor.document import decode
from metastore.descriptor.openness import licences_of, openness
from metastore.errors import InvalidInput, MetastoreError
from metastore.search.documents import document
from metastore.search.values import Hit
from metastore.search.words import Term, fold, words_of
from metastore.service.context import service
from metastore.store.metering import metered
from metastore.store.summaries import PAGE_BYTES, last_state
from metastore.types import DatasetId, Revision, first_line

_SUMMARY, _TITLE = 220, 200
#: The columns on a card.
_COLUMNS = 5
_LINK = re.compile(r"!?\[([^\]\[]*)\]\([^)]*\)")
_MARKS = re.compile(r"[*`#>|]|<[^>]{1,200}>|^[-=]{3,}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Card:
    """A dataset in a list.

    Attributes:
        id: The dataset.
        title: Its title, else its name.
        summary: The beginning of its description, without Markdown.
        licences: Names of licences, including those of its resources.
        openness: Whether they are all open: `open`, `not-open` or `none`; empty if the descriptor was not read.
        is_open_apart_from_resources: Whether the licences of the dataset itself are open.
        formats: The formats of its resources.
        revision: The revision that is shown; None if it cannot be read.
        columns: The columns that a search found by their names.
        resources: The number of its resources.
    """

    id: DatasetId
    title: str
    summary: str = ""
    licences: tuple[str, ...] = ()
    openness: str = ""
    is_open_apart_from_resources: bool = False
    formats: tuple[str, ...] = ()
    revision: Revision | None = None
    columns: tuple[str, ...] = ()
    resources: int = 0

    @property
    def deleted(self) -> bool:
        """Whether the dataset is deleted; the card shows its last state."""
        return self.revision is not None and self.revision.deleted

    @property
    def message(self) -> str:
        """The reason for the revision, on one line."""
        return _cut(first_line(self.revision.message), _TITLE) if self.revision else ""


def cards_of(found: Iterable[Hit | DatasetId], terms: Sequence[Term] = (), column: str | None = None) -> list[Card]:
    """Return the cards of datasets, each now or at the revision that a search found.

    A dataset that cannot be read has its title or name alone, and so have those that come after very large ones.

    Args:
        found: The datasets.
        terms: What was searched for: columns that have one of these words in their names are on the cards.
        column: The name of a column that was searched for.
    """
    with metered() as meter:
        return [_card(each, terms, column, read=meter.spent <= PAGE_BYTES) for each in found]


def _card(found: Hit | DatasetId, terms: Sequence[Term], column: str | None, *, read: bool) -> Card:
    dataset_id, revision = (found.id, found.revision) if isinstance(found, Hit) else (found, None)
    bare = Card(dataset_id, _cut(found.title if isinstance(found, Hit) else dataset_id.name, _TITLE))
    if not read:
        return bare
    try:
        shown, content = last_state(service().store, dataset_id, revision)
    except MetastoreError:
        return bare
    seen = document(dataset_id, content)
    licences, formats = seen.values["licence"], seen.values["format"]
    columns = _columns(seen.values["field"], terms, column)
    summary, number, is_open = _described(content)
    return Card(
        dataset_id,
        _cut(seen.title, _TITLE),
        summary,
        licences[:3],
        next(iter(seen.values["openness"]), ""),
        is_open_apart_from_resources=is_open,
        formats=formats[:6],
        revision=shown,
        columns=columns,
        resources=number,
    )


def _columns(names: Iterable[str], terms: Sequence[Term], column: str | None) -> tuple[str, ...]:
    sought = [term for term in terms if not term.negated]
    if not sought and not column:
        return ()
    found = (
        name
        for name in names
        if (column and fold(name) == fold(column)) or any(term.is_in(words_of(name)) for term in sought)
    )
    return tuple(islice(found, _COLUMNS))


def _described(content: bytes) -> tuple[str, int, bool]:
    """Return the beginning of the description, the number of resources, and whether the dataset's licences are open."""
    try:
        descriptor = decode(content)
    except InvalidInput:
        return "", 0, False
    description, resources = descriptor.get("description"), descriptor.get("resources")
    text = _MARKS.sub("", _LINK.sub(r"\1", description[:4000])) if isinstance(description, str) else ""
    is_open = openness({"licenses": licences_of(descriptor)}) == "open"
    return _cut(text, _SUMMARY), len(resources) if isinstance(resources, list) else 0, is_open


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    return f"{text[:most].rpartition(' ')[0] or text[:most]} …"
