"""`metastore diff`, and the output of every comparison."""

from __future__ import annotations

import functools
from collections.abc import Callable
from heapq import merge as merged
from itertools import groupby, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from metastore.cli.base import App, say, tell_moment
from metastore.cli.ids import split_unless_file
from metastore.cli.inputs import is_file, read_json
from metastore.cli.options import command
from metastore.cli.output import paint, show_pages
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import InvalidInput, NotADescriptor, NotFound, StorageCorrupt
from metastore.types import DatasetId, Difference

if TYPE_CHECKING:
    from metastore.descriptor.grade import Grades
    from metastore.store.base import Store


class Comparison(NamedTuple):
    """The differences of two descriptors, and both texts."""

    value: Any
    patch: Any
    changes: tuple[Difference, ...]
    summary: str
    grade: str
    version: str | None
    labels: tuple[str, str]
    texts: Callable[[], tuple[str, str]]
    #: The reason why only lines can be compared.
    problem: NotADescriptor | None = None


def comparing(function: Callable[..., Comparison | None]) -> Callable[..., None]:
    """Add the options for its output to a command that returns a `Comparison`."""

    @functools.wraps(function)
    def run(
        app: App, *args: Any, unified: bool, patch: bool, summary: bool, grade: bool, exit_code: bool, **kwargs: Any
    ) -> None:
        result = function(app, *args, **kwargs)
        if result is None:
            return
        if result.problem is not None:
            _print_lines(result, only=not (summary or grade or patch or app.json))
        elif summary or grade:
            line = result.summary if summary else f"{result.grade or 'none'} {result.version or ''}".rstrip()
            app.data({"summary": result.summary, "grade": result.grade, "version": result.version}, line)
        elif patch or app.json:
            app.data(result.patch if patch else result.value)
        elif unified:
            _print_unified(result)
        else:
            _print_words(result)
        if exit_code and (result.patch or result.problem):
            raise click.exceptions.Exit(FOUND_PROBLEMS)

    options = (
        click.option("--unified", is_flag=True, help="Compare line by line, as diff does."),
        click.option("--patch", is_flag=True, help="Print a JSON Patch (RFC 6902)."),
        click.option("--summary", is_flag=True, help="Print a summary on one line."),
        click.option("--grade", is_flag=True, help="Print major, minor or patch, and the version that should follow."),
        click.option("--exit-code", is_flag=True, help="Exit with 1 if there is a difference."),
    )
    for option in reversed(options):
        run = option(run)
    return run


@click.group(invoke_without_command=True, hidden=True)
def _root() -> None:
    """Hold the command without a noun."""


@command(_root, "diff")
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option("--with", "other", metavar="URL", help="The store of B. Without A and B, compare both stores.")
@comparing
def diff(app: App, a: str | None, b: str | None, other: str | None) -> Comparison | None:
    """Compare two descriptors.

    A and B are files (- for stdin), or datasets as OWNER/NAME or OWNER/NAME@REVISION.

    Examples: metastore diff physics/cars@v1 cars.json; metastore diff --with backup
    """
    if a is None:
        if other is None:
            raise InvalidInput("give two files or datasets, or the other store with --with")
        _compare_stores(app, app.reader(), app.open(other, create=False))
        return None
    if b is None and other is None:
        raise InvalidInput(f"say what to compare {a} with: another file or dataset, or --with the other store")
    if a == b == "-":
        raise InvalidInput("stdin can be read only once: only one of A and B may be -")
    if b and "/" in a and "/" not in b and not is_file(b):
        raise InvalidInput(f"{b!r} is neither a file nor OWNER/NAME: for a revision, write {a.partition('@')[0]}@{b}")
    if all(map(is_file, (a, b or a))):
        app.refuse_store("two files are compared")
    texts = (_text(app, a, None), _text(app, b or a, other))
    return _compared((a, b or a), *texts, app.grades())


