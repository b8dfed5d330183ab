"""Where keys come from: given, a file that may change, or a server that may be down."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from metastore.auth.keys import Key, check_key_url, parse_keys
from metastore.errors import InvalidInput, StorageUnavailable
from metastore.forks import ForkSafeLock
from metastore.http.connection import Connection
from metastore.http.responses import NotSent, ResponseLost

_log = logging.getLogger("metastore.auth.tokens")
_LARGEST = 262_144
_OK, _NO_CONTENT = 200, 204


class KeySource(Protocol):
    """Where keys come from."""

    def keys(self) -> tuple[Key, ...]:
        """Return the keys that count now.

        Raises:
            StorageUnavailable: None can be had.
        """

    def refresh(self) -> bool:
        """Look again, because no key fitted a token; tell whether there are other keys now."""


class GivenKeys:
    """Keys that never change."""

    def __init__(self, *keys: Key) -> None:
        self._keys = keys

    def keys(self) -> tuple[Key, ...]:
        """Return them."""
        return self._keys

    def refresh(self) -> bool:
        """Do nothing."""
        return False


class FileKeys:
    """The keys of a file, read again when it changes; a broken one is warned of, and the last good one counts.

    Args:
        path: PEM blocks, or a key set.
        algorithms: As for `metastore.auth.keys.parse_keys`.

    Raises:
        InvalidInput: It cannot be read, or holds no key.
    """

    def __init__(self, path: str | Path, algorithms: Sequence[str] = ()) -> None:
        self._path = Path(path)
        self._algorithms = algorithms
        self._seen = self._state()  # before reading: a change meanwhile is noticed then
        self._keys = self._read()

    def keys(self) -> tuple[Key, ...]:
        """Return the keys that the file holds now."""
        seen = self._state()
        if seen != self._seen:
            self._seen = seen
            try:
                self._keys = self._read()
            except InvalidInput as error:
                _log.warning("the keys stay as they were: %s", error)
        return self._keys

    def refresh(self) -> bool:
        """Do nothing: each call of `keys` looks."""
        return False

    def _read(self) -> tuple[Key, ...]:
        try:
            content = self._path.read_text("utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InvalidInput(f"the key file {self._path} cannot be read: {reason}") from None
        try:
            return parse_keys(content, self._algorithms)
        except InvalidInput as error:
            raise InvalidInput(f"the key file {self._path}: {error}") from None

    def _state(self) -> object:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class UrlKeys:
    """The keys of a server, as PEM or a key set; fetched on first use, and again after `max_age`.

    A token that fits no key leads to another fetch, but at most one per `pause`: anybody can invent tokens. While one
    thread fetches, the others use the present keys. Keys survive a failed fetch. A response without keys (204, as from
    a CKAN without any, or an empty set) removes them.

    Args:
        url: http or https; redirects are not followed.
        algorithms: As for `metastore.auth.keys.parse_keys`.
        timeout: Of a fetch, in seconds.
        pause: Between two fetches at least, in seconds.
        max_age: After which keys are fetched again, in seconds.
        clock: Seconds, from any start.

    Raises:
        InvalidInput: It is no such URL.
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
        self._problem = "nobody asked yet"
        self._may_ask = self._should_ask = -1e18  # times of the clock
        self._asking = ForkSafeLock()

    def keys(self) -> tuple[Key, ...]:
        """Return the keys as they were last fetched.

        Raises:
            StorageUnavailable: There are none, and none could be fetched just now.
        """
        if self._clock() >= self._should_ask:
            self._ask(lambda: self._should_ask)
        if not self._keys:
            raise StorageUnavailable(f"the keys of tokens cannot be fetched from {shown(self._url)}: {self._problem}")
        return self._keys

    def refresh(self) -> bool:
        """Fetch again, unless that was done just now; tell whether there are other keys."""
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
        """Fetch the text once, or None for no content. Redirects are not followed: they could choose the keys."""
        try:
            response = self._connection.send("GET", self._url, headers={"Accept": "*/*"})
        except (NotSent, ResponseLost) as error:
            raise _NoKeys(error.reason) from None
        finally:
            self._connection.close()  # the next fetch is minutes away
        if response.status == _NO_CONTENT:
            return None
        if response.status != _OK:
            raise _NoKeys(f"it answers {response.status}")
        try:
            return response.content.decode("utf-8")
        except ValueError:
            raise _NoKeys("its answer makes no sense") from None


class _NoKeys(Exception):
    """A fetch brought no keys; the text says why, and is safe to show."""


def shown(url: str) -> str:
    """Return a URL without its query, which may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
