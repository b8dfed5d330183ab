"""`metastore init`, `copy`, `pull`, `push` and `mirror`: new stores, copies, and Git remotes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from metastore.cli import completing
from metastore.cli.bars import Bar
from metastore.cli.base import App, say
from metastore.cli.options import command, keep
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import AlreadyExists, AuthenticationError, InvalidInput, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metastore.storage.copy import CopyReport, NotCopied
    from metastore.storage.local.storage import GitStorage
    from metastore.store.base import Store
    from metastore.types import DatasetId


@click.group(hidden=True)
def _root() -> None:
    """Hold the commands without a noun."""


@command(_root, "init")
@click.argument("url", required=False)
def init(app: App, url: str | None) -> None:
    """Make a new store at URL, a path. Default: --store or METASTORE_STORE."""
    from metastore.storage.connect import is_new

    if url is not None:
        app.refuse_store(f"the new store is {url}")
    place = url or app.url()
    if not is_new(place):
        if re.match(r"(?!file:)[a-z+]+:", place):
            from metastore.connecting import shown

            raise InvalidInput(f"init makes a store in a folder, and {shown(place)!r} is an address: name a path")
        raise AlreadyExists(f"a store, or something else, at {place}")
    app.open(place, create=True)
    say(f"Made a new store at {place}.", fg="green")
    app.data({"store": place}, place)


_COPIER = click.option(
    "-a",
    "--author",
    metavar="'NAME <EMAIL>'",
    expose_value=False,
    callback=keep("author"),
    help="Who copies the journal from a service. Default: METASTORE_AUTHOR, or Git's user.name and user.email.",
)
_SELECTING: tuple[Callable[..., Any], ...] = (
    click.option("--prefix", default="", metavar="TEXT", help="Copy only ids with this prefix, such as physics/."),
    click.option("--dry-run", is_flag=True, help="Only count what would be copied."),
    click.option("--slowly", is_flag=True, help="Stay below the rate limits of a Git host; this may take hours."),
    click.option("--journal", is_flag=True, help="Also copy the journal: who moved, purged and retagged datasets."),
    _COPIER,
)


def _selecting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is copied, and how fast."""
    for option in reversed(_SELECTING):
        function = option(function)
    return function


@command(_root, "copy", stores="takes the stores as arguments: SOURCE and TARGET")
@click.argument("source")
@click.argument("target")
@click.option("--deleted", is_flag=True, help="Also copy deleted datasets.")
@click.option("--since", metavar="CURSOR", help="Copy only what changed after this cursor of `changes` of SOURCE.")
@_selecting
def copy(app: App, source: str, target: str, since: str | None, **options: Any) -> None:
    """Copy datasets to another store.

    SOURCE and TARGET are paths or URLs. The copy has the same histories, tags and ids. It skips everything that TARGET
    has already, so after an interruption, run it again; datasets that differ there stay unchanged. A service as TARGET
    needs a METASTORE_TOKEN that grants read, create, update and import. Between two services, METASTORE_SOURCE_TOKEN is
    for SOURCE. With --slowly, a copy to GitHub sends no more than 80 changes a minute and 500 an hour. Exit code 1 if
    anything was left out.

    Example: metastore copy ./metastore-data ./other --dry-run
    """
    _copy(app, source, target, since=since, **options)


@command(_root, "pull")
@click.argument("url")
@_selecting
def pull(app: App, url: str, **options: Any) -> None:
    """Bring the store up to date with another one.

    Copies from URL, which is a service or another store, what the store lacks: datasets, revisions, deletions and tags.
    A dataset that was changed on both sides is a conflict: it is named and stays unchanged. Exit code 1 if there is a
    conflict.

    Example: metastore pull backup
    """
    _copy(app, url, app.url(), deleted=True, **options)


