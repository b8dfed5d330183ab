"""Reads descriptors for display, and tolerates any content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from metastore.descriptor.document import to_line
from metastore.descriptor.openness import licences_of, openness
from metastore.pages.languages import gettext as _
from metastore.pages.languages import later

_FACTS = (
    *(("name", later("Name")), ("version", later("Version")), ("created", later("Created"))),
    *(("homepage", later("Homepage")), ("id", later("Id"))),
)
#: The longest name or title, and the longest other text, in characters. `datapackage.json` has the full text.
_TITLE, _TEXT = 300, 400
_SHORT_HASH = 12
#: Spellings of the encoding that a file has if none is named.
_USUAL = ("utf-8", "utf8")


@dataclass(frozen=True, slots=True)
class Party:
    """A contributor, a source or a licence: a title, and perhaps a link and a detail."""

    title: str
    link: str | None = None
    detail: str = ""


class Part:
    """A part of a descriptor: the dataset, a resource or a field. Members that break the specification are ignored."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value

    @property
    def value(self) -> Mapping[str, Any]:
        """The part as it is stored."""
        return self._value

    def member(self, name: str) -> Any:
        """Return a member as it is stored; None if it is absent."""
        return self._value.get(name)

    def _text(self, *keys: str, most: int = _TEXT) -> str:
        """Return the first of these members that is a text, cut."""
        return cut(next((text for key in keys if (text := text_of(self._value.get(key)))), ""), most)

    @cached_property
    def title(self) -> str:
        """The title, or an empty text."""
        return self._text("title", most=_TITLE)

    @cached_property
    def description(self) -> str:
        """The description as written, or an empty text."""
        return self._text("description")

    @cached_property
    def licences(self) -> tuple[Party, ...]:
        """The licences; in old descriptors, the one in `license`."""
        return _parties(licences_of(self._value), "title", "name", "id", "type")

    @cached_property
    def sources(self) -> tuple[Party, ...]:
        """The sources of the data."""
        return _parties(_objects(self._value.get("sources")), "title", "name", "path")


class Field(Part):
    """A column of a table."""

    @property
    def name(self) -> str:
        """The name, or an empty text."""
        return self._text("name", most=_TITLE)

    @property
    def type(self) -> str:
        """The type, with its format if that is not the default: `date (%d.%m.%Y)`."""
        form = self._text("format", most=60)
        return f"{self._text('type', most=60)}{f' ({form})' if form not in ('', 'default') else ''}"

    @cached_property
    def unit(self) -> str:
        """The unit of measurement, under any of the names that profiles use."""
        return self._text("unit", "units", "unitOfMeasurement", most=60)

    @cached_property
    def words(self) -> str:
        """The title and the description on one line."""
        return ": ".join(text for text in (self.title, self.description) if text)

    @cached_property
    def constraints(self) -> str:
        """The constraints on its values: `required, minimum 0`."""
        given = self._value.get("constraints")
        if not isinstance(given, Mapping):
            return ""
        return cut(
            ", ".join(key if value is True else f"{key} {text_of(value)}" for key, value in given.items()), _TEXT
        )


