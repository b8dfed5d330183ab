"""The base of the emulators of Git hosts: an HTTP server on loopback that counts, and fails on request.

An emulator says what to answer in `answer`; everything around it is here: who asks (`tokens`), what was asked (`seen`),
and faults. A fault strikes requests that match, once or as often as it is told to, and each tells in `struck` that it
did, so that no test passes because nothing happened.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from metastore.http.connection import Connection

from ..processes import SOAK

#: Before the request is carried out, in the middle of its answer, after it is carried out; after it with a 502.
CUTS = ("cut-before", "cut-during", "cut-after", "bad-gateway-after")
#: So many requests to a repository that was just made are answered 404, unless a test says otherwise.
LAG = 2
#: In so many lists it is missing, on hosts that are reported to list late, unless a test says otherwise.
LIST_LAG = 1


@dataclass(frozen=True)
class Request:
    """A request as it came; `path` is unquoted, and names of headers are lower case."""

    method: str
    path: str
    raw_path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body or b"null")


@dataclass(frozen=True)
class Reply:
    """An answer: `body` is sent as JSON, unless it is bytes or None."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Fault:
    """A fault that strikes requests.

    It is one of CUTS, `held` (no answer until `release` is called), `endless` (an answer that goes on until the client
    hangs up), a Reply in place of the real one, or a function that changes the real one.

    Attributes:
        kind: Which of them.
        method: Only requests with this method; empty for all.
        path: Only requests whose path matches this regular expression somewhere.
        skip: How many that match are let through before.
        times: How many are struck.
        body: Only requests whose body contains this text.
        before: Called just before the request that is struck is carried out: what somebody else does meanwhile.
        struck: How many were.
    """

    kind: str | Reply | Callable[[Reply], Reply]
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int = 1
    body: str = ""
    before: Callable[[], object] | None = None
    struck: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        self.released.set()

    def strikes(self, request: Request) -> bool:
        if self.method not in ("", request.method) or not re.search(self.path, request.path):
            return False
        if self.body.encode() not in request.body or self.struck >= self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.struck += 1
        return True


def listed(repositories: Iterable[Any]) -> list[Any]:
    """Return those of the repositories that a list has by now; see `LIST_LAG`."""
    there = []
    for each in repositories:
        each.unlisted_for -= 1
        there += [] if each.unlisted_for >= 0 else [each]
    return there


def struck_calls(calls: Sequence[Request], kind: str | Reply) -> list[int]:
    """Return the numbers of those calls of a write that a fault is to strike: in the soak, all of them.

    Otherwise the first and the last one. Where the host carries the request out before its answer is lost, also those
    that change something.
    """
    every = range(len(calls))
    if SOAK:
        return list(every)
    changing = [number for number in every if _changes(calls[number])] if kind == "cut-after" else []
    return sorted({0, *changing, len(calls) - 1})


def _changes(call: Request) -> bool:
    return call.method != "GET" and "upload-pack" not in call.path and b'"query ' not in call.body


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up
            super().handle_error(request, client_address)


