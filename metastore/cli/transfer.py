"""`metastore init`, `copy` and `mirror`: new stores, copies, and Git remotes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metastore.cli.bars import Bar
from metastore.cli.base import App, local, say
from metastore.cli.options import command
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import AlreadyExists, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable


@click.group(hidden=True)
def _root() -> None:
    """Hold the commands without a noun."""


@command(_root, "init")
@click.argument("url", required=False)
def init(app: App, url: str | None) -> None:
    """Make a new store at URL, a path. Default: --store or METASTORE_STORE."""
    from metastore.storage.connect import is_new

    place = url or app.url()
    if not is_new(place):
        raise AlreadyExists(f"a store or other files at {place}")
    app.open(place, create=True)
    say(f"Made a new store at {place}.", fg="green")
    app.data({"store": place}, place)


@command(_root, "copy")
@click.argument("source")
@click.argument("target")
@click.option("--prefix", default="", metavar="TEXT", help="Copy only ids with this prefix, such as physics/.")
@click.option("--deleted", is_flag=True, help="Also copy deleted datasets.")
@click.option("--dry-run", is_flag=True, help="Only count what would be copied.")
@click.option("--slowly", is_flag=True, help="Keep below the limits of a Git host, which may take hours.")
def copy(app: App, source: str, target: str, prefix: str, deleted: bool, dry_run: bool, slowly: bool) -> None:
    """Copy datasets to another store.

    SOURCE and TARGET are paths or URLs; only SOURCE may be a service. The copy has the same histories, tags and ids. It
    skips everything that TARGET has already, so after an interruption, run it again; datasets that differ there stay
    unchanged. With --slowly, a copy to GitHub sends no more than 80 changes a minute and 500 an hour. Exit code 1 if
    anything was left out.
    """
    from metastore.storage.connect import is_service
    from metastore.storage.copy import copy as copy_all

    if is_service(target):  # the URL may hold a password
        raise InvalidInput("the target is a service, which cannot be copied to: name the store that it serves")
    theirs = app.open(source, create=False)
    if dry_run and "://" not in target and not Path(target).exists():
        target = "memory:"  # empty, like the folder that would be made
    ours = app.open(target, create=not dry_run)
    with Bar("Copying") as bar:
        report = copy_all(
            theirs.storage,
            ours.storage,
            prefix=prefix,
            deleted=deleted,
            dry_run=dry_run,
            slowly=slowly,
            progress=bar.show,
        )
    would = "would be " if dry_run else ""
    app.summary(
        report,
        f"{report.datasets} datasets, {report.unchanged} of them there already; "
        f"{report.revisions} revisions and {report.tags} tags {would}copied",
    )
    _end(report.not_copied)


@command(_root, "mirror")
@click.argument("remote")
@click.argument("dataset_ids", nargs=-1, metavar="[OWNER/NAME]...")
@click.option("--prefix", default="", metavar="TEXT", help="Push only ids with this prefix, such as physics/.")
@click.option("--dry-run", is_flag=True, help="Only count what would be pushed.")
def mirror(app: App, remote: str, dataset_ids: tuple[str, ...], prefix: str, dry_run: bool) -> None:
    """Push datasets to a Git remote.

    REMOTE is an address for Git, such as https://git.example.org/{owner}/{name}.git, and its repositories have to
    exist. The branch and tags of all datasets, or of the named ones, are pushed. References that others have changed
    there are left alone. Exit code 1 if any reference was left alone or refused. METASTORE_MIRROR_TOKEN and
    METASTORE_MIRROR_USER log in; without a token, Git's credential helpers and SSH keys are used.
    """
    from metastore import config
    from metastore.parse import parse_dataset_id
    from metastore.storage.local.mirror import Remote
    from metastore.storage.local.mirror import mirror as push_all

    settings = config.load()
    to = Remote(remote, settings.mirror_token, settings.mirror_user)
    storage = local(app)
    ids = [parse_dataset_id(text) for text in dataset_ids]
    for dataset_id in ids:
        storage.resolve(dataset_id, None)  # raises for an unknown id before anything is pushed
    ids = ids or list(storage.ids(prefix=prefix, deleted=None))
    with Bar("Mirroring") as bar:
        report = push_all(storage, to, ids, dry_run=dry_run, progress=lambda done: bar.show(done, len(ids)))
    would = "would be " if dry_run else ""
    app.summary(
        report,
        f"{report.datasets} datasets, {report.unchanged} of them there already; "
        f"{report.references} references {would}pushed",
    )
    _end(report.not_pushed)


def _end(left_out: Iterable[Any]) -> None:
    """Report everything that was left out, and end with the exit code for that."""
    lines = list(map(str, left_out))
    for line in lines:
        say(line, fg="red")
    if lines:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


COMMANDS = tuple(_root.commands.values())
