"""How values read on a page."""

from __future__ import annotations

from datetime import UTC, datetime

from markupsafe import Markup, escape


def moment(at: datetime | None) -> Markup:
    """Return a time in UTC; a script, where there is one, puts the reader's own zone in front."""
    if at is None:
        return Markup("")
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M UTC")
    )


def count(number: int, noun: str) -> str:
    """Return `1 device`, `2 devices`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def said(error: object) -> str:
    """Return what an error says, without the JSON Pointer that programs are told beside it."""
    text, pointer = str(error), getattr(error, "pointer", None)
    return text.removesuffix(f" (at {pointer})") if pointer else text


def at(error: object, field: str) -> list[str]:
    """Return what an error says of one field of a form, by the field's name."""
    problems = getattr(error, "problems", ())
    return [detail for pointer, detail in problems if pointer.split("/")[1:2] == [field]]


def yes_no(value: object) -> str:
    """Return a flag in a word."""
    return "yes" if value else "no"


def either(value: object, otherwise: str = "–") -> Markup:
    """Return a value as text, or something to see where it is empty."""
    return escape(value if value not in (None, "", (), []) else otherwise)