@command(_root, "push")
@click.argument("url")
@_selecting
def push(app: App, url: str, **options: Any) -> None:
    """Bring another store up to date with this one.

    Copies to URL, which is a service or another store, what it lacks: datasets, revisions, deletions and tags. A
    dataset that was changed on both sides is a conflict: it is named and stays unchanged. A service needs a
    METASTORE_TOKEN that grants read, create, update, delete and import. Exit code 1 if there is a conflict.
    """
    _copy(app, app.url(), url, deleted=True, **options)


def _copy(
    app: App,
    source: str,
    target: str,
    *,
    dry_run: bool,
    journal: bool = False,
    **options: Any,
) -> None:
    from metastore.storage.copy import copy as copy_all

    _expect_different(source, target)
    by_lines = journal and _has_service(source, target)
    if by_lines and not dry_run:
        app.require_author(target)
    theirs = _open_source(app, source, target, options["prefix"])
    ours = _open_target(app, target, dry_run=dry_run)
    with Bar("Copying") as bar:
        report = copy_all(
            theirs.storage,
            ours.storage,
            dry_run=dry_run,
            journal=journal and not by_lines,
            progress=bar.show,
            **options,
        )
    if by_lines:
        report = _with_lines(report, theirs, ours, prefix=options["prefix"], dry_run=dry_run)
    _tell_copied(app, report, journal=journal, dry_run=dry_run)
    _end(report.not_copied)


