"""Pages of datasets that only show: the catalogue, a dataset at any revision, its history, two revisions compared."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from flask import Blueprint, render_template, request

from metastore.auth.access import Identity, allows
from metastore.descriptor.difference import changes
from metastore.descriptor.document import load_written, to_line
from metastore.errors import DatasetDeleted, InvalidInput, MetastoreError, NotADescriptor, NotFound
from metastore.history.parts import RevisionFilter, parse_part
from metastore.pages import activity, formatting, markdown
from metastore.service import requests
from metastore.service.context import address, service
from metastore.service.guard import identity, readable, require_read
from metastore.service.part_history import blamed, part_page
from metastore.store.store import validate
from metastore.store.summaries import changed_by
from metastore.types import Dataset, DatasetId, Difference, Finding, Revision, RevisionId
from metastore.wording import contrast

datasets = Blueprint("datasets", __name__)
_ROWS = 50
#: How far back the picture of the activity looks, in revisions.
_SEEN = 1000
_SHOWN_PROBLEMS = 100
#: What the checks of the last revisions found: 100 findings of 300 characters each, so at most some 15 MB.
_MOST_CHECKED = 250
_checked: dict[RevisionId, tuple[Finding, ...]] = {}
_SHOWN_DIFFERENCES = 1000
#: How many lines of a comparison line by line are shown, and how much of each text is compared, in bytes.
_SHOWN_LINES, _COMPARED = 1000, 100_000
#: What is a long text, in characters; and how many of them are compared by words on one page, which takes a while.
_LONG, _MOST_LONG = 1_000, 50
#: How many changes within one text are shown, and with how many words around each.
_SHOWN_PLACES, _CONTEXT = 10, 12


@datasets.get("/datasets")
def index() -> str:
    """List datasets, by owner, with their latest change."""
    prefix, after = request.args.get("prefix", "").strip().lower(), request.args.get("after") or None
    ids = list(islice(readable(service().store.dataset_list(prefix, after=after), lambda each: each), _ROWS + 1))
    rows = [_row(each) for each in ids[:_ROWS]]
    following = ids[_ROWS - 1] if len(ids) > _ROWS else None
    return render_template(
        "datasets/index.html",
        rows=rows,
        prefix=prefix,
        following=following,
        after=after,
        may_create=bool(owners_of(identity())),
    )


def _row(dataset_id: DatasetId) -> dict[str, Any]:
    """Return what a line of the catalogue says; what cannot be read is named all the same."""
    try:
        found = service().store.dataset_read(dataset_id)
    except MetastoreError:
        return {"id": dataset_id, "title": "", "revision": None}
    return {"id": dataset_id, "title": formatting.overview(found.descriptor, "").title, "revision": found.revision}


@datasets.get("/datasets/<owner>/<name>")
def show(owner: str, name: str) -> str | tuple[str, int]:
    """Show a dataset, as it is or was."""
    subject, revision = readable_id(owner, name), request.args.get("revision")
    store = service().store
    try:
        found = store.dataset_read(subject, revision)
    except DatasetDeleted as error:
        return render_template("datasets/deleted.html", id=subject, revision=error.revision, can=can(subject)), 410
    except NotADescriptor as problem:
        return _show_raw(subject, problem)
    newest = store.revision_read(subject)
    return render_template(
        "datasets/show.html",
        **_facts(found),
        newest=newest,
        is_newest=newest.id == found.revision.id,
        tags=list(islice(store.tag_list(subject), _ROWS)),
        can=can(subject),
    )


def _show_raw(subject: DatasetId, problem: NotADescriptor) -> str:
    """Show as text what a revision holds that is no descriptor."""
    revision, content = service().store.dataset_bytes(subject, problem.revision)
    is_newest = service().store.revision_read(subject).id == revision.id
    text = content.decode("utf-8", "replace")
    return render_template(
        "datasets/raw.html", id=subject, revision=revision, problem=problem, text=text, is_newest=is_newest
    )


def _facts(found: Dataset) -> dict[str, Any]:
    seen = formatting.overview(found.descriptor, str(found.id))
    return {
        "id": found.id,
        "revision": found.revision,
        "seen": seen,
        "description": markdown.render(seen.description),
        "findings": _findings(found),
        "text": found.bytes.decode("utf-8", "replace"),
        "lines": _lines(found),
    }


def _findings(found: Dataset) -> tuple[Finding, ...]:
    """Return the findings of a revision, at most 100 and how many more; it is checked once, since it never changes."""
    known = _checked.get(found.revision.id)
    if known is None:
        try:
            known = validate(found.bytes)
        except InvalidInput as error:  # stored by somebody else
            known = tuple(Finding(pointer, detail) for pointer, detail in error.problems[:_SHOWN_PROBLEMS])
        while len(_checked) >= _MOST_CHECKED:
            _checked.pop(next(iter(_checked)), None)
        _checked[found.revision.id] = known
    return known


def _lines(found: Dataset) -> dict[str, str]:
    """Return what to copy: the address of this very revision, and how to get it with curl and in Python."""
    root = address(request.root_path)
    api = f"{root}/api/v1/datasets/{found.id}?revision={found.revision.id}"
    python = (
        "import metastore\n\n"
        f'store = metastore.connect("{root}")\n'
        f'dataset = store.dataset_read("{found.id}", "{found.revision.id}")\n'
        'print(dataset.descriptor.get("title"))'
    )
    return {
        "clone": _clone_line(found.id),
        "link": f"{root}/datasets/{found.id}?revision={found.revision.id}",
        "api": api,
        "curl": f"curl --fail '{api}'",
        "python": python,
    }


def _clone_line(dataset_id: DatasetId) -> str:
    """Return how to clone a dataset; nothing where the service was not told from where."""
    template = service().settings.clone_url
    if template is None:
        return ""
    return "git clone " + template.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)


@datasets.get("/datasets/<owner>/<name>/history")
def history(owner: str, name: str) -> str:
    """Show who changed a dataset, when and why, newest first."""
    subject = readable_id(owner, name)
    store, start, path = service().store, request.args.get("revision"), request.args.get("path") or None
    revisions, following = _page_of(subject, start, path)
    times = [each.created for each in store.revision_list(subject, limit=_SEEN)] if start is path is None else []
    named: dict[str, list[str]] = defaultdict(list)
    for tag in islice(store.tag_list(subject), 10 * _ROWS):
        named[tag.revision].append(tag.name)
    return render_template(
        "datasets/history.html",
        id=subject,
        revisions=revisions,
        following=following,
        start=start,
        path=path,
        changes=_changes(subject, revisions) if request.args.get("changes") else None,
        tags=named,
        picture=activity.picture(times),
        can=can(subject),
    )


def _page_of(
    subject: DatasetId, start: str | None, path: str | None
) -> tuple[Sequence[Revision], Mapping[str, str | None] | None]:
    """Return a page of revisions, and the parameters of the next one."""
    part = parse_part(path)
    if part is not None:
        page = part_page(subject, start, part, RevisionFilter(), _ROWS)
        return page.revisions, page.following
    revisions = list(service().store.revision_list(subject, start, limit=_ROWS + 1))
    return revisions[:_ROWS], {"revision": revisions[_ROWS].id} if len(revisions) > _ROWS else None


def _changes(subject: DatasetId, revisions: Iterable[Revision]) -> dict[str, str]:
    """Return on one line what each revision changed; it takes two reads each, so it is shown only when asked for."""
    return {revision.id: changed_by(service().store, subject, revision) for revision in revisions}


@datasets.get("/datasets/<owner>/<name>/blame")
def blame(owner: str, name: str) -> str:
    """Show of each value which revision it comes from."""
    subject = readable_id(owner, name)
    values = blamed(subject, request.args.get("revision"))
    rows = [(value, shown(value.value)) for value in values[:_SHOWN_DIFFERENCES]]
    return render_template("datasets/blame.html", id=subject, rows=rows, more=len(values) - len(rows))


@datasets.get("/datasets/<owner>/<name>/compare")
def compare(owner: str, name: str) -> str:
    """Show what lies between two revisions: in words, by resource, and as they are stored."""
    subject = readable_id(owner, name)
    if not request.args.get("from"):
        raise InvalidInput("choose two revisions to compare, in the history")
    sides = request.args["from"], request.args.get("to") or None
    try:
        diff = service().store.revision_diff(subject, *sides)
    except NotADescriptor as problem:
        old, new = (service().store.revision_read(subject, name) for name in sides)
        lines = list(islice(_lines_between(subject, old, new), _SHOWN_LINES))
        return render_template(
            "datasets/lines.html", id=subject, old=old, new=new, problem=problem, lines=lines, most=_SHOWN_LINES
        )
    return render_template(
        "datasets/compare.html",
        id=subject,
        diff=diff,
        groups=_grouped(diff.changes[:_SHOWN_DIFFERENCES]),
        more=max(0, len(diff.changes) - _SHOWN_DIFFERENCES),
    )


def _lines_between(subject: DatasetId, old: Revision, new: Revision) -> Iterator[str]:
    """Compare what two revisions hold line by line, whatever it is."""
    texts = [
        b"" if side.deleted else service().store.dataset_bytes(subject, side.id)[1][:_COMPARED] for side in (old, new)
    ]
    before, after = (text.decode("utf-8", "replace").splitlines() for text in texts)
    return difflib.unified_diff(before, after, old.id[:12], new.id[:12], lineterm="")


def _grouped(differences: Iterable[Difference]) -> dict[str, list[dict[str, Any]]]:
    """Return differences by what they are about: the dataset as a whole first, then its parts."""
    groups: dict[str, list[dict[str, Any]]] = {"The dataset": []}
    long = 0
    for each in differences:
        first, _, rest = each.where.partition(" › ")
        part = first if rest or first.startswith("resource ") else "The dataset"
        is_long = len(_text(each.old)) + len(_text(each.new)) > _LONG
        long += is_long
        old, new = _beside(each.old, each.new, by_words=not is_long or long <= _MOST_LONG)
        row = {"kind": each.kind, "where": rest or first, "old": old, "new": new}
        groups.setdefault(part, []).append(row)
    return {part: rows for part, rows in groups.items() if rows}


def readable_id(owner: str, name: str) -> DatasetId:
    """Return the id in a path, if the caller may know of it. Raises DatasetNotFound."""
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    return subject


def owners_of(who: Identity) -> list[str]:
    """Return the owners under which somebody may create datasets; `*` stands for all."""
    granted = {scope.owner or "*" for scope in who.scopes if "create" in scope.actions and scope.name is None}
    return ["*"] if "*" in granted else sorted(granted)


def can(subject: DatasetId) -> frozenset[str]:
    """Return what the caller may do with a dataset; no dict, whose `update` a template would take for true."""
    who = identity()
    return frozenset(action for action in ("update", "create", "delete", "purge") if allows(who, action, subject))


def between(subject: DatasetId, old: str, new: Revision) -> list[Any]:
    """Return in words what others changed since a revision; nothing if that is not known."""
    store = service().store
    try:
        before = load_written(store.dataset_json(subject, old)[1])
        after = {} if new.deleted else load_written(store.dataset_json(subject, new.id)[1])
    except (NotFound, NotADescriptor):
        return []
    return list(changes(before, after))


def _beside(old: Any, new: Any, *, by_words: bool) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Return the pieces of two values, each with whether it changed; of long text only what is around a change."""
    if old is None or new is None or not by_words:
        return [(shown(old), False)] if old is not None else [], [(shown(new), False)] if new is not None else []
    excerpts, more = contrast(_text(old), _text(new), words=_CONTEXT, most=_SHOWN_PLACES)
    rest = [(f" (and {more} more)", False)] if more else []
    before = [piece for each in excerpts for piece in ((each.before, False), (each.old, True), (each.after, False))]
    after = [piece for each in excerpts for piece in ((each.before, False), (each.new, True), (each.after, False))]
    return before + rest, after + rest


def shown(value: Any) -> str:
    """Return a value of a descriptor as people read it; text without its quotation marks."""
    if value is None:
        return ""
    text = _text(value)
    return text if len(text) <= 400 else f"{text[:399]}…"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_line(value)
