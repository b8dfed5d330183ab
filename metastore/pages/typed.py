"""A descriptor as somebody types it: as JSON, or in the fields of a form beside it, and what the check finds in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict

from metastore.descriptor.document import decode, encode, load
from metastore.descriptor.limits import most_values, size_of
from metastore.descriptor.profiles import findings
from metastore.descriptor.resources import check
from metastore.errors import InvalidInput, TooLarge
from metastore.pages.descriptor_form import filled_in, kind_of, place_after
from metastore.pages.form_view import Place, view
from metastore.pages.formatting import message, number
from metastore.pages.json_lines import mark
from metastore.pages.languages import gettext as _
from metastore.pages.refusals import shown
from metastore.service.context import service

#: The largest descriptor that a form takes, as `size_of` counts it: its text goes to the browser and back.
_LARGEST = 2 * 1024 * 1024
#: The largest text that is checked for a page, in bytes: a megabyte takes a second.
_MOST_CHECKED = 1_000_000


@dataclass(frozen=True, slots=True)
class Spot:
    """A finding, and where it is in what was typed.

    Attributes:
        detail: The finding, in a sentence.
        line, column: Its place in the JSON, counted from 1; 0 in a form.
        field: The id of its field in a form; empty if the form has none.
    """

    detail: str
    line: int = 0
    column: int = 0
    field: str = ""


def parsed(text: str) -> Any:
    """Return a typed descriptor, with numbers as written. Raises InvalidInput."""
    descriptor = decoded(text)
    check(descriptor)
    return descriptor


def decoded(text: str) -> Any:
    """Return typed JSON, with numbers as written. Raises InvalidInput."""
    most = service().store.max_bytes
    return decode(text, max_bytes=most, max_values=most_values(most))


def largest() -> int:
    """Return the size of the largest descriptor that a form takes here, in bytes."""
    return min(service().store.max_bytes, _LARGEST)


def limit(text: str | bytes) -> None:
    """Refuse a descriptor that is too large for a form. Raises TooLarge."""
    if (size := size_of(text)) > _LARGEST:
        raise TooLarge(
            _(
                "the descriptor takes %(size)s bytes, and a form at most %(most)s: change the file in an editor, and "
                "store it with `metastore dataset update`, or by PUT or PATCH",
                size=number(size),
                most=number(_LARGEST),
            )
        )


def typed() -> dict[str, Any]:
    """Return what was sent: the fields of a form are put into its text.

    Raises:
        InvalidInput: A form has fields, and its text is not JSON.
        TooLarge: The text is too large for a form.
    """
    given = filled()
    limit(given["text"])
    return given


def filled() -> dict[str, Any]:
    """Return what was sent as `typed` does. With fields, the text may be too large, so that it can be shown again."""
    sent, given = request.form, as_sent()
    if given["as"] != "form" or not given["text"]:  # none is left of a text that takes too much memory
        limit(sent.get("text", ""))
    if given["as"] == "form":
        boxes = dict.fromkeys(sent.getlist("box"), "")
        values = {name: text for name, text in sent.items() if name.startswith("/")}
        moved = sent.get("move", "")
        descriptor = filled_in(decoded(given["text"]), boxes | values, sent.getlist("remove"), moved)
        place = Place.parse(given["opened"])
        given["opened"] = str(place.at(place_after(place.resource, moved), place.field))
        given["text"] = shown(encode(descriptor).decode())
    return given


def as_sent() -> dict[str, Any]:
    """Return what was sent, with the text as it came; none if it would take too much memory to show it again."""
    sent: MultiDict[str, str] = request.form
    names = ("text", "message", "id", "expected", "base", "as", "opened")
    given = {name: sent.get(name, "") for name in names}
    given["text"] = shown(given["text"])
    return given | {"opened": sent.get("open", given["opened"])}


def redraws(given: dict[str, Any]) -> str:
    """Return how the page is to be drawn again without saving: `form` or `json`; empty if it is to be saved."""
    step = request.form.get("step", "")
    if step in ("form", "json"):
        return step
    return "form" if given["as"] == "form" and (not step or "open" in request.form) else ""


def form_of(given: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the form shows; None to edit as JSON, which is the only way to edit what is not an object."""
    if given.get("as") != "form":
        return None
    try:
        descriptor = decoded(given["text"])
    except InvalidInput:
        return None
    return view(descriptor, Place.parse(given.get("opened", ""))) if isinstance(descriptor, dict) else None


def spots(text: str, *, in_form: bool) -> list[Spot] | None:
    """Return what the check finds in a typed text; None if it is too long to be checked for a page."""
    if len(text) > _MOST_CHECKED:
        return None
    try:
        parsed(text)
        problems = [(finding.pointer or "", finding.detail) for finding in findings(load(text.encode()))]
    except InvalidInput as error:
        problems = list(error.problems) or [(error.pointer or "", message(error))]
    return in_fields(problems) if in_form else _in_lines(text, problems)


def in_fields(problems: Sequence[tuple[str, str]]) -> list[Spot]:
    """Return findings about a typed descriptor, each with its field in the form."""
    return [Spot(detail, field=pointer if kind_of(pointer) else "") for pointer, detail in problems]


def _in_lines(text: str, problems: Sequence[tuple[str, str]]) -> list[Spot]:
    places = mark(text, InvalidInput(_("the check has findings"), problems=tuple(problems)))
    return [Spot(place.detail, place.line, place.column) for place in places]
