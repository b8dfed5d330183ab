"""`metastore verify`, `settle`, `pack`, `backup` and other commands for operators."""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metastore.cli import completing
from metastore.cli.bars import Bar
from metastore.cli.base import App, go_through, local, local_root, say
from metastore.cli.inputs import read_input
from metastore.cli.options import command
from metastore.cli.problems import EXIT_CODES, FOUND_PROBLEMS, KEPT_IN_BACKUP
from metastore.errors import InvalidInput, OutcomeUnknown, StorageCorrupt, StorageError
from metastore.parse import make_time
from metastore.types import Change, ChangeRequest, DatasetId, Outcome
from metastore.wire import from_wire

if TYPE_CHECKING:
    from metastore.store.base import Store


@click.group(hidden=True)
def _root() -> None:
    """Hold the commands without a noun."""


@command(_root, "status")
def status(app: App) -> None:
    """Print the store, the number of datasets, and the author for changes."""
    from metastore.connecting import shown
    from metastore.storage.connect import is_service

    store, url = app.reader(), app.url()
    live, deleted = len(store.dataset_list()), len(store.dataset_list(deleted=True))
    author = app.found_author()
    facts = {"store": shown(url), "datasets": live, "deleted": deleted, "author": author}
    app.data(
        facts,
        [
            f"Store:    {shown(url)}",
            f"Datasets: {live}" + (f", and {deleted} deleted" if deleted else ""),
            f"Author:   {author or ('the user of METASTORE_TOKEN' if is_service(url) else 'nobody is named')}",
        ],
    )


@command(_root, "verify")
@click.option("--repair", is_flag=True, help="Remove files that interrupted writes left behind.")
@click.option("--heads", metavar="FILE", help="An earlier output of --print-heads, kept elsewhere.")
@click.option("--print-heads", is_flag=True, help="Print the newest revision of each dataset.")
def verify(app: App, repair: bool, heads: str | None, print_heads: bool) -> None:
    """Read the whole store, and list all damage.

    Compares every object with its id, and reads every descriptor and every line of the journal. With --heads, each
    revision in FILE has to be in its dataset's history, which finds a history that was replaced as a whole. Exit code
    1 if there is any damage.
    """
    store = app.reader()
    found = repaired = 0
    for damage in store.verify(repair=repair, heads=_heads(heads)):
        repaired += damage.repaired
        found += not damage.repaired
        app.data(damage, str(damage))
    ids = [dataset_id for prefix in ("", "_") for dataset_id in store.dataset_list(prefix, deleted=None)]
    if print_heads:
        app.rows(_newest(store, ids), text=lambda row: f"{row['dataset']} {row['head']}")
    if app.json:
        app.data({"datasets": _count(ids), "problems": found, "repaired": repaired})
    if found:
        say(f"{found} problem{'s' * (found != 1)} found.", fg="red")
        raise click.exceptions.Exit(FOUND_PROBLEMS)
    say("Everything is readable.", fg="green")
    if _is_open_to_all(store):
        say("Every user of this machine can read the store, though METASTORE_PUBLIC_READ is off.", fg="yellow")
        say(f"  To close it, run: chmod o-rwx {shlex.quote(str(local_root(store)))}")
    if warning := _copied_keys(store):
        say(warning, fg="yellow")


def _copied_keys(store: Store) -> str | None:
    from metastore import trust

    return trust.copied_keys(store.storage.private(name) for name in ("token.key", "session.key"))


def _is_open_to_all(store: Store) -> bool:
    """Tell whether other users can enter the store's folder, while the service requires a token for reading."""
    from metastore import config

    if config.load().service.public_read:
        return False
    folder = local_root(store)
    return folder is not None and bool(os.stat(folder).st_mode & stat.S_IXOTH)


def _heads(file: str | None) -> dict[str, str]:
    if file is None:
        return {}
    lines = [line.split() for line in read_input(file).decode(errors="replace").splitlines() if line.strip()]
    if wrong := next((line for line in lines if len(line) != 2), None):
        raise InvalidInput(f"a line of {file} is not 'OWNER/NAME REVISION': {' '.join(wrong)[:80]}")
    return {line[0]: line[1] for line in lines}


