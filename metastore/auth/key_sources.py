"""Sources of keys: fixed keys, a file that may change, and a server that may be down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from metastore.auth.keys import Key, check_key_url, parse_keys
from metastore.errors import InvalidInput, StorageUnavailable
from metastore.files.reading import WatchedFile
from metastore.forks import ForkSafeLock
from metastore.http.connection import Connection
from metastore.http.responses import NotSent, ResponseLost
from metastore.parse import split_url

_log = logging.getLogger("metastore.auth.tokens")
_LARGEST = 262_144
_OK, _NO_CONTENT = 200, 204


class KeySource(Protocol):
    """A source of keys."""

    def keys(self) -> tuple[Key, ...]:
        """Return the current keys.

        Raises:
            StorageUnavailable: The source has no keys and cannot get any.
        """

    def refresh(self) -> bool:
        """Look for new keys, because none verified a token; tell whether the keys have changed."""


class GivenKeys:
    """Keys that never change."""

    def __init__(self, *keys: Key) -> None:
        self._keys = keys

    def keys(self) -> tuple[Key, ...]:
        """Return the keys."""
        return self._keys

    def refresh(self) -> bool:
        """Return False."""
        return False


class FileKeys:
    """The keys of a file, which is read again when it changes. Safe to share between threads.

    While the file is missing or broken, it has no keys. The last good ones would not do: two processes may have read
    different ones, and a key that was removed in between would still count in one of them.

    Args:
        path: A file of PEM blocks, or a key set.
        algorithms: As for `metastore.auth.keys.parse_keys`.

    Raises:
        InvalidInput: The file cannot be read, or holds no key.
    """

    def __init__(self, path: str | Path, algorithms: Sequence[str] = ()) -> None:
        def parse(content: str) -> tuple[Key, ...]:
            try:
                return parse_keys(content, algorithms)
            except InvalidInput as error:
                raise InvalidInput(f"the key file {path}: {error}") from None

        self._file = WatchedFile(path, "key file", parse, "no token that its keys signed is accepted")

    def keys(self) -> tuple[Key, ...]:
        """Return the keys that the file holds now.

        Raises:
            StorageUnavailable: The file is missing or broken.
        """
        try:
            return self._file.read()
        except InvalidInput as error:
            raise StorageUnavailable(str(error)) from None

    def refresh(self) -> bool:
        """Return False: each call of `keys` looks at the file."""
        return False


class UrlKeys:
    """The keys of a server, as PEM or a key set: fetched on first use, and again after `max_age`.

    A token that no key verifies causes another fetch, but at most one per `pause`, since anyone can make up tokens.
    While one thread fetches, the others use the present keys. A failed fetch keeps the keys. A response without keys
    (204, as CKAN sends without any, or an empty set) removes them.

    Args:
        url: An http or https URL. Redirects are not followed.
        algorithms: As for `metastore.auth.keys.parse_keys`.
        timeout: The limit of a fetch, in seconds.
        pause: The least time between two fetches, in seconds.
        max_age: The age at which keys are fetched again, in seconds.
        clock: Returns seconds, counted from any start.

    Raises:
        InvalidInput: The URL is invalid.
    """

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str] = (),
        *,
        timeout: float = 5,
        pause: float = 30,
        max_age: float = 3600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = check_key_url(url)
        self._connection = Connection(
            self._url, extra="web", timeout=(timeout, timeout), seconds=timeout, longest=_LARGEST
        )
        self._algorithms = algorithms
        self._pause, self._max_age, self._clock = pause, max_age, clock
        self._keys: tuple[Key, ...] = ()
        self._problem = "no fetch has ended yet"
        self._may_ask = self._should_ask = -1e18  # times of the clock
        self._asking = ForkSafeLock()

    def keys(self) -> tuple[Key, ...]:
        """Return the keys of the last fetch.

        Raises:
            StorageUnavailable: There are no keys, and none could be fetched.
        """
        if self._clock() >= self._should_ask:
            self._ask(lambda: self._should_ask)
        if not self._keys:
            raise StorageUnavailable(f"the keys of tokens cannot be fetched from {shown(self._url)}: {self._problem}")
        return self._keys

    def refresh(self) -> bool:
        """Fetch again, unless the last fetch is younger than `pause`; tell whether the keys have changed."""
        before = self._keys
        self._ask(lambda: self._may_ask)
        return self._keys != before

    def _ask(self, due: Callable[[], float]) -> None:
        if not self._asking.acquire(blocking=not self._keys):
            return
        try:
            if self._clock() >= due():
                self._fetch()
        finally:
            self._asking.release()

    def _fetch(self) -> None:
        wait = self._pause
        try:
            content = self._get()
            self._keys = parse_keys(content, self._algorithms) if content else ()
            self._problem = "the server has no key"
            wait = self._max_age if self._keys else self._pause
        except (_NoKeys, InvalidInput, StorageUnavailable) as error:
            self._problem = str(error)
            _log.warning("keys cannot be fetched from %s: %s", shown(self._url), self._problem)
        self._may_ask = self._clock() + self._pause
        self._should_ask = self._clock() + wait

    def _get(self) -> str | None:
        """Fetch the text of the keys, or None for no content. No redirect is followed: it could choose the keys."""
        try:
            response = self._connection.send("GET", self._url, headers={"Accept": "*/*"})
        except (NotSent, ResponseLost) as error:
            raise _NoKeys(error.reason) from None
        finally:
            self._connection.close()  # the next fetch is minutes away
        if response.status == _NO_CONTENT:
            return None
        if response.status != _OK:
            raise _NoKeys(f"the server answered with status {response.status}")
        try:
            return response.content.decode("utf-8")
        except ValueError:
            raise _NoKeys("the response is not UTF-8 text") from None


class _NoKeys(Exception):
    """A fetch brought no keys. The message gives the reason, and is safe to show."""


def shown(url: str) -> str:
    """Return a URL without its query, which may hold a secret."""
    parts = split_url(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
