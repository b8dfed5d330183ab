"""A store that is a service: the calls of `Store` over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from metastore.client import _responses as responses
from metastore.client._calls import Calls, dataset_path
from metastore.client._histories import ServiceHistories
from metastore.client._last_seen import LastSeen
from metastore.client._responses import ENVELOPE, understood
from metastore.client._service_writer import ServiceWriter
from metastore.client._settling import Settling
from metastore.client._transport import Transport
from metastore.descriptor.limits import MAX_BYTES
from metastore.errors import InvalidInput, MetastoreError, OutcomeUnknown, TagNotFound
from metastore.history.parts import Part, RevisionFilter, parse_part, pointer
from metastore.http.credentials import Nobody, Token
from metastore.http.responses import Response
from metastore.lazy import LazyList
from metastore.parse import (
    AnyAuthor,
    AnyId,
    AnyRevision,
    AnyTime,
    is_tag_name,
    make_time,
    parse_dataset_id,
    parse_expected,
    parse_revision,
    parse_wait,
)
from metastore.search.values import Readable, Results, Wanted
from metastore.storage.port import Storage
from metastore.store.base import Store
from metastore.store.settling import settle
from metastore.types import (
    Damage,
    Dataset,
    DatasetEntry,
    DatasetId,
    Diff,
    FeedEntry,
    Issue,
    JournalEntry,
    Outcome,
    Owner,
    Project,
    Revision,
    Tag,
    TagEntry,
    Value,
)
from metastore.wire import from_wire

_Stored = TypeVar("_Stored", Dataset, responses.Enveloped)
#: A response holds a descriptor, or two of them and their difference, with every quotation mark escaped.
_ANSWER_TO_DESCRIPTOR = 8
#: How long a search waits for the index of the service to catch up, in seconds.
_CATCHING_UP = 60.0


class RemoteStore(Store):
    """A store that is a service. It can be shared between threads and used after a fork.

    Args:
        url: The service's address.
        token: The token of the caller, which decides what they may do.
        author: The default author; without it, the user whom the token names. Another author, and `at`, need a token
            that grants `import`.
        timeout: The longest silence in seconds; or a pair, whose first number is the limit for connecting.
        retries: How often a safe request is repeated.
        max_bytes: The size of the largest descriptor that is sent, in bytes. The longest response that is read is eight
            times as long.

    Raises:
        InvalidInput: An argument is invalid.
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
        super().__init__(author, max_bytes)
        longest = _ANSWER_TO_DESCRIPTOR * max(max_bytes, MAX_BYTES)
        self._http = Transport(url, token=token, timeout=timeout, retries=retries, longest=longest)
        self._calls = Calls(self._http)
        self._last_seen = LastSeen()
        self._writer = ServiceWriter(self, self._calls, Settling(self, self._http), self._last_seen)
        self._credentials = Token(token) if token is not None else Nobody()
        self._histories: ServiceHistories | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._http.address}>"

    def close(self) -> None:
        super().close()
        self._http.close()
        if self._histories is not None:
            self._histories.close()

    @property
    def storage(self) -> Storage:
        """The histories of the service, to copy from. It is read-only."""
        if self._histories is None:
            self._histories = ServiceHistories(self._http.address, self._credentials, self._listed)
        return self._histories

    def verify(self, *, repair: bool = False, heads: Mapping[str, str] | None = None) -> Iterator[Damage]:
        raise InvalidInput(f"{self._http.address} is a service: verify, pack and back up where its store is")

    def dataset_read(
        self, dataset_id: AnyId, revision: AnyRevision | None = None, *, at_least: AnyRevision | None = None
    ) -> Dataset:
        return self._descriptor(dataset_id, revision, at_least, responses.dataset)

    def dataset_bytes(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> tuple[Revision, bytes]:
        found = self.revision_read(dataset_id, revision)
        path, query = f"{dataset_path(parse_dataset_id(dataset_id))}/raw", {"revision": found.id}
        return found, understood(self._calls.get(path, query, accept=responses.RAW), responses.raw)

    def dataset_json(
        self, dataset_id: AnyId, revision: AnyRevision | None = None, *, at_least: AnyRevision | None = None
    ) -> tuple[Revision, bytes]:
        _, revision_read, content, _ = self._descriptor(dataset_id, revision, at_least, responses.enveloped)
        return revision_read, content

    def dataset_list(
        self,
        prefix: str = "",
        *,
        after: AnyId | None = None,
        limit: int | None = None,
        deleted: bool | None = False,
        at: AnyTime | None = None,
    ) -> LazyList[DatasetId]:
        return self._calls.items(DatasetId, "/datasets", _listing(prefix, after, deleted, at), limit)

    def dataset_entries(
        self,
        prefix: str = "",
        *,
        after: AnyId | None = None,
        limit: int | None = None,
        deleted: bool | None = False,
        at: AnyTime | None = None,
    ) -> LazyList[DatasetEntry]:
        query = {**_listing(prefix, after, deleted, at), "include": "title,revision"}
        return self._calls.items(DatasetEntry, "/datasets", query, limit)

    def owner_list(self, *, after: str | None = None, limit: int | None = None) -> LazyList[Owner]:
        return self._calls.items(Owner, "/owners", {"after": after}, limit)

    def search(self, wanted: Wanted, readable: Readable | None = None, *, within: float | None = None) -> Results:
        if readable is not None:
            raise InvalidInput(f"{self._http.address} is a service: it decides what may be read")
        end = time.monotonic() + (_CATCHING_UP if within is None else within)
        while True:  # each request indexes some more
            results: Results = self._calls.read(Results, "/datasets", wanted.parameters())
            if results.complete or results.scanned or time.monotonic() >= end:
                return results

    def revision_list(
        self,
        dataset_id: AnyId,
        revision: AnyRevision | None = None,
        *,
        limit: int | None = None,
        path: str | None = None,
        resource: str | None = None,
        field: str | None = None,
        author: str | None = None,
        since: AnyTime | None = None,
        until: AnyTime | None = None,
        grep: str | None = None,
    ) -> LazyList[Revision]:
        part, wanted = parse_part(path, resource, field), RevisionFilter.parse(author, since, until, grep)
        query = {
            "revision": parse_revision(revision),
            "path": pointer(part) if part is not None else None,
            "author": author,
            "since": wanted.since.isoformat() if wanted.since else None,
            "until": wanted.until.isoformat() if wanted.until else None,
            "grep": grep,
        }
        return self._calls.items(Revision, f"{dataset_path(parse_dataset_id(dataset_id))}/revisions", query, limit)

    def part_history(
        self, dataset_id: AnyId, revision: AnyRevision | None, part: Part
    ) -> Iterator[tuple[Revision, bool, Part]]:
        raise InvalidInput(f"{self._http.address} is a service: ask it for the revision_list of a part")

    def blame(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> tuple[Value, ...]:
        query = {"revision": parse_revision(revision)}
        values: tuple[Value, ...] = self._calls.read(
            tuple[Value, ...], f"{dataset_path(parse_dataset_id(dataset_id))}/blame", query
        )
        return values

    def revision_read(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> Revision:
        # Through the list: a text that is neither an id nor a tag name cannot be part of a path.
        return self.revision_list(dataset_id, revision, limit=1)[0]

    def revision_diff(self, dataset_id: AnyId, revision_a: AnyRevision, revision_b: AnyRevision | None = None) -> Diff:
        first = parse_revision(revision_a)
        query = {"from": "HEAD" if first is None else first, "to": parse_revision(revision_b)}
        diff: Diff = self._calls.read(Diff, f"{dataset_path(parse_dataset_id(dataset_id))}/diff", query)
        return diff

    def tag_read(self, dataset_id: AnyId, name: str) -> Tag:
        identity = parse_dataset_id(dataset_id)
        if not is_tag_name(name):
            raise TagNotFound(identity, name)
        tag: Tag = self._calls.read(Tag, f"{dataset_path(identity)}/tags/{name}")
        return tag

    def tag_list(self, dataset_id: AnyId) -> LazyList[Tag]:
        return self._calls.items(Tag, f"{dataset_path(parse_dataset_id(dataset_id))}/tags", {}, None)

    def tag_entries(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None
    ) -> LazyList[TagEntry]:
        return self._calls.items(TagEntry, "/tags", {"prefix": prefix or None, "after": after}, limit)

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
    ) -> LazyList[JournalEntry]:
        query = {
            "dataset": str(parse_dataset_id(dataset_id)) if dataset_id is not None else None,
            "since": make_time(since).isoformat() if since is not None else None,
            "before": parse_revision(before),
        }
        return self._calls.items(JournalEntry, "/journal", query, limit)

    def changes(self, since: str | None = None, *, wait: float = 0.0) -> Iterator[FeedEntry]:
        if since is not None and not isinstance(since, str):
            raise InvalidInput(f"not a cursor of the change feed: {since!r}")
        return self._calls.feed(since, parse_wait(wait))

    def settle(self, error: OutcomeUnknown) -> Outcome:
        return settle(self, error)

    def _listed(self, prefix: str, deleted: bool | None) -> LazyList[DatasetId]:
        return self.dataset_list(prefix, deleted=deleted)

    def _descriptor(
        self,
        dataset_id: AnyId,
        revision: AnyRevision | None,
        at_least: AnyRevision | None,
        read: Callable[[Response], _Stored],
    ) -> _Stored:
        """Read a descriptor from a server that has the revision `at_least`, or else the one that this client wrote."""
        identity, name, least = parse_dataset_id(dataset_id), parse_revision(revision), parse_expected(at_least)
        known = self._last_seen.get(identity) if name is None and least is None else None
        response = self._calls.get(dataset_path(identity), {"revision": name}, ENVELOPE, least or known)
        try:
            stored = understood(response, read)
        except MetastoreError:  # such as DatasetDeleted: later reads have to see the deletion too
            self._last_seen.forget(identity)
            raise
        self._last_seen.saw(identity, known, (stored.revision if isinstance(stored, Dataset) else stored[1]).id)
        return stored


def _listing(prefix: str, after: AnyId | None, deleted: bool | None, at: AnyTime | None) -> dict[str, str | None]:
    return {
        "prefix": prefix or None,
        "after": str(parse_dataset_id(after)) if after is not None else None,
        "deleted": "any" if deleted is None else "true" if deleted else None,
        "at": make_time(at).isoformat() if at is not None else None,
    }


def _surroundings(answer: Response) -> tuple[Revision, tuple[Tag, ...], tuple[Issue, ...]]:
    """Read a project without its dataset, whose bytes the response does not have."""
    project = responses.value(dict)(answer)
    dataset = from_wire(dict, project.get("dataset"))
    tags, issues = from_wire(tuple[Tag, ...], project.get("tags")), from_wire(tuple[Issue, ...], project.get("issues"))
    return from_wire(Revision, dataset.get("revision")), tags, issues