def _newest(store: Store, ids: Iterable[DatasetId]) -> Iterator[dict[str, Any]]:
    for dataset_id in ids:
        with suppress(StorageCorrupt):  # `verify` has reported it
            yield {"dataset": dataset_id, "head": store.revision_read(dataset_id).id}


def _count(ids: Iterable[DatasetId]) -> int:
    """Count datasets as `list` does, without the store's own, such as the journal."""
    return sum(not dataset_id.is_own for dataset_id in ids)


@command(_root, "adopt", writes=True)
@click.option("--dry-run", is_flag=True, help="Only list what would be done.")
def adopt(app: App, dry_run: bool, message: str | None, at: datetime | None) -> None:
    """Give ids to repositories whose folder names are not ids.

    Datopian/GDX.git becomes datopian/gdx, and a link leads from the old path to the new one. Exit code 1 if a
    repository cannot get an id.
    """
    from metastore.store.adoption import adopt as give_ids

    change = Change(app.known_author(), message or "Adopt repositories", make_time(at or datetime.now(UTC)))
    adoptions = list(give_ids(local(app), change, dry_run=dry_run))
    app.rows(adoptions)
    if not adoptions:
        say("All repositories have ids.", fg="green")
    if any(adoption.problem for adoption in adoptions):
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@command(_root, "settle")
@click.argument("change", metavar="JSON")
def settle(app: App, change: str) -> None:
    """Find out whether a change was made, if its command could not tell.

    JSON is the text that the failed command printed. Exit code 0 if the change was made, 1 if it was not, and 5 if that
    is still unknown; then it is safe to repeat the change with --expected.
    """
    outcome = app.reader().settle(_unknown(change))
    known = outcome != Outcome.UNKNOWN
    app.data({"outcome": outcome}, f"The change has {outcome}." if known else "The outcome is still unknown.")
    if outcome != Outcome.LANDED:
        raise click.exceptions.Exit(FOUND_PROBLEMS if outcome == Outcome.NOT_LANDED else EXIT_CODES[StorageError])


def _unknown(text: str) -> OutcomeUnknown:
    """Parse an error that `show_error` printed."""
    try:
        facts = from_wire(dict, json.loads(text))
        facts = facts.get("error", facts)
        names = "before", "wanted", "attempt"
        before, wanted, attempt = (from_wire(str | None, facts.get(name)) for name in names)
        change = from_wire(ChangeRequest, facts.get("change"))
        return OutcomeUnknown("", wanted, before=before, change=change, attempt=attempt)
    except ValueError:
        raise InvalidInput(
            "this is not the error that a command with --json printed: copy that whole line of JSON, in single quotes"
        ) from None


@command(_root, "pack")
@click.argument("dataset_ids", nargs=-1, metavar="[OWNER/NAME]...", shell_complete=completing.ids)
def pack(app: App, dataset_ids: tuple[str, ...]) -> None:
    """Pack histories, which saves space.

    Packs all datasets, or the named ones. Readers and writers can continue meanwhile.
    """
    from metastore.parse import parse_dataset_id

    store = app.reader()
    ids = [parse_dataset_id(text) for text in dataset_ids] or list(store.dataset_list(deleted=None))
    for dataset_id in ids if dataset_ids else ():
        store.revision_read(dataset_id)
    failures = go_through(ids, "Packing", store.storage.compact)
    packed = len(ids) - len(failures)
    app.summary({"packed": packed, "failures": failures}, f"{packed} packed")
    if failures:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@command(_root, "backup")
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Also read all of TARGET, and replace damaged files there.")
def backup(app: App, target: Path, check: bool) -> None:
    """Copy the store to a folder.

    TARGET is a consistent store itself. A later backup to it copies only new files. Anything that the store has lost
    stays in TARGET and is reported, with exit code 7; `recover` restores it.
    """
    from metastore.storage.local.backup import backup as copy

    with Bar("Copying") as bar:
        report = copy(local(app), target, check=check, progress=bar.show)
    _tell(app, report)
    for lost in report.lost:
        say(str(lost), fg="red")
    for dataset_id in report.kept:
        say(f"{dataset_id}: gone from the store, or damaged there; the backup keeps its older copy", fg="red")
    if report.lost or report.kept:
        raise click.exceptions.Exit(KEPT_IN_BACKUP)


