"""Times, counts, flags and errors as pages show them."""

from __future__ import annotations

from datetime import UTC, datetime

from markupsafe import Markup, escape

_MACHINES, _EXACT = "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M UTC"


def moment(at: datetime | None) -> Markup:
    """Return a time as people say it, such as `3 hours ago`, with the exact time in UTC on hover."""
    if at is None:
        return Markup("")
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.strftime(_MACHINES), at.strftime(_EXACT), ago(at, datetime.now(UTC))
    )


def exact(at: datetime) -> Markup:
    """Return a time in UTC, to the minute. A script puts the reader's own zone in front, if the browser runs it."""
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(at.strftime(_MACHINES), at.strftime(_EXACT))


def recorded(at: datetime | None) -> Markup:
    """Return the time at which a change was recorded, to stand behind the one that was claimed, if they differ."""
    return Markup(" <small>(recorded {})</small>").format(exact(at)) if at else Markup("")


def stated(text: str) -> Markup:
    """Return a time that a descriptor states in ISO 8601 as other times; any other text, and a date, as it is."""
    try:
        at = datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        at = None
    return moment(at if at.tzinfo else at.replace(tzinfo=UTC)) if at else escape(text)


def ago(at: datetime, now: datetime) -> str:
    """Return the time that has passed, in words; the date if that is 30 days or more, or lies in the future."""
    seconds = int((now - at).total_seconds())
    if not -60 < seconds < 30 * 86400:  # clocks of two machines may differ by some seconds
        return f"{at.day} {at:%b %Y}"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{count(seconds // length, unit)} ago"
    return "just now"


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 device` and `2 devices`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def message(error: object) -> str:
    """Return the message of an error without its JSON Pointer, which is for programs."""
    text, pointer = str(error), getattr(error, "pointer", None)
    return text.removesuffix(f" (at {pointer})") if pointer else text


def sentence(text: str) -> str:
    """Return a text as a sentence, with a capital and a full stop. An id or file name keeps its first letter."""
    text = text.strip()
    is_name = any(mark in text.partition(" ")[0][:-1] for mark in "/._")
    first = text[:1] if is_name else text[:1].upper()
    return f"{first}{text[1:]}{'' if text.endswith(('.', '!', '?')) or not text else '.'}"


def at(error: object, field: str) -> list[str]:
    """Return the problems of an error that are about one field of a form."""
    problems = getattr(error, "problems", ())
    return [detail for pointer, detail in problems if pointer.split("/")[1:2] == [field]]


def yes_no(value: object) -> str:
    """Return `yes` or `no`."""
    return "yes" if value else "no"


def either(value: object, otherwise: str = "–") -> Markup:
    """Return a value as text, or a dash if it is empty."""
    return escape(value if value not in (None, "", (), []) else otherwise)
