"""`metastore tag`: the names of revisions."""

from __future__ import annotations

from datetime import datetime

import click

from metastore.cli import completing
from metastore.cli.base import App, say, tell_moment
from metastore.cli.ids import ID
from metastore.cli.options import Noun, command
from metastore.cli.output import indented
from metastore.errors import InvalidInput
from metastore.types import Tag


@click.group(cls=Noun)
def tag() -> None:
    """Create, read, change and delete tags, which name revisions."""


@command(tag, "create", writes=True, many=True)
@ID
@click.argument("name")
@click.argument("revision", required=False, shell_complete=completing.tags)
@click.option("-d", "--description", default="", help="The meaning of the tag.")
def tag_create(
    app: App,
    dataset_id: str,
    name: str,
    revision: str | None,
    description: str,
    message: str | None,
    at: datetime | None,
) -> None:
    """Tag REVISION, or the newest one.

    With - as OWNER/NAME, all datasets whose ids are on stdin are tagged; exit code 1 if one of them cannot be.

    Example: metastore dataset list physics/ | metastore tag create - 2026-1 -d 'The first release of 2026'
    """
    if description and message:
        raise InvalidInput("-d and -m both describe the tag: give one of them")
    store = app.reader()
    tell_moment(store, dataset_id, revision)
    created = store.tag_create(dataset_id, name, revision, description=description or message or "", at=at)
    say(f"Tagged {created.revision[:12]} of {dataset_id} as {created.name}.", fg="green")
    app.data(created, created.id)


@command(tag, "read")
@ID
@click.argument("name", shell_complete=completing.tags)
def tag_read(app: App, dataset_id: str, name: str) -> None:
    """Print a tag: its revision, author, time and description."""
    stored = app.reader().tag_read(dataset_id, name)
    text = [
        f"{stored.name} -> {stored.revision}",
        f"author   {stored.author}",
        f"created  {stored.created:%Y-%m-%d %H:%M:%S} UTC",
        *(["", *indented(stored.description)] if stored.description else []),
    ]
    app.data(stored, text)


@command(tag, "list", lists="name revision created author.name description")
@click.argument("dataset_id", metavar="[OWNER/NAME]", required=False, shell_complete=completing.ids)
def tag_list(app: App, dataset_id: str | None) -> None:
    """List the tags of a dataset by name, or those of all datasets.

    In a list of all datasets, one whose tags cannot be read has a line that says why.
    """
    if dataset_id is None:
        app.rows(app.reader().tag_entries(), ["dataset_id", *(f"tag.{column}" for column in app.columns), "problem"])
    else:
        app.rows(app.reader().tag_list(dataset_id))


@command(tag, "update", writes=True, expects=True)
@ID
@click.argument("name", shell_complete=completing.tags)
@click.option("--new-name", help="The new name.")
@click.option("-d", "--description", help="The new description.")
@click.option("--revision", help="The new revision.")
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
    """Rename a tag, describe it, or move it to another revision."""
    store = app.reader()
    before = store.tag_read(dataset_id, name)
    tell_moment(store, dataset_id, revision)
    updated: Tag = store.tag_update(
        dataset_id,
        name,
        new_name=new_name,
        description=description,
        revision=revision,
        expected=expected,
        message=message,
        at=at,
    )
    if updated == before:
        say(f"The tag {name} is like that already: nothing was changed.")
    else:
        say(f"Updated: {updated}", fg="green")
    app.data(updated, updated.id)


@command(tag, "delete", writes=True, expects=True, many=True)
@ID
@click.argument("name", shell_complete=completing.tags)
def tag_delete(
    app: App, dataset_id: str, name: str, message: str | None, at: datetime | None, expected: str | None
) -> None:
    """Delete a tag. Its revision stays.

    With - as OWNER/NAME, the tag of all datasets whose ids are on stdin is deleted.
    """
    app.reader().tag_delete(dataset_id, name, expected=expected, message=message, at=at)
    say(f"Removed tag {name} of {dataset_id}.")
    if app.json:
        app.data({"deleted": name})


COMMANDS = (tag,)