@command(_root, "restore", stores="takes folders as arguments: SOURCE, a backup, and TARGET, a new store")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
def restore(app: App, source: Path, target: Path) -> None:
    """Make a store from a backup.

    TARGET is a new folder. The copy of SOURCE is verified.
    """
    from metastore.storage.local.backup import restore as copy

    with Bar("Copying") as bar:
        report = copy(source, target, progress=bar.show)
    _tell(app, report)


@command(_root, "recover")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("dataset_id", metavar="OWNER/NAME", shell_complete=completing.ids)
@click.option("--as", "new_id", metavar="OWNER/NAME", help="Restore the dataset under another, free id.")
def recover(app: App, source: Path, dataset_id: str, new_id: str | None) -> None:
    """Restore lost parts of a dataset from a backup.

    SOURCE is a backup. The store gets back the dataset, branch or tags that it has lost. Everything that it still has
    stays unchanged.
    """
    from metastore.parse import parse_dataset_id
    from metastore.storage.local.recovery import recover as bring_back
    from metastore.storage.local.storage import GitStorage

    old = parse_dataset_id(dataset_id)
    recovered = bring_back(
        GitStorage(source, create=False), local(app), old, parse_dataset_id(new_id) if new_id else old
    )
    if recovered or app.json:
        app.data({"recovered": recovered}, recovered)
    else:
        say(f"The store has everything that the backup has of {old}.", fg="green")


@command(_root, "check-host", stores="takes the address of a host: URL")
@click.argument("url")
@click.option("--dataset", metavar="ID", help="On git+https://, a dataset whose repository exists and is empty.")
@click.option("--dry-run", is_flag=True, help="Only connect to the host, and list the steps.")
def check_host(app: App, url: str, dataset: str | None, dry_run: bool) -> None:
    """Test a Git host.

    URL is github://OWNER, gitlab://GROUP or gitea://HOST/OWNER. Creates a private dataset named metastore-check-…
    there, changes it in all ways, compares every id with that of the same history in memory, and purges it. That takes
    50 to 80 requests. Exit code 1 if a step failed; then report the table.

    A plain Git server cannot create repositories: on git+https://HOST/{owner}/{name}.git create an empty one, and
    give its dataset with --dataset.
    """
    from metastore.parse import parse_dataset_id
    from metastore.storage.connect import options_of
    from metastore.storage.probe import check

    storage = app.open(url, **({"private": True} if "private" in options_of(url) else {})).storage
    failed = 0
    if not app.json:
        say(f"{'step':<22} result requests")
    dataset_id = parse_dataset_id(dataset) if dataset else None
    for checked in check(storage, dataset_id=dataset_id, dry_run=dry_run):
        failed += checked.ok is False
        app.data(checked, str(checked))
    if failed:
        say(f"{failed} step{'s' * (failed != 1)} failed. Please report this table with the host's version.", fg="red")
        raise click.exceptions.Exit(FOUND_PROBLEMS)
    if not dry_run:
        say("This host behaves as a store needs it.", fg="green")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script for shell completion.

    Example: eval "$(metastore completion bash)"
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    click.echo(completion_class(root, {}, "metastore", "_METASTORE_COMPLETE").source())


COMMANDS = (*_root.commands.values(), completion)


def _tell(app: App, report: Any) -> None:
    mended = f", {report.mended} mended" if report.mended else ""
    datasets = f"{report.datasets} dataset{'s' * (report.datasets != 1)}"
    files = f"{report.copied} file{'s' * (report.copied != 1)}"
    app.summary(report, f"{datasets}, {files} copied, {report.bytes} bytes{mended}")
