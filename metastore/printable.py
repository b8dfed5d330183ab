"""Text that others wrote, made safe for a terminal and a log."""

from __future__ import annotations

import re

#: Control characters, line and paragraph separators, invisible and bidirectional formatting, and lone surrogates.
#: The joiners U+200C and U+200D stay: several scripts need them, and they move no cursor.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
_ONE_LINE = re.compile(f"[{_UNSAFE}]")
_LINES = re.compile(f"(?![\n\t])[{_UNSAFE}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""Return text on one line, with every character that could move a cursor or reorder text escaped.

    The escapes are those of JSON (`\n`, `\u202e`), so that JSON stays the same JSON.
    """
    return _ONE_LINE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return text as `printable` does, but keep its line breaks and tabs."""
    return _LINES.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
