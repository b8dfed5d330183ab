"""The body of an HTTP answer, read within bounds: whoever answers may be broken, or mean us harm."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

#: What to ask for with `Accept-Encoding`: no other encoding is read.
ENCODING = "gzip"


class BadBody(Exception):
    """An answer is too long, too slow, or not compressed as it says; asking again would be in vain. Has no subject."""


class Response(Protocol):
    """What is needed of an answer; httpx's has it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in any case."""
        ...

    def iter_raw(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        ...


def read_body(response: Response, *, longest: int, seconds: float) -> bytes:
    """Return a body, decompressed; `BadBody` where it is too long or too slow, or cannot be decompressed.

    Of one that is too long no more is held than `longest` and a piece.

    Args:
        response: An answer whose body was not read yet.
        longest: How many bytes to read at most, both of what comes and of what that decompresses to.
        seconds: For how long to read.
    """
    until, parts = time.monotonic() + seconds, []
    inflater = _inflater(response.headers.get("content-encoding", ""))
    came = size = 0
    for piece in response.iter_raw():
        parts.append(_inflated(inflater, piece, longest + 1 - size) if inflater else piece)
        came, size = came + len(piece), size + len(parts[-1])
        if max(came, size) > longest:  # what is compressed may come for ever and say nothing
            raise BadBody(f"answers with more than {longest} bytes")
        if time.monotonic() > until:
            raise BadBody(f"takes more than {seconds:g} seconds for an answer")
    if inflater and came and not inflater.eof:
        raise BadBody("gave an answer that was cut short")
    return b"".join(parts)


def _inflater(encoding: str) -> Any:
    """Return what decompresses, or None where there is nothing to do."""
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
