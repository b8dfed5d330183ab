"""A WSGI layer around every request: its id, the access log, the counters, and CORS.

WSGI and not hooks of Flask, so that it also sees requests that Flask itself refuses, and the end of streamed responses.
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

#: The keys of a request's environment for its id and its user.
REQUEST_ID, USER = "metastore.request_id", "metastore.user"
#: The form of an id that a client or proxy may choose; any other id is replaced.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: The headers that pages of other origins may send, and may read.
_ALLOWED = "Authorization, Content-Type, If-Match, If-None-Match, Metastore-At-Least, Prefer, X-Request-ID"
_EXPOSED = "ETag, Link, Location, Content-Location, Preference-Applied, Retry-After, WWW-Authenticate, X-Request-ID"
#: The seconds for which a browser remembers the permission.
_REMEMBERED = "600"
#: The bytes of a path and the characters of a user that are logged. They take up to six and four bytes each, and a line
#: of up to 4 kB is written in one piece (PIPE_BUF, pipe(7)).
_LONGEST, _LONGEST_USER = 400, 250
_access = logging.getLogger("metastore.access")

Headers = list[tuple[str, str]]


class Watch:
    """Counts and logs the requests of an application, and opens it to pages of other origins.

    Args:
        app: The application.
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
            headers += [("X-Request-ID", seen.id), ("X-Content-Type-Options", "nosniff")]
            if self._origins:
                self._open(environ, headers)
            return start_response(status, headers, exc_info)

        try:
            return _Parts(self._app(environ, start), seen, self._done)
        except BaseException:
            self._done(seen)
            raise

    def _open(self, environ: WSGIEnvironment, headers: Headers) -> None:
        """Add the headers of CORS (Fetch standard). No origin may send a user's cookies."""
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
    """The facts about a request so far."""

    __slots__ = ("environ", "id", "route", "sent", "started", "status")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.started = time.perf_counter()
        self.environ = environ
        header = environ.get("HTTP_X_REQUEST_ID", "")
        self.id = header if _ID.fullmatch(header) else f"{random.getrandbits(64):016x}"
        self.status, self.route = 500, "none"
        self.sent = 0
        environ[REQUEST_ID] = self.id

    def answered(self, status: str) -> None:
        """Note the status and the route. Later, Flask has forgotten the request."""
        self.status = int(status[:3])
        rule = getattr(self.environ.get("werkzeug.request"), "url_rule", None)
        if rule is not None:
            self.route = rule.rule

    def line(self, method: str, seconds: float) -> str:
        """Return the request as one line of JSON, without query, token and body."""
        path = self.environ.get("PATH_INFO", "")[:_LONGEST].encode("latin-1").decode("utf-8", "replace")
        user = self.environ.get(USER)
        # Formatted by hand for speed, since every request passes here. Values from outside are escaped.
        return (
            f'{{"time": "{_now()}", "method": {_text(method)}, "path": {_text(path)}, "route": {_text(self.route)}, '
            f'"status": {self.status}, "ms": {seconds * 1000:.2f}, "bytes": {self.sent}, '
            f'"user": {_text(user[:_LONGEST_USER]) if user is not None else "null"}, "request_id": "{self.id}"}}'
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class _Parts:
    """The parts of a response, whose bytes are counted. The request ends with the last part, or at `close`."""

    __slots__ = ("_done", "_ended", "_parts", "_seen")

    def __init__(self, parts: Iterable[bytes], seen: _Seen, done: Callable[[_Seen], None]) -> None:
        self._parts, self._seen, self._done, self._ended = parts, seen, done, False

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self._seen.sent += len(part)
            yield part
        self._end()

    def close(self) -> None:
        """Close the response's own parts."""
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
