"""Lists over many datasets: with titles, by owner, with tags, and with the change of each hit of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby
from typing import TYPE_CHECKING

from metastore.errors import MetastoreError, NotFound, StorageCorrupt
from metastore.parse import AnyTime, make_time, parse_dataset_id
from metastore.store.base import Store
from metastore.store.metering import metered
from metastore.store.summaries import last_state, summed_up
from metastore.types import DatasetEntry, DatasetId, Owner, TagEntry

if TYPE_CHECKING:
    from metastore.search.values import Hit

#: The largest name of a dataset. A list after it begins with the next owner.
_LAST_NAME = "z" * 100
#: `Store.dataset_list`, or what takes the same arguments.
Listed = Callable[..., Iterable[DatasetId]]


def entry_of(
    store: Store,
    dataset_id: DatasetId,
    at: AnyTime | None = None,
    in_words: Callable[[MetastoreError], str] = str,
) -> DatasetEntry:
    """Read a dataset for a list, as it is or was at a time. The entry of one that cannot be read says why."""
    from metastore.search.documents import document

    try:
        revision, content = last_state(store, dataset_id, None if at is None else make_time(at).isoformat())
    except (NotFound, StorageCorrupt) as error:
        return DatasetEntry(dataset_id, problem=in_words(error))
    return DatasetEntry(dataset_id, document(dataset_id, content).title, revision)


def owners_in(ids: Iterable[DatasetId]) -> Iterator[Owner]:
    """Count the datasets of each owner in an ordered list of ids."""
    for name, datasets in groupby(ids, key=lambda dataset_id: dataset_id.owner):
        yield Owner(name, sum(1 for _ in datasets))


def ids_after_owner(listed: Listed, owner: str | None) -> Iterable[DatasetId]:
    """Return the live datasets of the owners after this one. Raises InvalidInput: it is not an owner."""
    return listed(after=None if owner is None else (owner, _LAST_NAME))


def ids_from_tag(listed: Listed, prefix: str, after: str | None) -> Iterable[DatasetId]:
    """Return the datasets whose tags come after a tag, which is `OWNER/NAME@TAG`.

    Raises:
        InvalidInput: That is not a tag of a dataset.
    """
    if after is None:
        return listed(prefix, deleted=None)
    first = parse_dataset_id(after.partition("@")[0])
    return chain([first], listed(prefix, after=first, deleted=None))


def tags_in(
    store: Store,
    ids: Iterable[DatasetId],
    after: str | None,
    in_words: Callable[[MetastoreError], str] = str,
) -> Iterator[TagEntry]:
    """Yield the tags of datasets, by dataset and name, after `OWNER/NAME@TAG`.

    A dataset whose tags cannot be read has one entry, which says why. Its place is `OWNER/NAME@`.
    """
    first, _, name = (after or "").partition("@")
    for dataset_id in ids:
        try:
            tags = list(store.tag_list(dataset_id))
        except NotFound:  # it was purged or moved in the meantime
            continue
        except StorageCorrupt as error:
            if dataset_id != first:
                yield TagEntry(dataset_id, problem=in_words(error))
            continue
        yield from (TagEntry(dataset_id, tag) for tag in tags if dataset_id != first or tag.name > name)


def with_summaries(store: Store, hits: Iterable[Hit]) -> Iterator[Hit]:
    """Yield hits that say what their revisions changed."""
    with metered() as meter:
        for hit in hits:
            yield replace(hit, summary=summed_up(store, hit.id, hit.revision, meter))
