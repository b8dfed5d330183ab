"""Pages that compare two revisions of a dataset: in words, one difference in full, and line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import Any

from flask import Blueprint, Response, render_template, request

from metastore.descriptor.document import encode, to_line
from metastore.descriptor.lines import Lines, compare_lines
from metastore.errors import InvalidInput, NotADescriptor, NotFound
from metastore.excerpts import Excerpt, contrast, line_ends
from metastore.looks import only
from metastore.pages.datasets import can, readable_id, shortened_text, text_of_value, whole_text
from metastore.pages.languages import gettext as _
from metastore.pages.languages import later, said
from metastore.pages.paging import start_of
from metastore.pages.places import in_words
from metastore.pages.side_by_side import rows_of
from metastore.pages.versions import MOST_STEPS, steps_between, versions_of
from metastore.pages.whole_parts import whole_part
from metastore.service.context import address, service
from metastore.types import DatasetId, Diff, Difference, Revision, Tag
from metastore.wording import spelled

compare = Blueprint("compare", __name__)
Piece = tuple[str, bool]
_Row = dict[str, Any]
#: The differences on a page.
_ROWS = 500
#: The lines of a comparison line by line on a page; the file has all of them.
_LINES = 1000
#: The longest line there, in characters.
_LONGEST_LINE = 4_000
#: The length of a long text in characters, and the long texts that a page compares by words, which takes time.
_LONG, _MOST_LONG = 1_000, 50
#: The longest value that is shown in full, in characters.
_LONGEST_TEXT = 100_000
#: The changes that are shown inside one text, and the words around each.
_PLACES, _CONTEXT = 10, 12
#: The newest revisions, and the tags, that are offered to choose from.
_OFFERED = 50
#: The versions that are offered to be compared with the one before.
_VERSIONS = 10
#: The length of a value that is spelled as JSON, in characters.
_SPELLED = 80
_KINDS = (later("added"), later("removed"), later("changed"), later("renamed"), later("moved"))
#: The grades of a change.
_GRADES = (later("major"), later("minor"), later("patch"))


@compare.get("/datasets/<owner>/<name>/compare")
def show(owner: str, name: str) -> str | tuple[str, int]:
    """Show the differences of two revisions, or ask which ones."""
    subject = readable_id(owner, name)
    sides = request.args.get("from", "").strip(), request.args.get("to", "").strip() or None
    if not sides[0]:
        versions, _number = versions_of(subject, _VERSIONS, compared=False)
        return _page("datasets/compare.html", subject, sides, diff=None, versions=versions)
    try:
        if request.args.get("view") == "text":
            return _page_of_lines(subject, sides)
        diff = service().store.revision_diff(subject, *sides)
    except NotADescriptor as problem:
        return _page_of_lines(subject, sides, problem)
    except (InvalidInput, NotFound) as problem:
        return _page("datasets/compare.html", subject, sides, diff=None, problem=problem), 404
    number = request.args.get("only", "")
    if number.isascii() and number.isdecimal() and len(number) < 9 and int(number) < len(diff.changes):
        row = _whole(_in_our_words(diff.changes[int(number)]))
        return _page("datasets/difference.html", subject, sides, diff=_short(diff), row=row)
    return _page_of_differences(subject, sides, diff)


def _page(template: str, subject: DatasetId, sides: tuple[str, str | None], **more: Any) -> str:
    tags = sorted(islice(service().store.tag_list(subject), _OFFERED), key=lambda tag: tag.created, reverse=True)
    others = _choices(subject, tags)
    page: dict[str, Any] = {"problem": None, "can": can(subject), "tags": tags, "others": others, **more}
    page["columns"] = 2 if _in_two_columns() else None
    page["asked"] = {"from": sides[0], "to": sides[1] or ""}
    if diff := more.get("diff"):
        page |= {"old": diff.old, "new": diff.new}
    if "old" in page:
        page |= {"steps": steps_between(subject, page["old"], page["new"]), "most_steps": MOST_STEPS}
        page["link"] = (
            f"{address(request.root_path)}/datasets/{subject}/compare?from={page['old'].id}&to={page['new'].id}"
        )
    return render_template(template, id=subject, **page)


def _choices(subject: DatasetId, tags: Sequence[Tag]) -> list[tuple[str, str]]:
    """Return the choices for a side, each with its label: tags, newest first, then the newest revisions."""
    revisions = service().store.revision_list(subject, limit=_OFFERED)
    return [(tag.name, _("tag of %(day)s", day=f"{tag.created:%Y-%m-%d}")) for tag in tags] + [
        (stored.id[:12], f"{stored.created:%Y-%m-%d} {stored.message.splitlines()[0][:60] if stored.message else ''}")
        for stored in revisions
    ]


def _page_of_differences(subject: DatasetId, sides: tuple[str, str | None], diff: Diff) -> str:
    kind = request.args.get("kind", "")
    first = start_of()
    rows = [(number, _in_our_words(each)) for number, each in enumerate(diff.changes) if kind in ("", each.kind)]
    return _page(
        "datasets/compare.html",
        subject,
        sides,
        diff=_short(diff),
        changed=len(diff.changes),
        groups=_grouped(rows[first : first + _ROWS]),
        counts={name: count for name, count in _by_kind(diff.changes).items() if count},
        kind=kind,
        first=first,
        shown=min(_ROWS, len(rows) - first),
        total=len(rows),
        previous=max(0, first - _ROWS) if first else None,
        following=first + _ROWS if len(rows) > first + _ROWS else None,
    )


def _in_our_words(change: Difference) -> Difference:
    """Return a difference with the texts of the core that are in it in the language of the request."""
    old, new = (
        [said(place) for place in value] if change.kind == "moved" and isinstance(value, list) else value
        for value in (change.old, change.new)
    )
    old, new = (said(value) if isinstance(value, str) else value for value in (old, new))
    return replace(change, old=old, new=new, note=said(change.note))


def _by_kind(changes: Iterable[Difference]) -> dict[str, int]:
    counts = Counter(change.kind for change in changes)
    return {kind: counts[kind] for kind in _KINDS}


def _grouped(differences: Iterable[tuple[int, Difference]]) -> dict[str, list[tuple[str, list[_Row]]]]:
    """Group differences by their subject, the dataset as a whole first, and those of a resource by their fields."""
    groups: dict[str, list[_Row]] = {_("The dataset"): []}
    long = 0
    for number, change in differences:
        part, field, where = _part(change.where)
        is_long = len(_text(change.old)) + len(_text(change.new)) > _LONG
        long += is_long
        row = _row(change, by_words=not is_long or long <= _MOST_LONG)
        groups.setdefault(part, []).append({**row, "field": field, "where": where, "number": number})
    return {part: _by_field(rows) for part, rows in groups.items() if rows}


def _by_field(rows: Sequence[_Row]) -> list[tuple[str, list[_Row]]]:
    """Return rows with the name of the field that they are about; it is empty for a field with a single row."""
    counts = Counter(row["field"] for row in rows)
    for row in rows:
        if row["field"] and counts[row["field"]] == 1:
            row |= {"field": "", "where": f"{row['field']} › {row['where']}"}
    return [(field, list(of_field)) for field, of_field in groupby(rows, key=itemgetter("field"))]


def _row(change: Difference, *, by_words: bool) -> _Row:
    is_null = [value is None and change.kind == "changed" for value in (change.old, change.new)]
    old, new = beside("null" if is_null[0] else change.old, "null" if is_null[1] else change.new, by_words=by_words)
    wholes = [whole_part(value) if change.kind in ("added", "removed") else None for value in (change.old, change.new)]
    is_cut = any(
        whole.is_cut if whole else _is_cut(value, pieces, is_alone=change.old is None or change.new is None)
        for value, pieces, whole in zip((change.old, change.new), (old, new), wholes, strict=True)
    )
    shown = {"old": old, "new": new, "whole_old": wholes[0], "whole_new": wholes[1], "is_cut": is_cut}
    note = change.note or (_only(change.old, change.new) if by_words else "")
    return {"kind": change.kind, "note": note, **shown}


def _only(old: Any, new: Any) -> str:
    """Say what kind of difference it is, if readers could not see it, such as `only white space`."""
    if not (isinstance(old, str) and isinstance(new, str)):
        return ""
    one, other, _ends = line_ends(old, new)
    what = only(one, other) if one != other else ""
    return _("only %(what)s", what=said(what)) if what else ""


def _part(where: str) -> tuple[str, str, str]:
    """Return the part that a difference is in, the field of a resource or an empty text, and the place inside it."""
    first, rest = (*where.split(" › ", 1), "")[:2]
    part = in_words(first) if rest or first.startswith("resource ") else _("The dataset")
    if (inside := rest.removeprefix("schema › ")).startswith("field "):
        field, _mark, place = inside.partition(" › ")
        return (part, in_words(field), place) if place else (part, "", in_words(field))
    return part, "", in_words(rest or first)


def _is_cut(value: Any, pieces: Sequence[Piece], *, is_alone: bool) -> bool:
    """Say whether the pieces leave something out. A value without another one beside it is shown as `whole_text`."""
    whole = whole_text(value) if is_alone else _text(value)
    return value is not None and len(whole) > sum(len(text) for text, _changed in pieces)


def beside(old: Any, new: Any, *, by_words: bool) -> tuple[list[Piece], list[Piece]]:
    """Return the pieces of two values, each with whether it changed; of a long text, only those around a change."""
    if old is None or new is None or not by_words:
        return [(text_of_value(old), False)] if old is not None else [], (
            [(text_of_value(new), False)] if new is not None else []
        )
    are_texts = isinstance(old, str) and isinstance(new, str)
    one, other, changed = line_ends(old, new) if are_texts else (_text(old), _text(new), "")
    excerpts, more = contrast(one, other, words=_CONTEXT, most=_PLACES)
    if not excerpts and not changed:  # a number, and a text with the same digits
        return [(spelled(old, _SPELLED), True)], [(spelled(new, _SPELLED), True)]
    rest = [(_(" (and %(more)s more)", more=more), False)] if more else []
    before, after = (list(_side(excerpts, name)) for name in ("old", "new"))
    ends = [[(_(" (line ends %(kind)s)", kind=kind), True)] for kind in changed.split(" → ")] if changed else [[], []]
    return before + rest + ends[0], after + rest + ends[1]


def _side(excerpts: Sequence[Excerpt], name: str) -> Iterator[Piece]:
    """Yield the pieces of the old or the new side, with `…` only where something is left out."""
    for part, following in pairwise((*excerpts, None)):
        assert part is not None
        yield part.before.removeprefix("…") if part.joins else part.before, False
        yield getattr(part, name), True
        yield part.after.removesuffix("…") if following and following.joins else part.after, False


def _whole(difference: Difference) -> dict[str, Any]:
    """Return one difference in full, but for the ends of very long texts."""
    part, *inside = _part(difference.where)
    old, new = (_in_full(value) for value in (difference.old, difference.new))
    cut = max(len(old), len(new)) > _LONGEST_TEXT
    sides = {"old": shortened_text(old, _LONGEST_TEXT), "new": shortened_text(new, _LONGEST_TEXT)}
    return {"part": part, "kind": difference.kind, "where": " › ".join(filter(None, inside)), "cut": cut, **sides}


def _in_full(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return encode(value).decode().rstrip()
    except InvalidInput:  # stored by another program
        return to_line(value)


def _short(diff: Diff) -> Diff:
    """Return a comparison without its values, which a template keeps for a while."""
    return replace(diff, changes=(), patch=())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_line(value)


# Line by line


def _in_two_columns() -> bool:
    """Tell whether the reader wants both texts side by side."""
    return request.args.get("columns") == "2"


def _page_of_lines(
    subject: DatasetId,
    sides: tuple[str, str | None],
    problem: NotADescriptor | None = None,
) -> str:
    old, new = (service().store.revision_read(subject, side) for side in sides)
    cut, lines = False, list[str]()
    compared = _compared_lines(subject, old, new)
    for line in islice(compared.lines, _LINES + 1):
        cut |= len(line) > _LONGEST_LINE
        lines.append(shortened_text(line, _LONGEST_LINE))
    return _page(
        "datasets/lines.html",
        subject,
        sides,
        old=old,
        new=new,
        problem=problem,
        note=compared.note,
        lines=lines[:_LINES],
        rows=list(rows_of(lines[:_LINES])) if _in_two_columns() else None,
        more=len(lines) > _LINES,
        cut=cut,
    )


@compare.get("/datasets/<owner>/<name>/compare.diff")
def as_text(owner: str, name: str) -> Response:
    """Send the whole comparison line by line, in the form of `diff -u`."""
    subject = readable_id(owner, name)
    if not request.args.get("from"):
        raise InvalidInput(_("say with ?from= which revision to compare"))
    sides = request.args["from"], request.args.get("to") or None
    old, new = (service().store.revision_read(subject, side) for side in sides)
    compared = _compared_lines(subject, old, new)
    note = [said(compared.note)] if compared.note else []  # `patch` passes over lines before a comparison
    text = "".join(f"{line}\n" for line in (*note, *compared.lines))
    return Response(text.encode("utf-8", "replace"), mimetype="text/plain")


def _compared_lines(subject: DatasetId, old: Revision, new: Revision) -> Lines:
    """Compare the stored bytes of two revisions line by line."""
    texts = (b"" if side.deleted else service().store.dataset_bytes(subject, side.id)[1] for side in (old, new))
    before, after = (text.decode("utf-8", "replace") for text in texts)
    return compare_lines(before, after, old.id[:12], new.id[:12])
