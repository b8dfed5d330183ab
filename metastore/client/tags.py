"""The calls that make, change and remove tags, over HTTP."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from metastore.client import responses
from metastore.client.settling import CannotTell, RemoteWriter
from metastore.errors import AlreadyExists, DatasetDeleted, RevisionConflict, TagNotFound
from metastore.parse import make_message, parse_revision, parse_tag_name
from metastore.store.reader import AnyId
from metastore.store.writer import AnyAuthor, check_expected, own_id
from metastore.types import DatasetId, Tag

#: A tag has no history: whether somebody changed it before or after us, nothing tells.
_OTHERS = "somebody else changed the tag too"


class RemoteTags(RemoteWriter):
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
        """Name a revision (the newest, if none is given)."""
        identity = own_id(dataset_id)
        said = self._change(author, description, at, "")
        parse_revision(revision)
        parse_tag_name(name)
        target = self.revision_read(identity, revision)
        if target.deleted:
            raise DatasetDeleted(identity, target)
        if self._tag(identity, name) is not None:
            raise AlreadyExists(f"tag {name} of {identity}")
        members = said.members() | {"name": name, "revision": target.id, "description": said.message}
        members.pop("message")

        def send() -> Tag:
            made: Tag = self._send("POST", f"/datasets/{identity}/tags", members, responses.value(Tag))
            return made

        def look() -> Tag | None:
            found = self._tag(identity, name)
            if found is None:
                return None
            if found.revision == target.id and said.fits(found.author, found.description, found.created):
                return found
            raise AlreadyExists(f"tag {name} of {identity}")

        return self._once(send, look, target.id)

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
        """Rename a tag, describe it anew, or let it name another revision; what is not given stays."""
        identity = own_id(dataset_id)
        said = self._change(author, message, at, f"Update tag {name}")
        old = self._expected_tag(identity, name, expected)
        becomes = parse_tag_name(new_name) if new_name is not None else old.name
        text = make_message(description) if description is not None else old.description
        names = old.revision
        if revision is not None:
            target = self.revision_read(identity, revision)
            if target.deleted:
                raise DatasetDeleted(identity, target)
            names = target.id
        if (becomes, names, text) == (old.name, old.revision, old.description):
            return old
        members = said.members() | {"name": becomes, "revision": names, "description": text}

        def send() -> Tag:
            path = f"/datasets/{identity}/tags/{name}"
            made: Tag = self._send("PATCH", path, members, responses.value(Tag), match=old.id)
            return made

        def look() -> Tag | None:
            here = self._tag(identity, name)
            if here is not None and here.id == old.id:
                return None
            there = self._tag(identity, becomes)
            if there is None or (there.revision, there.description) != (names, text):
                raise CannotTell(_OTHERS)
            return there

        return self._once(send, look, old.id)

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
        """Remove a tag; the revision stays."""
        identity = own_id(dataset_id)
        said = self._change(author, message, at, f"Delete tag {name}")
        old = self._expected_tag(identity, name, expected)

        def send() -> bool:
            path = f"/datasets/{identity}/tags/{name}"
            self._send("DELETE", path, said.members(), responses.nothing, match=old.id)
            return True

        def look() -> bool | None:
            here = self._tag(identity, name)
            if here is not None and here.id != old.id:
                raise CannotTell(_OTHERS)
            return True if here is None else None

        self._once(send, look, old.id)

    def _tag(self, dataset_id: DatasetId, name: str) -> Tag | None:
        with suppress(TagNotFound):
            return self.tag_read(dataset_id, name)
        return None

    def _expected_tag(self, dataset_id: DatasetId, name: str, expected: str | None) -> Tag:
        check_expected(expected)
        tag = self.tag_read(dataset_id, name)
        if expected is not None and tag.id != expected:
            raise RevisionConflict(f"{dataset_id}@{name}", expected=expected, actual=tag.id)
        return tag
