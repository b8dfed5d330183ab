"""The calls that change nothing, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl

from metastore.client import responses
from metastore.client.responses import ENVELOPE, JSON, understood
from metastore.client.transport import Answer, Transport
from metastore.descriptor.document import find_resource
from metastore.errors import InvalidInput, ResourceNotFound, StorageBusy, TagNotFound
from metastore.parse import encodable, is_tag_name, make_time, parse_dataset_id, parse_revision
from metastore.store.reader import AnyId, check_limit
from metastore.types import (
    Damage,
    Dataset,
    DatasetId,
    Diff,
    FeedEntry,
    Issue,
    JournalEntry,
    Project,
    Revision,
    Tag,
)
from metastore.wire import from_wire

API = "/api/v1"
#: The largest page of a list that a service gives.
_LARGEST_PAGE = 1000
#: How often the feed is asked again for what many datasets did within the same second, and how long to wait.
_FEED_TRIES, _FEED_PAUSE = 10, 0.5


class RemoteReader:
    """The calls that change nothing: the same as those of `MetaStore`, with the same answers and errors."""

    def __init__(self, http: Transport, max_bytes: int) -> None:
        self._http = http
        self._max_bytes = max_bytes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._http.address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a call after that makes new ones."""
        self._http.close()

    @property
    def max_bytes(self) -> int:
        """The largest descriptor that is sent, in bytes; the service may take less."""
        return self._max_bytes

    @property
    def storage(self) -> NoReturn:
        """Where the datasets are, which only the service itself can tell.

        Raises:
            InvalidInput: Always.
        """
        raise InvalidInput(f"{self._http.address} is a service: verify, pack and back up where its store is")

    def verify(self, *, repair: bool = False, heads: Mapping[str, str] | None = None) -> Iterator[Damage]:
        """Only where the store is.

        Raises:
            InvalidInput: Always.
        """
        return self.storage

    def dataset_read(self, dataset_id: AnyId, revision: str | None = None) -> Dataset:
        """Return a dataset as it is, or as it was at a revision or tag."""
        return understood(self._descriptor(dataset_id, revision), responses.dataset)

    def dataset_bytes(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Revision, bytes]:
        """Return a descriptor exactly as it is stored, without making values of it."""
        _, found, content, _ = understood(self._descriptor(dataset_id, revision), responses.enveloped)
        return found, content

    def dataset_list(
        self, prefix: str = "", *, after: AnyId | None = None, limit: int | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        """Return ids in order, a page at a time."""
        behind = str(parse_dataset_id(after)) if after is not None else None
        which = "any" if deleted is None else "true" if deleted else None
        return self._list(DatasetId, "/datasets", {"prefix": prefix or None, "after": behind, "deleted": which}, limit)

    def revision_list(
        self, dataset_id: AnyId, revision: str | None = None, *, limit: int | None = None
    ) -> Iterator[Revision]:
        """Return a revision and those before it, newest first, a page at a time."""
        path = f"{_path(parse_dataset_id(dataset_id))}/revisions"
        return self._list(Revision, path, {"revision": parse_revision(revision)}, limit)

    def revision_read(self, dataset_id: AnyId, revision: str | None = None) -> Revision:
        """Return who made a revision, when and why."""
        # By the list, since what is no id nor tag's name could not stand in a path.
        return next(self.revision_list(dataset_id, revision, limit=1))

    def revision_diff(self, dataset_id: AnyId, revision_a: str, revision_b: str | None = None) -> Diff:
        """Compare two revisions."""
        path = f"{_path(parse_dataset_id(dataset_id))}/diff"
        first = parse_revision(revision_a)
        query = {"from": "HEAD" if first is None else first, "to": parse_revision(revision_b)}
        found: Diff = understood(self._get(path, query), responses.value(Diff))
        return found

    def tag_read(self, dataset_id: AnyId, name: str) -> Tag:
        """Return a tag."""
        identity = parse_dataset_id(dataset_id)
        if not is_tag_name(name):
            raise TagNotFound(identity, name)
        found: Tag = understood(self._get(f"{_path(identity)}/tags/{name}"), responses.value(Tag))
        return found

    def tag_list(self, dataset_id: AnyId) -> Iterator[Tag]:
        """Return all tags, by name, a page at a time."""
        return self._list(Tag, f"{_path(parse_dataset_id(dataset_id))}/tags", {}, None)

    def resource_read(self, dataset_id: AnyId, resource: str, revision: str | None = None) -> dict[str, Any]:
        """Return one resource of a descriptor: by name, else by id, else by path."""
        dataset = self.dataset_read(dataset_id, revision)  # a path in a URL could not say every name
        found = find_resource(dataset.descriptor, resource)
        if found is None:
            raise ResourceNotFound(dataset.id, resource)
        return found

    def project_read(self, dataset_id: AnyId) -> Project:
        """Return a dataset with its owner, its tags, and the issues that the storage's host tracks."""
        identity = parse_dataset_id(dataset_id)
        revision, tags, issues = understood(self._get(f"/projects/{identity}"), _surroundings)
        return Project(identity.owner, self.dataset_read(identity, revision.id), tags, issues)

    def journal(
        self,
        dataset_id: AnyId | None = None,
        *,
        since: datetime | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> Iterator[JournalEntry]:
        """Return who moved, purged and retagged what, newest first, a page at a time."""
        query = {
            "dataset": str(parse_dataset_id(dataset_id)) if dataset_id is not None else None,
            "since": make_time(since).isoformat() if since is not None else None,
            "before": parse_revision(before),
        }
        return self._list(JournalEntry, "/journal", query, limit)

    def changes(self, since: str | None = None) -> Iterator[FeedEntry]:
        """Return the newest state of each dataset that changed, oldest change first, a page at a time."""
        if since is not None and not isinstance(since, str):
            raise InvalidInput(f"not a cursor of the change feed: {since!r}")
        return self._feed(self._changes(since))

    def _changes(self, since: str | None) -> tuple[FeedEntry, ...]:
        answer = self._get("/changes", {"since": since, "limit": str(_LARGEST_PAGE)})
        found: tuple[FeedEntry, ...] = understood(answer, responses.value(tuple[FeedEntry, ...]))
        return found

    def _feed(self, page: tuple[FeedEntry, ...]) -> Iterator[FeedEntry]:
        """Yield the entries of this page and those behind it.

        A cursor lies a moment back, so a page may begin with what the page before ended with.
        """
        seen: set[tuple[Any, ...]] = set()
        tries = 0
        while True:
            fresh = [entry for entry in page if _state(entry) not in seen]
            yield from fresh
            if len(page) < _LARGEST_PAGE:
                return
            tries = 0 if fresh else tries + 1
            if tries > _FEED_TRIES:
                raise StorageBusy("too many datasets changed in the same moment; call again with the last cursor")
            if not fresh:
                self._http.wait(_FEED_PAUSE)
            seen = {_state(entry) for entry in page}
            page = self._changes(page[-1].cursor)

    def _descriptor(self, dataset_id: AnyId, revision: str | None) -> Answer:
        query = {"revision": parse_revision(revision)}
        return self._get(_path(parse_dataset_id(dataset_id)), query, accept=ENVELOPE)

    def _get(self, path: str, query: Mapping[str, str | None] | None = None, accept: str = JSON) -> Answer:
        params = {name: text for name, text in (query or {}).items() if text is not None}
        for name, text in params.items():
            encodable(text, f"the {name}")
        return self._http.read(API + path, params, f"{accept}, {responses.PROBLEM}")

    def _list(self, kind: Any, path: str, query: Mapping[str, str | None], limit: int | None) -> Iterator[Any]:
        """Return the items of a list; the first page is asked for at once: what is wrong is said by the call."""
        check_limit(limit)
        if limit is not None:
            query = {**query, "limit": str(min(max(limit, 1), _LARGEST_PAGE))}
        return islice(self._pages(kind, path, query, self._get(path, query)), limit)

    def _pages(self, kind: Any, path: str, query: Mapping[str, str | None], answer: Answer) -> Iterator[Any]:
        items, following = understood(answer, lambda each: _page(kind, each))

        def rest() -> Iterator[Any]:
            asked, page, behind = dict(query), items, following
            while True:
                yield from page
                if behind is None or behind == asked:
                    return
                asked = behind
                page, behind = understood(self._get(path, asked), lambda each: _page(kind, each))

        return rest()


def _page(kind: Any, answer: Answer) -> tuple[tuple[Any, ...], dict[str, str | None] | None]:
    following = responses.next_page(answer)
    items = responses.value(tuple[kind, ...])(answer)
    return items, dict(parse_qsl(following, keep_blank_values=True)) if following is not None else None


def _path(dataset_id: DatasetId) -> str:
    return f"/datasets/{dataset_id}"


def _state(entry: FeedEntry) -> tuple[Any, ...]:
    return entry.dataset_id, entry.action, entry.revision, entry.new_id


def _surroundings(answer: Answer) -> tuple[Revision, tuple[Tag, ...], tuple[Issue, ...]]:
    """Read a project but for its dataset, whose bytes are not in it."""
    said = responses.value(dict)(answer)
    dataset = from_wire(dict, said.get("dataset"))
    tags, issues = from_wire(tuple[Tag, ...], said.get("tags")), from_wire(tuple[Issue, ...], said.get("issues"))
    return from_wire(Revision, dataset.get("revision")), tags, issues
