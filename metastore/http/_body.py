"""The head and the body of an HTTP response, read within bounds: the server may be broken or hostile."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

#: Sent as `Accept-Encoding`: no other encoding is read.
ENCODING = "gzip"


#: Until when each thread waits for the rest of a head, by the monotonic clock.
_heads = threading.local()


class BadBody(Exception):
    """A response is too long, too slow or badly compressed. A retry is useless. Its message follows an address."""


class Stream(Protocol):
    """The part of httpx's response that is used here."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers; names in any case."""
        ...

    def iter_raw(self) -> Iterator[bytes]:
        """Yield the body in the pieces that arrive, still compressed."""
        ...


def head_within(seconds: float) -> Callable[[str, Mapping[str, Any]], None]:
    """Return a `trace` for a request, which bounds the time that the head of its response takes as a whole.

    httpcore bounds each read alone. A server that sends a byte now and then, or 1xx responses without end, would hold
    us for days.

    Args:
        seconds: The longest time, from the moment when the request was sent. After it, reads raise `BadBody`.
    """

    def trace(event: str, info: Mapping[str, Any]) -> None:
        step = event.partition(".")[2]
        if step in ("connect_tcp.complete", "start_tls.complete"):
            _bound(info["return_value"])
        elif step == "receive_response_headers.started":
            _heads.end = time.monotonic() + seconds, seconds
        elif step.startswith("receive_response_headers."):
            _heads.end = None

    return trace


def _bound(connection: Any) -> None:
    read = connection.read

    def bounded(most: int, timeout: float | None = None) -> bytes:
        end = getattr(_heads, "end", None)
        if end and time.monotonic() > end[0]:
            raise BadBody(f"takes more than {end[1]:g} seconds for the head of an answer")
        content: bytes = read(most, timeout)
        return content

    connection.read = bounded


def read_body(response: Stream, *, longest: int, seconds: float) -> bytes:
    """Return a body, decompressed. Raises `BadBody` if it is too long, too slow or badly compressed.

    Never more than `longest` bytes and one piece are held.

    Args:
        response: A response whose body has not been read yet.
        longest: The most bytes to read, both compressed and decompressed.
        seconds: The longest time to read.
    """
    until, parts = time.monotonic() + seconds, []
    inflater = _inflater(response.headers.get("content-encoding", ""))
    came = size = 0
    for piece in response.iter_raw():
        parts.append(_inflated(inflater, piece, longest + 1 - size) if inflater else piece)
        came, size = came + len(piece), size + len(parts[-1])
        if max(came, size) > longest:  # compressed bytes can arrive for ever and decompress to nothing
            raise BadBody(f"answers with more than {longest} bytes")
        if time.monotonic() > until:
            raise BadBody(f"takes more than {seconds:g} seconds for an answer")
    if inflater and came and not inflater.eof:
        raise BadBody("gave an answer that was cut short")
    return b"".join(parts)


def _inflater(encoding: str) -> Any:
    """Return a decompressor, or None if the body is not compressed."""
    if encoding.strip().lower() in ("", "identity"):
        return None
    if encoding.strip().lower() in ("gzip", "x-gzip"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    raise BadBody(f"compresses in a way that nobody asked for: {encoding[:50]!r}")


def _inflated(inflater: Any, piece: bytes, most: int) -> bytes:
    try:
        content: bytes = inflater.decompress(piece, most)
    except zlib.error:
        raise BadBody("gave an answer that is not compressed as it says") from None
    return content
