"""The resources on the page of a dataset: those that match a search, one page of them, with their columns and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metastore.pages.overview import Field, Resource
from metastore.pages.previews import Preview, preview_of
from metastore.pages.resource_dates import key_of
from metastore.types import Revision

_RESOURCES = 50
#: The resources that are open; the others of a page are folded, so that a phone need not scroll through all.
_OPEN = 12
#: The most columns of one resource among others, of all resources on a page, and of a resource shown alone.
_FIELDS, _FIELDS_ON_PAGE, _FIELDS_ALONE = 30, 300, 2_000
#: The most resources on a page whose first rows are shown. Each takes at most some 25 kB.
_PREVIEWS = 5


@dataclass(frozen=True, slots=True)
class ResourceCard:
    """A resource with its columns, its first rows if the descriptor holds them, and its last change if known."""

    resource: Resource
    fields: tuple[Field, ...]
    preview: Preview | None
    changed: Revision | None = None


@dataclass(frozen=True, slots=True)
class ResourcePage:
    """A page of resources.

    Attributes:
        cards: The resources.
        words: The text of the search; empty for all.
        order: `changed` for the latest change first, `name`, or an empty text for the order of the descriptor.
        found: The number of matching resources.
        total: The number of all resources.
        start: The number of matches before this page.
        alone: Whether the page shows a single resource in full.
    """

    cards: tuple[ResourceCard, ...]
    words: str
    found: int
    total: int
    start: int = 0
    alone: bool = False
    order: str = ""

    @property
    def opened(self) -> tuple[ResourceCard, ...]:
        """The first resources, which are open."""
        return self.cards[:_OPEN]

    @property
    def folded(self) -> tuple[ResourceCard, ...]:
        """The others."""
        return self.cards[_OPEN:]

    @property
    def previous(self) -> int | None:
        """The start of the previous page."""
        return max(0, self.start - _RESOURCES) if self.start else None

    @property
    def following(self) -> int | None:
        """The start of the next page."""
        end = self.start + len(self.cards)
        return end if end < self.found and not self.alone else None


def resource_page(
    resources: Sequence[Resource], asked: Mapping[str, str], changes: Mapping[str, Revision | None]
) -> ResourcePage:
    """Return the page that the parameters `find`, `order`, `start` and `resource` ask for. Invalid ones are ignored.

    Args:
        resources: All resources.
        asked: The parameters.
        changes: The last change of each resource, from `last_changes`.
    """
    number = _number(asked.get("resource", ""))
    if alone := [resource for resource in resources if resource.number == number]:
        cards = tuple(
            ResourceCard(each, each.fields[:_FIELDS_ALONE], preview_of(each), _changed(each, changes)) for each in alone
        )
        return ResourcePage(cards, "", 1, len(resources), alone=True)
    words, start = asked.get("find", "").strip(), _number(asked.get("start", "")) or 0
    hits = [resource for resource in resources if resource.has(words)] if words else resources
    order = asked.get("order", "")
    if order == "name":
        hits = sorted(hits, key=lambda each: each.name.casefold())
    elif order == "changed":
        hits = sorted(hits, key=lambda each: _when(_changed(each, changes)), reverse=True)
    start = start if start < len(hits) else 0
    cards = tuple(_cards(hits[start : start + _RESOURCES], changes))
    return ResourcePage(cards, words, len(hits), len(resources), start, order=order)


def _changed(resource: Resource, changes: Mapping[str, Revision | None]) -> Revision | None:
    return changes.get(key_of(resource.value, resource.number))


def _when(revision: Revision | None) -> float:
    return revision.created.timestamp() if revision else 0.0


def _cards(resources: Sequence[Resource], changes: Mapping[str, Revision | None]) -> Iterator[ResourceCard]:
    left, previews = _FIELDS_ON_PAGE, _PREVIEWS
    for resource in resources:
        fields = resource.fields[: min(_FIELDS, left)]
        preview = preview_of(resource) if previews else None
        left, previews = left - len(fields), previews - (preview is not None)
        yield ResourceCard(resource, fields, preview, _changed(resource, changes))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else None
