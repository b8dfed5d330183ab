"""The calls that change datasets, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from metastore.client import responses
from metastore.client.settling import Said
from metastore.client.tags import RemoteTags
from metastore.client.transport import Transport
from metastore.descriptor import file_changes
from metastore.descriptor.document import MAX_BYTES, decode, encode, same
from metastore.descriptor.file_changes import AnyDescriptor
from metastore.descriptor.patch import patched, plain
from metastore.errors import AlreadyExists, DatasetNotFound, InvalidInput, RevisionConflict
from metastore.store.reader import AnyId
from metastore.store.writer import AnyAuthor, check_expected, own_id
from metastore.types import Dataset, DatasetId, Revision

#: An answer holds a descriptor, or two of them and what lies between, with every quotation mark escaped.
_ANSWER_TO_DESCRIPTOR = 8


class RemoteStore(RemoteTags):
    """A store that is a service somewhere else: the calls of `MetaStore`, with the same values and errors.

    `metastore.connect("https://…")` makes one. It can be shared between threads and used after a fork.

    Args:
        url: The service's address.
        token: Who calls; what it grants decides what may be done.
        author: Who writes, unless a call says otherwise; without it, whom the token names. The service lets others
            than that sign, and `at` be given, if the token grants `import`.
        timeout: For how many seconds nothing may come; or a pair, of which the first is for making a connection.
        retries: How often what is safe is tried again.
        max_bytes: The largest descriptor that is sent, in bytes. The longest answer that is read is eight times that.

    Raises:
        InvalidInput: One of them makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        author: AnyAuthor | None = None,
        timeout: float | tuple[float, float] = (10.0, 60.0),
        retries: int = 3,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if type(max_bytes) is not int or max_bytes < 1:
            raise InvalidInput(f"max_bytes is a number of bytes, not {max_bytes!r}")
        longest = _ANSWER_TO_DESCRIPTOR * max(max_bytes, MAX_BYTES)
        http = Transport(url, token=token, timeout=timeout, retries=retries, longest=longest)
        super().__init__(http, author=author, max_bytes=max_bytes)

    def dataset_create(
        self,
        dataset_id: AnyId,
        descriptor: AnyDescriptor,
        *,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Store a new dataset, or go on with the history of a deleted one."""
        identity = own_id(dataset_id)
        said = self._change(author, message, at, "Create dataset")
        content = file_changes.prepare(descriptor, "off", self._max_bytes).content
        before = self._free(identity)
        ours = self._ours(identity, said, lambda: content)

        def send() -> Dataset:
            return self._written("PUT", identity, said, document=("descriptor", content))

        def look() -> Dataset | None:
            try:
                return self._added(identity, before, ours, self._at(identity))
            except RevisionConflict:
                raise AlreadyExists(identity) from None
            except DatasetNotFound:
                if before is None:
                    return None
                raise

        return self._told(identity, self._once(send, look, before or str(identity)))

    def dataset_update(
        self,
        dataset_id: AnyId,
        descriptor: AnyDescriptor,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Replace a descriptor. One that says the same makes no revision: the newest is returned."""
        identity = own_id(dataset_id)
        content = file_changes.prepare(descriptor, "off", self._max_bytes).content
        said = self._change(author, message, at, "Update dataset")

        def send(on: str) -> Dataset:
            return self._written("PUT", identity, said, match=on, document=("descriptor", content))

        ours = self._ours(identity, said, lambda: content)
        return self._told(identity, self._revise(identity, expected, send, ours, self._at(identity)))

    def dataset_patch(
        self,
        dataset_id: AnyId,
        patch: Mapping[str, Any] | Sequence[Any] | str | bytes,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Change a part of a descriptor."""
        identity = own_id(dataset_id)
        said = self._change(author, message, at, "Patch dataset")
        values = plain(file_changes.patch_text(patch, self._max_bytes))
        content = encode(values)
        base = ""

        def send(on: str) -> Dataset:
            nonlocal base
            base = on
            return self._written("PATCH", identity, said, match=on, document=("patch", content))

        def result() -> bytes:
            _, stored = self.dataset_bytes(identity, base)
            return encode(patched(decode(stored, max_bytes=len(stored)), values))

        ours = self._ours(identity, said, result)
        return self._told(identity, self._revise(identity, expected, send, ours, self._at(identity)))

    def dataset_delete(
        self,
        dataset_id: AnyId,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Revision:
        """Add a revision that says "gone"."""
        identity = own_id(dataset_id)
        said = self._change(author, message, at, "Delete dataset")

        def send(on: str) -> Revision:
            made: Revision = self._send(
                "DELETE", f"/datasets/{identity}", said.members(), responses.value(Revision), match=on
            )
            return made

        def ours(revision: Revision) -> bool:
            return revision.deleted and said.fits(revision.author, revision.message, revision.created)

        return self._revise(identity, expected, send, ours, lambda revision: revision)

    def dataset_purge(
        self,
        dataset_id: AnyId,
        *,
        force: bool = False,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Remove a deleted dataset for ever, and free its id."""
        identity = own_id(dataset_id)
        said = self._change(author, message, at, f"Purge {identity}")
        head = self._seen(identity, expected)

        def send() -> bool:
            query = {"purge": "true"} | ({"force": "true"} if force else {})
            self._send("DELETE", f"/datasets/{identity}", said.members(), responses.nothing, match=head, query=query)
            return True

        def look() -> bool | None:
            return self._left(identity, head, "purge", {"revision": head}, said)

        self._once(send, look, head)

    def dataset_move(
        self,
        dataset_id: AnyId,
        new_id: AnyId,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Give a dataset another id; the old one says where it went."""
        identity, target = own_id(dataset_id), own_id(new_id)
        said = self._change(author, message, at, f"Move {identity} to {target}")
        head = self._seen(identity, expected)

        def send() -> Dataset:
            return self._written("POST", identity, said, action="/move", match=head, to=str(target))

        def look() -> Dataset | None:
            moved = self._left(identity, head, "move", {"revision": head, "new_id": str(target)}, said)
            return self.dataset_read(target, head) if moved else None

        return self._once(send, look, head)

    def dataset_revert(
        self,
        dataset_id: AnyId,
        to_revision: str,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Add a revision that is equal to an older one, with all files; this also brings back a deleted dataset."""
        identity = own_id(dataset_id)
        target = self.revision_read(identity, to_revision)
        said = self._change(author, message, at, f"Revert to {target.id[:12]}")

        def send(on: str) -> Dataset:
            return self._written("POST", identity, said, action="/revert", match=on, to=target.id)

        ours = self._ours(identity, said, lambda: self.dataset_bytes(identity, target.id)[1])
        return self._revise(identity, expected, send, ours, self._at(identity))

    def _written(
        self,
        method: str,
        dataset_id: DatasetId,
        said: Said,
        *,
        action: str = "",
        match: str | None = None,
        document: tuple[str, bytes] | None = None,
        **more: str,
    ) -> Dataset:
        path = f"/datasets/{dataset_id}{action}"
        return self._send(method, path, {**said.members(), **more}, responses.dataset, match=match, document=document)

    def _told(self, dataset_id: DatasetId, made: Dataset) -> Dataset:
        file_changes.log_findings(dataset_id, made.findings)
        return made

    def _free(self, dataset_id: DatasetId) -> str | None:
        """Make sure that a dataset can be created; return the deletion that it goes on from, if there is one.

        Raises:
            AlreadyExists: It is there.
        """
        with suppress(DatasetNotFound):
            head = self.revision_read(dataset_id)
            if not head.deleted:
                raise AlreadyExists(dataset_id)
            return head.id
        return None

    def _seen(self, dataset_id: DatasetId, expected: str | None) -> str:
        """Return the revision that a move or purge is for: what the caller saw, else the newest."""
        check_expected(expected)
        return self.revision_read(dataset_id).id if expected is None else expected

    def _left(
        self, dataset_id: DatasetId, head: str, action: str, details: Mapping[str, Any], said: Said
    ) -> bool | None:
        """Tell whether a dataset went away as the caller wanted; None while it is there as it was.

        Raises:
            RevisionConflict: It went, or changed, in another way.
        """
        with suppress(DatasetNotFound):
            if self.revision_read(dataset_id).id == head:
                return None
        if self._journalled(dataset_id, action, details, said):
            return True
        raise RevisionConflict(dataset_id, expected=head, actual=None)

    def _ours(self, dataset_id: DatasetId, said: Said, content: Callable[[], bytes]) -> Callable[[Revision], bool]:
        """Return what tells whether a revision says what was sent."""

        def is_ours(revision: Revision) -> bool:
            if revision.deleted or not said.fits(revision.author, revision.message, revision.created):
                return False
            return same(self.dataset_bytes(dataset_id, revision.id)[1], content())

        return is_ours

    def _at(self, dataset_id: DatasetId) -> Callable[[Revision], Dataset]:
        return lambda revision: self.dataset_read(dataset_id, revision.id)
