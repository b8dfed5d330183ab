"""History over HTTP: revisions, differences, tags, the journal and the change feed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import TooManyRequests

from metastore.auth.access import require
from metastore.errors import InvalidInput, TooLarge
from metastore.history.parts import RevisionFilter, parse_part
from metastore.parse import is_full_id, make_time, parse_dataset_id
from metastore.service import requests, responses
from metastore.service.context import service
from metastore.service.guard import (
    identity,
    listed,
    may_read,
    named,
    readable,
    require_read,
    sees,
    signed,
    unabbreviated,
    writer,
)
from metastore.service.part_history import blamed, part_page, summed_up
from metastore.service.problems import plainly
from metastore.service.rate import RETRY_AFTER, caller
from metastore.storage.lines import withdrawal
from metastore.store.journal_copy import MOST_LINES, checked, named_by, read_up
from metastore.store.lists import ids_from_tag, tags_in
from metastore.store.metering import metered
from metastore.store.store import MetaStore
from metastore.store.summaries import MOST_SUMMARIES, PAGE_BYTES, told
from metastore.types import DatasetId, FeedEntry, JournalEntry, Tag
from metastore.wire import from_wire, to_wire

revisions = Blueprint("revisions", __name__)
#: The characters that the changed values of a comparison may have; an answer has them twice.
_MOST_COMPARED = 32 * 1024 * 1024
#: The bytes of a request with lines of a journal, and the seconds after which no further line is begun.
_LONGEST_LINES, _LONG = 4 * 1024 * 1024, 1.0
_TAG_MEMBERS = ("name", "revision", "description")


def _readable(owner: str, name: str) -> DatasetId:
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    return subject


@revisions.get("/datasets/<owner>/<name>/revisions")
def revision_list(owner: str, name: str) -> Response:
    """List revisions, newest first, in pages; only those of a part, an author or a time, if the query asks for it."""
    subject, store = _readable(owner, name), service().store
    with_summary, size = _summed_up()
    start, wanted = request.args.get("revision"), requests.wanted_revisions()
    part = parse_part(*(wanted.pop(key) for key in ("path", "resource", "field")))
    if part is not None:
        page = part_page(subject, start, part, RevisionFilter.parse(**wanted), size)
        shown, following = page.revisions, page.following
    else:
        read = tuple(islice(store.revision_list(subject, start, **wanted), size + 1))
        shown, following = read[:size], {"revision": read[size - 1].parent} if len(read) > size else None
    if not with_summary:
        return responses.linked(shown, following)
    summaries = summed_up(subject, shown)
    rows = [{**to_wire(stored), "summary": summaries[stored.id]} for stored in shown]
    return responses.linked(rows, following)


def _summed_up() -> tuple[bool, int]:
    """Tell whether the caller asks for summaries, and how many entries a page has at most."""
    with_summary = bool(requests.flag("summary"))
    return with_summary, min(requests.limit(), MOST_SUMMARIES) if with_summary else requests.limit()


@revisions.get("/datasets/<owner>/<name>/blame")
def blame(owner: str, name: str) -> Response:
    """Answer with the revision that each value of a descriptor comes from."""
    revision = request.args.get("revision")
    return responses.answer(blamed(_readable(owner, name), revision), revision=revision)


@revisions.get("/datasets/<owner>/<name>/revisions/<revision>")
def revision_read(owner: str, name: str, revision: str) -> Response:
    """Answer with a revision: its author, time and message."""
    stored = service().store.revision_read(_readable(owner, name), revision)
    if requests.is_known(stored.id):
        return responses.unchanged(stored.id, revision)
    return responses.answer(stored, etag=stored.id, revision=revision)


@revisions.get("/datasets/<owner>/<name>/diff")
def revision_diff(owner: str, name: str) -> Response:
    """Compare two revisions: `from`, and `to` or the newest."""
    subject = _readable(owner, name)
    if "from" not in request.args:
        raise InvalidInput("say with ?from= which revision to compare")
    diff = service().store.revision_diff(subject, request.args["from"], request.args.get("to"))
    if sum(_length(change.old) + _length(change.new) for change in diff.changes) > _MOST_COMPARED:
        raise TooLarge("the differences are too long for one answer: read both revisions and compare them there")
    return responses.answer(diff)


def _length(value: Any) -> int:
    """Return the length of the texts in a value, in characters."""
    if isinstance(value, dict):
        return sum(len(name) + _length(member) for name, member in value.items())
    return sum(map(_length, value)) if isinstance(value, list) else len(value) if isinstance(value, str) else 0


@revisions.get("/datasets/<owner>/<name>/tags")
def tag_list(owner: str, name: str) -> Response:
    """List tags by name, in pages."""
    after = request.args.get("after", "")
    tags = service().store.tag_list(_readable(owner, name))
    return responses.page((tag for tag in tags if tag.name > after), lambda last: {"after": last.name})


@revisions.get("/tags")
def tag_entries() -> Response:
    """List the tags of all datasets, in pages. A dataset whose tags cannot be read has an entry that says why."""
    store, after = service().store, request.args.get("after")
    ids = filter(may_read, ids_from_tag(listed, request.args.get("prefix", ""), after))
    entries = tags_in(store, ids, after, lambda error: str(plainly(error)))
    return responses.page(
        entries, lambda last: {"after": f"{last.dataset_id}@{last.tag.name if last.tag is not None else ''}"}
    )


@revisions.get("/datasets/<owner>/<name>/tags/<tag>")
def tag_read(owner: str, name: str, tag: str) -> Response:
    """Answer with a tag: its revision and its author."""
    stored = service().store.tag_read(_readable(owner, name), tag)
    return responses.unchanged(stored.id) if requests.is_known(stored.id) else responses.answer(stored, etag=stored.id)


@revisions.post("/datasets/<owner>/<name>/tags")
def tag_create(owner: str, name: str) -> Response:
    """Tag a revision."""
    subject = requests.dataset_id(owner, name)
    who = writer(subject, "update")
    members = requests.members(allowed=(*_TAG_MEMBERS, *requests.CHANGE))
    change = signed(who, subject, requests.change(who, members))
    values = {name: requests.text(members, name) for name in _TAG_MEMBERS}
    description = values["description"] or change.pop("message") or ""
    change.pop("message", None)
    revision = unabbreviated(subject, values["revision"])
    tag = service().store.tag_create(subject, values["name"] or "", revision, description=description, **change)
    return _written(subject, tag, 201)


@revisions.patch("/datasets/<owner>/<name>/tags/<tag>")
def tag_update(owner: str, name: str, tag: str) -> Response:
    """Rename a tag, describe it, or move it to another revision."""
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
        revision=unabbreviated(subject, values["revision"]),
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
    if not may_read(subject):  # nor know the revision, which is the id of a tag without an object of its own
        is_own = tag.author == identity().author and tag.id != tag.revision
        return responses.gone(etag=tag.id if is_own else None)
    return responses.changed(tag, status, etag=tag.id, location=responses.path_of(subject, "tags", tag.name))


@revisions.get("/journal")
def journal() -> Response:
    """List moves, purges and changes of tags, newest first, in pages. A page to which few lines belong ends early."""
    query, at = request.args, requests.time("since")
    since = at and make_time(at)
    subject = parse_dataset_id(query["dataset"]) if "dataset" in query else None
    if subject is not None:
        require_read(subject)
    rows, last, size, until = list[JournalEntry](), None, requests.limit(), time.monotonic() + _LONG
    for entry in readable(service().store.journal(before=_line_id("before")), lambda entry: entry.dataset_id):
        if last is not None and (len(rows) == size or time.monotonic() > until):
            return responses.linked(rows, {"before": last.id})
        last = entry
        if subject in (None, entry.dataset_id) and (since is None or entry.came >= since):
            rows.append(_without_target(entry))
    return responses.linked(rows, None)


def _line_id(name: str) -> str | None:
    """Return the id of a line in the query. Raises InvalidInput: It is short, and could be guessed digit by digit."""
    identity = request.args.get(name)
    if identity is not None and not is_full_id(identity):
        raise InvalidInput(f"{name} is the full id of a line of the journal, with 40 hex digits")
    return identity


def _without_target(entry: JournalEntry) -> JournalEntry:
    """Return an entry without the new id of a move, and without its message, if the caller may not read that id.

    Lines that withdraw a move repeated its message once.
    """
    if entry.action == "withdrawn" and sees() is not None:
        return replace(entry, message=withdrawal(entry.details.get("entry")))
    new_id = entry.details.get("new_id")
    if not isinstance(new_id, str) or may_read(parse_dataset_id(new_id)):
        return entry
    details = {name: value for name, value in entry.details.items() if name != "new_id"}
    return replace(entry, details=details, message=f"Move {entry.dataset_id} to a dataset that you may not read")


@revisions.post("/journal")
def journal_import() -> Response:
    """Append lines of another store's journal. After a second, the answer says how many were looked at.

    None is looked at before this process has read the journal; several requests may do that together.
    """
    who = named(identity())
    store, lines = service().store, _lines_sent()
    if not isinstance(store, MetaStore):
        raise InvalidInput("this store keeps its journal elsewhere: copy to where it is")
    for dataset_id in {each: None for line in lines for each in named_by(line)}:
        require_read(dataset_id)
        require(who, "import", dataset_id)
    until, done, appended = time.monotonic() + _LONG, 0, 0
    is_ready = not lines or read_up(store, until)
    while is_ready and done < len(lines) and (not done or time.monotonic() < until):
        appended += store.journal_import([lines[done]], author=who.author)
        done += 1
    return responses.answer({"done": done, "appended": appended})


def _lines_sent() -> list[JournalEntry]:
    """Return the lines of the body. Raises InvalidInput."""
    request.max_content_length = _LONGEST_LINES
    lines = requests.members(allowed=("lines",)).get("lines")
    if not isinstance(lines, list) or len(lines) > MOST_LINES:
        raise InvalidInput(f"lines is a list of at most {MOST_LINES} lines of a journal", pointer="/lines")
    try:
        return [checked(from_wire(JournalEntry, line)) for line in lines]
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"a line is not as the journal of a service shows it: {error}", pointer="/lines") from None


@revisions.get("/changes")
def changes() -> Response:
    """List changed datasets in pages. The last page links to where to go on later."""
    store, (with_summary, most) = service().store, _summed_up()
    since, wait = request.args.get("since"), requests.wait()
    rows, last = list[Any](), None
    feed = _awaited(lambda: readable(store.changes(since), lambda entry: entry.dataset_id), since, wait)
    with metered() as meter:
        for entry in map(_without_new_id, feed):
            # A cursor of a Git host includes its own moment: a page that ended inside one would repeat for ever.
            if (len(rows) >= most or meter.spent > PAGE_BYTES) and entry.cursor != last:
                break
            rows.append({**to_wire(entry), "summary": told(store, entry)} if with_summary else entry)
            last = entry.cursor
    return responses.linked(rows, {"since": last} if last is not None else None)


def _awaited(look: Callable[[], Iterator[FeedEntry]], since: str | None, wait: int) -> Iterator[FeedEntry]:
    """Return a feed when there is news, if the request wants to wait and there is a place.

    Raises:
        TooManyRequests: Too many requests wait already, of all callers or of this one.
    """
    if not wait:
        return look()
    places, who = service().may_wait, caller()
    if not places.take(who):
        raise TooManyRequests(
            "Too many requests wait for changes already: try again later, or do not wait.", retry_after=RETRY_AFTER
        )
    try:
        return service().waiting.read(look, since, wait)
    finally:
        places.give_back(who)


def _without_new_id(entry: FeedEntry) -> FeedEntry:
    """Return an entry without the id that a dataset moved to, if the caller may not read that dataset."""
    return entry if entry.new_id is None or may_read(entry.new_id) else replace(entry, new_id=None)
