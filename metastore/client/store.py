"""A store that is a service: the calls of `Store` over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from metastore.client import responses
from metastore.client.calls import Calls
from metastore.client.responses import ENVELOPE, understood
from metastore.client.settling import Settling, members_of
from metastore.client.transport import Transport
from metastore.descriptor import file_changes
from metastore.descriptor.document import MAX_BYTES, decode, encode, same
from metastore.descriptor.file_changes import Document
from metastore.descriptor.merge import take_out
from metastore.descriptor.patch import patched, plain
from metastore.errors import AlreadyExists, DatasetNotFound, InvalidInput, OutcomeUnknown, RevisionConflict, TagNotFound
from metastore.history.parts import Part, RevisionFilter, parse_part, pointer
from metastore.http.responses import Response
from metastore.parse import AnyAuthor, AnyId, AnyTime, is_tag_name, make_time, parse_dataset_id, parse_revision
from metastore.search.values import MayRead, Results, Wanted
from metastore.store.base import Store
from metastore.store.settling import CannotTell, added, fits, moved, purged, settle
from metastore.types import (
    ChangeRequest,
    Damage,
    Dataset,
    DatasetId,
    Diff,
    FeedEntry,
    Issue,
    JournalEntry,
    Outcome,
    Project,
    Revision,
    Tag,
    Value,
)
from metastore.wire import from_wire

#: An answer holds a descriptor, or two of them and what lies between, with every quotation mark escaped.
_ANSWER_TO_DESCRIPTOR = 8
#: A tag has no history that tells whether somebody else changed it before or after us.
_OTHERS = "somebody else changed the tag too"


class RemoteStore(Store):
    """A store that is a service. It can be shared between threads and used after a fork.

    Args:
        url: The service's address.
        token: Who calls; what it grants decides what the caller may do.
        author: Who writes, unless a call says otherwise; without it, the user whom the token names. Another author
            than that, and `at`, need a token that grants `import`.
        timeout: For how many seconds nothing may come; or a pair, of which the first is for making a connection.
        retries: How often a request that is safe to repeat is repeated.
        max_bytes: The size of the largest descriptor that is sent, in bytes. The longest answer that is read is eight
            times as long.

    Raises:
        InvalidInput: An argument makes no sense.
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
        super().__init__(author, "off", max_bytes)  # the service validates
        longest = _ANSWER_TO_DESCRIPTOR * max(max_bytes, MAX_BYTES)
        self._http = Transport(url, token=token, timeout=timeout, retries=retries, longest=longest)
        self._calls = Calls(self._http)
        self._settling = Settling(self, self._http)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._http.address}>"

    def close(self) -> None:
        self._http.close()

    @property
    def storage(self) -> NoReturn:
        raise InvalidInput(f"{self._http.address} is a service: verify, pack and back up where its store is")

    def verify(self, *, repair: bool = False, heads: Mapping[str, str] | None = None) -> Iterator[Damage]:
        return self.storage

    def dataset_read(self, dataset_id: AnyId, revision: str | None = None) -> Dataset:
        return understood(self._descriptor(dataset_id, revision), responses.dataset)

    def dataset_bytes(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Revision, bytes]:
        found = self.revision_read(dataset_id, revision)
        path, query = f"{_path(parse_dataset_id(dataset_id))}/raw", {"revision": found.id}
        return found, understood(self._calls.get(path, query, accept=responses.RAW), responses.raw)

    def dataset_json(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Revision, bytes]:
        _, revision_read, content, _ = understood(self._descriptor(dataset_id, revision), responses.enveloped)
        return revision_read, content

    def dataset_list(
        self, prefix: str = "", *, after: AnyId | None = None, limit: int | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        last = str(parse_dataset_id(after)) if after is not None else None
        which = "any" if deleted is None else "true" if deleted else None
        query = {"prefix": prefix or None, "after": last, "deleted": which}
        return self._calls.items(DatasetId, "/datasets", query, limit)

    def search(self, wanted: Wanted, may_read: MayRead | None = None) -> Results:
        if may_read is not None:
            raise InvalidInput(f"{self._http.address} is a service: it decides what may be read")
        results: Results = self._calls.read(Results, "/datasets", wanted.parameters())
        return results

    def revision_list(
        self,
        dataset_id: AnyId,
        revision: str | None = None,
        *,
        limit: int | None = None,
        path: str | None = None,
        resource: str | None = None,
        field: str | None = None,
        author: str | None = None,
        since: AnyTime | None = None,
        until: AnyTime | None = None,
        grep: str | None = None,
    ) -> Iterator[Revision]:
        part, wanted = parse_part(path, resource, field), RevisionFilter.parse(author, since, until, grep)
        query = {
            "revision": parse_revision(revision),
            "path": pointer(part) if part is not None else None,
            "author": author,
            "since": wanted.since.isoformat() if wanted.since else None,
            "until": wanted.until.isoformat() if wanted.until else None,
            "grep": grep,
        }
        return self._calls.items(Revision, f"{_path(parse_dataset_id(dataset_id))}/revisions", query, limit)

    def part_history(
        self, dataset_id: AnyId, revision: str | None, part: Part
    ) -> Iterator[tuple[Revision, bool, Part]]:
        raise InvalidInput(f"{self._http.address} is a service: ask it for the revision_list of a part")

    def blame(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Value, ...]:
        query = {"revision": parse_revision(revision)}
        values: tuple[Value, ...] = self._calls.read(
            tuple[Value, ...], f"{_path(parse_dataset_id(dataset_id))}/blame", query
        )
        return values

    def revision_read(self, dataset_id: AnyId, revision: str | None = None) -> Revision:
        # By the list: a text that is neither an id nor a tag's name cannot stand in a path.
        return next(self.revision_list(dataset_id, revision, limit=1))

    def revision_diff(self, dataset_id: AnyId, revision_a: str, revision_b: str | None = None) -> Diff:
        first = parse_revision(revision_a)
        query = {"from": "HEAD" if first is None else first, "to": parse_revision(revision_b)}
        diff: Diff = self._calls.read(Diff, f"{_path(parse_dataset_id(dataset_id))}/diff", query)
        return diff

    def tag_read(self, dataset_id: AnyId, name: str) -> Tag:
        identity = parse_dataset_id(dataset_id)
        if not is_tag_name(name):
            raise TagNotFound(identity, name)
        tag: Tag = self._calls.read(Tag, f"{_path(identity)}/tags/{name}")
        return tag

    def tag_list(self, dataset_id: AnyId) -> Iterator[Tag]:
        return self._calls.items(Tag, f"{_path(parse_dataset_id(dataset_id))}/tags", {}, None)

    def project_read(self, dataset_id: AnyId) -> Project:
        identity = parse_dataset_id(dataset_id)
        revision, tags, issues = understood(self._calls.get(f"/projects/{identity}"), _surroundings)
        return Project(identity.owner, self.dataset_read(identity, revision.id), tags, issues)

    def journal(
        self,
        dataset_id: AnyId | None = None,
        *,
        since: AnyTime | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> Iterator[JournalEntry]:
        query = {
            "dataset": str(parse_dataset_id(dataset_id)) if dataset_id is not None else None,
            "since": make_time(since).isoformat() if since is not None else None,
            "before": parse_revision(before),
        }
        return self._calls.items(JournalEntry, "/journal", query, limit)

    def changes(self, since: str | None = None) -> Iterator[FeedEntry]:
        if since is not None and not isinstance(since, str):
            raise InvalidInput(f"not a cursor of the change feed: {since!r}")
        return self._calls.feed(since)

    def settle(self, error: OutcomeUnknown) -> Outcome:
        return settle(self, error)

    def _create(self, request: ChangeRequest, document: Document) -> Dataset:
        dataset_id = request.dataset_id
        deletion = self._deletion(dataset_id)
        is_ours = self._is_ours(request, lambda: document.content)

        def look() -> Dataset | None:
            try:
                revision = added(self, dataset_id, deletion, is_ours)
                return self.dataset_read(dataset_id, revision.id) if revision is not None else None
            except RevisionConflict:
                raise AlreadyExists(dataset_id) from None
            except DatasetNotFound:
                if deletion is None:
                    return None
                raise

        def send() -> Dataset:
            return self._send(request, "PUT", document=("descriptor", document.content))

        return _logged(self._settling.once(replace(request, content=document.content), send, look, deletion))

    def _update(self, request: ChangeRequest, document: Document) -> Dataset:
        def send(parent: str) -> Dataset:
            return self._send(request, "PUT", match=parent, document=("descriptor", document.content))

        return _logged(self._revise(replace(request, content=document.content), send, lambda: document.content))

    def _patch(self, request: ChangeRequest, patch: Any) -> Dataset:
        values = plain(patch)
        content = encode(values)
        base = ""

        def send(parent: str) -> Dataset:
            nonlocal base
            base = parent
            return self._send(request, "PATCH", match=parent, document=("patch", content))

        def result() -> bytes:
            _, stored = self.dataset_json(request.dataset_id, base)
            return encode(patched(decode(stored, max_bytes=len(stored)), values))

        return _logged(self._revise(replace(request, content=content), send, result))

    def _delete(self, request: ChangeRequest) -> Revision:
        def send(parent: str) -> Revision:
            path, read = _path(request.dataset_id), responses.value(Revision)
            revision: Revision = self._calls.send("DELETE", path, members_of(request), read, match=parent)
            return revision

        def is_ours(revision: Revision) -> bool:
            return revision.deleted and fits(request, revision, revision.message)

        return self._settling.revise(request, send, is_ours, lambda revision: revision)

    def _revert(self, request: ChangeRequest) -> Dataset:
        def send(parent: str) -> Dataset:
            return self._send(request, "POST", "/revert", match=parent, to=str(request.revision))

        return self._revise(request, send, lambda: self.dataset_json(request.dataset_id, request.revision)[1])

    def _undo(self, request: ChangeRequest) -> Dataset:
        last, since = str(request.revision), str(request.since)
        base = ""

        def send(parent: str) -> Dataset:
            nonlocal base
            base = parent
            return self._send(request, "POST", "/undo", match=parent, revision=f"{since}..{last}")

        def result() -> bytes:
            if base == last:
                return self.dataset_json(request.dataset_id, since)[1]
            stored = [self.dataset_json(request.dataset_id, revision)[1] for revision in (base, last, since)]
            return encode(take_out(*stored)[0])

        return self._revise(request, send, result)

    def _purge(self, request: ChangeRequest, *, force: bool) -> None:
        head = self._head(request)
        query = {"purge": "true"} | ({"force": "true"} if force else {})

        def send() -> bool:
            path = _path(request.dataset_id)
            self._calls.send("DELETE", path, members_of(request), responses.nothing, match=head, query=query)
            return True

        self._settling.once(request, send, lambda: purged(self, request, head), head)

    def _move(self, request: ChangeRequest) -> Dataset:
        head, new_id = self._head(request), str(request.new_id)

        def send() -> Dataset:
            return self._send(request, "POST", "/move", match=head, to=new_id)

        def look() -> Dataset | None:
            return self.dataset_read(new_id, head) if moved(self, request, head) else None

        return self._settling.once(request, send, look, head)

    def _tag_create(self, request: ChangeRequest) -> Tag:
        dataset_id, name, revision = request.dataset_id, str(request.tag), str(request.revision)
        if self._tag(dataset_id, name) is not None:
            raise AlreadyExists(f"tag {name} of {dataset_id}")
        members = members_of(request) | {"name": name, "revision": revision, "description": request.message}
        members.pop("message")

        def send() -> Tag:
            tag: Tag = self._calls.send("POST", f"{_path(dataset_id)}/tags", members, responses.value(Tag))
            return tag

        def look() -> Tag | None:
            tag = self._tag(dataset_id, name)
            if tag is None or (tag.revision == revision and fits(request, tag, tag.description)):
                return tag
            raise AlreadyExists(f"tag {name} of {dataset_id}")

        return self._settling.once(request, send, look, None)

    def _tag_update(self, request: ChangeRequest, old: Tag) -> Tag:
        dataset_id, becomes = request.dataset_id, str(request.new_name)
        meant = {"name": becomes, "revision": request.revision, "description": request.description}

        def send() -> Tag:
            path, members = f"{_path(dataset_id)}/tags/{old.name}", members_of(request) | meant
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

    def _tag_delete(self, request: ChangeRequest, old: Tag) -> None:
        def send() -> bool:
            path = f"{_path(request.dataset_id)}/tags/{old.name}"
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
        path, members = f"{_path(request.dataset_id)}{action}", {**members_of(request), **more}
        return self._calls.send(method, path, members, responses.dataset, match=match, document=document)

    def _revise(self, request: ChangeRequest, send: Callable[[str], Dataset], content: Callable[[], bytes]) -> Dataset:
        return self._settling.revise(request, send, self._is_ours(request, content), self._at(request.dataset_id))

    def _is_ours(self, request: ChangeRequest, content: Callable[[], bytes]) -> Callable[[Revision], bool]:
        def is_ours(revision: Revision) -> bool:
            if revision.deleted or not fits(request, revision, revision.message):
                return False
            return same(self.dataset_json(request.dataset_id, revision.id)[1], content())

        return is_ours

    def _at(self, dataset_id: DatasetId) -> Callable[[Revision], Dataset]:
        return lambda revision: self.dataset_read(dataset_id, revision.id)

    def _head(self, request: ChangeRequest) -> str:
        return request.expected or self.revision_read(request.dataset_id).id

    def _deletion(self, dataset_id: DatasetId) -> str | None:
        """Return the deletion that a creation continues from. Raises AlreadyExists."""
        with suppress(DatasetNotFound):
            head = self.revision_read(dataset_id)
            if not head.deleted:
                raise AlreadyExists(dataset_id)
            return head.id
        return None

    def _tag(self, dataset_id: DatasetId, name: str) -> Tag | None:
        with suppress(TagNotFound):
            return self.tag_read(dataset_id, name)
        return None

    def _descriptor(self, dataset_id: AnyId, revision: str | None) -> Response:
        query = {"revision": parse_revision(revision)}
        return self._calls.get(_path(parse_dataset_id(dataset_id)), query, accept=ENVELOPE)


def _path(dataset_id: DatasetId) -> str:
    return f"/datasets/{dataset_id}"


def _logged(dataset: Dataset) -> Dataset:
    file_changes.log_findings(dataset.id, dataset.findings)
    return dataset


def _surroundings(answer: Response) -> tuple[Revision, tuple[Tag, ...], tuple[Issue, ...]]:
    """Read a project without its dataset, whose bytes it does not have."""
    project = responses.value(dict)(answer)
    dataset = from_wire(dict, project.get("dataset"))
    tags, issues = from_wire(tuple[Tag, ...], project.get("tags")), from_wire(tuple[Issue, ...], project.get("issues"))
    return from_wire(Revision, dataset.get("revision")), tags, issues
