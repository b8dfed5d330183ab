"""`metastore dataset …` and `metastore owner …`."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from metastore import validate
from metastore.cli import completing
from metastore.cli.base import App, say, tell_findings, tell_moment, unnamed_of
from metastore.cli.ids import ID, IDS, joined, split
from metastore.cli.inputs import naming, patch_of, read_json
from metastore.cli.options import CREATE, TIME, Noun, Number, command
from metastore.cli.output import show_bytes
from metastore.errors import InvalidInput
from metastore.types import Dataset

FILE = click.argument("file", default="-")
#: Several datasets, or one and a revision, as people type it.
READ = click.argument(
    "dataset_ids",
    metavar="OWNER/NAME[@REVISION]...",
    nargs=-1,
    required=True,
    callback=lambda context, parameter, named: joined(named),
    shell_complete=completing.ids_and_tags,
)


@click.group(cls=Noun)
def dataset() -> None:
    """Create, read, change and revert datasets."""


@click.group(cls=Noun)
def owner() -> None:
    """List owners, the first parts of the ids of datasets."""


COMMANDS = (dataset, owner)


@command(dataset, "create", writes=True)
@ID
@FILE
@CREATE
def create(app: App, dataset_id: str, file: str, message: str | None, at: datetime | None) -> None:
    """Create a dataset from a descriptor.

    The descriptor is in FILE, or comes from stdin. Prints the id of the revision.
    """
    content = read_json(file)
    with naming(file, content):
        if app.is_new():
            validate(content)  # an invalid descriptor must not leave an empty store
        created = app.writer().dataset_create(dataset_id, content, message=message, at=at)
    tell_findings(created.id, created.findings)
    say(f"Created {created.id}.", fg="green")
    app.data(created, created.revision.id)


@command(dataset, "read", many=True)
@READ
@click.option("--raw", is_flag=True, help="Print the bytes, even if they are not JSON.")
def read(app: App, dataset_id: str, raw: bool) -> None:
    """Print descriptors.

    Prints the newest one of each dataset, or the one at a REVISION or tag, exactly as it is stored. One dataset can
    stand before its revision without the @. For - the ids are read from stdin.

    Examples: metastore dataset read physics/cars v1; metastore dataset read physics/cars@v1 physics/cars@HEAD
    """
    store = app.reader()
    tell_moment(store, *split(dataset_id))
    if raw:
        show_bytes(store.dataset_bytes(*split(dataset_id))[1])
        return
    stored = store.dataset_read(*split(dataset_id))
    app.data(stored, stored.bytes)


@command(dataset, "update", writes=True, expects=True)
@ID
@FILE
def update(
    app: App, dataset_id: str, file: str, message: str | None, at: datetime | None, expected: str | None
) -> None:
    """Replace a descriptor with FILE, or with stdin."""
    store = app.reader()
    before = store.revision_read(dataset_id)
    content = read_json(file)
    with naming(file, content):
        updated = store.dataset_update(dataset_id, content, expected=expected, message=message, at=at)
    _tell(app, updated, before.id, "Updated")


@command(dataset, "patch", writes=True, expects=True)
@ID
@click.argument("patch", default="-")
def patch(
    app: App, dataset_id: str, patch: str, message: str | None, at: datetime | None, expected: str | None
) -> None:
    """Change a part of a descriptor.

    PATCH is JSON, a file with JSON, or stdin. An object is a merge patch (RFC 7396), a list a JSON Patch (RFC 6902).

    Example: metastore dataset patch physics/cars '{"title": "Cars"}'
    """
    store = app.reader()
    before = store.revision_read(dataset_id)
    patched = store.dataset_patch(dataset_id, patch_of(patch), expected=expected, message=message, at=at)
    _tell(app, patched, before.id, "Patched")


@command(dataset, "edit", writes=True)
@click.argument("dataset_id", metavar="[OWNER/NAME]", required=False, shell_complete=completing.ids)
@click.option(
    "--where",
    "filters",
    multiple=True,
    metavar="FILTER:VALUE",
    help="Change all datasets that match, such as licence:CC-BY-3.0, with the filters of `search`; repeatable.",
)
@click.option("--patch", metavar="JSON", help="The patch for these datasets; see `dataset patch`.")
@click.option("--dry-run", is_flag=True, help="Only list what would change.")
def edit(
    app: App,
    dataset_id: str | None,
    filters: tuple[str, ...],
    patch: str | None,
    dry_run: bool,
    message: str | None,
    at: datetime | None,
) -> None:
    """Change a descriptor in $EDITOR, or many with a patch.

    If the dataset changes meanwhile, your text is kept in a file. With --where and --patch, all matching datasets are
    changed in one batch, which `metastore undo --batch ID` undoes. If the patch does not fit one of them, none is
    changed.

    Example: metastore dataset edit --where licence:CC-BY-3.0 --patch '{"version": "2.0.0"}' --dry-run
    """
    from metastore.cli import editing

    if dataset_id is None and filters and patch is not None:
        editing.edit_many(app, filters, patch_of(patch), message, at, dry_run=dry_run)
        return
    if dataset_id is None or filters or patch is not None or dry_run:
        one = "OWNER/NAME goes alone, and is edited in $EDITOR: `metastore dataset patch` patches one dataset"
        raise InvalidInput(one if dataset_id else "give OWNER/NAME, or both --where and --patch (which have --dry-run)")
    store = app.reader()
    current = store.dataset_read(dataset_id)
    edited = editing.edit_in_editor(store, current, message, at)
    if edited is None:
        say("Nothing was saved, so nothing has changed.")
    else:
        _tell(app, edited, current.revision.id, "Updated")


@command(dataset, "delete", writes=True, expects=True, many=True)
@IDS
def delete(app: App, dataset_id: str, message: str | None, at: datetime | None, expected: str | None) -> None:
    """Delete datasets. Their histories stay, and `dataset revert` restores them.

    For - the ids are read from stdin. Exit code 1 if one of several datasets cannot be deleted.
    """
    revision = app.reader().dataset_delete(dataset_id, expected=expected, message=message, at=at)
    say(f"Deleted {dataset_id}; `metastore dataset revert {dataset_id} {str(revision.parent)[:12]}` brings it back.")
    app.data(revision, revision.id)


@command(dataset, "purge", writes=True, expects=True, many=True)
@IDS
@click.option("--force", is_flag=True, help="Purge even a live dataset.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def purge(
    app: App,
    dataset_id: str,
    force: bool,
    yes: bool,
    message: str | None,
    at: datetime | None,
    expected: str | None,
) -> None:
    """Permanently remove deleted datasets with their whole histories.

    For - the ids are read from stdin. Exit code 1 if one of several datasets cannot be purged.

    Example: metastore dataset list --deleted | metastore dataset purge - --yes
    """
    store = app.reader()
    head = store.revision_read(dataset_id)
    if not head.deleted and not force:
        raise InvalidInput(f"{dataset_id} is live: delete it first, or give --force")
    if not yes:
        if app.json or not sys.stdin.isatty():
            raise InvalidInput("a purge cannot be undone, and there is no terminal to ask on: it needs --yes")
        click.confirm(f"Permanently remove {dataset_id} with its whole history?", abort=True, err=True)
    store.dataset_purge(dataset_id, force=force, expected=expected, message=message, at=at)
    say(f"Purged {dataset_id}.")
    if app.json:
        app.data({"purged": dataset_id})


@command(dataset, "move", writes=True, expects=True)
@ID
@click.argument("new_id", metavar="NEW_OWNER/NEW_NAME")
def move(
    app: App, dataset_id: str, new_id: str, message: str | None, at: datetime | None, expected: str | None
) -> None:
    """Give a dataset another id. It keeps its history, and the old id leads to the new one."""
    moved = app.reader().dataset_move(dataset_id, new_id, expected=expected, message=message, at=at)
    if str(moved.id) == dataset_id:
        say(f"{dataset_id} has this id already: nothing was moved.")
    else:
        say(f"Moved {dataset_id} to {moved.id}.", fg="green")
    app.data(moved, moved.revision.id)


@command(dataset, "revert", writes=True, expects=True, many=True)
@ID
@click.argument("revision", shell_complete=completing.tags)
def revert(
    app: App, dataset_id: str, revision: str, message: str | None, at: datetime | None, expected: str | None
) -> None:
    """Revert a dataset to a REVISION or tag.

    That makes a new revision. It works for a deleted dataset, too. With - as OWNER/NAME, all datasets whose ids are on
    stdin are reverted; exit code 1 if one of them cannot be.
    """
    store = app.reader()
    before = store.revision_read(dataset_id)
    tell_moment(store, dataset_id, revision)
    reverted = store.dataset_revert(dataset_id, revision, expected=expected, message=message, at=at)
    _tell(app, reverted, before.id, "Reverted")


@command(dataset, "undo", writes=True, expects=True)
@click.argument("dataset_id", metavar="[OWNER/NAME]", required=False, shell_complete=completing.ids)
@click.argument("revision", required=False, shell_complete=completing.tags)
@click.option("--batch", metavar="ID", help="Undo all changes with this batch id, such as those of one import.")
@click.option("--by", metavar="TEXT", help="Undo all changes by authors with this text in their name or email.")
@click.option("--since", type=TIME, metavar="TIME", help="Of those changes, undo the ones made then or later.")
@click.option("--until", type=TIME, metavar="TIME", help="Of those changes, undo the ones made then or earlier.")
@click.option("--dry-run", is_flag=True, help="Only show what would become of the datasets.")
def undo(
    app: App,
    dataset_id: str | None,
    revision: str | None,
    batch: str | None,
    by: str | None,
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    message: str | None,
    at: datetime | None,
    expected: str | None,
) -> None:
    """Undo one change, or changes of many datasets.

    Undoes the change of a REVISION, and keeps later ones. A..B undoes all changes after A up to B. Undoing a deletion
    restores the dataset; undoing its creation deletes it, if no later change stands. Many changes are undone one
    dataset at a time. After an interruption, run the command again to continue. Exit code 1 if a later change conflicts
    with one of them.

    Examples: metastore undo physics/cars v1..HEAD; metastore undo --batch import-20240501T120000 --dry-run
    """
    from metastore.catalogue.batches import Chosen
    from metastore.cli import editing

    chosen = Chosen(batch, by, since, until)
    if chosen == Chosen():
        dataset_id, revision = editing.change_to_undo(dataset_id, revision)
        editing.undo_one(app, dataset_id, revision, message, at, expected, dry_run=dry_run)
        return
    if dataset_id is not None or at is not None or expected is not None:
        raise InvalidInput("--batch, --by, --since and --until go with neither a dataset, nor --at, nor --expected")
    editing.undo_many(app, chosen, message, dry_run=dry_run)


@command(dataset, "list", lists="id title revision.created revision.author.name problem")
@click.argument("prefix", default="", shell_complete=completing.owners)
@click.option("--after", metavar="OWNER/NAME", help="Begin after this id.")
@click.option("--limit", type=Number(0), help="The most datasets to list.")
@click.option("--deleted", is_flag=True, help="List the deleted datasets instead.")
@click.option("--at", type=TIME, metavar="TIME", help="List the datasets that there were at this time.")
@click.option("--long", "is_long", is_flag=True, help="Also show the title and last change of each: when, who and why.")
def list_datasets(
    app: App, prefix: str, after: str | None, limit: int | None, deleted: bool, at: datetime | None, is_long: bool
) -> None:
    """List the ids of datasets.

    With a PREFIX such as physics/, it lists only ids that begin with it.
    """
    store = app.reader()
    is_long = is_long or (bool(set(app.fields) - {"id"}) if app.fields else app.format in ("table", "csv"))
    listing = store.dataset_entries if is_long else store.dataset_list
    app.rows(listing(prefix, after=after, limit=limit, deleted=deleted, at=at))
    unnamed = unnamed_of(store) if not (prefix or after or deleted or at) else []
    if unnamed:
        way = "`metastore adopt --dry-run` shows the ids that they can get"
        say(f"Not listed, since they have no ids ({way}): {', '.join(unnamed)}.")


@command(owner, "list", lists="name datasets")
@click.option("--after", metavar="OWNER", help="Begin after this owner.")
@click.option("--limit", type=Number(0), help="The most owners to list.")
def list_owners(app: App, after: str | None, limit: int | None) -> None:
    """List the owners of datasets, with the number of datasets of each."""
    app.rows(app.reader().owner_list(after=after, limit=limit))


def _tell(app: App, dataset: Dataset, before: str, done: str) -> None:
    if dataset.revision.id == before:
        say(f"{dataset.id} has this content already: no revision was made.")
    else:
        tell_findings(dataset.id, dataset.findings)
        say(f"{done} {dataset.id}.", fg="green")
    app.data(dataset, dataset.revision.id)
