"""Gives ids to the repositories of a store whose folders have other names, such as `Datopian/GDX.git`."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from metastore.errors import InvalidInput, MetastoreError
from metastore.parse import parse_writable_id
from metastore.storage.local.storage import GitStorage
from metastore.store._journal import Journal
from metastore.types import Change, DatasetId


@dataclass(frozen=True, slots=True)
class Adoption:
    """A repository that got an id, or did not.

    Attributes:
        former: Its former path below the store, without `.git`.
        dataset_id: Its id; None if none can be derived from its path.
        problem: The reason why it has no id; otherwise empty.
    """

    former: str
    dataset_id: DatasetId | None
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.former} -> {self.dataset_id or '?'}" + (f": {self.problem}" if self.problem else "")


def adopt(storage: GitStorage, change: Change, *, dry_run: bool) -> Iterator[Adoption]:
    """Give an id to each repository whose path is not one, in lower case, with a line in the journal for each.

    Args:
        storage: The store's storage.
        change: The author, reason and time.
        dry_run: Whether to only report what would be done.
    """
    journal, taken = Journal(storage), set[DatasetId]()
    # The folder of an owner may be a link to another one, whose repositories then have two paths each.
    places = {os.path.realpath(path): (owner, name, path) for owner, name, path in storage.layout.unnamed()}
    for owner, name, path in sorted(places.values()):
        former = os.fsencode(f"{owner}/{name}").decode("utf-8", "replace")
        dataset_id = _id_for(owner, name)
        if dataset_id is None:
            yield Adoption(former, None, "no id can be made of it: rename its folder")
        elif dataset_id in taken or os.path.lexists(storage.layout.path(dataset_id)):
            yield Adoption(former, dataset_id, "this id is taken: rename its folder")
        else:
            taken.add(dataset_id)
            try:
                storage.expect_adoptable(path)
                if not dry_run:
                    with journal.line("adopt", dataset_id, {"path": former}, change):
                        storage.take_in(path, dataset_id)
            except MetastoreError as error:
                yield Adoption(former, dataset_id, str(error))
            else:
                yield Adoption(former, dataset_id)


def _id_for(owner: str, name: str) -> DatasetId | None:
    try:
        return parse_writable_id(f"{_plain(owner)}/{_plain(name)}")
    except InvalidInput:
        return None


def _plain(part: str) -> str:
    """Turn a part of a path into a valid part of an id: no accents, lower case, hyphens for other characters."""
    text = unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", text))
    return text.strip("-._")[:100]
