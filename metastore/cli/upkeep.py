"""`metastore verify`, `pack`, `backup`, `restore` and `completion`: what an operator needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from metastore.cli.bars import Bar
from metastore.cli.base import FOUND_PROBLEMS, App, command, go_through, local, say


@click.group(hidden=True)
def _root() -> None:
    """Carry the commands that have no noun."""


@command(_root, "verify")
@click.option("--repair", is_flag=True, help="Mend what can be mended without loss.")
def verify(app: App, repair: bool) -> None:
    """Read the whole store, list what is wrong.

    Every object of every dataset is compared with its id; exit code 1 if anything is wrong.
    """
    found = 0
    for damage in app.reader().verify(repair=repair):
        found += not damage.repaired
        app.data(damage, str(damage))
    if found:
        say(f"{found} problem{'s' * (found != 1)} found.", fg="red")
        raise click.exceptions.Exit(FOUND_PROBLEMS)
    say("Everything is readable.", fg="green")


@command(_root, "pack")
@click.argument("dataset_ids", nargs=-1, metavar="[OWNER/NAME]...")
def pack(app: App, dataset_ids: tuple[str, ...]) -> None:
    """Store histories in less space.

    Of all datasets, unless some are named. Readers and writers go on meanwhile.
    """
    from metastore.parse import parse_dataset_id

    store = app.reader()
    ids = [parse_dataset_id(each) for each in dataset_ids] or list(store.dataset_list(deleted=None))
    for dataset_id in ids if dataset_ids else ():
        store.revision_read(dataset_id)
    failures = go_through(ids, "Packing", store.storage.compact)
    packed = len(ids) - len(failures)
    app.data({"packed": packed, "failures": failures}, f"{packed} packed")
    if failures:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@command(_root, "backup")
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
def backup(app: App, target: Path) -> None:
    """Copy the store to a folder.

    TARGET is consistent, and a store itself. Copying there again copies only what is new. Exit code 1 if the store has
    damage from which the backup was kept.
    """
    from metastore.storage.local.backup import backup as copy

    with Bar("Copying") as bar:
        report = copy(local(app), target, progress=bar.show)
    _tell(app, report)
    if report.kept:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@command(_root, "restore")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
def restore(app: App, source: Path, target: Path) -> None:
    """Make a store from a backup.

    TARGET is a new folder; what was copied from SOURCE is verified.
    """
    from metastore.storage.local.backup import restore as copy

    with Bar("Copying") as bar:
        report = copy(source, target, progress=bar.show)
    _tell(app, report)


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands.

    Example: eval "$(metastore completion bash)"
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root, {}, "metastore", "_METASTORE_COMPLETE").source())


COMMANDS = (*_root.commands.values(), completion)


def _tell(app: App, report: Any) -> None:
    app.data(report, f"{report.datasets} datasets, {report.copied} files copied, {report.bytes} bytes")