def _tell_copied(app: App, report: CopyReport, *, journal: bool, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    counts = f"{_count(report.revisions, 'revision')} and {_count(report.tags, 'tag')}"
    if journal:
        counts = f"{counts.replace(' and', ',')} and {_count(report.journal, 'line')} of the journal"
    app.summary(
        report,
        f"{_count(report.datasets, 'dataset')}, {report.unchanged} of them there already; {counts} {would}copied",
    )


def _with_lines(report: CopyReport, source: Store, target: Store, **options: Any) -> CopyReport:
    """Copy the lines of a journal one by one: a service shows of its journal only what a caller may read."""
    from dataclasses import replace

    from metastore.store.journal_copy import copy_journal

    with Bar("Copying the journal") as bar:
        copied, left_out = copy_journal(source, target, progress=bar.show, **options)
    return replace(report, journal=copied, not_copied=(*report.not_copied, *left_out))


def _expect_different(source: str, target: str) -> None:
    from metastore.storage.connect import is_same

    if is_same(source, target):
        raise InvalidInput(f"{source} and {target} are the same store: name another one to copy to")


def _has_service(*urls: str) -> bool:
    from metastore.storage.connect import is_service

    return any(map(is_service, urls))


def _open_source(app: App, source: str, target: str, prefix: str) -> Store:
    from metastore import config
    from metastore.storage.connect import is_service

    of_services = is_service(source) and is_service(target)
    # METASTORE_TOKEN is for the target, and nobody else may see it.
    options = {"token": config.load().source_token} if of_services else {"create": False}
    theirs = app.open(source, **options)
    try:
        next(iter(theirs.storage.ids(prefix=prefix, deleted=None)), None)  # what cannot be read leaves no empty store
    except AuthenticationError as error:
        if of_services:
            raise PermissionDenied(f"{error} (METASTORE_SOURCE_TOKEN is the one for this service)") from None
        raise
    return theirs


def _open_target(app: App, target: str, *, dry_run: bool) -> Store:
    from metastore.storage.connect import is_new, is_service

    if is_service(target):
        return app.open(target)
    if not is_new(target):
        return app.open(target, create=not dry_run)
    if dry_run:
        return app.open("memory:")  # empty, like the folder that would be made
    store = app.open(target, create=True)
    say(f"Made a new store at {target}.")
    return store


@command(_root, "mirror")
@click.argument("remote")
@click.argument("dataset_ids", nargs=-1, metavar="[OWNER/NAME]...", shell_complete=completing.ids)
@click.option("--prefix", default="", metavar="TEXT", help="Push only ids with this prefix, such as physics/.")
@click.option("--dry-run", is_flag=True, help="Only count what would be pushed.")
@click.option("--via", metavar="PATH", help="Keep the copy of a store that is not in a folder here, for the next run.")
@click.option("--journal", is_flag=True, help="Also push the journal, to the repository _metastore/journal.")
@_COPIER
def mirror(
    app: App, remote: str, dataset_ids: tuple[str, ...], prefix: str, dry_run: bool, via: str | None, journal: bool
) -> None:
    """Push datasets to a Git remote.

    REMOTE is an address for Git, such as https://git.example.org/{owner}/{name}.git, and its repositories have to
    exist. The branch and tags of all datasets, or of the named ones, are pushed. References that others have changed
    there are left alone. Exit code 1 if any reference was left alone or refused. METASTORE_MIRROR_TOKEN and
    METASTORE_MIRROR_USER log in; without a token, Git's credential helpers and SSH keys are used.

    A service, or another store that is not in a folder, is copied into a temporary folder first. --via keeps the copy,
    so that the next run copies only what is new; the journal of a service needs it.
    """
    from metastore import config
    from metastore.parse import parse_dataset_id
    from metastore.storage.lines import JOURNAL
    from metastore.storage.local.mirror import Remote
    from metastore.storage.local.mirror import mirror as push_all

    settings = config.load()
    to = Remote(remote, settings.mirror_token, settings.mirror_user)
    source = app.reader()
    named = [parse_dataset_id(text) for text in dataset_ids]
    for dataset_id in named:
        source.storage.resolve(dataset_id, None)  # raises for an unknown id before anything is pushed
    ids = named or list(source.storage.ids(prefix=prefix, deleted=None))
    with _in_folder(app, source, via, ids, journal=journal) as (storage, not_copied), Bar("Mirroring") as bar:
        ids += storage.ids(prefix=str(JOURNAL), deleted=None) if journal else ()
        report = push_all(storage, to, ids, dry_run=dry_run, progress=lambda done: bar.show(done, len(ids)))
    would = "would be " if dry_run else ""
    app.summary(
        report,
        f"{_count(report.datasets, 'dataset')}, {report.unchanged} of them there already; "
        f"{_count(report.references, 'reference')} {would}pushed",
    )
    _end([*not_copied, *report.not_pushed])


@contextmanager
def _in_folder(
    app: App, source: Store, via: str | None, ids: Sequence[DatasetId], *, journal: bool
) -> Iterator[tuple[GitStorage, tuple[NotCopied, ...]]]:
    """Yield a storage in a folder with these datasets, and what could not be copied there: the source, or a copy."""
    from tempfile import TemporaryDirectory

    from metastore.storage.copy import copy as copy_all
    from metastore.storage.local.storage import GitStorage

    if isinstance(source.storage, GitStorage):
        if via is not None:
            raise InvalidInput("--via is for a store that is not in a folder, and this one is")
        yield source.storage, ()
        return
    by_lines = journal and _has_service(app.url())
    if by_lines and via is None:
        raise InvalidInput("--journal of a service needs --via: without the copy, the next run would make other lines")
    if by_lines:
        app.require_author(via)
    with nullcontext(via) if via else TemporaryDirectory(prefix="metastore-mirror-") as folder:
        target = app.open(folder, create=True, **({} if via else {"sync": False}))
        if not isinstance(target.storage, GitStorage):
            raise InvalidInput(f"--via is a folder, not {via}")
        whole = journal and not by_lines
        with Bar("Copying") as bar:
            copied = copy_all(source.storage, target.storage, only=ids, journal=whole, progress=bar.show)
        if by_lines:
            copied = _with_lines(copied, source, target)
        yield target.storage, copied.not_copied


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _end(left_out: Iterable[Any]) -> None:
    """Report everything that was left out, and end with the exit code for that."""
    lines = list(map(str, left_out))
    for line in lines:
        say(line, fg="red")
    if lines:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


COMMANDS = tuple(_root.commands.values())
