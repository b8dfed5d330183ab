"""Finds the revisions that changed one part of a descriptor, newest first, and follows the part through renamings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Self

from metastore.descriptor.document import escape
from metastore.descriptor.item_names import named_lists
from metastore.errors import InvalidInput
from metastore.history._documents import Documents
from metastore.parse import AnyTime, make_time
from metastore.phrase import Phrase
from metastore.types import Revision
from metastore.wording import shortened

#: The steps that lead to a part: names of members, positions in lists, or `=` and the name of a list item.
Part = tuple[str, ...]
#: Returns the descriptor of a revision as stored, or None if it has none.
Reader = Callable[[Revision], bytes | None]
#: Stands for a part that a descriptor does not have.
ABSENT: Any = object()
#: The digits of the longest position in a list.
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class RevisionFilter:
    """Selects revisions by author, time and message."""

    author: str = ""
    since: datetime | None = None
    until: datetime | None = None
    grep: str = ""

    @classmethod
    def parse(cls, author: str | None, since: AnyTime | None, until: AnyTime | None, grep: str | None) -> Self:
        """Check the arguments of a filter. Raises InvalidInput."""
        for name, given in (("author", author), ("grep", grep)):
            if given is not None and not isinstance(given, str):
                raise InvalidInput(f"{name} is text, not {type(given).__name__}")
        start, end = (make_time(moment) if moment is not None else None for moment in (since, until))
        return cls((author or "").casefold(), start, end, (grep or "").casefold())

    def fits(self, revision: Revision) -> bool:
        """Tell whether a revision passes the filter."""
        return (
            (self.since is None or revision.created >= self.since)
            and (self.until is None or revision.created <= self.until)
            and self.author in f"{revision.author.name} <{revision.author.email}>".casefold()
            and self.grep in revision.message.casefold()
        )


def parse_part(path: str | None = None, resource: str | None = None, field: str | None = None) -> Part | None:
    """Parse the name of a part: a JSON Pointer, a resource, or a field as `RESOURCE/FIELD`; None if all are None.

    In a pointer, a step into a list is a position, or a name such as `stations`; `=7` is the name `7`.

    Raises:
        InvalidInput: More than one argument is given, or one is malformed.
    """
    named = [value for value in (path, resource, field) if value is not None]
    if not named:
        return None
    if len(named) > 1 or not isinstance(named[0], str):
        raise InvalidInput(Phrase("a part is named by one text: path, resource or field"))
    if path is not None:
        if path and not path.startswith("/"):
            raise InvalidInput(Phrase("a path is a JSON Pointer such as /licenses, not %(path)s", path=shortened(path)))
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:])
    if resource is not None:
        return ("resources", f"={resource}")
    table, slash, column = str(field).partition("/")
    if not slash:
        raise InvalidInput(Phrase("a field is named RESOURCE/FIELD, not %(field)s", field=shortened(field)))
    return ("resources", f"={table}", "schema", "fields", f"={column}")


def pointer(part: Part) -> str:
    """Return a part as text that `parse_part` takes as a path."""
    return "".join(f"/{escape(step)}" for step in part)


def steps_back(revisions: Iterable[Revision], reader: Reader, part: Part) -> Iterator[tuple[Revision, bool, Part]]:
    """Yield each revision, with whether it changed the part and with the name of the part before it."""
    documents, after = Documents(), ABSENT
    for newer, older in pairwise(with_end(revisions)):
        assert newer is not None
        if after is ABSENT:
            after = documents.read(reader(newer))
            part = by_names(after, part)
        before = documents.read(reader(older)) if older is not None else None
        changed, part = step_back(after, before, part)
        yield newer, changed, part
        after = before


def step_back(after: Any, before: Any, part: Part) -> tuple[bool, Part]:
    """Tell whether a part differs between a descriptor and the one before it, and its name there."""
    former = _former(after, before, part)
    return _value(after, part) != _value(before, former), former


def with_end(revisions: Iterable[Revision]) -> Iterator[Revision | None]:
    """Yield revisions, then None."""
    yield from revisions
    yield None


def _value(document: Any, part: Part) -> Any:
    for step in part:
        document = _step(document, step)
    return document


def _step(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step, ABSENT)
    if not isinstance(value, list):
        return ABSENT
    if step.isdecimal():
        return value[_position(step)] if _position(step) < len(value) else ABSENT
    keyed = named_lists(value)
    return keyed[0].get(step.removeprefix("="), ABSENT) if keyed else ABSENT


def _position(step: str) -> int:
    """Return the position that digits name. Python refuses to read thousands of them; no list is as long."""
    return int(step) if len(step) <= _MOST_DIGITS else sys.maxsize


def item_names(items: list[Any]) -> list[str]:
    """Return the steps that lead to the items of a list: by their names if they have names, else by their positions."""
    keyed = named_lists(items)
    return [f"={name}" for name in keyed[0]] if keyed else [str(number) for number in range(len(items))]


def by_names(document: Any, part: Part) -> Part:
    """Replace positions in lists by the names of the items, if they have names."""
    steps = []
    for step in part:
        if isinstance(document, list) and step.isdecimal() and _position(step) < len(document):
            step = item_names(document)[_position(step)]
        steps.append(step)
        document = _step(document, step)
    return tuple(steps)


def _former(new: Any, old: Any, part: Part) -> Part:
    """Return the name of a part in an older descriptor."""
    steps = []
    for step in part:
        was = step
        if (
            isinstance(new, list)
            and isinstance(old, list)
            and not step.isdecimal()
            and (keyed := named_lists(old, new))
        ):
            name = step.removeprefix("=")
            if name in keyed[1] and name not in keyed[0]:
                from metastore.descriptor.matching import renamed  # few parts are ever renamed

                names = {now: former for former, now in renamed(*keyed).items()}
                was = f"={names[name]}" if name in names else step
        steps.append(was)
        new, old = _step(new, step), _step(old, was)
    return tuple(steps)
