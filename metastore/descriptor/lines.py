"""Two stored texts compared line by line, as `diff -u` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from metastore.descriptor.document import decode, encode
from metastore.errors import InvalidInput
from metastore.phrase import Phrase

#: The most lines from the first to the last difference that are compared, which takes time.
_MOST = 20_000
#: The equal lines around each difference.
_AROUND = 3
_REWRITTEN = Phrase("Both were indented and sorted first, since one has all its JSON on one line.")


class Lines(NamedTuple):
    """The lines of a comparison.

    Attributes:
        lines: The lines that `diff -u` prints.
        note: Says that both texts were indented and sorted first; otherwise empty.
    """

    lines: Iterator[str]
    note: str


def compare_lines(old: str, new: str, old_label: str, new_label: str) -> Lines:
    """Compare two texts line by line.

    JSON on one line is indented first, and so is the other text: otherwise the whole line would differ.
    """
    texts = _rewritten(old, new) if any(map(_is_one_line, (old, new))) else None
    before, after = ((text.removesuffix("\n") or "").split("\n") if text else [] for text in texts or (old, new))
    return Lines(unified(before, after, old_label, new_label), _REWRITTEN if texts else "")


def _is_one_line(text: str) -> bool:
    return bool(text) and "\n" not in text.strip()


def _rewritten(*texts: str) -> list[str] | None:
    """Return texts in the form of a descriptor, with sorted members; None if one of them is not JSON."""
    try:
        return [encode(decode(text), sort=True).decode() if text else "" for text in texts]
    except InvalidInput:
        return None


def unified(before: Sequence[str], after: Sequence[str], old: str, new: str) -> Iterator[str]:
    """Compare lines as `diff -u` does, in bounded time.

    Equal lines at the beginning and at the end are not compared. If more than 20,000 lines are left, they are shown as
    removed and added.
    """
    shorter = min(len(before), len(after))
    head = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    tail = next((n for n in range(shorter - head) if before[-1 - n] != after[-1 - n]), shorter - head)
    first, left = max(0, head - _AROUND), max(0, tail - _AROUND)
    a, b = before[first : len(before) - left], after[first : len(after) - left]
    if len(a) + len(b) > _MOST:
        yield from (f"--- {old}", f"+++ {new}", f"@@ -{first + 1},{len(a)} +{first + 1},{len(b)} @@")
        yield from (f"-{line}" for line in a)
        yield from (f"+{line}" for line in b)
        return
    import difflib  # slow to import

    for line in difflib.unified_diff(a, b, old, new, lineterm="", n=_AROUND):
        yield _moved(line, first) if line.startswith("@@ ") else line


def _moved(heading: str, by: int) -> str:
    """Return the heading of a hunk with the line numbers of the whole text."""
    old, new = heading.split(" ")[1:3]
    sides = []
    for side in (old, new):
        start, comma, length = side[1:].partition(",")
        sides.append(f"{side[0]}{int(start) + by}{comma}{length}")
    return f"@@ {' '.join(sides)} @@"
