"""The requests to a service's API: they read values, pages of lists and the change feed, and send writes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from metastore.client import _responses as responses
from metastore.client._responses import ENVELOPE, JSON, PROBLEM, understood, understood_write
from metastore.client._transport import Transport
from metastore.errors import StorageBusy, StorageUnavailable
from metastore.http.responses import MOST_PAGES, Pages, Response
from metastore.lazy import LazyList
from metastore.parse import encodable, parse_limit
from metastore.store.waiting import LONGEST
from metastore.types import DatasetId, FeedEntry

_Value = TypeVar("_Value")
Query = Mapping[str, str | None]
API = "/api/v1"
#: The largest page of a list that a service sends.
_LARGEST_PAGE = 1000
#: The repetitions of a request for the feed when many datasets changed within one second, and the pause before each.
_FEED_TRIES, _FEED_PAUSE = 10, 0.5


def dataset_path(dataset_id: DatasetId) -> str:
    """Return the path of a dataset, after `API`."""
    return f"/datasets/{dataset_id}"


class Calls:
    """The API of one service."""

    def __init__(self, http: Transport) -> None:
        self._http = http

    def get(self, path: str, query: Query | None = None, accept: str = JSON, at_least: str | None = None) -> Response:
        """Send a read, without parameters that are None. The answering server has to have the revision `at_least`."""
        params = {name: text for name, text in (query or {}).items() if text is not None}
        for name, text in params.items():
            encodable(text, f"the {name}")
        least = {"Metastore-At-Least": at_least} if at_least is not None else {}
        return self._http.read(API + path, params, {"Accept": f"{accept}, {PROBLEM}", **least})

    def read(self, kind: Any, path: str, query: Query | None = None) -> Any:
        """Read a value of the given class."""
        return understood(self.get(path, query), responses.value(kind))

    def items(self, kind: Any, path: str, query: Query, limit: int | None) -> LazyList[Any]:
        """Return the items of a list. The first page is read immediately, so that the call itself raises errors."""
        parse_limit(limit)
        if limit is not None:
            query = {**query, "limit": str(min(max(limit, 1), _LARGEST_PAGE))}
        return LazyList(lambda: islice(self._following(kind, path, self._page(kind, path, query)), limit))

    def _following(self, kind: Any, path: str, page: tuple[Any, str | None]) -> Iterator[Any]:
        pages = Pages()
        while True:
            items, following = page
            yield from items
            if following is None:
                return
            page = self._page(kind, path, dict(parse_qsl(pages.turn(following), keep_blank_values=True)))

    def _page(self, kind: Any, path: str, query: Query) -> tuple[tuple[Any, ...], str | None]:
        """Return the items of a page, and the query of the next one."""

        def read(answer: Response) -> tuple[tuple[Any, ...], str | None]:
            return responses.value(tuple[kind, ...])(answer), responses.next_page(answer)

        return understood(self.get(path, query), read)

    def feed(self, since: str | None, wait: float = 0.0) -> Iterator[FeedEntry]:
        """Return the change feed; its first page is read at once, or after waiting for a change."""
        end = time.monotonic() + wait
        page = self._feed_page(since, wait)
        while not page and (left := end - time.monotonic()) > 0:
            page = self._feed_page(since, left)
        return self._feed(page)

    def _feed_page(self, since: str | None, wait: float = 0.0) -> tuple[FeedEntry, ...]:
        query = {"since": since, "limit": str(_LARGEST_PAGE)}
        if wait > 0:
            query["wait"] = str(min(math.ceil(wait), LONGEST))
        page: tuple[FeedEntry, ...] = self.read(tuple[FeedEntry, ...], "/changes", query)
        return page

    def _feed(self, page: tuple[FeedEntry, ...]) -> Iterator[FeedEntry]:
        """Yield the entries of this page and the following ones.

        A cursor lies a moment back, so a page can begin with the last entries of the previous page.
        """
        seen: set[tuple[Any, ...]] = set()
        tries = 0
        for _ in range(MOST_PAGES):
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
            page = self._feed_page(page[-1].cursor)
        raise StorageUnavailable(f"the service's feed has more than {MOST_PAGES} pages")

    def send(
        self,
        method: str,
        path: str,
        members: Mapping[str, Any],
        read: Callable[[Response], _Value],
        *,
        match: str | None = None,
        document: tuple[str, bytes] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _Value:
        """Send a write.

        Args:
            method: The HTTP method.
            path: The path behind `/api/v1`.
            members: The members of the body.
            read: Reads the result from the response.
            match: The id of the state that the write is for; None if there must be none yet.
            document: A last member and its JSON, which is sent byte for byte.
            query: Parameters.
        """
        content = json.dumps(members).encode()
        if document is not None:
            name, text = document
            content = json.dumps({**members, name: 0}).encode()[: -len("0}")] + text + b"}"
        headers = {"Content-Type": ENVELOPE if document else JSON, "Accept": f"{ENVELOPE}, {JSON}, {PROBLEM}"}
        headers |= {"If-Match": f'"{match}"'} if match is not None else {"If-None-Match": "*"}
        return understood_write(self._http.write(method, API + path, query or {}, headers, content), read)

    def post_again(self, path: str, members: Mapping[str, Any], read: Callable[[Response], _Value]) -> _Value:
        """Send a POST that has the same effect if it is sent twice, so a lost response is no harm."""
        headers = {"Content-Type": JSON, "Accept": f"{JSON}, {PROBLEM}"}
        content = json.dumps(members).encode()
        return understood(self._http.write("POST", API + path, {}, headers, content, repeatable=True), read)


def _state(entry: FeedEntry) -> tuple[Any, ...]:
    return entry.dataset_id, entry.action, entry.revision, entry.new_id
