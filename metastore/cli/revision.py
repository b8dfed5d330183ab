"""`metastore revision`, `resource`, `project`, `blame`, `journal` and `changes`: what is stored, and its history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from metastore.cli import completing
from metastore.cli.base import App, say, tell_moment
from metastore.cli.compare import Comparison, comparing
from metastore.cli.ids import ID
from metastore.cli.options import TIME, Noun, Number, command
from metastore.cli.output import indented, paint
from metastore.errors import InvalidInput, NotADescriptor
from metastore.store.base import Store
from metastore.types import FeedEntry, JournalEntry, Revision, Value, first_line
from metastore.wording import shortened, spelled

#: How many seconds `changes --follow` waits for the next change before it asks again.
_WAIT = 25.0


@click.group(cls=Noun)
def revision() -> None:
    """Read and compare revisions."""


@click.group(cls=Noun)
def resource() -> None:
    """Read resources, which describe the files of a dataset."""


@click.group(cls=Noun)
def project() -> None:
    """Read a dataset together with its tags and issues."""


@click.group(invoke_without_command=True, hidden=True)
def _root() -> None:
    """Hold the commands without a noun."""


@command(revision, "list", lists="id created author.name message")
@ID
@click.argument("revision", required=False, shell_complete=completing.tags)
@click.option("--limit", type=Number(0), help="The most revisions to list.")
@click.option(
    "--path", metavar="POINTER", help="Only changes of this part, such as /licenses or /resources/stations/title."
)
@click.option("--resource", metavar="NAME", help="Only changes of this resource, also under former names.")
@click.option("--field", metavar="RESOURCE/FIELD", help="Only changes of this field, also under former names.")
@click.option("--by", "author", metavar="TEXT", help="Only by authors with this text in their name or email.")
@click.option("--since", type=TIME, metavar="TIME", help="Only from this time on.")
@click.option("--until", type=TIME, metavar="TIME", help="Only up to this time.")
@click.option("--grep", metavar="TEXT", help="Only with this text in the message.")
@click.option("--summary", is_flag=True, help="Print the changes of each revision on a second line.")
def revision_list(app: App, dataset_id: str, revision: str | None, summary: bool, **wanted: Any) -> None:
    """List revisions, newest first, from REVISION or the newest one back."""
    from metastore.store.summaries import changed_by

    store = app.reader()
    revisions = _said_if_none(store.revision_list(dataset_id, revision, **wanted))
    if not summary:
        app.rows(revisions, text=_line)
        return
    _with_summaries(
        app,
        ((stored, changed_by(store, dataset_id, stored)) for stored in revisions),
        lambda stored, changed: [_line(stored), f"    {changed}"],
    )


def _said_if_none(revisions: Iterable[Revision]) -> Iterator[Revision]:
    """Yield the revisions, and say so if there are none."""
    count = 0
    for count, each in enumerate(revisions, 1):  # noqa: B007  # counted for the line below
        yield each
    if not count:
        say("No revision fits.")


@command(_root, "blame", lists="where value revision.id revision.created revision.author.name")
@ID
@click.argument("revision", required=False, shell_complete=completing.tags)
@click.option("--path", metavar="POINTER", default="", help="Only this part, such as /resources/0/schema.")
def blame(app: App, dataset_id: str, revision: str | None, path: str) -> None:
    """Print the origin of each value of a descriptor.

    Each line has a value, and who gave it its present form, when and why.
    """
    if path and not path.startswith("/"):
        raise InvalidInput(f"a path is a JSON Pointer such as /licenses, not {shortened(path)}")
    store = app.reader()
    tell_moment(store, dataset_id, revision)
    values = store.blame(dataset_id, revision)
    wanted = [value for value in values if f"{value.pointer}/".startswith(f"{path.rstrip('/')}/")]
    app.rows(wanted, text=_blamed)
    if not wanted:
        say(f"There is no value at {path or 'any path'}.")


@command(revision, "read")
@ID
@click.argument("revision", required=False, shell_complete=completing.tags)
def revision_read(app: App, dataset_id: str, revision: str | None) -> None:
    """Print a revision: its author, time and message."""
    stored = app.reader().revision_read(dataset_id, revision)
    text = [
        f"revision {stored.id}",
        f"parent   {stored.parent or '(the first)'}",
        f"author   {stored.author}",
        f"created  {stored.created:%Y-%m-%d %H:%M:%S} UTC",
        *(["deleted  yes"] if stored.deleted else []),
        "",
        *indented(stored.message),
    ]
    app.data(stored, text)


@command(revision, "diff")
@ID
@click.argument("revision_a", shell_complete=completing.tags)
@click.argument("revision_b", required=False, shell_complete=completing.tags)
@comparing
def revision_diff(app: App, dataset_id: str, revision_a: str, revision_b: str | None) -> Comparison:
    """Compare two revisions in words. The default of REVISION_B is the newest one."""
    store = app.reader()

    def text(side: Revision) -> str:
        return "" if side.deleted else store.dataset_bytes(dataset_id, side.id)[1].decode("utf-8", "replace")

    for name in (revision_a, revision_b):
        tell_moment(store, dataset_id, name)
    try:
        diff = store.revision_diff(dataset_id, revision_a, revision_b)
    except NotADescriptor as problem:
        old, new = (store.revision_read(dataset_id, name) for name in (revision_a, revision_b))
        sides = (old.id[:12], new.id[:12])
        return Comparison(None, None, (), "", "", None, sides, lambda: (text(old), text(new)), problem)
    labels = (diff.old.id[:12], diff.new.id[:12])

    def texts() -> tuple[str, str]:
        return text(diff.old), text(diff.new)

    return Comparison(diff, diff.patch, diff.changes, diff.summary, diff.grade, diff.version, labels, texts)


@command(resource, "read")
@ID
@click.argument("resource")
@click.argument("revision", required=False, shell_complete=completing.tags)
def resource_read(app: App, dataset_id: str, resource: str, revision: str | None) -> None:
    """Print one RESOURCE of a descriptor, by its name, its id or its path."""
    from metastore.descriptor.document import encode

    store = app.reader()
    tell_moment(store, dataset_id, revision)
    content = store.resource_read(dataset_id, resource, revision)
    app.data(content, encode(content))


@command(resource, "list", lists="name path format title")
@ID
@click.argument("revision", required=False, shell_complete=completing.tags)
def resource_list(app: App, dataset_id: str, revision: str | None) -> None:
    """List the resources of a descriptor: the name, path and title of each."""
    store = app.reader()
    tell_moment(store, dataset_id, revision)
    app.rows(store.resource_list(dataset_id, revision), text=_resource_line)


@command(project, "read")
@ID
def project_read(app: App, dataset_id: str) -> None:
    """Print a dataset with its owner, its tags and the issues at its host."""
    whole = app.reader().project_read(dataset_id)
    lines = [
        f"dataset  {whole.dataset.id}: {whole.dataset.descriptor.get('title', '(no title)')}",
        f"newest   {whole.dataset.revision}",
        *(f"tag      {tag}" for tag in whole.tags),
        *(f"issue    #{issue.number} {issue.title} ({issue.state})" for issue in whole.issues),
    ]
    app.data(whole, lines)


@command(_root, "journal", lists="created author.name action dataset_id message copied.author.name")
@click.argument("dataset_id", metavar="[OWNER/NAME]", required=False, shell_complete=completing.ids)
@click.option("--since", type=TIME, metavar="TIME", help="Only from this time on.")
@click.option("--limit", type=Number(0), help="The most entries to list.")
def journal(app: App, dataset_id: str | None, since: datetime | None, limit: int | None) -> None:
    """List moves, purges, changes of tags, and received histories.

    Each line has the time, author, change and reason; the newest comes first. A line that another store wrote ends with
    who copied it, and when.
    """
    store = app.reader()
    entries = store.journal(dataset_id, since=since, limit=limit)
    if dataset_id is not None and not entries:
        store.tag_list(dataset_id)  # raises an error if there is no such dataset
    app.rows(entries, text=_journal_line)


@command(_root, "changes", lists="cursor action dataset_id revision.id new_id")
@click.option("--since", metavar="CURSOR", help="Begin after this cursor of an earlier list.")
@click.option("--summary", is_flag=True, help="End each line with the changes of the newest revision.")
@click.option("--follow", is_flag=True, help="Wait for further changes and list them too, until Ctrl-C.")
def changes(app: App, since: str | None, summary: bool, follow: bool) -> None:
    """List changed datasets since a cursor.

    Each line begins with its cursor. With --since, the oldest change comes first, so that another system can catch up.

    Example: metastore changes --summary
    """
    from metastore.store.summaries import told

    if follow and app.format in ("table", "json"):
        raise InvalidInput(f"--follow has no end, and a {app.format} needs one: take plain, csv or jsonl")
    store = app.reader()
    entries = _followed(store, since) if follow else store.changes(since)
    if not summary:
        app.rows(entries, text=_change_line, paged=not follow)
        return
    _with_summaries(
        app,
        ((entry, told(store, entry)) for entry in entries),
        lambda entry, changed: f"{_change_line(entry)}\t{changed}",
        paged=not follow,
    )


def _followed(store: Store, since: str | None) -> Iterator[FeedEntry]:
    while True:
        for entry in store.changes(since, wait=_WAIT):
            yield entry
            since = entry.cursor


def _change_line(entry: FeedEntry) -> str:
    target = entry.new_id or (entry.revision.id if entry.revision else "")
    return f"{entry.cursor}\t{entry.action}\t{entry.dataset_id}\t{target}"


def _with_summaries(
    app: App, pairs: Iterable[tuple[Any, str]], text: Callable[[Any, str], str | list[str]], **how: Any
) -> None:
    """Print a list whose values each have a summary of what they changed."""
    from metastore.wire import to_wire

    app.rows(
        pairs,
        (*app.columns, "summary"),
        text=lambda pair: text(*pair),
        wire=lambda pair: {**to_wire(pair[0]), "summary": pair[1]},
        **how,
    )


COMMANDS = (revision, resource, project, *_root.commands.values())


def _line(revision: Revision) -> str:
    flag = paint(" deleted", fg="red") if revision.deleted else ""
    subject = revision.message.split("\n", 1)[0]
    when = f"{revision.created:%Y-%m-%d %H:%M}"
    return f"{paint(revision.id[:12], fg='yellow')} {when} {revision.author.name}: {subject}{flag}"


def _blamed(value: Value) -> str:
    revision = value.revision
    who = f"{revision.created:%Y-%m-%d} {revision.author.name}: {first_line(revision.message)}"
    return f"{paint(revision.id[:12], fg='yellow')} {value.where}: {spelled(value.value, 80)} ({who})"


def _resource_line(resource: Mapping[str, Any]) -> str:
    path = resource.get("path")
    parts = (resource.get("name"), path if isinstance(path, str) else spelled(path, 80) if path else None)
    return "  ".join(str(part) for part in (*parts, resource.get("title")) if part)


def _journal_line(entry: JournalEntry) -> str:
    details = " ".join(f"{name}={value}" for name, value in entry.details.items())
    when = f"{entry.created:%Y-%m-%d %H:%M}"
    line = f"{when} {entry.author.name}: {entry.action} {entry.dataset_id} {details} ({entry.message})"
    if (copied := entry.copied) is None:
        return line
    contradicts = ", contradicts an earlier copy" if copied.contradicts else ""
    return f"{line} [copied by {copied.author.name}, {copied.created:%Y-%m-%d %H:%M}{contradicts}]"
