"""Read the versions of one dataset, for one kind of reader. Knows no CKAN."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from ckanext.metastore import seen
from ckanext.metastore.differences import FieldChange, compared

import metastore
from metastore import ckan
from metastore.descriptor.merge import merge
from metastore.parse import is_full_id, is_tag_name
from metastore.store.metering import metered
from metastore.store.spans import span_of
from metastore.store.summaries import PAGE_BYTES

#: How many versions are looked through for the neighbours of one, or for the changes of one field.
_FARTHEST = 1000

#: A field as `FieldChange` names it: `field`, `resource` and `extra`.
FieldName = dict[str, str]


@dataclass(frozen=True)
class Versions:
    """The versions of a dataset that a reader may see.

    A dataset may have been private for a time, with its private states recorded. These are for those who could see it
    then; for others they do not exist.

    Attributes:
        store: An open store, from `metastore.connect`.
        dataset_id: The dataset's id in the store.
        sees_private: Whether the reader may see private states of the organisation with an id; the id is empty if the
            dataset had no organisation. None if the reader may see all.
    """

    store: metastore.Store
    dataset_id: metastore.DatasetId
    sees_private: Callable[[str], bool] | None

    def revisions(self, begin: str | None = None, *, limit: int) -> list[metastore.Revision]:
        """Return a version and those before it, newest first.

        Args:
            begin: A revision or a tag; None for the newest. The id of a version that the reader may not see begins with
                those before it, since it can be the `parent` at the end of a page.
            limit: The largest number of versions.
        """
        if begin and not (isinstance(begin, str) and is_full_id(begin)):
            begin = self._resolved(begin)
        return list(islice(filter(self._seen, self.store.revision_list(self.dataset_id, begin)), limit))

    def changes(
        self, begin: str | None = None, *, limit: int, of: FieldName | None = None
    ) -> list[tuple[metastore.Revision, list[FieldName]]]:
        """Return a version and those before it, newest first, each with the names of the fields that it changed.

        A version is compared with the one before it that the reader may see. The first one, a deletion, and what brings
        a dataset back change no field.

        Args:
            begin: A revision or a tag; None for the newest.
            limit: The largest number of versions.
            of: Only versions that changed this field, among the 1,000 versions from there on.
        """
        many = _FARTHEST if of else limit
        listed = self.revisions(begin, limit=many + 1)
        pairs = zip_longest(listed[:many], listed[1:])
        found = ((new, self._changed(old, new)) for new, old in pairs)
        return list(islice((each for each in found if of is None or of in each[1]), limit))

    def summaries(self, begin: str | None = None, *, limit: int) -> list[tuple[str, str]]:
        """Return what each of these versions changed on one line, and its grade: `major`, `minor` or `patch`.

        They are compared as for `changes`; both texts are empty where nothing is compared. So they are for the rest of
        a list that has read several megabytes.
        """
        listed = self.revisions(begin, limit=limit + 1)
        with metered() as meter:
            return [
                self._summary(old, new) if meter.spent < PAGE_BYTES else ("", "")
                for new, old in zip_longest(listed[:limit], listed[1 : limit + 1])
            ]

    def _summary(self, old: metastore.Revision | None, new: metastore.Revision) -> tuple[str, str]:
        if old is None or old.deleted or new.deleted:
            return "", ""
        if (old.id, new.id) not in _summaries:
            try:
                diff = self.store.revision_diff(self.dataset_id, old.id, new.id)
            except metastore.NotADescriptor:  # pushed by plain Git
                return "", ""
            if len(_summaries) > 10_000:
                _summaries.clear()
            _summaries[old.id, new.id] = diff.summary, diff.grade
        return _summaries[old.id, new.id]

    def _changed(self, old: metastore.Revision | None, new: metastore.Revision) -> list[FieldName]:
        if old is None or old.deleted or new.deleted:
            return []
        names = _changed.get((old.id, new.id))
        if names is None:
            try:
                changes = compared(*self.descriptors(old.id, new.id))
            except metastore.NotADescriptor:  # pushed by plain Git
                return []
            names = tuple((each.field, each.resource, each.extra) for each in changes)
            if len(_changed) > 10_000:
                _changed.clear()
            _changed[old.id, new.id] = names
        return [{"field": field, "resource": resource, "extra": extra} for field, resource, extra in names]

    def newest(self) -> metastore.Revision:
        """Return the newest version.

        Raises:
            metastore.DatasetNotFound: There is none.
        """
        for revision in self.revisions(limit=1):
            return revision
        raise metastore.DatasetNotFound(self.dataset_id)

    def read(self, revision: str | None = None) -> metastore.Dataset:
        """Return the dataset as it was at a version.

        Args:
            revision: A revision or a tag; None for the newest.

        Raises:
            metastore.DatasetDeleted: The version is a deletion.
            metastore.RevisionNotFound: There is no such version.
        """
        return self.store.dataset_read(self.dataset_id, self._resolved(revision))

    def diff(self, old: str, new: str | None = None) -> metastore.Diff:
        """Compare two versions, the second by default the newest."""
        return self.store.revision_diff(self.dataset_id, self._resolved(old), self._resolved(new))

    def descriptors(self, *revisions: str | None) -> list[dict[str, Any]]:
        """Return the descriptors of versions; that of a deletion is empty."""
        descriptors = []
        for revision in revisions:
            try:
                descriptors.append(self.read(revision).descriptor)
            except metastore.DatasetDeleted:
                descriptors.append({})
        return descriptors

    def without(self, revision: str, now: Mapping[str, Any]) -> tuple[metastore.Revision, dict[str, Any]]:
        """Return a version, and a descriptor without the change that it made; later changes stay.

        Args:
            revision: A revision or a tag.
            now: The descriptor of the dataset as it is now. CKAN may be ahead of the newest version.

        Raises:
            metastore.MergeConflict: A later change stands in the way.
            metastore.InvalidInput: The version is a deletion, or makes or brings back the dataset: see `made`.
        """
        last, before, after = self._change(revision)
        descriptor, clashes = merge(after, now, before)
        if clashes:
            raise metastore.MergeConflict(self.dataset_id, clashes)
        return last, descriptor

    def changed_again(self, revision: str, now: Mapping[str, Any]) -> list[FieldChange]:
        """Return the fields that a version changed and that have changed again since. Arguments as for `without`."""
        _, before, after = self._change(revision)
        changed = {(each.field, each.resource, each.extra) for each in compared(before, after)}
        return [each for each in compared(after, now) if (each.field, each.resource, each.extra) in changed]

    def _change(self, revision: str) -> tuple[metastore.Revision, dict[str, Any], dict[str, Any]]:
        """Return a version, and the descriptors before and after its change."""
        last = self.store.revision_read(self.dataset_id, self._resolved(revision))
        before, after = self.descriptors(last.parent, last.id) if last.parent else ({}, {})
        if not (before and after):
            raise metastore.InvalidInput("a version that makes, deletes or brings back the dataset changes no field")
        return last, before, after

    def made(self, revision: str) -> dict[str, Any] | None:
        """Return the descriptor with which a version made the dataset or brought it back; None for other versions."""
        span = span_of(self.store, self.dataset_id, self._resolved(revision))
        return self.read(span.last.id).descriptor if span.creates and not span.last.deleted else None

    def beside(self, revision_id: str) -> tuple[str | None, str | None]:
        """Return the ids of the versions before and after one; None if there is none, or if it is very old."""
        newer = None
        listed = islice(filter(self._seen, self.store.revision_list(self.dataset_id)), _FARTHEST)
        living = (revision.id for revision in listed if not revision.deleted)
        for each in living:
            if each == revision_id:
                return next(living, None), newer
            newer = each
        return None, None

    def after(self, digest: str, resource_id: str, *, limit: int) -> tuple[list[metastore.Revision], dict[str, Any]]:
        """Return the versions after the one that a form shows, newest first, and the descriptor of that one.

        Args:
            digest: What the form carries, as `seen.digest` returns it.
            resource_id: The resource that the form is for; empty for the form of the dataset.
            limit: How many versions are looked at.

        Raises:
            metastore.RevisionNotFound: None of them is the one that the form shows.
        """
        newer: list[metastore.Revision] = []
        for revision in self.revisions(limit=limit):
            [descriptor] = self.descriptors(revision.id)
            if descriptor and seen.digest(ckan.to_package(descriptor), resource_id) == digest:
                return newer, descriptor
            newer.append(revision)
        raise metastore.RevisionNotFound(self.dataset_id, digest)

    def newest_states(self, resource_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return removed resources, each in the newest state that a version has, by id."""
        wanted, states = set(resource_ids), dict[str, dict[str, Any]]()
        for revision in self.revisions(limit=_FARTHEST) if wanted else ():
            [descriptor] = self.descriptors(revision.id)
            for resource in ckan.to_package(descriptor).get("resources", []) if descriptor else ():
                if resource.get("id") in wanted - set(states):
                    states[resource["id"]] = resource
            if len(states) == len(wanted):
                break
        return states

    def tags(self) -> list[metastore.Tag]:
        """Return the tags of versions, by name."""
        return [tag for tag in self.store.tag_list(self.dataset_id) if self._allows(tag.revision)]

    def tag(self, name: str) -> metastore.Tag:
        """Return one tag.

        Raises:
            metastore.TagNotFound: There is no such tag.
        """
        tag = self.store.tag_read(self.dataset_id, name)
        if not self._allows(tag.revision):
            raise metastore.TagNotFound(self.dataset_id, name)
        return tag

    def tag_create(self, name: str, revision: str | None, **said: Any) -> metastore.Tag:
        """Tag a version that the reader may see, by default the newest one of the dataset."""
        return self.store.tag_create(self.dataset_id, name, revision and self._resolved(revision), **said)

    def tag_update(self, name: str, **said: Any) -> metastore.Tag:
        """Change a tag that the reader may see, or move it to another such version."""
        if revision := said.get("revision"):
            said["revision"] = self._resolved(revision)
        return self.store.tag_update(self.dataset_id, self.tag(name).name, **said)

    def tag_delete(self, name: str, **said: Any) -> None:
        """Delete a tag that the reader may see."""
        self.store.tag_delete(self.dataset_id, self.tag(name).name, **said)

    def _resolved(self, revision: str | None) -> str:
        if revision is None:
            return self.newest().id
        try:
            found = self.store.revision_read(self.dataset_id, revision)
        except metastore.RevisionNotFound:  # of `TAG~2` it can name `TAG`, which tells whether there is such a tag
            raise metastore.RevisionNotFound(self.dataset_id, revision) from None
        if not self._seen(found):
            raise metastore.RevisionNotFound(self.dataset_id, revision)
        return found.id

    def _allows(self, revision_id: str) -> bool:
        return self.sees_private is None or self._seen(self.store.revision_read(self.dataset_id, revision_id))

    def _seen(self, revision: metastore.Revision) -> bool:
        if self.sees_private is None:
            return True
        # A deletion tells as much as the version before it.
        told = revision.parent if revision.deleted else revision.id
        owner = _private_in(self.store, self.dataset_id, told) if told else None
        return owner is None or self.sees_private(owner)


