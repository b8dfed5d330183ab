"""The searchable content of a descriptor: its words, and the values of its facets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import splitext
from typing import Any

from metastore.descriptor.document import decode
from metastore.descriptor.openness import licences_of, openness
from metastore.errors import InvalidInput
from metastore.search.words import GAP, Term, fold, words_of, words_of_each
from metastore.types import DatasetId

#: Members whose values nobody searches for.
_NOT_TEXT = {"$schema", "profile", "hash", "sha256", "encoding", "mediatype", "bytes"}
#: The length of the searchable texts of a descriptor, in characters. Long texts are cut, so that later ones are found.
_MOST_TEXT = 200_000
#: The length of a title or of a facet's value, in characters. Folding takes a microsecond each, so the rest is cut.
_LONGEST_VALUE = 1000
_SNIPPET = 160


@dataclass(frozen=True, slots=True)
class Document:
    """The searchable content of a dataset at a revision.

    Attributes:
        title: The first 1,000 characters of the descriptor's title, else the dataset's name.
        texts: All texts of the descriptor, in order, cut to 200,000 characters in total.
        values: Facet -> the values of the descriptor, as written, each cut after 1,000 characters.
    """

    title: str
    texts: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]

    def words(self) -> list[str]:
        """Return all words in order. A gap separates two texts, so that no phrase spans both."""
        return [word for text in words_of_each(self.texts) for word in (*text.split(), GAP)]

    def folded(self, facet: str) -> Iterator[tuple[str, str]]:
        """Yield the values of a facet, each folded and as written."""
        return ((fold(value), value) for value in self.values[facet])

    def fits(self, filters: Mapping[str, str]) -> bool:
        """Tell whether the document has the wanted value of each facet; an empty one wants no value at all."""
        for facet, wanted in filters.items():
            values = {folded for folded, _ in self.folded(facet)}
            if (wanted not in values) if wanted else bool(values):
                return False
        return True

    def snippet(self, terms: Sequence[Term]) -> str:
        """Return the text around the first matching word, with each match in `**`."""
        sought = [(word, term.prefix and word is term.words[-1]) for term in terms for word in term.words]
        sought = [] if all(term.negated for term in terms) else sought
        for text in self.texts:
            if (piece := _marked(text, sought)) is not None:
                return piece
        return _cut(next((text for text in self.texts[2:] if " " in text), ""), 0)


def document(dataset_id: DatasetId, content: bytes) -> Document:
    """Return the searchable content of a stored descriptor; if it is not a JSON object, that is the id alone."""
    try:
        descriptor = decode(content)
    except InvalidInput:
        descriptor = None
    if not isinstance(descriptor, dict):
        descriptor = {}
    title = descriptor.get("title")
    title = title[:_LONGEST_VALUE] if isinstance(title, str) and title.strip() else dataset_id.name
    texts = list[str]()
    _add_texts(descriptor, texts)
    found = [text for text in _cut_long(texts) if text != title]
    return Document(title, (str(dataset_id), title, *found), {"owner": (dataset_id.owner,), **_values(descriptor)})


def _cut_long(texts: Sequence[str]) -> Iterable[str]:
    """Return the beginning of each text, as long as all of them have room; of very many texts, the first ones."""
    return texts if sum(map(len, texts)) <= _MOST_TEXT else _beginnings(texts)


def _beginnings(texts: Sequence[str]) -> Iterator[str]:
    longest, left = max(_longest(map(len, texts), len(texts)), _LONGEST_VALUE), _MOST_TEXT
    for text in texts:
        if (left := left - min(len(text), longest)) < 0:
            return
        yield text[:longest]


def _longest(lengths: Iterable[int], count: int) -> int:
    """Return the length at which texts are cut, so that they have room together."""
    left = _MOST_TEXT
    for shorter, length in enumerate(sorted(lengths)):
        if length * (count - shorter) > left:
            return left // (count - shorter)
        left -= length
    return _MOST_TEXT


def _add_texts(value: Any, texts: list[str]) -> None:
    """Add all texts in a value, which has the types of JSON, to a list, in order."""
    kind = type(value)
    if kind is dict:
        value = [member for name, member in value.items() if name not in _NOT_TEXT]
    elif kind is not list:
        if kind is str:
            texts.append(value)
        return
    for member in value:
        if type(member) is str:
            texts.append(member)
        else:
            _add_texts(member, texts)


def _values(descriptor: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    resources = _objects(descriptor.get("resources"))
    fields = [field for each in resources for field in _objects(_member(each.get("schema"), "fields"))]
    licences = [licence for each in (descriptor, *resources) for licence in licences_of(each)]
    return {
        "licence": _unique(_first(each, "name", "title", "path", "id", "type", "url") for each in licences),
        "keyword": _unique(_items(descriptor.get("keywords"))),
        "format": _unique(_format(each) for each in resources),
        "field": _unique(field.get("name") for field in fields),
        "contributor": _unique(_first(each, "title", "name") for each in _objects(descriptor.get("contributors"))),
        "openness": (openness(descriptor),),
    }


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in _items(value) if isinstance(each, dict)]


def _first(value: Mapping[str, Any], *names: str) -> Any:
    return next((text for name in names if isinstance(text := value.get(name), str) and text.strip()), None)


def _format(resource: Mapping[str, Any]) -> Any:
    if isinstance(given := resource.get("format"), str) and given.strip():
        return given.strip().lstrip(".").lower()
    path = resource.get("path")
    first = path if isinstance(path, str) else next(iter(_items(path)), None)
    return splitext(first)[1][1:].lower() if isinstance(first, str) else None


def _unique(values: Any) -> tuple[str, ...]:
    """Return the texts that are not blank, in order, each once; upper and lower case are the same."""
    found: dict[str, str] = {}
    for value in dict.fromkeys([value for value in values if isinstance(value, str)]):  # many resources share them
        if shown := value.strip()[:_LONGEST_VALUE]:
            found.setdefault(fold(shown), shown)
    return tuple(found.values())


def _marked(text: str, sought: Sequence[tuple[str, bool]]) -> str | None:
    """Return a piece of a text with the sought words marked, or None if it has none of them."""
    folded = fold(text)
    if not any(word in folded for word, _ in sought):
        return None
    parts = text.split()
    hits = [at for at, part in enumerate(parts) if _is_sought(part, sought)]
    if not hits:
        return None
    start = max(0, hits[0] - 6)
    piece = " ".join(f"**{part}**" if start + at in hits else part for at, part in enumerate(parts[start:][:40]))
    return ("… " if start else "") + _cut(piece, 0)


def _is_sought(part: str, sought: Sequence[tuple[str, bool]]) -> bool:
    words = words_of(part)
    return any(word == each or (prefix and word.startswith(each)) for word in words for each, prefix in sought)


def _cut(text: str, start: int) -> str:
    text = " ".join(text[start:].split())
    if len(text) <= _SNIPPET:
        return text
    cut = text[:_SNIPPET].rpartition(" ")[0] or text[:_SNIPPET]
    return f"{cut} …"
