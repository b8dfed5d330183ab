"""The changes between two texts, word by word, with some context, in bounded time."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from metastore.looks import only, visible

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
#: The most tokens or sentences on each side of a comparison: its time grows with the square.
_MOST = 200
#: The blocks of sentences that are compared by words. Further blocks are shown as a whole, if at all.
_MOST_BLOCKS = 10
#: Changes with fewer tokens than this between them count as one.
_APART = 6
#: The length of a changed part that is shown, in characters.
_LONGEST_PART = 160
#: The length of a token, in characters, so that a text without spaces is cut too.
_LONGEST_TOKEN = 40
_LONGEST_LOOKED_AT = 100_000
#: The common text that is kept around the differences of two long texts, in characters, for context.
_AROUND = 2_000

Span = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One change in a text.

    Attributes:
        before: The words before it; they begin with `…` if something is left out.
        old: The former text.
        new: The new text.
        after: The words after it; they end with `…` if something is left out.
        joins: Whether nothing lies between the excerpt before this one and this one.
    """

    before: str
    old: str
    new: str
    after: str
    joins: bool


def contrast(old: str, new: str, *, words: int = 4, most: int = 5) -> tuple[tuple[Excerpt, ...], int]:
    """Return the changes between two texts, with some words around each.

    Of texts with more than 100,000 characters, only that many from the first difference on are compared.

    Args:
        old: The text before.
        new: The text after.
        words: The number of words of context on each side of a change.
        most: The most changes to return.

    Returns:
        The first changes, and the number of further ones.
    """
    old, new = _where_they_differ(old, new)
    a, b = _tokens(old), _tokens(new)
    spans = list(_joined(_changed(a, b)))
    reach = 2 * words
    excerpts = []
    shown = 0  # the end of the previous excerpt
    for number, (begin, end, other_begin, other_end) in enumerate(spans[:most]):
        first = max(shown, begin - reach)
        joins = number > 0 and first == shown
        following = spans[number + 1][0] if number + 1 < min(len(spans), most) else len(a)
        shown = min(end + reach, following)
        excerpts.append(
            Excerpt(
                ("…" if first > 0 else "") + "".join(a[first:begin]),
                *_told_apart("".join(a[begin:end]), "".join(b[other_begin:other_end])),
                "".join(a[end:shown]) + ("…" if shown < len(a) else ""),
                joins,
            )
        )
    return tuple(excerpts), len(spans) - len(excerpts)


def _told_apart(old: str, new: str) -> tuple[str, str]:
    """Return two parts of texts, cut if they are long, with escapes if readers could not see the difference."""
    show = visible if only(old, new) else str
    return _cut(show(old)), _cut(show(new))


def _where_they_differ(old: str, new: str) -> tuple[str, str]:
    """Return two texts; long ones lose most of their common beginning and end, and are cut."""
    shorter = min(len(old), len(new))
    if max(len(old), len(new)) <= _LONGEST_LOOKED_AT:
        return old, new
    begin = _in_common(old, new, shorter)
    end = max(0, _in_common(old[::-1], new[::-1], shorter - begin) - _AROUND)
    begin = max(0, begin - _AROUND)
    old, new = (text[begin : len(text) - end][:_LONGEST_LOOKED_AT] for text in (old, new))
    return old, new


def _in_common(a: str, b: str, most: int) -> int:
    """Return the number of characters that both texts begin with, by bisection: comparing slices is fast."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _tokens(text: str) -> list[str]:
    parts = _TOKEN.findall(text)
    if all(len(part) <= _LONGEST_TOKEN for part in parts):
        return parts
    return [part[at : at + _LONGEST_TOKEN] for part in parts for at in range(0, len(part), _LONGEST_TOKEN)]


def _changed(a: Sequence[str], b: Sequence[str]) -> Iterator[Span]:
    """Yield the spans in which two sequences of tokens differ, as begin and end in both."""
    start = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest = min(len(a), len(b)) - start
    end = next((n for n in range(rest) if a[-1 - n] != b[-1 - n]), rest)
    middle = (start, len(a) - end, start, len(b) - end)
    if _fits(middle):
        yield from _differing(a, b, middle)
    else:
        yield from _by_sentences(a, b, middle)


def _by_sentences(a: Sequence[str], b: Sequence[str], span: Span) -> Iterator[Span]:
    """Compare sentence by sentence, and only the different ones word by word."""
    sides = [_sentences(a[span[0] : span[1]]), _sentences(b[span[2] : span[3]])]
    whole = (0, len(sides[0]), 0, len(sides[1]))
    if not _fits(whole):
        yield span
        return
    starts = [[first, *_starts(side, first)] for side, first in zip(sides, (span[0], span[2]), strict=True)]
    for number, (begin, end, other_begin, other_end) in enumerate(_differing(sides[0], sides[1], whole)):
        inner = (starts[0][begin], starts[0][end], starts[1][other_begin], starts[1][other_end])
        yield from _differing(a, b, inner) if number < _MOST_BLOCKS and _fits(inner) else (inner,)


def _sentences(tokens: Sequence[str]) -> list[tuple[str, ...]]:
    sentences: list[tuple[str, ...]] = []
    begin = 0
    for at, (word, following) in enumerate(pairwise([*tokens, ""])):
        if (word in ".!?" and following.isspace()) or "\n" in word:
            sentences.append(tuple(tokens[begin : at + 1]))
            begin = at + 1
    return [*sentences, tuple(tokens[begin:])]


def _starts(sentences: Sequence[Sequence[str]], first: int) -> Iterator[int]:
    for sentence in sentences:
        first += len(sentence)
        yield first


def _differing(a: Sequence[Hashable], b: Sequence[Hashable], span: Span) -> Iterator[Span]:
    import difflib

    matcher = difflib.SequenceMatcher(None, a[span[0] : span[1]], b[span[2] : span[3]], autojunk=False)
    for tag, begin, end, other_begin, other_end in matcher.get_opcodes():
        if tag != "equal":
            yield span[0] + begin, span[0] + end, span[2] + other_begin, span[2] + other_end


def _fits(span: Span) -> bool:
    return span[1] - span[0] <= _MOST and span[3] - span[2] <= _MOST


def _joined(spans: Iterator[Span]) -> Iterator[Span]:
    """Join changes that are close to each other."""
    last: Span | None = None
    for span in spans:
        if last is not None and span[0] - last[1] < _APART:
            last = (last[0], span[1], last[2], span[3])
        else:
            if last is not None:
                yield last
            last = span
    if last is not None:
        yield last


def _cut(text: str) -> str:
    half = _LONGEST_PART // 2
    return text if len(text) <= _LONGEST_PART else f"{text[:half]} … {text[-half:]}"


def line_ends(old: str, new: str) -> tuple[str, str, str]:
    """Return two texts with the same line ends, and how these changed: `CRLF → LF`, or an empty text if they did not.

    Otherwise each line would count as changed, and hide what else was.
    """
    kinds = [_ends_of(text) for text in (old, new)]
    if "" in kinds or kinds[0] == kinds[1]:
        return old, new, ""
    return old.replace("\r\n", "\n"), new.replace("\r\n", "\n"), " → ".join(kinds)


def _ends_of(text: str) -> str:
    windows = text.count("\r\n")
    unix = text.count("\n") - windows
    return "CRLF and LF" if windows and unix else "CRLF" if windows else "LF" if unix else ""