def tag_of(label: str, description: str) -> tuple[str, str]:
    """Return a tag's name and description for what somebody calls a version, such as "Version 1.0".

    A label that is not the name of a tag becomes one, `Version-1.0`, and is kept at the beginning of the description.
    """
    if is_tag_name(label):
        return label, description
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    name = re.sub(r"[^\w.+,-]+", "-", plain).strip("-.")[:100]
    return name or label, f"{label}: {description}" if description else label


#: Which fields differ between two versions, by revision ids: commits, which never change.
_changed: dict[tuple[str, str], tuple[tuple[str, str, str], ...]] = {}
#: What differs between two versions on one line, and its grade, by revision ids.
_summaries: dict[tuple[str, str], tuple[str, str]] = {}
#: The organisations of the versions that were private, by revision id: a commit, which never changes.
_private: dict[str, str | None] = {}


def _private_in(store: metastore.Store, dataset_id: metastore.DatasetId, revision_id: str) -> str | None:
    """Return the id of the organisation in which a version was private, empty without one; None if it was public."""
    if revision_id not in _private:
        if len(_private) > 100_000:
            _private.clear()
        _private[revision_id] = _reads_private(store, dataset_id, revision_id)
    return _private[revision_id]


def _reads_private(store: metastore.Store, dataset_id: metastore.DatasetId, revision_id: str) -> str | None:
    try:
        rest = store.dataset_read(dataset_id, revision_id).descriptor.get("ckan")
    except metastore.DatasetDeleted:
        return None
    except metastore.NotADescriptor:  # pushed by plain Git
        return ""
    is_private = isinstance(rest, dict) and rest.get("private") is True
    return str(rest.get("owner_org") or "") if is_private else None