class HostServer:
    """An emulated host; close it, or use it in a `with` statement."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.list_lag = 0
        self.seen: list[tuple[Request, Reply]] = []
        self.faults: list[Fault] = []
        #: Called with each request that was answered, and its answer: the judges.
        self.judges: list[Callable[[Request, Reply], object]] = []
        #: What the judges raised; a test that uses an emulator is to look at it in the end.
        self.verdicts: list[BaseException] = []
        self.lock = threading.RLock()
        self.process = os.getpid()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def answer_directly(self) -> None:
        """Answer our own client without a socket, but in the soak: a quarter of the time, for what needs no network.

        Other programs, and children of this process, still use the socket.
        """
        if not SOAK:
            _DIRECT[self.url] = self

    def answer(self, request: Request) -> Reply:
        """Carry out a request. Called under the lock: a host's own transactions are not what is tested."""
        raise NotImplementedError

    def take(self, other: Any) -> None:
        """Hold what another host of this kind holds, and go on from there."""
        raise NotImplementedError

    def fault(self, kind: str | Reply | Callable[[Reply], Reply], **options: Any) -> Fault:
        """Let something go wrong; see `Fault`."""
        made = Fault(kind, **options)
        self.faults.append(made)
        return made

    def who(self, request: Request) -> str | None:
        """Return whose token a request bears, or None."""
        given = request.headers.get("authorization", "").partition(" ")[2] or request.headers.get("private-token", "")
        return self.tokens.get(given)

    def calls(self) -> list[str]:
        """Return what was asked, such as `GET /user`."""
        return [f"{request.method} {request.path}" for request, _ in self.seen]

    def forget(self) -> None:
        """Count from nothing again."""
        self.seen.clear()

    def close(self) -> None:
        _DIRECT.pop(self.url, None)
        for fault in self.faults:
            fault.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self.verdicts:
            raise self.verdicts[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def handle(self, request: Request) -> tuple[Reply, str]:
        """Carry out a request, or let it fail; return the answer and, where its sending shall fail, how."""
        with self.lock:
            fault = next((each for each in self.faults if each.strikes(request)), None)
        if fault and fault.before:
            fault.before()
        if fault and fault.kind == "cut-before":
            return Reply(0), "cut"
        if fault and fault.kind == "held":
            fault.released.wait()
        if fault and isinstance(fault.kind, Reply):
            reply = fault.kind
        else:
            with self.lock:
                reply = self._answer(request)
        if fault and callable(fault.kind):
            reply = fault.kind(reply)
        self.seen.append((request, reply))
        if fault and fault.kind == "bad-gateway-after":
            return Reply(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}), ""
        ends = {"cut-after": "cut", "cut-during": "half", "endless": "endless"}
        return reply, ends.get(str(fault.kind), "") if fault else ""

    def _answer(self, request: Request) -> Reply:
        try:
            reply = self.answer(request)
            for judge in self.judges:
                judge(request, reply)
        except Exception as error:  # the test's thread raises it when it closes the emulator
            self.verdicts.append(error)
            return Reply(500, {"message": repr(error)})
        return reply


def _handler(host: HostServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # headers and body in one packet

        def _any(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            reply, sending = host.handle(_request(self.command, self.path, headers, body))
            _send(self, reply, sending)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = _any  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


def _request(method: str, address: str, headers: dict[str, str], body: bytes) -> Request:
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method, unquote(parts.path), parts.path, query, headers, body)


def _send(handler: BaseHTTPRequestHandler, reply: Reply, sending: str) -> None:
    """Send an answer, or what a fault leaves of it."""
    content = reply.content
    handler.close_connection = handler.close_connection or sending != ""
    if sending == "cut" or (sending == "half" and not content):
        return
    handler.send_response_only(reply.status)
    if reply.body is not None and "Content-Type" not in reply.headers:
        handler.send_header("Content-Type", "application/json; charset=utf-8")
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if reply.status != 304 and sending != "endless":
        handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if sending == "half":
        content = content[: len(content) // 2]
    if handler.command != "HEAD":
        handler.wfile.write(content)
    handler.wfile.flush()
    with suppress(OSError):  # the client hangs up
        while sending == "endless":
            handler.connection.sendall(b" " * 65_536)


#: The hosts of this process that answer our own client without a socket, by address.
_DIRECT: dict[str, HostServer] = {}


class _Direct(httpx.BaseTransport):
    """Hands requests to a host in this process, and its answers back."""

    def __init__(self, host: HostServer) -> None:
        self.host = host

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        address = request.url.raw_path.decode("ascii")
        reply, sending = self.host.handle(_request(request.method, address, headers, request.read()))
        assert not sending, "an answer is cut off on a socket alone"
        kind = {} if reply.body is None else {"Content-Type": "application/json; charset=utf-8"}
        content = b"" if request.method == "HEAD" else reply.content
        return httpx.Response(reply.status, headers={**kind, **reply.headers}, stream=_Content(content))


class _Content(httpx.SyncByteStream):
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content


def _pool(
    connection: Connection, of_sockets: Callable[[Connection], httpx.Client] = Connection._new_pool
) -> httpx.Client:
    for address, host in _DIRECT.items():
        if f"{connection.base}/".startswith(f"{address}/") and host.process == os.getpid():
            return httpx.Client(headers=connection._headers, transport=_Direct(host), follow_redirects=False)
    return of_sockets(connection)


Connection._new_pool = _pool  # type: ignore[method-assign]
