"""Write CKAN's datasets to a store. Knows no CKAN.

Every call can be repeated: the same state makes no second revision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ckanext.metastore.record import descriptor_of, is_recorded, regrouped

import metastore
from metastore import ckan


@dataclass(frozen=True)
class Outcome:
    """The effect of a call on a dataset of the store.

    Attributes:
        action: `created`, `updated`, `deleted`, `purged`, or `unchanged`.
        dataset_id: The dataset's id in the store.
    """

    action: str
    dataset_id: metastore.DatasetId


@dataclass(frozen=True)
class Change:
    """A change of a dataset in CKAN.

    Attributes:
        uuid: CKAN's id of the dataset.
        package: The dataset after the change, as `record.kept` returns it; None if it was purged, or if there is a
            `group`.
        author: Who changed it.
        message: Why.
        at: When, with a time zone.
        group: Instead of a change of the dataset: a group or an organisation of it, as it is called now (`id`, `name`,
            `title`). It has only its `id` if the dataset does not show it any more.
    """

    uuid: str
    package: Mapping[str, Any] | None
    author: metastore.Author
    message: str
    at: datetime
    group: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Recorder:
    """Writes datasets of one portal to a store.

    Attributes:
        store: An open store, from `metastore.connect`.
        owner: The owner of the portal's datasets in the store. No other portal has the same one.
        private_too: Whether private datasets are recorded.
        dry_run: Whether calls only return what they would do.
    """

    store: metastore.Store
    owner: str = ckan.OWNER
    private_too: bool = False
    dry_run: bool = False

    def id_of(self, uuid: str) -> metastore.DatasetId:
        """Return the id in the store of a dataset of CKAN."""
        return ckan.dataset_id(uuid, owner=self.owner)

    def carry_out(self, change: Change) -> Outcome:
        """Record a change. Raises as `record` does."""
        why: dict[str, Any] = {"author": change.author, "message": change.message, "at": change.at}
        if change.group is not None:
            return self.rename_group(self.id_of(change.uuid), change.group, **why)
        if change.package is None:
            return self.purge(self.id_of(change.uuid), **why)
        return self.record(change.package, **why)

    def record(self, package: Mapping[str, Any], **why: Any) -> Outcome:
        """Record the state of a dataset; one that has no versions, such as a private one, is marked as deleted.

        Args:
            package: The dataset as `package_show` returns it.
            **why: `author`, `message` and `at` of the revision. A deletion has a message of its own.

        Raises:
            metastore.MetastoreError: It could not be recorded. Nothing was written, but for `OutcomeUnknown`.
        """
        target = self.id_of(package["id"])
        # Without a name, it is what was kept of a private one that waited while private ones were not recorded.
        if is_recorded(package, private_too=self.private_too) and "name" in package:
            return self._write(target, descriptor_of(package), **why)
        # The readers of the older versions read this message too. One from CKAN may tell what they may not see.
        return self.withdraw(target, **{**why, "message": "Make private" if package["private"] else "Delete dataset"})

    def rename_group(self, dataset_id: metastore.DatasetId, group: Mapping[str, Any], **why: Any) -> Outcome:
        """Record a new name of a group or an organisation of a dataset, which is otherwise as it is in the store."""
        try:
            current = self.store.dataset_read(dataset_id)
        except metastore.DatasetNotFound:
            return Outcome("unchanged", dataset_id)
        return self._update(current, regrouped(current.descriptor, group), **why)

    def withdraw(self, dataset_id: metastore.DatasetId, **why: Any) -> Outcome:
        """Mark a dataset as deleted; its history stays."""
        try:
            revision = self.store.dataset_read(dataset_id).revision
        except metastore.DatasetNotFound:
            return Outcome("unchanged", dataset_id)
        if not self.dry_run:
            self.store.dataset_delete(dataset_id, expected=revision.id, **why)
        return Outcome("deleted", dataset_id)

    def purge(self, dataset_id: metastore.DatasetId, **why: Any) -> Outcome:
        """Remove a dataset with its history."""
        try:
            self.store.revision_read(dataset_id)
            if not self.dry_run:
                self.store.dataset_purge(dataset_id, force=True, **why)
        except metastore.NotFound:
            return Outcome("unchanged", dataset_id)
        return Outcome("purged", dataset_id)

    def check(self) -> None:
        """Raise `metastore.MetastoreError` if the store does not answer."""
        for _ in self.recorded():
            break

    def recorded(self) -> Iterable[metastore.DatasetId]:
        """Return the ids of the portal's live and deleted datasets in the store."""
        return self.store.dataset_list(f"{self.owner}/", deleted=None)

    def _write(self, target: metastore.DatasetId, descriptor: Mapping[str, Any], **why: Any) -> Outcome:
        try:
            current = self.store.dataset_read(target)
        except metastore.DatasetNotFound:
            if not self.dry_run:
                self.store.dataset_create(target, descriptor, **why)
            return Outcome("created", target)
        return self._update(current, descriptor, **why)

    def _update(self, current: metastore.Dataset, descriptor: Mapping[str, Any], **why: Any) -> Outcome:
        target = current.id
        if _text(current.descriptor) == _text(descriptor):
            return Outcome("unchanged", target)
        if not self.dry_run:
            # A slower writer must not put an older state on top of a newer one.
            self.store.dataset_update(target, descriptor, expected=current.revision.id, **why)
        return Outcome("updated", target)


def _text(descriptor: Mapping[str, Any]) -> str:
    return json.dumps(descriptor, sort_keys=True)  # in Python, 1 == True
