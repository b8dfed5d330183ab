"""Values for shell completion: ids of datasets, names of tags, and owners. What cannot be read completes to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import click

from metastore.cli.base import App
from metastore.errors import MetastoreError

if TYPE_CHECKING:
    from metastore.store.base import Store

#: How many values are offered at most.
_MOST = 200


def ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of datasets that begin with a text."""
    return _read(context, lambda store: map(str, store.dataset_list(incomplete, limit=_MOST)))


def ids_and_tags(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return ids, and behind a single id its tags."""
    before: tuple[str, ...] = context.params.get("dataset_ids") or ()
    return [*ids(context, parameter, incomplete), *(_tags(context, before[0], incomplete) if len(before) == 1 else ())]


def owners(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the owners that begin with a text, each with a slash, and ids where an owner is given."""
    if "/" in incomplete:
        return ids(context, parameter, incomplete)
    return _read(context, lambda store: (f"{dataset_id.owner}/" for dataset_id in store.dataset_list(incomplete)))


def tags(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the tags, beginning with a text, of the dataset that stands before on the line."""
    dataset_id: str = context.params.get("dataset_id") or ""
    return _tags(context, dataset_id, incomplete) if dataset_id else []


def _tags(context: click.Context, dataset_id: str, incomplete: str) -> list[str]:
    def names(store: Store) -> Iterator[str]:
        return (tag.name for tag in store.tag_list(dataset_id) if tag.name.startswith(incomplete))

    return _read(context, names)


def _read(context: click.Context, values: Callable[[Store], Iterable[str]]) -> list[str]:
    app = context.ensure_object(App)
    try:
        with _opened(app) as store:
            return list(islice(dict.fromkeys(values(store)), _MOST))
    except MetastoreError:
        return []


@contextmanager
def _opened(app: App) -> Iterator[Store]:
    from metastore import config

    store = config.open_store(config.load(), url=app.store_url, create=False)
    try:
        yield store
    finally:
        store.close()
