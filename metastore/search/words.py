"""Parses queries: words, "phrases", `-not` and `prefix*`. Accents and case do not count."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from metastore.errors import InvalidInput
from metastore.phrase import Phrase

#: The longest query, in characters, and the largest number of its terms.
LONGEST, MOST_TERMS = 1000, 32
_TERM = re.compile(r'(?P<minus>-?)(?:"(?P<phrase>[^"]*)(?P<end>"?)|(?P<word>[^\s"]+))')
#: Chinese and Japanese have no spaces between words, so each character counts as a word.
_CHARACTERS = "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[^\W_{_CHARACTERS}]+|[{_CHARACTERS}]")
#: Separates two texts in a list of words.
GAP = "\x1e"
_WORD_OR_GAP = re.compile(rf"{_WORD.pattern}|{GAP}")
#: Longer runs of letters and digits are cut; nobody types such words.
_LONGEST_WORD = 100
#: How many folded characters of a descriptor are searched, and how many one character can become.
_MOST_FOLDED, _MOST_OF_ONE = 250_000, 18
#: Texts up to this length are looked up before they are folded: successive revisions share most of them.
_SHORT = 1000


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a query.

    Attributes:
        words: Consecutive folded words.
        prefix: Whether the last word is only the beginning of one.
        negated: Whether a dataset must not have the words.
    """

    words: tuple[str, ...]
    prefix: bool = False
    negated: bool = False

    def is_in(self, words: Sequence[str]) -> bool:
        """Tell whether a text, as a list of its words, matches the term; `negated` is ignored."""
        *first, last = self.words
        for at in range(len(words) - len(first)):
            fits = words[at + len(first)].startswith(last) if self.prefix else words[at + len(first)] == last
            if fits and list(words[at : at + len(first)]) == first:
                return True
        return False


def fold(text: str) -> str:
    """Return a text in lower case without accents: `Straße` becomes `strasse`, and `été` becomes `ete`."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def words_of(text: str) -> list[str]:
    """Return the folded words of a text in order: runs of letters and digits, and Chinese and Japanese characters."""
    return [word[:_LONGEST_WORD] for word in _WORD.findall(fold(text))]


def words_of_each(texts: Sequence[str]) -> list[str]:
    """Return the folded words of each text, with spaces between them; of very long texts, those of the first ones."""
    if sum(map(len, texts)) * _MOST_OF_ONE <= _MOST_FOLDED:
        return [_words_of_short(text) if len(text) <= _SHORT else " ".join(words_of(text)) for text in texts]
    joined = fold(GAP.join(text.replace(GAP, " ") for text in texts))[:_MOST_FOLDED]
    words = " ".join(word[:_LONGEST_WORD] for word in _WORD_OR_GAP.findall(joined))
    return [text.strip() for text in words.split(GAP)]


@lru_cache(1024)
def _words_of_short(text: str) -> str:
    return " ".join(words_of(text))


@lru_cache(256)
def parse_query(query: str) -> tuple[Term, ...]:
    """Parse a query. A dataset matches if all terms match; an empty query matches everything.

    Raises:
        InvalidInput: The query is malformed; the message says where.
    """
    if len(query) > LONGEST:
        limits = {"most": LONGEST, "number": len(query)}
        raise InvalidInput(Phrase("a query has at most %(most)s characters, not %(number)s", **limits))
    terms, at = [], 0
    while rest := query[at:].lstrip():
        at = len(query) - len(rest)
        term = _TERM.match(rest)
        assert term is not None
        terms.append(_term(term, at + 1))
        at += term.end()
    if len(terms) > MOST_TERMS:
        limits = {"most": MOST_TERMS, "number": len(terms)}
        raise InvalidInput(Phrase("a query has at most %(most)s words, not %(number)s", **limits))
    return tuple(terms)


def _term(found: re.Match[str], at: int) -> Term:
    if found["phrase"] is not None and not found["end"]:
        raise InvalidInput(
            Phrase('the quote at character %(at)s of the query is not closed: put another " after the phrase', at=at)
        )
    text = found["word"] if found["phrase"] is None else found["phrase"]
    words = words_of(text)
    if not words:
        raise InvalidInput(
            Phrase(
                "%(text)r at character %(at)s of the query has no letter or digit to search for", text=found[0], at=at
            )
        )
    return Term(tuple(words), text.endswith("*"), bool(found["minus"]))
