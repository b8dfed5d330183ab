"""`metastore revision`, `tag`, `resource`, `project`, `journal` and `changes`: what was, and how it is called."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from metastore.cli.base import App, say
from metastore.cli.compare import Comparison, comparing
from metastore.cli.options import TIME, command
from metastore.cli.output import paint
from metastore.errors import InvalidInput, NotADescriptor
from metastore.types import JournalEntry, Revision, Tag, Value, first_line
from metastore.wording import shortened

ID = click.argument("dataset_id", metavar="OWNER/NAME")


@click.group()
def revision() -> None:
    """Revisions: who changed a dataset, when, why and what."""


@click.group()
def tag() -> None:
    """Tags: names for revisions."""


@click.group()
def resource() -> None:
    """Resources: the files that a descriptor describes."""


@click.group()
def project() -> None:
    """A dataset with what surrounds it."""


@click.group(invoke_without_command=True, hidden=True)
def _root() -> None:
    """Carry the commands that have no noun."""


@command(revision, "list")
@ID
@click.argument("revision", required=False)
@click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
@click.option(
    "--path", metavar="POINTER", help="That changed this part, such as /licenses or /resources/stations/title."
)
@click.option("--resource", metavar="NAME", help="That changed this resource, also under a former name.")
@click.option("--field", metavar="RESOURCE/FIELD", help="That changed this field, also under a former name.")
@click.option("--by", "author", metavar="TEXT", help="By an author with this in the name or email.")
@click.option("--since", type=TIME, metavar="TIME", help="Made then or later.")
@click.option("--until", type=TIME, metavar="TIME", help="Made then or earlier.")
@click.option("--grep", metavar="TEXT", help="With this in the message.")
@click.option("--summary", is_flag=True, help="Say on a second line what each changed.")
def revision_list(app: App, dataset_id: str, revision: str | None, summary: bool, **wanted: Any) -> None:
    """List revisions, newest first, beginning with REVISION or the newest."""
    from metastore.store.summaries import changed_by
    from metastore.wire import to_wire

    store = app.reader()
    for found in store.revision_list(dataset_id, revision, **wanted):
        if not summary:
            app.data(found, _line(found))
            continue
        changed = changed_by(store, dataset_id, found)
        app.data({**to_wire(found), "summary": changed}, [_line(found), f"    {changed}"])


@command(_root, "blame")
@ID
@click.argument("revision", required=False)
@click.option("--path", metavar="POINTER", default="", help="Only this part, such as /resources/0/schema.")
def blame(app: App, dataset_id: str, revision: str | None, path: str) -> None:
    """Say of each value of a descriptor which revision it comes from: who, when and why."""
    values = app.reader().blame(dataset_id, revision)
    app.rows((value for value in values if f"{value.pointer}/".startswith(f"{path.rstrip('/')}/")), _blamed)


@command(revision, "read")
@ID
@click.argument("revision", required=False)
def revision_read(app: App, dataset_id: str, revision: str | None) -> None:
    """Say who made a revision, when and why."""
    found = app.reader().revision_read(dataset_id, revision)
    text = [
        f"revision {found.id}",
        f"parent   {found.parent or '(the first)'}",
        f"author   {found.author}",
        f"created  {found.created:%Y-%m-%d %H:%M:%S} UTC",
        *(["deleted  yes"] if found.deleted else []),
        "",
        *_indented(found.message),
    ]
    app.data(found, text)


@command(revision, "diff")
@ID
@click.argument("revision_a")
@click.argument("revision_b", required=False)
@comparing
def revision_diff(app: App, dataset_id: str, revision_a: str, revision_b: str | None) -> Comparison:
    """Compare two revisions in words; without REVISION_B, with the newest."""
    store = app.reader()

    def text(side: Revision) -> str:
        return "" if side.deleted else store.dataset_bytes(dataset_id, side.id)[1].decode("utf-8", "replace")

    try:
        found = store.revision_diff(dataset_id, revision_a, revision_b)
    except NotADescriptor as problem:
        old, new = (store.revision_read(dataset_id, name) for name in (revision_a, revision_b))
        sides = (old.id[:12], new.id[:12])
        return Comparison(None, None, (), "", "", None, sides, lambda: (text(old), text(new)), problem)
    labels = (found.old.id[:12], found.new.id[:12])

    def texts() -> tuple[str, str]:
        return text(found.old), text(found.new)

    return Comparison(found, found.patch, found.changes, found.summary, found.grade, found.version, labels, texts)


@command(tag, "create", writes=True)
@ID
@click.argument("name")
@click.argument("revision", required=False)
@click.option("-d", "--description", default="", help="What the tag stands for.")
def tag_create(
    app: App,
    dataset_id: str,
    name: str,
    revision: str | None,
    description: str,
    message: str | None,
    at: datetime | None,
) -> None:
    """Name REVISION, or the newest one."""
    if description and message:
        raise InvalidInput("-d and -m both say what the tag stands for: give one of them")
    made = app.reader().tag_create(dataset_id, name, revision, description=description or message or "", at=at)
    say(f"Tagged {made.revision[:12]} of {dataset_id} as {made.name}.", fg="green")
    app.data(made, made.id)


@command(tag, "read")
@ID
@click.argument("name")
def tag_read(app: App, dataset_id: str, name: str) -> None:
    """Say what a tag names, and who made it."""
    found = app.reader().tag_read(dataset_id, name)
    text = [
        f"{found.name} -> {found.revision}",
        f"author   {found.author}",
        f"created  {found.created:%Y-%m-%d %H:%M:%S} UTC",
        *(["", *_indented(found.description)] if found.description else []),
    ]
    app.data(found, text)


@command(tag, "list")
@ID
def tag_list(app: App, dataset_id: str) -> None:
    """List tags by name."""
    app.rows(app.reader().tag_list(dataset_id))


@command(tag, "update", writes=True, expects=True)
@ID
@click.argument("name")
@click.option("--new-name", help="Another name.")
@click.option("-d", "--description", help="Another description.")
@click.option("--revision", help="Another revision.")
def tag_update(
    app: App,
    dataset_id: str,
    name: str,
    new_name: str | None,
    description: str | None,
    revision: str | None,
    message: str | None,
    at: datetime | None,
    expected: str | None,
) -> None:
    """Rename a tag, describe it anew, or let it name another revision."""
    store = app.reader()
    before = store.tag_read(dataset_id, name)
    made: Tag = store.tag_update(
        dataset_id,
        name,
        new_name=new_name,
        description=description,
        revision=revision,
        expected=expected,
        message=message,
        at=at,
    )
    if made == before:
        say(f"The tag {name} says this already: nothing was changed.")
    else:
        say(f"Updated: {made}", fg="green")
    app.data(made, made.id)


@command(tag, "delete", writes=True, expects=True)
@ID
@click.argument("name")
def tag_delete(
    app: App, dataset_id: str, name: str, message: str | None, at: datetime | None, expected: str | None
) -> None:
    """Remove a tag; the revision stays."""
    app.reader().tag_delete(dataset_id, name, expected=expected, message=message, at=at)
    say(f"Removed tag {name} of {dataset_id}.")
    if app.json:
        app.data({"deleted": name})


@command(resource, "read")
@ID
@click.argument("resource")
@click.argument("revision", required=False)
def resource_read(app: App, dataset_id: str, resource: str, revision: str | None) -> None:
    """Print one RESOURCE of a descriptor, found by name, else by id, else by path."""
    from metastore.descriptor.document import encode

    found = app.reader().resource_read(dataset_id, resource, revision)
    app.data(found, encode(found))


@command(project, "read")
@ID
def project_read(app: App, dataset_id: str) -> None:
    """Print a dataset with its owner, tags, and the issues that its host tracks."""
    found = app.reader().project_read(dataset_id)
    lines = [
        f"dataset  {found.dataset.id}: {found.dataset.descriptor.get('title', '(no title)')}",
        f"newest   {found.dataset.revision}",
        *(f"tag      {each}" for each in found.tags),
        *(f"issue    #{each.number} {each.title} ({each.state})" for each in found.issues),
    ]
    app.data(found, lines)


@command(_root, "journal")
@click.argument("dataset_id", metavar="[OWNER/NAME]", required=False)
@click.option("--since", type=TIME, metavar="TIME", help="Only from this time on.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
def journal(app: App, dataset_id: str | None, since: datetime | None, limit: int | None) -> None:
    """List moves, purges, changes of tags.

    Newest first: who, when, what, why.
    """
    app.rows(app.reader().journal(dataset_id, since=since, limit=limit), _journal_line)


@command(_root, "changes")
@click.option("--since", metavar="CURSOR", help="Go on behind this cursor of an earlier answer.")
@click.option("--summary", is_flag=True, help="Say at the end of each line what the newest revision changed.")
def changes(app: App, since: str | None, summary: bool) -> None:
    """List what changed since a cursor.

    With a cursor the oldest change comes first, so that another system can catch up; each line begins with its cursor.
    """
    from metastore.store.summaries import told
    from metastore.wire import to_wire

    store = app.reader()
    for entry in store.changes(since):
        target = entry.new_id or (entry.revision.id if entry.revision else "")
        line = f"{entry.cursor}\t{entry.action}\t{entry.dataset_id}\t{target}"
        if summary:
            changed = told(store, entry)
            app.data({**to_wire(entry), "summary": changed}, f"{line}\t{changed}")
        else:
            app.data(entry, line)


COMMANDS = (revision, tag, resource, project, *_root.commands.values())


def _indented(text: str) -> Iterator[str]:
    """Yield the lines of a text that a person wrote, so that none passes for one of ours."""
    return (f"    {line}".rstrip() for line in text.split("\n"))


def _line(revision: Revision) -> str:
    flag = paint(" deleted", fg="red") if revision.deleted else ""
    subject = revision.message.split("\n", 1)[0]
    when = f"{revision.created:%Y-%m-%d %H:%M}"
    return f"{paint(revision.id[:12], fg='yellow')} {when} {revision.author.name}: {subject}{flag}"


def _blamed(value: Value) -> str:
    revision = value.revision
    who = f"{revision.created:%Y-%m-%d} {revision.author.name}: {first_line(revision.message)}"
    return f"{paint(revision.id[:12], fg='yellow')} {value.where}: {shortened(value.value)} ({who})"


def _journal_line(entry: JournalEntry) -> str:
    details = " ".join(f"{name}={value}" for name, value in entry.details.items())
    when = f"{entry.created:%Y-%m-%d %H:%M}"
    return f"{when} {entry.author.name}: {entry.action} {entry.dataset_id} {details} ({entry.message})"
