"""Deltas between two objects, as in packs: pieces of a base to copy, and bytes to insert. See gitformat-pack(5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: The length of the pieces of the base that are looked up, in bytes.
_BLOCK = 32
_MOST_COPIED, _MOST_INSERTED = 0xFFFF, 127
_FIRST_STEP = 64
#: The bits after which a number has no further ones: to add to a number takes time by its length.
MOST_BITS = 63
#: The search ends after this many bytes that are not in the base.
_MOST_MISSED = 8192


def compute_delta(base: bytes, target: bytes, *, longest: int) -> bytes | None:
    """Return the delta that turns `base` into `target`, or None if it takes more than `longest` bytes."""
    start = _common(base, 0, target, 0)
    end = _common_end(base, target, start)
    parts = [_size(len(base)), _size(len(target)), *_copies(0, start)]
    inserted = 0
    for at, position, length in _pieces(base, target, start, end):
        if length:
            parts += _copies(at, length)
        else:
            parts += _inserts(target, at, position)
            inserted += position - at
            if inserted > longest:
                return None
    parts += _copies(len(base) - end, end)
    found = b"".join(parts)
    return found if len(found) <= longest else None


def apply_delta(base: bytes, delta: bytes, commands: Iterator[int] | None = None) -> bytes:
    """Apply a delta to its base.

    Args:
        base: The object that the delta is for.
        delta: The delta.
        commands: One item for each command that may be carried out, also by later calls; None for any number.

    Raises:
        ValueError: The delta is for another base, or damaged, or has too many commands.
        IndexError: The delta was cut short.
    """
    _, position = _read_size(delta, 0)
    size, position = _read_size(delta, position)
    out = bytearray()
    while position < len(delta) and len(out) <= size:
        if commands is not None and next(commands, None) is None:
            raise ValueError("its deltas have too many commands")
        command = delta[position]
        position += 1
        if command & 128:
            start, position = _read_sparse(delta, position, command & 15, 4)
            length, position = _read_sparse(delta, position, command >> 4 & 7, 3)
            out += base[start : start + (length or 0x10000)]
        else:
            out += delta[position : position + command]
            position += command
    if len(out) != size:
        raise ValueError("a delta does not fit its base")
    return bytes(out)


def result_size(delta: bytes) -> int:
    """Return the size of a delta's result, in bytes. Raises IndexError if the delta was cut short."""
    return _read_size(delta, _read_size(delta, 0)[1])[0]


def _pieces(base: bytes, target: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the content between the common start and the common end.

    Yields:
        `(at, _, length)` for a piece of the base, `(from, to, 0)` for bytes of the target that are not in the base.
    """
    known = {base[at : at + _BLOCK]: at for at in range(start, len(base) - end - _BLOCK + 1, _BLOCK)}
    position = literal = start
    stop = len(target) - end
    while known and position + _BLOCK <= stop and position - literal <= _MOST_MISSED:
        at = known.get(target[position : position + _BLOCK])
        if at is None:
            position += 1
            continue
        while position > literal and at and base[at - 1] == target[position - 1]:
            at, position = at - 1, position - 1
        length = min(_common(base, at, target, position), stop - position)
        if position > literal:
            yield literal, position, 0
        yield at, position, length
        position = literal = position + length
    if literal < stop:
        yield literal, stop, 0


def _common(base: bytes, at: int, target: bytes, position: int) -> int:
    """Return the number of equal bytes from two positions on."""

    def same(done: int, step: int) -> bool:
        first, second = at + done, position + done
        return base[first : first + step] == target[second : second + step]

    return _extent(min(len(base) - at, len(target) - position), same)


def _common_end(base: bytes, target: bytes, start: int) -> int:
    """Return the number of equal bytes at both ends, beyond the first `start` bytes."""

    def same(done: int, step: int) -> bool:
        first, second = len(base) - done, len(target) - done
        return base[first - step : first] == target[second - step : second]

    return _extent(min(len(base), len(target)) - start, same)


def _extent(most: int, same: Callable[[int, int], bool]) -> int:
    """Return the number of equal bytes, at most `most`; `same(done, step)` compares `step` bytes after `done`."""
    length, step = 0, _FIRST_STEP
    while length < most:
        step = min(step, most - length)
        if same(length, step):
            length, step = length + step, 2 * step
        elif step == 1:
            break
        else:
            step //= 2
            most = min(most, length + 2 * step + 1)
    return length


def _copies(at: int, length: int) -> Iterator[bytes]:
    for place in range(at, at + length, _MOST_COPIED):
        yield _copy(place, min(_MOST_COPIED, at + length - place))


def _copy(at: int, length: int) -> bytes:
    """Return a copy command. It omits the zero bytes of both numbers; its first byte says which bytes are present."""
    command, out = 128, bytearray(1)
    for bit, byte in enumerate((*at.to_bytes(4, "little"), *length.to_bytes(2, "little"))):
        if byte:
            command |= 1 << bit
            out.append(byte)
    out[0] = command
    return bytes(out)


def _inserts(target: bytes, start: int, stop: int) -> Iterator[bytes]:
    for place in range(start, stop, _MOST_INSERTED):
        piece = target[place : min(stop, place + _MOST_INSERTED)]
        yield bytes([len(piece)]) + piece


def _size(size: int) -> bytes:
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


def _read_size(delta: bytes, position: int) -> tuple[int, int]:
    size, shift, byte = 0, 0, 128
    while byte & 128:
        if shift > MOST_BITS:
            raise IndexError("a size is too long")
        byte = delta[position]
        size |= (byte & 127) << shift
        shift, position = shift + 7, position + 1
    return size, position


def _read_sparse(delta: bytes, position: int, present: int, most: int) -> tuple[int, int]:
    """Read a number whose zero bytes are omitted."""
    value = 0
    for number in range(most):
        if present >> number & 1:
            value |= delta[position] << 8 * number
            position += 1
    return value, position
