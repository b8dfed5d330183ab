"""Writes through a service. Each is sent for one known state, and looked for if its response is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from metastore.client import _responses as responses
from metastore.client._calls import Calls, dataset_path
from metastore.client._last_seen import LastSeen
from metastore.client._settling import Settling, members_of
from metastore.descriptor import file_changes
from metastore.descriptor.document import decode, encode, same
from metastore.descriptor.file_changes import Document
from metastore.descriptor.merge import take_out
from metastore.descriptor.patch import patched, plain
from metastore.errors import AlreadyExists, DatasetNotFound, RevisionConflict, StorageUnavailable, TagNotFound
from metastore.http.responses import Response
from metastore.store.base import Store
from metastore.store.settling import CannotTell, added, deletes, fits, moved, purged
from metastore.store.writer import Writer
from metastore.types import Author, ChangeRequest, Dataset, DatasetId, JournalEntry, Revision, Tag
from metastore.wire import from_wire, to_wire

#: The characters of the lines of a journal after which a request gets no further line.
_LONGEST_LINES = 100_000
#: The answers in a row that a service may give while it reads its journal, about a second each.
_MOST_WAITS = 1000
#: A tag has no history that would tell whether somebody else changed it before or after us.
_OTHERS = "somebody else changed the tag too"


class ServiceWriter(Writer):
    """Writes to a service. If a response is lost, reads through its store whether the write was made."""

    def __init__(self, store: Store, calls: Calls, settling: Settling, last_seen: LastSeen) -> None:
        self._store = store
        self._calls = calls
        self._settling = settling
        self._last_seen = last_seen

    def prepare(self, descriptor: Any) -> Document:
        return file_changes.prepare(descriptor, "off", self._store.max_bytes)  # the service validates

    def create(self, request: ChangeRequest, document: Document) -> Dataset:
        dataset_id = request.dataset_id
        deletion = self._deletion(dataset_id)
        is_ours = self._is_ours(request, lambda: document.content)

        def look() -> Dataset | None:
            try:
                revision = added(self._store, dataset_id, deletion, is_ours)
                return self._store.dataset_read(dataset_id, revision.id) if revision is not None else None
            except RevisionConflict:
                raise AlreadyExists(dataset_id) from None
            except DatasetNotFound:
                if deletion is None:
                    return None
                raise

        def send() -> Dataset:
            return self._send(request, "PUT", document=("descriptor", document.content))

        return _logged(self._settling.once(replace(request, content=document.content), send, look, deletion))

    def update(self, request: ChangeRequest, document: Document) -> Dataset:
        def send(parent: str) -> Dataset:
            return self._send(request, "PUT", match=parent, document=("descriptor", document.content))

        return _logged(self._revise(replace(request, content=document.content), send, lambda: document.content))

    def patch(self, request: ChangeRequest, patch: Any) -> Dataset:
        values = plain(patch)
        content = encode(values)
        base = ""

        def send(parent: str) -> Dataset:
            nonlocal base
            base = parent
            return self._send(request, "PATCH", match=parent, document=("patch", content))

        def result() -> bytes:
            _, stored = self._store.dataset_json(request.dataset_id, base)
            return encode(patched(decode(stored), values))

        return _logged(self._revise(replace(request, content=content), send, result))

    def delete(self, request: ChangeRequest) -> Revision:
        def send(parent: str) -> Revision:
            path, read = dataset_path(request.dataset_id), responses.value(Revision)
            self._last_seen.forget(request.dataset_id)
            revision: Revision = self._calls.send("DELETE", path, members_of(request), read, match=parent)
            return revision

        return self._settling.revise(request, send, self._is_deletion(request), lambda revision: revision)

    def revert(self, request: ChangeRequest) -> Dataset:
        def send(parent: str) -> Dataset:
            return self._send(request, "POST", "/revert", match=parent, to=str(request.revision))

        return self._revise(request, send, lambda: self._store.dataset_json(request.dataset_id, request.revision)[1])

    def undo(self, request: ChangeRequest) -> Dataset:
        last, since = str(request.revision), str(request.since)
        if deletes(self._store, request):
            return self._undo_creation(request)
        base = ""

        def send(parent: str) -> Dataset:
            nonlocal base
            base = parent
            return self._send(request, "POST", "/undo", match=parent, revision=f"{since}..{last}")

        def result() -> bytes:
            if base == last:
                return self._store.dataset_json(request.dataset_id, since)[1]
            stored = [self._store.dataset_json(request.dataset_id, revision)[1] for revision in (base, last, since)]
            return encode(take_out(*stored)[0])

        return self._revise(request, send, result)

    def _undo_creation(self, request: ChangeRequest) -> Dataset:
        last, since = str(request.revision), request.since
        changes = f"{since}..{last}" if since else last

        def send(parent: str) -> Dataset:
            return self._send(request, "POST", "/undo", match=parent, revision=changes)

        def made(revision: Revision) -> Dataset:
            return replace(self._store.dataset_read(request.dataset_id, last), revision=revision)

        return self._settling.revise(request, send, self._is_deletion(request), made)

    def purge(self, request: ChangeRequest, *, force: bool) -> None:
        head = self._head(request)
        query = {"purge": "true"} | ({"force": "true"} if force else {})

        def send() -> bool:
            path = dataset_path(request.dataset_id)
            self._last_seen.forget(request.dataset_id)
            self._calls.send("DELETE", path, members_of(request), responses.nothing, match=head, query=query)
            return True

        self._settling.once(request, send, lambda: purged(self._store, request, head), head)

    def move(self, request: ChangeRequest) -> Dataset:
        head, new_id = self._head(request), str(request.new_id)

        def send() -> Dataset:
            return self._send(request, "POST", "/move", match=head, to=new_id)

        def look() -> Dataset | None:
            return self._store.dataset_read(new_id, head) if moved(self._store, request, head) else None

        return self._settling.once(request, send, look, head)

    def tag_create(self, request: ChangeRequest) -> Tag:
        dataset_id, name, revision = request.dataset_id, str(request.tag), str(request.revision)
        if self._tag(dataset_id, name) is not None:
            raise AlreadyExists(f"tag {name} of {dataset_id}")
        members = members_of(request) | {"name": name, "revision": revision, "description": request.message}
        members.pop("message")

        def send() -> Tag:
            tag: Tag = self._calls.send("POST", f"{dataset_path(dataset_id)}/tags", members, responses.value(Tag))
            return tag

        def look() -> Tag | None:
            tag = self._tag(dataset_id, name)
            if tag is None or (tag.revision == revision and fits(request, tag, tag.description)):
                return tag
            raise AlreadyExists(f"tag {name} of {dataset_id}")

        return self._settling.once(request, send, look, None)

    def tag_update(self, request: ChangeRequest, old: Tag) -> Tag:
        dataset_id, becomes = request.dataset_id, str(request.new_name)
        meant = {"name": becomes, "revision": request.revision, "description": request.description}

        def send() -> Tag:
            path, members = f"{dataset_path(dataset_id)}/tags/{old.name}", members_of(request) | meant
            tag: Tag = self._calls.send("PATCH", path, members, responses.value(Tag), match=old.id)
            return tag

        def look() -> Tag | None:
            current = self._tag(dataset_id, old.name)
            if current is not None and current.id == old.id:
                return None
            new = self._tag(dataset_id, becomes)
            if new is None or (new.revision, new.description) != (request.revision, request.description):
                raise CannotTell(_OTHERS)
            return new

        return self._settling.once(request, send, look, old.id)

    def tag_delete(self, request: ChangeRequest, old: Tag) -> None:
        def send() -> bool:
            path = f"{dataset_path(request.dataset_id)}/tags/{old.name}"
            self._calls.send("DELETE", path, members_of(request), responses.nothing, match=old.id)
            return True

        def look() -> bool | None:
            current = self._tag(request.dataset_id, old.name)
            if current is not None and current.id != old.id:
                raise CannotTell(_OTHERS)
            return True if current is None else None

        self._settling.once(request, send, look, old.id)

    def _send(
        self,
        request: ChangeRequest,
        method: str,
        action: str = "",
        *,
        match: str | None = None,
        document: tuple[str, bytes] | None = None,
        **more: str,
    ) -> Dataset:
        path, members = f"{dataset_path(request.dataset_id)}{action}", {**members_of(request), **more}
        turn = self._last_seen.begin(request.dataset_id)
        dataset = self._calls.send(method, path, members, responses.dataset, match=match, document=document)
        self._last_seen.wrote(dataset.id, turn, dataset.revision.id)
        return dataset

    def _revise(self, request: ChangeRequest, send: Callable[[str], Dataset], content: Callable[[], bytes]) -> Dataset:
        return self._settling.revise(request, send, self._is_ours(request, content), self._at(request.dataset_id))

    def journal_import(self, lines: Sequence[JournalEntry], author: Author | None) -> int:
        appended, waits = 0, 0
        while lines:
            members = {"lines": list(map(to_wire, _fitting(lines)))}
            done, new = self._calls.post_again("/journal", members, partial(_lines_done, most=len(members["lines"])))
            waits = 0 if done else waits + 1
            if waits > _MOST_WAITS:
                raise StorageUnavailable("the service takes no line of the journal")
            appended += new
            lines = lines[done:]
        return appended

    def _is_ours(self, request: ChangeRequest, content: Callable[[], bytes]) -> Callable[[Revision], bool]:
        def is_ours(revision: Revision) -> bool:
            if revision.deleted or not fits(request, revision, revision.message):
                return False
            return same(self._store.dataset_json(request.dataset_id, revision.id)[1], content())

        return is_ours

    def _is_deletion(self, request: ChangeRequest) -> Callable[[Revision], bool]:
        return lambda revision: revision.deleted and fits(request, revision, revision.message)

    def _at(self, dataset_id: DatasetId) -> Callable[[Revision], Dataset]:
        return lambda revision: self._store.dataset_read(dataset_id, revision.id)

    def _head(self, request: ChangeRequest) -> str:
        return request.expected or self._store.revision_read(request.dataset_id).id

    def _deletion(self, dataset_id: DatasetId) -> str | None:
        """Return the deletion that a creation continues from. Raises AlreadyExists."""
        with suppress(DatasetNotFound):
            head = self._store.revision_read(dataset_id)
            if not head.deleted:
                raise AlreadyExists(dataset_id)
            return head.id
        return None

    def _tag(self, dataset_id: DatasetId, name: str) -> Tag | None:
        with suppress(TagNotFound):
            return self._store.tag_read(dataset_id, name)
        return None


def _fitting(lines: Sequence[JournalEntry]) -> Iterator[JournalEntry]:
    """Yield the first lines, as many as one request may have; at least one."""
    from metastore.store.journal_copy import MOST_LINES  # few programs copy lines

    left = _LONGEST_LINES
    for line in lines[:MOST_LINES]:
        yield line
        left -= len(line.message) + sum(len(str(value)) for value in line.details.values())
        if left < 0:
            return


def _lines_done(answer: Response, most: int) -> tuple[int, int]:
    """Read how many lines a service went through, and how many it appended. Raises ValueError."""
    said = from_wire(Mapping[str, int], responses.json_of(answer))
    done, appended = said.get("done", -1), said.get("appended", -1)
    if not 0 <= appended <= done <= most:
        raise ValueError("it does not say how many lines it took")
    return done, appended


def _logged(dataset: Dataset) -> Dataset:
    file_changes.log_findings(dataset.id, dataset.findings)
    return dataset
