"""The change of a value in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metastore.excerpts import contrast, line_ends
from metastore.looks import only
from metastore.phrase import Phrase, joined
from metastore.wording import HASH, outlined, spelled

#: The length of the parts of a list in another order, in characters, and the items, that are compared on one line.
_LONGEST_PART, _MOST_ITEMS = 160, 200
#: The length of two values that are both shown in full, in characters.
_SHORT = 78
#: The deepest lists of numbers that are compared by position, and the most positions that are shown.
_DEEPEST, _MOST_POSITIONS = 6, 5


def contrasted(old: object, new: object) -> str:
    """Return the change of a value in words: both values if they are short, else only the parts that changed."""
    ends = ""
    if isinstance(old, str) and isinstance(new, str):
        old, new, ends = line_ends(old, new)
        if ends and old == new:
            return Phrase(": line ends %(ends)s", ends=ends)
    change = _contrasted(old, new)
    return Phrase("%(change)s (line ends %(ends)s)", change=change, ends=ends) if ends else change


def _contrasted(old: object, new: object) -> str:
    if isinstance(old, str) and isinstance(new, str) and (hashes := _hashes(old, new)):
        return f": '{hashes[0]}' → '{hashes[1]}'"
    if _best_outlined(old, new):
        return joined("", (": ", outlined(old), " → ", outlined(new)))
    texts = _rearranged(old, new) or [value if isinstance(value, str) else spelled(value) for value in (old, new)]
    alone = only(*texts) if isinstance(old, str) and isinstance(new, str) else ""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (old, new))
    if not alone and max(map(len, texts)) <= _SHORT:
        quoted = [
            spelled(value) if isinstance(value, str) else text for value, text in zip((old, new), texts, strict=True)
        ]
        pair = f": {quoted[0]} → {quoted[1]}"
        return Phrase("%(pair)s (the same number, written otherwise)", pair=pair) if numbers and old == new else pair
    return _numbers_apart(old, new) or _in_places(old, new, texts, alone)


def _in_places(old: object, new: object, texts: Sequence[str], alone: str) -> str:
    excerpts, more = contrast(*texts)
    quotes = ["'" if isinstance(value, str) else "" for value in (old, new)]
    pairs = [
        f"{quotes[0]}{e.before}{e.old}{e.after}{quotes[0]} → {quotes[1]}{e.before}{e.new}{e.after}{quotes[1]}"
        for e in excerpts
    ]
    places = len(excerpts) + more
    head = Phrase(" in %(places)s places", places=places) if places > 1 else ""
    tail = Phrase(" (only %(what)s)", what=alone) if alone else ""
    return joined("", (head, ": ", joined("; ", (*pairs, *_further(more))), tail))


def _further(more: int) -> tuple[str, ...]:
    return (Phrase("and %(number)s more", number=more),) if more else ()


def _best_outlined(old: object, new: object) -> bool:
    """Tell whether two values are best outlined: of different types, or lists too long to compare in one line."""
    if isinstance(old, list) and isinstance(new, list):
        rearranged = _rearranged(old, new)
        has_objects = any(isinstance(item, dict) for item in (*old[:_MOST_ITEMS], *new[:_MOST_ITEMS]))
        is_long = rearranged is not None and max(map(len, rearranged)) > _LONGEST_PART
        return (is_long or has_objects) and outlined(old) != outlined(new)
    return any(isinstance(side, (dict, list)) for side in (old, new)) and type(old) is not type(new)


def _positions(old: object, new: object, at: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], object, object]]:
    """Yield the positions, counted from 1, at which two lists of numbers of one form differ, with both numbers.

    Raises:
        TypeError: The lists have another form, or not only numbers.
    """
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and len(at) < _DEEPEST:
        for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
            yield from _positions(one, other, (*at, number))
    elif not at or not all(isinstance(side, (int, float)) and not isinstance(side, bool) for side in (old, new)):
        raise TypeError
    elif spelled(old) != spelled(new):
        yield at, old, new


def _numbers_apart(old: object, new: object) -> str:
    """Return the changes of two lists of numbers with their positions; an empty text for anything else."""
    try:
        found = list(_positions(old, new))
    except TypeError:
        return ""
    shown = [
        Phrase("%(old)s → %(new)s at position %(at)s", old=spelled(a), new=spelled(b), at=", ".join(map(str, at)))
        for at, a, b in found[:_MOST_POSITIONS]
    ]
    changes = joined("; ", (*shown, *_further(len(found) - len(shown))))
    return joined("", (": ", changes)) if found else ""


def _hashes(old: str, new: str) -> list[str] | None:
    """Return two hashes, cut to where they differ; None for other texts."""
    if not (HASH.fullmatch(old) and HASH.fullmatch(new)):
        return None
    at = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
    return [_cut_hash(text, at) for text in (old, new)]


def _cut_hash(text: str, at: int) -> str:
    head, tail = text[: text.find(":") + 9], text[-8:]
    inside = len(head) <= at < len(text) - 8
    return f"{head}…{text[at - 4 : at + 8]}…{tail}" if inside else f"{head}…{tail}"


def _rearranged(old: object, new: object) -> list[str] | None:
    """Return the parts of two lists of texts that are in another order; None if the lists differ in something else."""
    if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new)):
        return None
    if not all(isinstance(item, str) for item in (*old, *new)) or sorted(old) != sorted(new):
        return None
    differ = [number for number, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    if not differ:
        return None
    begin, end = differ[0], differ[-1] + 1
    head, tail = "…, " if begin else "", ", …" if end < len(old) else ""
    return [f"[{head}{spelled(side[begin:end])[1:-1]}{tail}]" for side in (old, new)]