class Resource(Part):
    """A file that a descriptor describes."""

    def __init__(self, value: Mapping[str, Any], number: int) -> None:
        super().__init__(value)
        #: Its position in the descriptor, from 0.
        self.number = number
        schema = value.get("schema")
        self._schema: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        self._paths = [text for path in _items(value.get("path")) if (text := text_of(path))]

    @cached_property
    def name(self) -> str:
        """The name, or its position from 1."""
        return self._text("name", most=_TITLE) or _("(resource %(number)s)", number=self.number + 1)

    @cached_property
    def path(self) -> str:
        """The paths of its files."""
        return cut(", ".join(self._paths), _TEXT) or (_("(in the descriptor)") if "data" in self._value else "")

    @property
    def link(self) -> str | None:
        """The address of its file, if it has only one and that is on the web."""
        return link_of(self._paths[0]) if len(self._paths) == 1 else None

    @cached_property
    def format(self) -> str:
        """The format, or the media type."""
        return self._text("format", "mediatype", most=60)

    @cached_property
    def size(self) -> str:
        """The size of its file, for people."""
        return size(self._value.get("bytes"))

    @cached_property
    def hash(self) -> str:
        """The hash of its file."""
        return self._text("hash", most=_TITLE)

    @property
    def short_hash(self) -> str:
        """The hash, cut to a recognisable length."""
        kind, colon, digits = self.hash.rpartition(":")
        return self.hash if len(digits) <= _SHORT_HASH else f"{kind}{colon}{digits[:_SHORT_HASH]}…"

    @property
    def details(self) -> tuple[tuple[str, str], ...]:
        """Further facts about the file, each with a label: encoding, dialect, keys of the table."""
        given = (
            (later("Encoding"), "" if text_of(self.member("encoding")).lower() in _USUAL else self.member("encoding")),
            (later("Dialect"), self._value.get("dialect")),
            (later("Primary key"), self._schema.get("primaryKey")),
            (later("Foreign keys"), self._schema.get("foreignKeys")),
            (later("Missing values"), self._schema.get("missingValues")),
        )
        return tuple((label, cut(text, _TEXT)) for label, value in given if (text := _listed(value)))

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The columns of the table."""
        return tuple(Field(each) for each in _objects(self._schema.get("fields")))

    def has(self, words: str) -> bool:
        """Tell whether its name, title, description, path, format or column names contain a text."""
        texts = (
            self.name,
            self.title,
            self.description,
            self.path,
            self.format,
            *(field.name for field in self.fields),
        )
        return words.lower() in "\n".join(texts).lower()


class Overview(Part):
    """A descriptor for people.

    Args:
        descriptor: The descriptor, of any content.
        otherwise: The title to use if it has none.
    """

    def __init__(self, descriptor: Mapping[str, Any], otherwise: str) -> None:
        super().__init__(descriptor)
        self._otherwise = otherwise

    @property
    def title(self) -> str:
        """The title, else its substitute."""
        return super().title or self._otherwise

    @property
    def description(self) -> str:
        """The whole description."""
        return text_of(self._value.get("description"))

    @property
    def facts(self) -> tuple[tuple[str, str, str], ...]:
        """Name, version and similar facts: the member of each, its label and its value."""
        return tuple((key, label, text) for key, label in _FACTS if (text := self._text(key)))

    @property
    def version(self) -> str:
        """The version that the descriptor declares, or an empty text."""
        return self._text("version", most=60)

    @cached_property
    def openness(self) -> str:
        """Whether the licences are open, as a search says it."""
        return openness(self._value)

    @property
    def is_open_apart_from_resources(self) -> bool:
        """Whether the licences of the dataset itself are open, and one of a resource is not."""
        return self.openness == "not-open" and openness({"licenses": licences_of(self._value)}) == "open"

    @cached_property
    def keywords(self) -> tuple[str, ...]:
        """The keywords."""
        return tuple(cut(text, _TITLE) for word in _items(self._value.get("keywords")) if (text := text_of(word)))

    @cached_property
    def contributors(self) -> tuple[Party, ...]:
        """People and groups, with their roles."""
        return _parties(_objects(self._value.get("contributors")), "title", "email", detail=("role", "roles"))

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        """All resources."""
        given = _items(self._value.get("resources"))
        return tuple(Resource(each, number) for number, each in enumerate(given) if isinstance(each, Mapping))


def size(count: Any) -> str:
    """Return a number of bytes for people: `1.2 MB`; empty for anything that is not a number."""
    if not isinstance(count, (int, float)) or isinstance(count, bool) or not 0 <= count < 1e24:
        return ""
    number = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return ""


def text_of(value: Any) -> str:
    """Return a value of a descriptor as text; empty for an empty value."""
    if isinstance(value, str):
        return value
    return "" if value in (None, [], {}) else to_line(value)


def cut(text: str, most: int) -> str:
    """Return a text, cut to at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def link_of(text: str) -> str | None:
    """Return an address that is safe to link to (http or https), else None."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.netloc else None


def _parties(given: Iterable[Mapping[str, Any]], *titles: str, detail: tuple[str, ...] = ()) -> tuple[Party, ...]:
    parties = []
    for each in given:
        title = next((text for key in titles if (text := text_of(each.get(key)))), "")
        link = link_of(text_of(each.get("path")))
        roles = ", ".join(text_of(value) for key in detail for value in _items(each.get(key)) if text_of(value))
        if title or link:
            parties.append(Party(cut(title or link or "", _TITLE), link, cut(roles, _TITLE)))
    return tuple(parties)


def _listed(value: Any) -> str:
    """Return a value on one line: the items of a list, or the `key value` pairs of an object."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(each or _("(empty)") for each in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text_of(each)}" for key, each in value.items())
    return text_of(value)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in _items(value) if isinstance(each, Mapping)]


def _items(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]
