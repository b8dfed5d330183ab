"""What was, over HTTP: revisions, differences, tags, the journal and the feed of changes."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, request

from metastore.errors import InvalidInput
from metastore.history.parts import RevisionFilter, parse_part
from metastore.parse import parse_dataset_id
from metastore.service import requests, responses
from metastore.service.context import service
from metastore.service.guard import may_read, readable, require_read, signed, writer
from metastore.service.part_history import blamed, part_page
from metastore.store.summaries import told
from metastore.types import DatasetId, FeedEntry, JournalEntry, Revision, Tag
from metastore.wire import to_wire

revisions = Blueprint("revisions", __name__)
_TAG_MEMBERS = ("name", "revision", "description")
#: How many entries of the feed are summed up in one request, which reads two descriptors each.
_MOST_SUMMARIES = 100


def _readable(owner: str, name: str) -> DatasetId:
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    return subject


@revisions.get("/datasets/<owner>/<name>/revisions")
def revision_list(owner: str, name: str) -> Response:
    """List revisions, newest first, in pages; those that changed a part, or that somebody made, or at some time."""
    subject, store = _readable(owner, name), service().store
    start, wanted = request.args.get("revision"), requests.wanted_revisions()
    part = parse_part(*(wanted.pop(key) for key in ("path", "resource", "field")))
    if part is not None:
        page = part_page(subject, start, part, RevisionFilter.parse(**wanted), requests.limit())
        return responses.linked(page.revisions, page.following)

    def after(last: Revision) -> dict[str, str] | None:
        return {"revision": last.parent} if last.parent is not None else None

    return responses.page(store.revision_list(subject, start, **wanted), after)


@revisions.get("/datasets/<owner>/<name>/blame")
def blame(owner: str, name: str) -> Response:
    """Say of each value of a descriptor which revision it comes from."""
    revision = request.args.get("revision")
    return responses.answer(blamed(_readable(owner, name), revision), revision=revision)


@revisions.get("/datasets/<owner>/<name>/revisions/<revision>")
def revision_read(owner: str, name: str, revision: str) -> Response:
    """Say who made a revision, when and why."""
    found = service().store.revision_read(_readable(owner, name), revision)
    if requests.is_known(found.id):
        return responses.unchanged(found.id, revision)
    return responses.answer(found, etag=found.id, revision=revision)


@revisions.get("/datasets/<owner>/<name>/diff")
def revision_diff(owner: str, name: str) -> Response:
    """Compare two revisions: `from`, and `to` or the newest."""
    subject = _readable(owner, name)
    if "from" not in request.args:
        raise InvalidInput("say with ?from= which revision to compare")
    return responses.answer(service().store.revision_diff(subject, request.args["from"], request.args.get("to")))


@revisions.get("/datasets/<owner>/<name>/tags")
def tag_list(owner: str, name: str) -> Response:
    """List tags by name, in pages."""
    behind = request.args.get("after", "")
    found = service().store.tag_list(_readable(owner, name))
    return responses.page((tag for tag in found if tag.name > behind), lambda last: {"after": last.name})


@revisions.get("/datasets/<owner>/<name>/tags/<tag>")
def tag_read(owner: str, name: str, tag: str) -> Response:
    """Say what a tag names, and who made it."""
    found = service().store.tag_read(_readable(owner, name), tag)
    return responses.unchanged(found.id) if requests.is_known(found.id) else responses.answer(found, etag=found.id)


@revisions.post("/datasets/<owner>/<name>/tags")
def tag_create(owner: str, name: str) -> Response:
    """Name a revision."""
    subject = requests.dataset_id(owner, name)
    who = writer(subject, "update")
    members = requests.members(allowed=(*_TAG_MEMBERS, *requests.CHANGE))
    change = signed(who, subject, requests.change(who, members))
    values = {name: requests.text(members, name) for name in _TAG_MEMBERS}
    description = values["description"] or change.pop("message") or ""
    change.pop("message", None)
    tag = service().store.tag_create(
        subject, values["name"] or "", values["revision"], description=description, **change
    )
    return _written(subject, tag, 201)


@revisions.patch("/datasets/<owner>/<name>/tags/<tag>")
def tag_update(owner: str, name: str, tag: str) -> Response:
    """Rename a tag, describe it, or let it name another revision."""
    subject = requests.dataset_id(owner, name)
    who = writer(subject, "update")
    members = requests.members(allowed=(*_TAG_MEMBERS, *requests.CHANGE))
    change = signed(who, subject, requests.change(who, members))
    values = {name: requests.text(members, name) for name in _TAG_MEMBERS}
    updated = service().store.tag_update(
        subject,
        tag,
        new_name=values["name"],
        description=values["description"],
        revision=values["revision"],
        expected=requests.expected(members),
        **change,
    )
    return _written(subject, updated)


@revisions.delete("/datasets/<owner>/<name>/tags/<tag>")
def tag_delete(owner: str, name: str, tag: str) -> Response:
    """Remove a tag."""
    subject = requests.dataset_id(owner, name)
    who = writer(subject, "update")
    members = requests.members(optional=True, allowed=requests.CHANGE)
    change = signed(who, subject, requests.change(who, members))
    service().store.tag_delete(subject, tag, expected=requests.expected(members), **change)
    return responses.gone()


def _written(subject: DatasetId, tag: Tag, status: int = 200) -> Response:
    if not may_read(subject):  # the caller may not know which revision a tag names
        return responses.gone(etag=tag.id)
    return responses.changed(tag, status, etag=tag.id, location=responses.path_of(subject, "tags", tag.name))


@revisions.get("/journal")
def journal() -> Response:
    """List who moved, purged and retagged what, newest first, in pages."""
    given = request.args
    subject = parse_dataset_id(given["dataset"]) if "dataset" in given else None
    if subject is not None:
        require_read(subject)
    found = service().store.journal(subject, since=requests.time("since"), before=given.get("before"))

    def after(last: JournalEntry) -> dict[str, str]:
        return {"before": last.id}

    return responses.page(map(_without_target, readable(found, lambda entry: entry.dataset_id)), after)


def _without_target(entry: JournalEntry) -> JournalEntry:
    """Return a line without the id that a dataset moved to, and the message that may repeat it, if the id is hidden."""
    new_id = entry.details.get("new_id")
    if not isinstance(new_id, str) or may_read(parse_dataset_id(new_id)):
        return entry
    details = {name: value for name, value in entry.details.items() if name != "new_id"}
    return replace(entry, details=details, message=f"Move {entry.dataset_id} to a dataset that you may not read")


@revisions.get("/changes")
def changes() -> Response:
    """List what changed in pages; the last page links to where to go on later."""
    with_summary = requests.flag("summary")
    most = min(requests.limit(), _MOST_SUMMARIES) if with_summary else requests.limit()
    shown: list[FeedEntry] = []
    for entry in readable(service().store.changes(request.args.get("since")), lambda each: each.dataset_id):
        # A host's cursor includes its own moment: a page that ended within one would come again for ever.
        if len(shown) >= most and entry.cursor != shown[-1].cursor:
            break
        shown.append(_told(entry))
    store = service().store
    rows = [{**to_wire(entry), "summary": told(store, entry)} for entry in shown] if with_summary else shown
    return responses.linked(rows, {"since": shown[-1].cursor} if shown else None)


def _told(entry: FeedEntry) -> FeedEntry:
    """Return an entry without the id that a dataset moved to, if the caller may not know that id."""
    return entry if entry.new_id is None or may_read(entry.new_id) else replace(entry, new_id=None)
