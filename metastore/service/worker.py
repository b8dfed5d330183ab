"""Gunicorn's threads, spared by clients that are slow: a thread works only once a request's head is there.

Otherwise a client that sends half a head holds a thread for as long as it likes, and a few of them hold all.
"""

from __future__ import annotations

import select
import selectors
import socket
import time
from functools import partial
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

#: Within how many seconds a head has to be complete.
HEAD_WITHIN = 10.0
#: For how many seconds a client may be silent in the middle of a body; and how long taking an answer may last.
BODY_SILENCE, ANSWER_WITHIN = 10.0, 60.0
#: For how many milliseconds a thread waits for the next request of a connection.
NEXT_WITHIN = 1
#: How many bytes a second a body has to come in with, after the first seconds.
LEAST_RATE = 4096
#: What is shorter is held back for what comes next: the head of an answer.
_SHORT = 4096
#: How long the rest of a body is read that nobody wanted.
_REST_WITHIN = 0.05
#: From here on the parser looks at the head and says what is wrong with it.
_ENOUGH = 64 * 1024


class Worker(ThreadWorker):  # type: ignore[misc]  # has no types
    """Reads heads without a thread, and gives up on clients that do not come to an end."""

    def accept(self, listener: Any) -> None:
        """Take a connection; most have sent their request already."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        conn = _Connection(self.cfg, _Socket(client), address, listener.getsockname())
        if not self._has_head(conn):
            self._wait(conn)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Take the next request of a connection that was kept."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        if not self._has_head(conn):
            self._wait(conn)

    def on_pending_socket_readable(self, conn: Any, client: Any) -> None:
        """Take more of a head."""
        if self._has_head(conn):
            self.poller.unregister(client)
            self.pending_conns.remove(conn)

    def handle(self, conn: Any) -> Any:
        """Answer, and go on with a next request that comes at once; in a thread.

        The way by the poller takes much of a short answer's time.
        """
        while True:
            kept = super().handle(conn)
            conn.sock.flush()
            if kept is not True or not self.alive or not self.tpool._work_queue.empty() or not conn.goes_on():
                return kept

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Tell whether the connection can be kept; a body that nobody wanted is not waited for."""
        if keepalive:
            conn.parser.unreader.hurry()
        return bool(super()._keepalive_after(conn, keepalive))

    def _wait(self, conn: Any) -> None:
        conn.timeout = time.monotonic() + HEAD_WITHIN
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _has_head(self, conn: Any) -> bool:
        """Read what is there, and let a thread answer once that is enough, or the client is gone."""
        if not conn.read_head():
            return False
        conn.data_ready = True
        self.enqueue_req(conn)
        return True


class _Socket(socket.socket):
    """A socket that asks the kernel no more than it has to, and sends an answer's head with what follows it.

    Every call into the kernel lets go of Python's lock, and with several threads that costs more than the call.
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        super().setblocking(False)  # for good: who waits, waits in `_wait`
        self._patience: float | None = None
        self._held = b""

    def setblocking(self, flag: bool) -> None:
        self._patience = None if flag else 0.0

    def settimeout(self, value: float | None) -> None:
        self._patience = value

    def gettimeout(self) -> float | None:
        return self._patience

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.flush()
        while True:
            try:
                return super().recv(size, flags)
            except BlockingIOError:
                self._wait(select.POLLIN, self._patience)

    def sendall(self, data: Any, flags: int = 0) -> None:
        if not self._held and len(data) < _SHORT:
            self._held = bytes(data)
            return
        held, self._held = self._held, b""
        self._send([held, data] if held else [data])

    def flush(self) -> None:
        """Send what was held back."""
        if self._held:
            held, self._held = self._held, b""
            self._send([held])

    def _send(self, parts: list[Any]) -> None:
        left, began, patience = [memoryview(part) for part in parts], time.monotonic(), self._patience
        while left:
            try:
                sent = self.sendmsg(left)
            except BlockingIOError:
                self._wait(select.POLLOUT, None if patience is None else began + patience - time.monotonic())
                continue
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if left:
                left[0] = left[0][sent:]

    def _wait(self, event: int, patience: float | None) -> None:
        if self._patience == 0.0:
            raise BlockingIOError
        poll = select.poll()
        poll.register(self, event)
        if not poll.poll(None if patience is None else max(patience, 0) * 1000):
            raise TimeoutError("timed out")

    def shutdown(self, how: int) -> None:
        self.flush()
        super().shutdown(how)


class _Connection(TConn):  # type: ignore[misc]
    """A connection whose head is read bit by bit."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._head = bytearray()

    def read_head(self) -> bool:
        """Read what is there; tell whether a thread can go on with it."""
        try:
            got = self.sock.recv(_ENOUGH)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            got = b""
        before = max(0, len(self._head) - 3)
        self._head += got
        return not got or self._head.find(b"\r\n\r\n", before) >= 0 or len(self._head) >= _ENOUGH

    def goes_on(self) -> bool:
        """Tell whether the head of a next request comes at once."""
        if self.parser.unreader.buf.getvalue():  # the poller does not see what was read already
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        self.sock.setblocking(False)
        return bool(poll.poll(NEXT_WITHIN)) and self.read_head()

    def init(self) -> None:
        """Hand over to the parser what was read; the thread that answers calls this."""
        first = not self.initialized
        super().init()
        if first:
            self.parser.unreader = _Unreader(self.sock)
        self.parser.unreader.begin()
        self.parser.unreader.unread(bytes(self._head))
        self._head.clear()

    def close(self, graceful: bool = False) -> None:
        """Close, after taking what came meanwhile, so that the last answer is not cut off.

        Gunicorn's own way waits here for the client, and meanwhile no other one is heard.
        """
        if graceful:
            try:
                self.sock.shutdown(socket.SHUT_WR)
                self.sock.setblocking(False)
                self.sock.recv(_ENOUGH)
            except OSError:
                pass
        super().close()


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """Reads with patience, but not for ever."""

    def begin(self) -> None:
        """Begin with a request."""
        self._until, self._got = time.monotonic() + BODY_SILENCE, 0
        self.sock.settimeout(ANSWER_WITHIN)

    def hurry(self) -> None:
        """Read what is there, and then no more."""
        self._until, self._got = time.monotonic() + _REST_WITHIN, 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return what comes next. Raises NoMoreData: nothing comes, or too little."""
        left = self._until + self._got / LEAST_RATE - time.monotonic()
        if left <= 0:
            raise NoMoreData
        self.sock.settimeout(min(left, BODY_SILENCE))
        try:
            got: bytes = super().chunk(size_hint)
        except TimeoutError:
            raise NoMoreData from None
        finally:
            self.sock.settimeout(ANSWER_WITHIN)
        self._got += len(got)
        return got
