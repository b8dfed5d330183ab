"""Times, counts, flags and errors as pages show them, in the language of the request."""

from __future__ import annotations

from datetime import UTC, date, datetime

from markupsafe import Markup, escape

from metastore.contrast import contrasted
from metastore.pages.languages import gettext as _
from metastore.pages.languages import language, later, later_counted, ngettext, said
from metastore.pages.places import in_words
from metastore.phrase import both
from metastore.types import Difference
from metastore.wording import outlined

_MACHINES, _EXACT = "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M UTC"
_MONTHS = (
    *(later("Jan"), later("Feb"), later("Mar"), later("Apr"), later("May"), later("Jun")),
    *(later("Jul"), later("Aug"), later("Sep"), later("Oct"), later("Nov"), later("Dec")),
)
_AGO = (
    (later_counted("%(number)s day ago", "%(number)s days ago"), 86400),
    (later_counted("%(number)s hour ago", "%(number)s hours ago"), 3600),
    (later_counted("%(number)s minute ago", "%(number)s minutes ago"), 60),
)
_BETWEEN_THOUSANDS = {"en": ",", "de": "."}
#: What pages count, by its name in the templates.
_COUNTED = {
    "bundle": later_counted("%(number)s bundle", "%(number)s bundles"),
    "dataset": later_counted("%(number)s dataset", "%(number)s datasets"),
    "all datasets": later_counted("All %(number)s dataset", "All %(number)s datasets"),
    "device": later_counted("%(number)s device", "%(number)s devices"),
    "device added": later_counted("%(number)s device added", "%(number)s devices added"),
    "device removed": later_counted("%(number)s device removed", "%(number)s devices removed"),
    "difference": later_counted("%(number)s difference", "%(number)s differences"),
    "field": later_counted("%(number)s field", "%(number)s fields"),
    "finding": later_counted("%(number)s finding", "%(number)s findings"),
    "breach": later_counted(
        "The descriptor breaks the Data Package specification in %(number)s place:",
        "The descriptor breaks the Data Package specification in %(number)s places:",
    ),
    "more bundle": later_counted("%(number)s more bundle", "%(number)s more bundles"),
    "more device": later_counted("%(number)s more device", "%(number)s more devices"),
    "more difference": later_counted("%(number)s more difference", "%(number)s more differences"),
    "more resource": later_counted("%(number)s more resource", "%(number)s more resources"),
    "more finding": later_counted("%(number)s more finding", "%(number)s more findings"),
    "more value": later_counted("%(number)s more value", "%(number)s more values"),
    "older version": later_counted("%(number)s older version", "%(number)s older versions"),
    "resource": later_counted("%(number)s resource", "%(number)s resources"),
    "row": later_counted("%(number)s row", "%(number)s rows"),
    "all resources": later_counted("All %(number)s resource", "All %(number)s resources"),
    "revision": later_counted("%(number)s revision", "%(number)s revisions"),
    "replace": later_counted("Replace in %(number)s bundle", "Replace in %(number)s bundles"),
    "remove": later_counted("Remove in %(number)s bundle", "Remove in %(number)s bundles"),
    "tag": later_counted("%(number)s tag", "%(number)s tags"),
    "unreadable": later_counted("%(number)s dataset cannot be read:", "%(number)s datasets cannot be read:"),
    "value": later_counted("%(number)s value", "%(number)s values"),
}


def moment(at: datetime | None) -> Markup:
    """Return a time as people say it, such as `3 hours ago`, with the exact time in UTC on hover."""
    if at is None:
        return Markup("")
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.strftime(_MACHINES), minute(at), ago(at, datetime.now(UTC))
    )


def exact(at: datetime) -> Markup:
    """Return a time in UTC, to the minute. A script puts the reader's own zone in front, if the browser runs it."""
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(at.strftime(_MACHINES), minute(at))


def clock(at: datetime) -> Markup:
    """Return the time of a day in UTC, for a list by days, with the date on hover."""
    at = at.astimezone(UTC)
    words = f"{at:%H:%M} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.strftime(_MACHINES), minute(at), words)


def minute(at: datetime) -> str:
    """Return a time in UTC as text, to the minute."""
    return at.astimezone(UTC).strftime(_EXACT)


