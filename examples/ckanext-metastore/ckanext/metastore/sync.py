"""Makes MetaStore say what CKAN says. Knows no CKAN, and can be repeated: the same state makes no second revision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckanext.metastore.record import descriptor_of, is_recorded

import metastore
from metastore import ckan


@dataclass(frozen=True)
class Outcome:
    """What became of a dataset.

    Attributes:
        action: `created`, `updated`, `moved`, `deleted`, `purged`, or `unchanged`.
        dataset_id: Where it is in MetaStore; None if it never was there.
    """

    action: str
    dataset_id: metastore.DatasetId | None


@dataclass(frozen=True)
class Recorder:
    """Writes datasets of CKAN to a store.

    Attributes:
        store: What `metastore.connect` returns.
        default_owner: The owner of datasets without organisation.
        private_too: Whether private datasets are recorded.
        dry_run: Say what would be done, and do nothing.
    """

    store: metastore.Store
    default_owner: str = ckan.DEFAULT_OWNER
    private_too: bool = False
    dry_run: bool = False

    def record(self, package: Mapping[str, Any], known: str | None, **why: Any) -> Outcome:
        """Make MetaStore say what CKAN says of one dataset.

        Args:
            package: As `package_show` returns it.
            known: Where MetaStore has it so far, if anybody knows.
            **why: `author`, `message` and `at` of the revision.

        Raises:
            metastore.MetastoreError: It was not possible; nothing is half done but a move.
        """
        target = ckan.dataset_id(package, default_owner=self.default_owner)
        if not is_recorded(package, private_too=self.private_too):
            return self.withdraw(known or str(target), package.get("id"), **why)
        moved = known is not None and known != str(target) and self._move(known, target, package.get("id"), **why)
        if moved and self.dry_run:
            return Outcome("moved", target)
        outcome = self._write(target, descriptor_of(package), **why)
        return Outcome("moved", target) if moved else outcome

    def withdraw(self, known: str, uuid: str | None, **why: Any) -> Outcome:
        """Say that a dataset is gone, or not to be seen any more. Its history stays."""
        try:
            dataset = self.store.dataset_read(known)
        except metastore.DatasetNotFound:
            return Outcome("unchanged", None)
        if uuid is not None and dataset.descriptor.get("id") not in (uuid, None):
            return Outcome("unchanged", None)  # the name is another dataset's now
        if not self.dry_run:
            self.store.dataset_delete(known, expected=dataset.revision.id, **why)
        return Outcome("deleted", dataset.id)

    def purge(self, known: str, uuid: str, **why: Any) -> Outcome:
        """Remove a dataset with its history, as CKAN has done; but never another one of this name."""
        try:
            descriptor, _ = _last_descriptor(self.store, known)
            if descriptor.get("id") != uuid:
                return Outcome("unchanged", None)
            if not self.dry_run:
                self.store.dataset_purge(known, force=True, **why)
        except metastore.NotFound:
            return Outcome("unchanged", None)
        owner, _, name = known.partition("/")
        return Outcome("purged", metastore.DatasetId(owner, name))

    def _write(self, target: metastore.DatasetId, descriptor: Mapping[str, Any], **why: Any) -> Outcome:
        try:
            current = self.store.dataset_read(target)
        except metastore.DatasetNotFound:
            if not self.dry_run:
                self.store.dataset_create(target, descriptor, **why)
            return Outcome("created", target)
        if current.descriptor.get("id", descriptor["id"]) != descriptor["id"]:
            raise metastore.Conflict(f"{target} is another dataset's in MetaStore: run `ckan metastore reconcile`")
        if _text(current.descriptor) == _text(descriptor):
            return Outcome("unchanged", target)
        if not self.dry_run:
            # Whoever was slower must not put an older state over a newer one.
            self.store.dataset_update(target, descriptor, expected=current.revision.id, **why)
        return Outcome("updated", target)

    def _move(self, known: str, target: metastore.DatasetId, uuid: str | None, **why: Any) -> bool:
        """Give a renamed or transferred dataset its new id; False where there is nothing to move."""
        why = {name: value for name, value in why.items() if name != "message"}
        try:
            if self.store.dataset_read(known).descriptor.get("id") not in (uuid, None):
                return False
        except metastore.DatasetDeleted as gone:
            if gone.revision.parent is None or self.dry_run:
                return bool(gone.revision.parent)
            self.store.dataset_revert(known, gone.revision.parent, message="Show the dataset again", **why)
        except metastore.DatasetNotFound:
            return False
        if not self.dry_run:
            self.store.dataset_move(known, target, **why)
        return True


def known_ids(store: metastore.Store) -> dict[str, str]:
    """Return where MetaStore has which of CKAN's datasets, live or deleted: CKAN's uuid to id.

    It reads every dataset once. What does not come from CKAN is left out.
    """
    found: dict[str, str] = {}
    for dataset_id in store.dataset_list(deleted=None):
        try:
            descriptor, live = _last_descriptor(store, dataset_id)
        except metastore.NotFound:  # purged or moved meanwhile, or no descriptor in it
            continue
        uuid = descriptor.get("id")
        if isinstance(descriptor.get("ckan"), dict) and isinstance(uuid, str) and (live or uuid not in found):
            found[uuid] = str(dataset_id)
    return found


def _last_descriptor(store: metastore.Store, dataset_id: Any) -> tuple[Mapping[str, Any], bool]:
    """Return what a dataset says, or said before it was deleted, and whether it is live."""
    try:
        return store.dataset_read(dataset_id).descriptor, True
    except metastore.DatasetDeleted as gone:
        return (store.dataset_read(dataset_id, gone.revision.parent).descriptor if gone.revision.parent else {}), False


def _text(descriptor: Mapping[str, Any]) -> str:
    return json.dumps(descriptor, sort_keys=True)  # in Python 1 == True
