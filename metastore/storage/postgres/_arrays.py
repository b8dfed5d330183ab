"""Arrays as PostgreSQL receives them. psycopg takes several times as long, since a list may hold anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from struct import Struct

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from metastore.storage.postgres._packing import Row

#: The number of dimensions, whether there are nulls, the type of the items, how many there are, and the first index.
_HEAD = Struct("!5i")
_LENGTH = Struct("!i").pack
_NULL = _LENGTH(-1)
#: How large the objects of one statement may be together, in bytes.
_MOST_BYTES = 4 * 1024 * 1024


class ByteArray:
    """An array of bytes.

    Args:
        items: The items, as PostgreSQL receives them; None for NULL.
    """

    item_type, array_type = 17, 1001  # of pg_type: bytea, bytea[]
    __slots__ = ("raw",)

    def __init__(self, items: Sequence[bytes | None]) -> None:
        parts = [_HEAD.pack(1, None in items, self.item_type, len(items), 1)]
        for item in items:
            parts += (_NULL,) if item is None else (_LENGTH(len(item)), item)
        self.raw = b"".join(parts)


class TextArray(ByteArray):
    """An array of texts in UTF-8."""

    item_type, array_type = 25, 1009
    __slots__ = ()


class BooleanArray(ByteArray):
    """An array of bytes that are 0 or 1."""

    item_type, array_type = 16, 1000
    __slots__ = ()


class IntegerArray(ByteArray):
    """An array of integers of four bytes each, as `struct` packs them."""

    item_type, array_type = 23, 1007
    __slots__ = ()


class _Dumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: ByteArray) -> bytes:
        return obj.raw


for _kind in (ByteArray, TextArray, BooleanArray, IntegerArray):
    psycopg.adapters.register_dumper(_kind, type(f"_{_kind.__name__}Dumper", (_Dumper,), {"oid": _kind.array_type}))


Arrays = dict[str, ByteArray]


def chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield objects, some megabytes at once; at least once."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        if chunk and size + len(row.data) > _MOST_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row.data) + 100
    yield chunk


def arrays(rows: Collection[Row]) -> Arrays:
    """Return objects as arrays for a function of the database."""
    ids, kinds, packs, bases, datas = zip(*rows, strict=True) if rows else [()] * 5
    return {
        "ids": ByteArray(ids),
        "kinds": TextArray([kind.encode() for kind in kinds]),
        "packs": BooleanArray([b"\1" if packed else b"\0" for packed in packs]),
        "bases": ByteArray(bases),
        "datas": ByteArray(datas),
    }
