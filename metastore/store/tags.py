"""Tags: named revisions."""

from __future__ import annotations

from datetime import datetime

from metastore.errors import RevisionConflict
from metastore.parse import make_message, parse_tag_name
from metastore.store.reader import AnyId
from metastore.store.writer import AnyAuthor, Writer, check_expected, own_id
from metastore.types import DatasetId, Tag, TagSpec


class TagWriter(Writer):
    """The calls that make, change and remove tags."""

    def tag_create(
        self,
        dataset_id: AnyId,
        name: str,
        revision: str | None = None,
        *,
        description: str = "",
        author: AnyAuthor | None = None,
        at: datetime | None = None,
    ) -> Tag:
        """Name a revision (the newest, if none is given).

        Raises:
            AlreadyExists: There is a tag of this name.
            DatasetDeleted: No revision was given, and the newest is a deletion.
        """
        identity = own_id(dataset_id)
        target = self._live(identity, revision)
        change = self._change(author, description, at, "")
        tag = TagSpec(parse_tag_name(name), target.id, change.message, change.author, change.at)
        made = self._storage.tag_create(identity, tag)
        self._tell_tag("create", identity, None, made)
        return made

    def tag_update(
        self,
        dataset_id: AnyId,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        revision: str | None = None,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Tag:
        """Rename a tag, describe it anew, or let it name another revision; what is not given stays.

        Args:
            dataset_id: A live or deleted dataset.
            name: The tag as it is called now.
            new_name: How it shall be called.
            description: What it shall say.
            revision: What it shall name.
            expected: The tag's `id` as the caller knows it.
            author: Who; becomes the tag's author.
            message: Why; for the journal.
            at: When, for imports.

        Raises:
            TagNotFound: There is none of this name.
            AlreadyExists: There is another tag of the new name.
            RevisionConflict: The tag has been changed since.
        """
        identity = own_id(dataset_id)
        change = self._change(author, message, at, f"Update tag {name}")
        old = self._expected_tag(identity, name, expected)
        new = TagSpec(
            parse_tag_name(new_name) if new_name is not None else old.name,
            self._live(identity, revision).id if revision is not None else old.revision,
            make_message(description) if description is not None else old.description,
            change.author,
            change.at,
        )
        if (new.name, new.revision, new.description) == (old.name, old.revision, old.description):
            return old
        details = {"tag": name, "new_name": new.name, "old_revision": old.revision, "revision": new.revision}
        with self._journal.line("tag_update", identity, details, change):
            updated = self._storage.tag_update(identity, name, new, expected=old.id)
        self._tell_tag("update", identity, old, updated)
        return updated

    def tag_delete(
        self,
        dataset_id: AnyId,
        name: str,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Remove a tag; the revision stays.

        Raises:
            TagNotFound: There is none of this name.
            RevisionConflict: The tag has been changed since.
        """
        identity = own_id(dataset_id)
        change = self._change(author, message, at, f"Delete tag {name}")
        old = self._expected_tag(identity, name, expected)
        details = {"tag": name, "revision": old.revision, "description": old.description}
        with self._journal.line("tag_delete", identity, details, change):
            self._storage.tag_delete(identity, name, expected=old.id)
        self._tell_tag("delete", identity, old, None)

    def _expected_tag(self, dataset_id: DatasetId, name: str, expected: str | None) -> Tag:
        check_expected(expected)
        tag = self._storage.tag(dataset_id, name)
        if expected is not None and tag.id != expected:
            raise RevisionConflict(f"{dataset_id}@{name}", expected=expected, actual=tag.id)
        return tag

    def _tell_tag(self, action: str, dataset_id: DatasetId, before: Tag | None, after: Tag | None) -> None:
        from metastore import events

        events.send(events.tag_changed, self, events.TagEvent(action, dataset_id, before, after))
