"""Around every request: its id, a line of the log, the counters, and what browsers ask (CORS).

WSGI and not hooks of Flask, so that it also sees what Flask itself refuses, and the end of what is streamed.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring as _text
from typing import TYPE_CHECKING, Any

from metastore.service.metrics import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Where the environment of a request has its id, and who asks.
REQUEST_ID, USER = "metastore.request_id", "metastore.user"
#: What an id that a client or proxy chose may look like; any other is replaced.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: What pages of other origins may send, and see of an answer.
_ALLOWED = "Authorization, Content-Type, If-Match, If-None-Match, Prefer, X-Request-ID"
_EXPOSED = "ETag, Link, Location, Content-Location, Preference-Applied, Retry-After, WWW-Authenticate, X-Request-ID"
#: For how many seconds a browser need not ask again.
_REMEMBERED = "600"
#: How much of a path is logged: a line of up to 4 kB goes out in one piece (PIPE_BUF, pipe(7)).
_LONGEST = 500
_access = logging.getLogger("metastore.access")

Headers = list[tuple[str, str]]


class Watch:
    """An application that is counted, logged and, if it is wanted, open to pages of other origins.

    Args:
        app: What answers.
        origins: The origins whose pages may call it; `*` for any.
    """

    def __init__(self, app: WSGIApplication, origins: Sequence[str] = ()) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._metrics = metrics()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        seen = _Seen(environ)
        self._metrics.in_flight.inc()

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            seen.answered(status)
            headers.append(("X-Request-ID", seen.id))
            if self._origins:
                self._open(environ, headers)
            return start_response(status, headers, exc_info)

        try:
            return _Parts(self._app(environ, start), seen, self._done)
        except BaseException:
            self._done(seen)
            raise

    def _open(self, environ: WSGIEnvironment, headers: Headers) -> None:
        """Say which pages may read an answer (Fetch standard); none may send a user's cookies."""
        if "*" in self._origins:
            allowed = "*"
        else:
            _vary(headers)
            allowed = environ.get("HTTP_ORIGIN", "")
            if allowed not in self._origins:
                return
        headers += [("Access-Control-Allow-Origin", allowed), ("Access-Control-Expose-Headers", _EXPOSED)]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            methods = next((value for name, value in headers if name == "Allow"), "")
            headers += [
                ("Access-Control-Allow-Methods", methods),
                ("Access-Control-Allow-Headers", _ALLOWED),
                ("Access-Control-Max-Age", _REMEMBERED),
            ]

    def _done(self, seen: _Seen) -> None:
        seconds = time.perf_counter() - seen.started
        self._metrics.in_flight.dec()
        method = seen.environ["REQUEST_METHOD"]
        self._metrics.answered(method, seen.route, seen.status, seconds)
        if _access.isEnabledFor(logging.INFO):
            _access.info(seen.line(method, seconds))


class _Seen:
    """What is known of a request so far."""

    __slots__ = ("environ", "id", "route", "sent", "started", "status")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.started = time.perf_counter()
        self.environ = environ
        given = environ.get("HTTP_X_REQUEST_ID", "")
        self.id = given if _ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        self.status, self.route = 500, "none"
        self.sent = 0
        environ[REQUEST_ID] = self.id

    def answered(self, status: str) -> None:
        """Note what the answer is; later Flask has forgotten the request, and with it the pattern of its path."""
        self.status = int(status[:3])
        rule = getattr(self.environ.get("werkzeug.request"), "url_rule", None)
        if rule is not None:
            self.route = rule.rule

    def line(self, method: str, seconds: float) -> str:
        """Return the request as one line of JSON; neither query nor token nor body is in it."""
        path = self.environ.get("PATH_INFO", "")[:_LONGEST].encode("latin-1").decode("utf-8", "replace")
        user = self.environ.get(USER)
        # Put together by hand, since this is done for every request; what others chose is escaped.
        return (
            f'{{"time": "{_now()}", "method": {_text(method)}, "path": {_text(path)}, "route": {_text(self.route)}, '
            f'"status": {self.status}, "ms": {seconds * 1000:.2f}, "bytes": {self.sent}, '
            f'"user": {_text(user) if user is not None else "null"}, "request_id": "{self.id}"}}'
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class _Parts:
    """The parts of an answer, counted; after the last one, or when it is closed, the request is done."""

    __slots__ = ("_done", "_ended", "_parts", "_seen")

    def __init__(self, parts: Iterable[bytes], seen: _Seen, done: Callable[[_Seen], None]) -> None:
        self._parts, self._seen, self._done, self._ended = parts, seen, done, False

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self._seen.sent += len(part)
            yield part
        self._end()

    def close(self) -> None:
        """Free what the answer was made from."""
        try:
            if hasattr(self._parts, "close"):
                self._parts.close()
        finally:
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._done(self._seen)


def _vary(headers: Headers) -> None:
    for index, (name, value) in enumerate(headers):
        if name == "Vary":
            headers[index] = (name, f"{value}, Origin")
            return
    headers.append(("Vary", "Origin"))