def recorded(at: datetime | None) -> Markup:
    """Return the time at which a change was recorded, to stand behind the one that was claimed, if they differ."""
    if at is None:
        return Markup("")
    words = Markup(_("recorded %(when)s", when=exact(at)))  # noqa: S704 - our own, with a time
    return Markup(" <small>({})</small>").format(words)


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
        return day(at)
    for words, length in _AGO:
        if seconds >= length:
            return ngettext(*words, seconds // length, number=seconds // length)
    return _("just now")


def day(at: date) -> str:
    """Return a day, such as `5 May 2026`."""
    return _("%(day)s %(month)s %(year)s", day=at.day, month=_(_MONTHS[at.month - 1]), year=at.year)


def number(value: int) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,}".replace(",", _BETWEEN_THOUSANDS[language()])


def count(value: int, noun: str) -> str:
    """Return a number with its noun, such as `1 device` and `2 devices`."""
    return ngettext(*_COUNTED[noun], value, number=number(value))


def rows(first: int, shown: int, total: str = "") -> str:
    """Return which rows of a list a page shows, such as `51 to 100 of 134 tags`."""
    sides = {"first": number(first + 1), "last": number(first + shown)}
    if total:
        return _("%(first)s to %(last)s of %(total)s", total=total, **sides)
    return _("%(first)s to %(last)s", **sides)


def because(reason: str) -> str:
    """Return a reason as it follows a sentence; empty if there is none."""
    return f": {reason}" if reason else ""


def in_brackets(text: str) -> str:
    """Return a text in brackets, as it follows a word; empty if there is none."""
    return f" ({text})" if text else ""


def quoted(text: str) -> str:
    """Return a text in quotation marks; empty if there is none."""
    return _("“%(text)s”", text=text) if text else ""


_BY = {
    "changed": later("%(name)s changed it %(when)s"),
    "deleted": later("%(name)s deleted it %(when)s"),
}


def by(name: str, done: str, at: datetime, reason: str, after: str = "") -> Markup:
    """Return who did something, when and why, in a sentence; `after` follows the time."""
    so_far = _(_BY[done], name=escape(name), when=moment(at) + after)
    return Markup(so_far) + (f": {sentence(reason)}" if reason else ".")  # noqa: S704 - our own, and the name is escaped


def message(error: object) -> str:
    """Return the message of an error in the language of the request, without the JSON Pointer for programs."""
    pointer, told = getattr(error, "pointer", None), str(error)
    text = told.removesuffix(f" (at {pointer})") if pointer else told
    known = (*getattr(error, "args", ()), *(detail for _, detail in getattr(error, "problems", ())))
    return said(next((words for words in known if words == text), text))


def sentence(text: str) -> str:
    """Return a text as a sentence, with a capital and a full stop, in the language of the request.

    An id or file name keeps its first letter.
    """
    text = said(text).strip()
    is_name = any(mark in text.partition(" ")[0][:-1] for mark in "/._")
    first = text[:1] if is_name else text[:1].upper()
    return f"{first}{text[1:]}{'' if text.endswith(('.', '!', '?')) or not text else '.'}"


def difference(row: Difference) -> str:
    """Return a difference in a sentence."""
    where = in_words(row.where)
    if row.is_in_place:
        return _("%(where)s moved %(to)s (was %(old)s)", where=where, to=_to(row.new), old=_at(row.old))
    if row.kind == "moved":
        old, new = (said(both(place if isinstance(place, list) else [place])) for place in (row.old, row.new))
        return _("%(where)s moved from %(old)s to %(new)s", where=where, old=old, new=new)
    if row.kind in ("added", "removed"):
        value = said(outlined(row.new if row.kind == "added" else row.old))
        return f"{where} {_(row.kind)}: {value}{in_brackets(said(row.note))}"
    return f"{where} {_(row.kind)}{said(contrasted(row.old, row.new))}{in_brackets(said(row.note))}"


def _to(place: str) -> str:
    """Return where a thing moved within its list."""
    return {"the start": _("to the start"), "the end": _("to the end")}.get(place) or said(place)


def _at(place: str) -> str:
    """Return where a thing was in its list."""
    return {"the start": _("at the start"), "the end": _("at the end")}.get(place) or said(place)


def capital(text: str) -> str:
    """Return a text with a capital at its beginning, for a heading."""
    return text[:1].upper() + text[1:]


def at(error: object, field: str) -> list[str]:
    """Return the problems of an error that are about one field of a form."""
    problems = getattr(error, "problems", ())
    return [said(detail) for pointer, detail in problems if pointer.split("/")[1:2] == [field]]


def yes_no(value: object) -> str:
    """Return `yes` or `no`."""
    return _("yes") if value else _("no")
