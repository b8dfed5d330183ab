"""A proxy on loopback that fails as networks and proxies do, one way a request."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Exchange:
    """One request, and what can be done with it."""

    def __init__(self, client: socket.socket, request: bytes, upstream: tuple[str, int]) -> None:
        self.client = client
        self.request = request
        self._upstream = upstream

    def forward(self) -> bytes:
        """Let the service answer; returns all that it says."""
        with socket.create_connection(self._upstream) as service:
            service.sendall(self.request)
            parts = iter(lambda: service.recv(65_536), b"")
            return b"".join(parts)

    def hand_over(self) -> None:
        """Give the service the request, and do not wait for what it makes of it."""
        with socket.create_connection(self._upstream) as service:
            service.sendall(self.request)

    def answer(self, content: bytes) -> None:
        with suppress(OSError):
            self.client.sendall(content)

    def wait_for_the_client_to_go(self) -> None:
        with suppress(OSError):
            while self.client.recv(65_536):
                pass


Fault = Callable[[Exchange], None]


def passes(each: Exchange) -> None:
    each.answer(each.forward())


def cut_before_it_arrives(each: Exchange) -> None:
    pass


def cut_after_it_was_done(each: Exchange) -> None:
    each.forward()


def cut_within_the_answer(each: Exchange) -> None:
    whole = each.forward()
    each.answer(whole[: whole.index(b"\r\n\r\n") + 10])


def cut_within_the_head(each: Exchange) -> None:
    each.answer(each.forward()[:12])


def delivered_late(*, first: bool) -> list[Fault]:
    """Return two faults: one keeps a request back, the other delivers it beside its repetition: before, or after it."""
    kept: list[Exchange] = []

    def release(each: Exchange) -> None:
        if first:
            kept[0].forward()
        each.answer(each.forward())
        if not first:
            kept[0].forward()

    return [kept.append, release]


def silent(each: Exchange) -> None:
    each.wait_for_the_client_to_go()


def says(
    status: str, body: bytes = b"<html>", kind: str = "text/html", *, forwards: bool = False, **more: str
) -> Fault:
    """Return what answers in the service's place; and tells it nothing, unless it forwards."""

    def fault(each: Exchange) -> None:
        if forwards:
            each.forward()
        head = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        head |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        each.answer(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    return fault


def noise(each: Exchange) -> None:
    each.forward()
    each.answer(b"\x00\xff\x00 nothing like HTTP\r\n\r\n")


def endless(each: Exchange) -> None:
    with suppress(OSError):
        each.client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        while True:
            each.client.sendall(b" " * 65_536)


def dripping(head: bytes) -> Fault:
    """Return what sends a line of its head, and then slowly repeats what a head can have, for two seconds."""

    def fault(each: Exchange) -> None:
        with suppress(OSError):
            each.client.sendall(b"HTTP/1.1 200 OK\r\n" if not head.startswith(b"HTTP") else b"")
            for _ in range(400):
                each.client.sendall(head)
                time.sleep(0.005)

    return fault


class Proxy:
    """Passes requests on to a service, but for those that it was told to spoil.

    Attributes:
        address: Where it listens.
        seen: The methods and paths of all requests.
        spoil: What to do with requests by method; the first of each list for the next one. `*` stays.
    """

    def __init__(self, upstream: str) -> None:
        host, port = upstream.removeprefix("http://").split(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen: list[str] = []
        self.heads: list[bytes] = []
        self.spoil: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.threads: list[threading.Thread] = []

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def settle(self) -> None:
        """Wait until everything that came was dealt with."""
        for thread in self.threads:
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        with client:
            request = _read_request(client)
            if not request:
                return
            method, path = request.split(b" ", 2)[:2]
            self.seen.append(f"{method.decode()} {path.decode()}")
            self.heads.append(request.partition(b"\r\n\r\n")[0])
            planned = self.spoil.get(method.decode(), [])
            fault = planned.pop(0) if planned else self.always.get(method.decode(), passes)
            with suppress(OSError):
                fault(Exchange(client, request, self._upstream))


def _read_request(client: socket.socket) -> bytes:
    content = b""
    while b"\r\n\r\n" not in content:
        part = client.recv(65_536)
        if not part:
            return b""
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    while length and len(body) < int(length[1]):
        body += client.recv(65_536)
    head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head) + b"\r\nConnection: close"
    return head + b"\r\n\r\n" + body


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join()


def no_waiting(store: Any) -> list[float]:
    """Let a remote store not wait between tries; returns the pauses that it would have made."""
    pauses: list[float] = []
    store._http.connection.sleep = pauses.append
    return pauses
