"""Parts of a descriptor that came or went as a whole, for people: their members as a list, and their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metastore.descriptor.document import to_line
from metastore.pages.overview import Field, cut

#: The most members, columns and characters of a value that are shown.
_MOST, _COLUMNS, _LENGTH = 40, 50, 200


@dataclass(frozen=True, slots=True)
class Whole:
    """An object or a list as people read it.

    Attributes:
        pairs: The names of its members, or the numbers of its items, with their values as text.
        fields: Its columns, if it is a resource, a schema or a list of fields.
        is_cut: Whether there is more than this.
    """

    pairs: tuple[tuple[str, str], ...]
    fields: tuple[Field, ...]
    is_cut: bool


def whole_part(value: Any) -> Whole | None:
    """Return an object, or a list of objects, for people; None for any other value."""
    is_list = isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
    if not isinstance(value, Mapping) and not is_list:
        return None
    columns = _columns(value)
    if is_list:
        members = [] if columns else [(str(number), item) for number, item in enumerate(value, 1)]
    else:
        members = [(name, _without_fields(member) if columns else member) for name, member in value.items()]
    shown = [(cut(name, 60), _text(member)) for name, member in members if member not in (None, {}, [])]
    is_cut = len(shown) > _MOST or len(columns) > _COLUMNS or any(len(text) > _LENGTH for _, text in shown)
    pairs = tuple((name, cut(text, _LENGTH)) for name, text in shown[:_MOST])
    return Whole(pairs, tuple(Field(column) for column in columns[:_COLUMNS]), is_cut)


def _columns(value: Any) -> list[Mapping[str, Any]]:
    """Return the columns of a resource, a schema or a list of fields; none if it has none."""
    if isinstance(value, Mapping):
        inner = value.get("schema", value)
        value = inner.get("fields") if isinstance(inner, Mapping) else None
    if not isinstance(value, list) or not all(
        isinstance(item, Mapping) and {"name", "type"} <= item.keys() for item in value
    ):
        return []
    return value


def _without_fields(member: Any) -> Any:
    """Return a schema without the columns, which have a table of their own."""
    if isinstance(member, Mapping):
        return {name: inner for name, inner in member.items() if name != "fields"}
    return None if isinstance(member, list) and _columns(member) else member


def _text(value: Any) -> str:
    """Return a value on one line, objects as `name value` pairs."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(member)}" for name, member in value.items())
    if isinstance(value, list):
        joint = "; " if any(isinstance(item, Mapping) for item in value) else ", "
        return joint.join(_text(item) for item in value)
    return value if isinstance(value, str) else to_line(value)
