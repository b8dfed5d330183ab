"""The form of a descriptor: which of its values people edit in fields, and what they typed put back into it.

A field is called by the JSON Pointer of its value (RFC 6901). Only values that differ from what the form showed are
set, so that everything else keeps its place, its spelling and its unknown members.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from metastore.descriptor.document import to_line
from metastore.pages.licences import complete

#: A text or number on one line; a text of several lines; a list with one text a line, or between commas; a box to tick.
LINE, LINES, LIST, COMMAS, BOX = "line", "lines", "list", "commas", "box"
_DATASET = {"name": LINE, "title": LINE, "description": LINES, "version": LINE, "homepage": LINE, "keywords": LIST}
_LICENCE = {"name": LINE, "title": LINE, "path": LINE}
_PERSON = {"title": LINE, "role": LINE, "roles": COMMAS, "organization": LINE, "email": LINE, "path": LINE}
_UNITS = ("unit", "units", "unitOfMeasurement")
_RESOURCE = {"name": LINE, "path": LINE, "title": LINE, "description": LINES, "format": LINE, "mediatype": LINE}
_FIELD = {
    "name": LINE,
    "type": LINE,
    "format": LINE,
    **dict.fromkeys(_UNITS, LINE),
    "title": LINE,
    "description": LINES,
}
_BOXES = {"constraints/required": BOX, "constraints/unique": BOX}
#: The values that the form has, each pattern of pointers with the kinds of the members under it.
_KINDS: tuple[tuple[re.Pattern[str], Mapping[str, str]], ...] = (
    (re.compile(r"/()"), _DATASET),
    (re.compile(r"/licenses/(\d{1,6})/"), _LICENCE),
    (re.compile(r"/contributors/(\d{1,6})/"), _PERSON),
    (re.compile(r"/resources/(\d{1,6})/"), _RESOURCE),
    (re.compile(r"/resources/\d{1,6}/schema/fields/(\d{1,6})/"), _FIELD | _BOXES),
)
#: The items that the form can remove.
_ITEM = re.compile(r"/resources/\d{1,6}/schema/fields/\d{1,6}|/(?:licenses|contributors|resources)/\d{1,6}")
#: An item of a list, and where it goes.
_MOVE = re.compile(rf"({_ITEM.pattern}):(up|down)")
_STEPS = {"up": -1, "down": 1}
#: How far behind the end of a list a new item may be typed. The items between are left out.
_BEHIND = 50
#: Characters that a browser changes or leaves out when it sends a form.
_LOST = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_EVERY_LINE = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Input:
    """A field of the form.

    Attributes:
        name: The JSON Pointer of its value.
        text: The value as the form shows it.
        fits: Whether the form can change it; otherwise only the JSON can.
    """

    name: str
    text: str
    fits: bool = True


def kind_of(pointer: str) -> str | None:
    """Return the kind of the value that a pointer names, or None if the form does not have it."""
    for pattern, members in _KINDS:
        if (match := pattern.match(pointer)) and (kind := members.get(pointer[match.end() :])):
            return kind
    return None


def inputs(descriptor: Any, parent: str, members: Iterable[str]) -> dict[str, Input]:
    """Return fields for members of one part, by the names of the members."""
    return {member: _input(descriptor, f"{parent}/{member}") for member in members}


def _input(descriptor: Any, pointer: str) -> Input:
    value, kind = _at(descriptor, pointer), kind_of(pointer)
    text = _shown(value, kind)
    if text is None or _LOST.search(text) or not _leads(descriptor, pointer):
        return Input(pointer, to_line(value) if value is not None else "", fits=False)
    return Input(pointer, text)


def _shown(value: Any, kind: str | None) -> str | None:
    """Return a value as its field shows it, or None if it has another form."""
    if value is None:
        return ""
    if kind == BOX:
        return {True: "true", False: ""}.get(value) if isinstance(value, bool) else None
    if kind in (LIST, COMMAS):
        separator = "\n" if kind == LIST else ", "
        if not isinstance(value, list) or any(not isinstance(word, str) or separator in word for word in value):
            return None
        return separator.join(value)
    if isinstance(value, str):
        return value
    return to_line(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def unit_of(field: Any) -> str:
    """Return the member of a field that has its unit, under any of the names that profiles use."""
    return next((name for name in _UNITS if isinstance(field, Mapping) and name in field), "unit")


def role_of(contributor: Any) -> str:
    """Return the member of a contributor that has the roles: `role` in version 1 of Data Package, then `roles`."""
    return "role" if isinstance(contributor, Mapping) and "role" in contributor else "roles"


def filled_in(descriptor: Any, typed: Mapping[str, str], removed: Iterable[str] = (), moved: str = "") -> Any:
    """Return a descriptor with what was typed into the form.

    Args:
        descriptor: JSON values with numbers as written. It is not changed.
        typed: Texts by the names of their fields; other names are ignored. A box that is not ticked has an empty text.
        removed: Pointers to the items to take out.
        moved: The item that changes places with the one before or after it, such as `/resources/1:up`.
    """
    filled = _copied(descriptor)
    changed: dict[str, Any] = {}
    for pointer, text in typed.items():
        kind = kind_of(pointer)
        if kind is None or not (shown := _input(descriptor, pointer)).fits or _same(shown.text, text, kind):
            continue
        changed[pointer] = _meant(text, kind)
        _set(filled, pointer, changed[pointer])
    complete(filled, changed)
    gone = {item for item in removed if _ITEM.fullmatch(item)} | set(_emptied(descriptor, filled, changed))
    swap = _swap_of(filled, moved)
    for item in sorted(gone, key=_indexes, reverse=True):
        _take_out(filled, item)
    swap()
    return filled


def place_after(resource: int | None, moved: str) -> int | None:
    """Return the position of a resource after a move, which may be its own or that of the one beside it."""
    match = _MOVE.fullmatch(moved)
    if resource is None or match is None or match[1].count("/") > 2 or not moved.startswith("/resources/"):
        return resource
    old = _indexes(match[1])[0]
    new = old + _STEPS[match[2]]
    return {old: new, new: old}.get(resource, resource)


def _swap_of(document: Any, moved: str) -> Callable[[], None]:
    """Return what makes a move later, when other items are gone and the positions are other ones."""
    match = _MOVE.fullmatch(moved)
    parent, _, index = match[1].rpartition("/") if match else ("", "", "")
    items = _at(document, parent) if match else None
    if match is None or not isinstance(items, list) or int(index) >= len(items):
        return lambda: None
    item = items[int(index)]

    def swap() -> None:
        old = next((number for number, each in enumerate(items) if each is item), None)
        new = -1 if old is None else old + _STEPS[match[2]]
        if old is not None and 0 <= new < len(items):
            items[old], items[new] = items[new], items[old]

    return swap


def _emptied(before: Any, after: Any, changed: Iterable[str]) -> Iterator[str]:
    """Yield the items that have nothing left in them, and those that were only made to reach a later one."""
    for item in {match[0] for pointer in changed if (match := _ITEM.match(pointer))}:
        if _at(after, item) == {}:
            yield item
        items, _, index = item.rpartition("/")
        known = len(_at(before, items) or ())
        yield from (f"{items}/{number}" for number in range(known, int(index)) if _at(after, f"{items}/{number}") == {})


def _same(shown: str, text: str, kind: str) -> bool:
    """Tell whether a field was left alone. Browsers send line breaks their own way, and none in a field of one line."""
    joint = "\n" if kind in (LINES, LIST) else ""
    return _EVERY_LINE.sub(joint, shown) == _EVERY_LINE.sub(joint, text)


def _meant(text: str, kind: str) -> Any:
    """Return the value that a text stands for; None for none."""
    if kind == BOX:
        return True if text else None
    if kind in (LIST, COMMAS):
        words = _EVERY_LINE.split(text) if kind == LIST else text.split(",")
        return [word for each in words if (word := each.strip())] or None
    return _EVERY_LINE.sub("\n", text) if text.strip() else None


def _indexes(item: str) -> list[int]:
    return [int(token) for token in item.split("/") if token.isdecimal()]


# Documents


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(member) for key, member in value.items()}
    return [_copied(member) for member in value] if isinstance(value, list) else value


def _at(value: Any, pointer: str) -> Any:
    """Return the value at a pointer, or None."""
    for token in pointer.split("/")[1:]:
        if isinstance(value, Mapping):
            value = value.get(token)
        elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            return None
    return value


def _leads(value: Any, pointer: str) -> bool:
    """Tell whether a value can be set at a pointer: each part on the way is an object or list, or is missing."""
    for token in pointer.split("/")[1:]:
        if value is not None and not isinstance(value, list if token.isdecimal() else dict):
            return False
        if token.isdecimal() and int(token) >= len(value or ()) + _BEHIND:
            return False
        value = _at(value, f"/{token}")
    return True


def _set(document: Any, pointer: str, value: Any) -> None:
    """Set or, for None, delete the value at a pointer; parts on the way are made."""
    *parents, last = pointer.split("/")[1:]
    part = document
    for token, following in zip(parents, [*parents, last][1:], strict=True):
        part = _member(part, token, [] if following.isdecimal() else {})
    if value is None:
        part.pop(last, None)
        if not part and len(parents) > 1 and not parents[-1].isdecimal():
            _set(document, "/" + "/".join(parents), None)
    elif last in part or "resources" not in part:
        part[last] = value
    else:  # what is new about a dataset comes before its many resources
        resources = {key: part.pop(key) for key in [*part][[*part].index("resources") :]}
        part.update({last: value, **resources})


def _member(part: Any, token: str, empty: Any) -> Any:
    if isinstance(part, list):
        while len(part) <= int(token):
            part.append({})
        return part[int(token)]
    if part.get(token) is None:
        part[token] = empty
    return part[token]


def _take_out(document: Any, item: str) -> None:
    """Take an item out of its list, and an empty list out of its object; a dataset keeps its list of resources."""
    parent, _, index = item.rpartition("/")
    items = _at(document, parent)
    if isinstance(items, list) and int(index) < len(items):
        del items[int(index)]
        if not items and parent != "/resources":
            _set(document, parent, None)