def _text(app: App, name: str, url: str | None) -> bytes:
    """Return a descriptor from a file or a store, byte for byte."""
    if is_file(name) or Path(name).is_dir():  # `read_json` says that it is a folder
        return read_json(name)
    store = app.reader() if url is None else app.open(url, create=False)
    tell_moment(store, *split_unless_file(name))
    return store.dataset_json(*split_unless_file(name))[1]


def _compared(labels: tuple[str, str], old: bytes, new: bytes, grades: Grades) -> Comparison:
    from metastore.descriptor.difference import changes, json_patch
    from metastore.descriptor.grade import next_version
    from metastore.descriptor.summary import only_the_order, summary

    before, after = map(_object, labels, (old, new))
    differences = changes(before, after)
    grade, line = grades.grade(differences), summary(differences) or only_the_order(before, after)
    patch, version = json_patch(before, after), next_version(before.get("version"), grade)
    value = {"patch": patch, "changes": differences, "summary": line, "grade": grade, "version": version}
    return Comparison(value, patch, differences, line, grade, version, labels, lambda: (old.decode(), new.decode()))


def _object(label: str, text: bytes) -> dict[str, Any]:
    """Read a descriptor. An error names its file."""
    from metastore.descriptor.document import decode

    try:
        value = decode(text)
    except InvalidInput as error:
        raise InvalidInput(f"{'stdin' if label == '-' else label}: {error}") if is_file(label) else error from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{label} is not a descriptor: it is not a JSON object")
    return value


def _compare_stores(app: App, here: Store, there: Store) -> None:
    """Print each dataset that differs or is in one store only, with the grade of the difference."""
    grades = app.grades()
    sides = [zip(store.dataset_list(), repeat(side)) for side, store in enumerate((here, there))]
    for dataset_id, group in groupby(merged(*sides), key=lambda pair: pair[0]):
        present = {side for _, side in group}
        if len(present) == 2:
            difference, grade = _in_both(dataset_id, here, there, grades)
        else:
            difference, grade = "only in the other store" if present == {1} else "only in this store", ""
        if difference:
            line = f"{dataset_id}: {difference}" + (f" ({grade})" if grade else "")
            app.data({"dataset": str(dataset_id), "difference": difference, "grade": grade}, line)


def _in_both(dataset_id: DatasetId, here: Store, there: Store, grades: Grades) -> tuple[str, str]:
    """Return the differences of a dataset in two stores on one line, or why it cannot be compared; and their grade."""
    name = str(dataset_id)
    try:
        old, new = (store.dataset_bytes(dataset_id)[1] for store in (here, there))
        if old == new:
            return "", ""
        comparison = _compared((name, name), old, new, grades)
        return comparison.summary, comparison.grade
    except (InvalidInput, NotFound, StorageCorrupt) as error:
        return f"cannot be compared: {error}", ""


_SIGNS = {
    "added": ("+", "green"),
    "removed": ("-", "red"),
    "changed": ("~", "yellow"),
    "renamed": (">", "cyan"),
    "moved": (">", "cyan"),
}


def _print_words(result: Comparison) -> None:
    if not result.changes:
        say(f"No differences: {result.summary}." if result.summary else "No differences.")
    show_pages(_word(change) for change in result.changes)


def _word(change: Difference) -> str:
    sign, colour = _SIGNS[change.kind]
    return paint(f"{sign} {change}", fg=colour)


def _print_lines(result: Comparison, *, only: bool) -> None:
    """Print the lines of two texts, of which one is not a descriptor. Raises NotADescriptor: lines are not enough."""
    assert result.problem is not None
    if not only:
        raise result.problem
    say(f"Compared line by line: {result.problem}.")
    _print_unified(result)


def _print_unified(result: Comparison) -> None:
    from metastore.descriptor.lines import compare_lines

    compared = compare_lines(*result.texts(), *result.labels)
    if compared.note:
        say(compared.note)
    colours = {"+": "green", "-": "red", "@": "cyan"}
    show_pages(paint(line, fg=colours.get(line[:1])) for line in compared.lines)


COMMANDS = tuple(_root.commands.values())
