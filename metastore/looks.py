"""Characters that readers cannot tell apart, or cannot see: what two texts differ in, and how that is shown."""

from __future__ import annotations

import re
import unicodedata

from metastore.phrase import Phrase

_LONGEST_LOOKED_AT = 100_000
_SYMBOLS = {" ": "·", "\t": "⇥", "\n": "↵", "\r": "␍", "\u00a0": "⍽"}
#: Letters of other scripts, and signs, that look like others in most fonts.
_LIKE = str.maketrans(
    "аеорсухіјѕһԁԛԝАВЕКМНОРСТХУІЈЅοναρΑΒΕΖΗΙΚΜΝΟΡΤΥΧµ‐‑‒–−’ʼ",
    "aeopcyxijshdqwABEKMHOPCTXYIJSovapABEZHIKMNOPTYXμ-----''",
)
#: The same, without those that are common beside Latin letters.
_LETTERS = frozenset(character for character in map(chr, _LIKE) if character.isalpha() and character not in "µʼ")
_WORD = re.compile(r"\w+")


def only(old: str, new: str) -> str:
    """Name the difference if readers could not see it, such as `white space`; otherwise an empty text.

    Texts with more than 100,000 characters are not examined, since that takes long.
    """
    if max(len(old), len(new)) > _LONGEST_LOOKED_AT:
        return ""
    if unicodedata.normalize("NFC", old) == unicodedata.normalize("NFC", new):
        return Phrase("Unicode form")
    if "".join(old.split()) == "".join(new.split()):
        return Phrase("white space")
    if _without_invisible(old) == _without_invisible(new):
        return Phrase("invisible characters")
    if look_of(old) == look_of(new):
        return Phrase("characters that look alike")
    return ""


def look_of(text: str) -> str:
    """Return a text that two texts share if readers cannot tell them apart."""
    return "".join(_without_invisible(unicodedata.normalize("NFC", text)).translate(_LIKE).split())


def visible(text: str) -> str:
    """Return a text with symbols for white space, and escapes for invisible, combining and look-alike characters."""
    return "".join(_SYMBOLS.get(character) or _escaped(character) for character in text)


def distinct(name: str) -> str:
    r"""Return a name as it is, but with escapes (`\u0430`) for what is invisible in it or looks like another letter.

    Letters of other scripts stay in words of these scripts.
    """
    if name.isascii():
        return name
    letters = [character for character in name if character.isalpha()]
    is_latin = all(character.isascii() or character in _LETTERS for character in letters)
    shown = _WORD.sub(lambda word: _latin(word[0], is_latin=is_latin), name)
    return "".join(_code(character) if _is_hidden(character) and character != " " else character for character in shown)


def _latin(word: str, *, is_latin: bool) -> str:
    if not is_latin and not any(character.isascii() and character.isalpha() for character in word):
        return word
    return "".join(_code(character) if character in _LETTERS else character for character in word)


def _escaped(character: str) -> str:
    hidden = unicodedata.combining(character) or _is_hidden(character) or ord(character) in _LIKE
    return _code(character) if hidden else character


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _code(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _without_invisible(text: str) -> str:
    return "".join(character for character in text if unicodedata.category(character) not in ("Cf", "Cc"))
