"""Datasets in lists, one card each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from metastore.descriptor.document import decode
from metastore.errors import InvalidInput, MetastoreError
from metastore.search.documents import document
from metastore.search.values import Hit
from metastore.service.context import service
from metastore.store.metering import metered
from metastore.store.summaries import PAGE_BYTES, last_state
from metastore.types import DatasetId, Revision, first_line

_SUMMARY, _TITLE = 220, 200
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[*`#>|]|<[^>]{1,200}>|^[-=]{3,}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Card:
    """A dataset in a list.

    Attributes:
        id: The dataset.
        title: Its title, else its name.
        summary: The beginning of its description, without Markdown.
        licences: Names of licences, including those of its resources.
        formats: The formats of its resources.
        revision: The revision that is shown; None if it cannot be read.
    """

    id: DatasetId
    title: str
    summary: str = ""
    licences: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    revision: Revision | None = None

    @property
    def deleted(self) -> bool:
        """Whether the dataset is deleted; the card shows its last state."""
        return self.revision is not None and self.revision.deleted

    @property
    def message(self) -> str:
        """The reason for the revision, on one line."""
        return _cut(first_line(self.revision.message), _TITLE) if self.revision else ""


def cards_of(found: Iterable[Hit | DatasetId]) -> list[Card]:
    """Return the cards of datasets, each now or at the revision that a search found.

    A dataset that cannot be read has its title or name alone, and so have those that come after very large ones.
    """
    with metered() as meter:
        return [_card(each, read=meter.spent <= PAGE_BYTES) for each in found]


def _card(found: Hit | DatasetId, *, read: bool) -> Card:
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
    return Card(dataset_id, _cut(seen.title, _TITLE), _summary(content), licences[:3], formats[:6], shown)


def _summary(content: bytes) -> str:
    try:
        description = decode(content).get("description")
    except InvalidInput:
        return ""
    if not isinstance(description, str):
        return ""
    text = _MARKS.sub("", _LINK.sub(r"\1", description[:4000]))
    return _cut(text, _SUMMARY)


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    return f"{text[:most].rpartition(' ')[0] or text[:most]} …"
