"""Sentences that remember their form and their values, so that an edge can say them in another language."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self


class Phrase(str):
    """An English text, made of a form and the values in it. To everyone else it is an ordinary text.

    The pages collect the forms of all phrases for their catalogues, so a form stands in the source as a literal.

    Attributes:
        form: The text with its values as `%(name)s`; of a count of things, the text for one.
        many: The form for any other number; None if nothing is counted.
        values: Name -> value. A value may be a phrase itself.
    """

    __slots__ = ("form", "many", "values")
    form: str
    many: str | None
    values: dict[str, Any]

    def __new__(cls, form: str, /, **values: Any) -> Self:
        """Make a phrase."""
        return cls._made(form, None, values)

    @classmethod
    def _made(cls, form: str, many: str | None, values: dict[str, Any]) -> Self:
        phrase = super().__new__(cls, (form if many is None or values["number"] == 1 else many) % values)
        phrase.form, phrase.many, phrase.values = form, many, values
        return phrase

    def __reduce__(self) -> tuple[Any, ...]:
        return self._made, (self.form, self.many, self.values)


def counted(one: str, many: str, number: int, /, **values: Any) -> Phrase:
    """Return a count of things, in one of two forms with `%(number)s`."""
    return Phrase._made(one, many, {"number": number, **values})


def joined(separator: str, parts: Iterable[str]) -> Phrase:
    """Return a list of texts, with a mark such as `; ` between them."""
    values = {f"part{number}": part for number, part in enumerate(parts)}
    return Phrase(separator.join(f"%({name})s" for name in values), **values)


def either(parts: Iterable[str]) -> str:
    """Return alternatives, such as `text or a number or null`."""
    first, *others = parts
    for other in others:
        first = Phrase("%(first)s or %(second)s", first=first, second=other)
    return first


def neither(parts: Iterable[str]) -> str:
    """Return what is missing, as it follows `neither`: `data nor path`."""
    first, *others = parts
    for other in others:
        first = Phrase("%(first)s nor %(second)s", first=first, second=other)
    return first


def both(parts: Iterable[str]) -> str:
    """Return a list in words, such as `bytes, hash and title`."""
    *others, last = parts
    return Phrase("%(first)s and %(second)s", first=joined(", ", others), second=last) if others else last
