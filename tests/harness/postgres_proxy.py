"""A way to PostgreSQL that cuts connections around a change, or delivers the change late."""

from __future__ import annotations

import contextlib
import socket
import threading

#: The comment of every change of a bundle in the tests.
WHY = b"Why"


class Proxy:
    """A way to a server that is cut where a test wants it.

    Attributes:
        cut: `before`: a change does not reach the server; `late`: not before the test says so; `after`: its answer does
            not come back. Once.
        down: Nobody gets through any more.
        stays_down: A cut also takes it down, for connections that are open, too.
        marker: Bytes by which a change is told from other requests.
    """

    def __init__(self, host: str, port: int) -> None:
        self.cut = ""
        self.down = self.stays_down = False
        self.cuts = 0
        self.marker = WHY
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._open: list[socket.socket] = []
        self._held = b""
        self._late: tuple[socket.socket, threading.Thread]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # until it is closed
            while True:
                client, _ = self._listener.accept()
                with contextlib.suppress(OSError):  # the client may have gone already
                    self._forward(client)

    def _forward(self, client: socket.socket) -> None:
        if self.down:
            client.close()
            return
        server = socket.create_connection(self._server)
        self._clients.append(client)
        self._open += [client, server]
        if self.down:  # since we looked
            client.shutdown(socket.SHUT_RDWR)
        changed = threading.Event()
        answers = threading.Thread(target=self._answers, args=(client, server, changed), daemon=True)
        answers.start()
        threading.Thread(target=self._requests, args=(client, server, changed, answers), daemon=True).start()

    def deliver(self) -> None:
        """Let the change that is late reach the server, and wait for the server's answer."""
        server, answers = self._late
        server.sendall(self._held)
        answers.join()

    def _requests(
        self, client: socket.socket, server: socket.socket, changed: threading.Event, answers: threading.Thread
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.cut and self.marker in data:
                    if self.cut == "before":
                        self._count()
                        break
                    if self.cut == "late":
                        self._held, self._late = data, (server, answers)
                        self._count()
                        self._end(client)
                        return
                    changed.set()
                server.sendall(data)
        self._end(client, server)

    def _answers(self, client: socket.socket, server: socket.socket, changed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if changed.is_set():
                    self._count()
                    break
                client.sendall(data)
        self._end(client, server)

    def _count(self) -> None:
        """Note that a connection is cut, and not closed by its client, as the one that looks at the tables is."""
        self.cut = ""
        self.cuts += 1
        self.down = self.stays_down

    def _end(self, *sockets: socket.socket) -> None:
        for each in (*sockets, *(self._clients if self.down else ())):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
