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
        conn = _Connection(self.cfg, client, address, listener.getsockname())
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
            if kept is not True or not self.alive or not self.tpool._work_queue.empty() or not conn.goes_on():
                return kept

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
        if not poll.poll(NEXT_WITHIN):
            return False
        self.sock.setblocking(False)
        return self.read_head()

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
        self._began, self._got = time.monotonic(), 0
        self.sock.settimeout(ANSWER_WITHIN)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return what comes next. Raises NoMoreData: nothing comes, or too little."""
        left = self._began + BODY_SILENCE + self._got / LEAST_RATE - time.monotonic()
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
