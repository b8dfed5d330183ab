"""The file `packed-refs`: one line per reference, sorted by name. Format: git-pack-refs(1)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from metastore.errors import StorageCorrupt
from metastore.files.reading import open_file, read_file
from metastore.os_errors import naming

_ROW = re.compile(rb"^([0-9a-f]{40}) (refs/[^\0-\x20]+)\r?$", re.MULTILINE)
_HEADER = b"# pack-refs with: sorted\n"
#: The lines that Git reads: a header, references, and the target of a tag after its own line.
_AS_GIT_WRITES = re.compile(rb"(# pack-refs with:[^\n]*\n)?([0-9A-Fa-f]{40}[ \t][^\0-\x20]+\n(\^[0-9A-Fa-f]{40}\n)?)*")
_NAME_AT = 41
_BLOCK = 512
_LONGEST_LINE = 1024 * 1024


class _Line(NamedTuple):
    start: int
    text: bytes
    end: int  # the start of the next line


def read_packed(path: str) -> dict[str, str]:
    """Return all references in the file and the objects that they hold; empty if there is no file.

    Raises:
        StorageCorrupt: A line cannot be read, or the lines are not sorted although the file says so.
    """
    content = read_file(path) or b""
    rows = _rows(path, content)
    names = [name for _, name in rows]
    if _is_sorted(content.partition(b"\n")[0]) and not all(map(bytes.__lt__, names, names[1:])):
        raise StorageCorrupt(f"{path} cannot be read: it is not sorted, and says that it is")
    return {name.decode(errors="surrogateescape"): target.decode() for target, name in rows}


def fault_of_packed(path: str) -> str:
    """Return why Git does not read the file; empty if it does, or if there is none.

    Reading is more lenient: everything that can be told for sure is read, so that nothing seems lost.
    """
    if os.path.isdir(path):
        return "packed-refs is a folder"
    content = read_file(path) or b""
    read = _AS_GIT_WRITES.match(content)
    if read is None or read.end() == len(content):
        return ""
    return f"Git does not read packed-refs, since line {content[: read.end()].count(10) + 1} is not as Git writes it"


def find_packed(path: str, name: str) -> str | None:
    """Return the object that a reference in the file holds, or None. A large file is read only in a few places.

    Raises:
        StorageCorrupt: The line, or one on the way to it, cannot be read.
    """
    try:
        descriptor = open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        with naming(path):
            size = os.fstat(descriptor).st_size
            if size:
                header = _line_at(descriptor, size, 0, path)
                if _is_sorted(header.text):
                    return _search(descriptor, path, header.end, size, name.encode(errors="surrogateescape"))
    finally:
        os.close(descriptor)
    return read_packed(path).get(name)


def packed_content(references: Mapping[str, str]) -> bytes:
    """Return the file's content for these references."""
    rows = sorted((name.encode(errors="surrogateescape"), target.encode()) for name, target in references.items())
    return _HEADER + b"".join(b"%s %s\n" % (target, name) for name, target in rows)


def _search(descriptor: int, path: str, low: int, high: int, wanted: bytes) -> str | None:
    """Find a reference between two positions, which are both starts of lines."""
    while low < high:
        line = _line_at(descriptor, high, (low + high) // 2, path)
        end = line.end
        if line.text[:1] == b"^" and line.start > low:  # the target of the tag in the previous line
            line = _line_at(descriptor, high, line.start - 1, path)
        if line.text[:1] in b"^#":
            low = end
            continue
        [(target, name)] = _rows(path, line.text)
        if name == wanted:
            return target.decode()
        low, high = (end, high) if name < wanted else (low, line.start)
    return None


def _line_at(descriptor: int, size: int, place: int, path: str) -> _Line:
    """Return the line that contains a position of the file. Raises StorageCorrupt: it is too long for a reference."""
    reach = _BLOCK
    while True:
        start, stop = max(0, place - reach), min(size, place + reach)
        block = os.pread(descriptor, stop - start, start)
        first = block.rfind(b"\n", 0, place - start) + 1
        last = block.find(b"\n", place - start)
        if (first or start == 0) and (last >= 0 or stop == size):
            last = last if last >= 0 else len(block)
            return _Line(start + first, block[first:last], start + last + 1)
        reach *= 4
        if reach > _LONGEST_LINE:
            raise StorageCorrupt(f"{path} cannot be read: it has a line of more than {_LONGEST_LINE} bytes")


def _rows(path: str, content: bytes) -> list[tuple[bytes, bytes]]:
    """Return the ids and names of the references in some lines. Raises StorageCorrupt: a line is something else."""
    rows: list[tuple[bytes, bytes]] = _ROW.findall(content)
    if len(rows) != sum(line[:1] not in b"#^" for line in content.split(b"\n")):  # of an empty line, b"" is in it
        raise StorageCorrupt(f"{path} cannot be read")
    return rows


def _is_sorted(header: bytes) -> bool:
    return header.startswith(b"# pack-refs with:") and b"sorted" in header.split()
