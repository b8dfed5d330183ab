"""The datasets that a command works on: one, several, or those whose ids are on stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from metastore.cli import completing
from metastore.cli.base import App, say
from metastore.cli.problems import FOUND_PROBLEMS, show_error
from metastore.errors import Conflict, InvalidInput, NotFound, PermissionDenied, StorageCorrupt

#: One dataset.
ID = click.argument("dataset_id", metavar="OWNER/NAME", shell_complete=completing.ids)
#: Datasets, for a command with `many`.
IDS = click.argument("dataset_ids", metavar="OWNER/NAME...", nargs=-1, required=True, shell_complete=completing.ids)
#: What can be wrong with one dataset, so that a command goes on with the next one.
_OF_ONE = (NotFound, Conflict, InvalidInput, PermissionDenied, StorageCorrupt)


def for_each(work: Callable[..., Any], options: dict[str, Any]) -> None:
    """Do the work of a command for each of its datasets.

    With one dataset, its error is that of the command. With several, one that fails is reported and does not stop the
    rest; then the exit code is 1.

    Args:
        work: Takes `dataset_id` and the other options.
        options: The options, with `dataset_ids`, or with a `dataset_id` that may be `-`.

    Raises:
        InvalidInput: `--expected` was given for several datasets.
    """
    named: tuple[str, ...] = options.pop("dataset_ids", ()) or (options.pop("dataset_id"),)
    ids = list(ids_of(named))
    if len(ids) > 1 and options.get("expected") is not None:
        raise InvalidInput("--expected is the revision of one dataset: change the datasets one by one")
    failed = 0
    for dataset_id in ids:
        try:
            work(dataset_id=dataset_id, **options)
        except _OF_ONE as error:
            if len(ids) == 1:
                raise
            failed += 1
            _tell(dataset_id, error)
    if failed:
        say(f"{failed} of {len(ids)} datasets failed.", fg="red")
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def split(name: str) -> tuple[str, str | None]:
    """Return the id and the revision of `OWNER/NAME@REVISION`; None without a revision."""
    dataset_id, _, revision = name.partition("@")
    return dataset_id, revision or None


def split_unless_file(name: str) -> tuple[str, str | None]:
    """Return the id and the revision that an argument names, once it is known not to be a file.

    Raises:
        InvalidInput: It cannot be a dataset either.
    """
    if "/" not in name:
        raise InvalidInput(f"{name!r} is neither a file nor a dataset, which looks like 'owner/name'")
    return split(name)


def joined(named: tuple[str, ...]) -> tuple[str, ...]:
    """Return `OWNER/NAME REVISION` as one argument, `OWNER/NAME@REVISION`; an id has a slash, and no revision has."""
    if len(named) == 2 and "/" in named[0] and "/" not in named[1] and named[1] != "-":
        if "@" in named[0]:
            raise InvalidInput(f"{named[0]!r} and {named[1]!r} are two revisions of one dataset: name one of them")
        return ("@".join(named),)
    return named


def ids_of(named: tuple[str, ...]) -> Iterator[str]:
    """Yield the ids that a command names; `-` stands for those on stdin, one on a line."""
    for name in named:
        if name == "-":
            yield from filter(None, map(str.strip, sys.stdin))
        else:
            yield name


def _tell(dataset_id: str, error: NotFound | Conflict | InvalidInput | PermissionDenied | StorageCorrupt) -> None:
    app = click.get_current_context().find_object(App)
    if app is not None and app.json:
        show_error(error, as_json=True)
    else:
        say(f"{dataset_id}: {error}", fg="red")
