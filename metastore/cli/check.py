"""`metastore check`: descriptors against their profiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

import metastore
from metastore.cli import completing
from metastore.cli.base import App, say, tell_moment
from metastore.cli.ids import split_unless_file
from metastore.cli.inputs import is_file, read_input
from metastore.cli.options import command
from metastore.cli.output import show
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.descriptor.document import load
from metastore.errors import InvalidInput, NotFound, StorageCorrupt
from metastore.types import Finding

if TYPE_CHECKING:
    from metastore.packages import Verdict


@click.group(hidden=True)
def _root() -> None:
    """Hold the command without a noun."""


@command(_root, "check")
@click.argument("names", nargs=-1, metavar="[FILE | OWNER/NAME[@REVISION]]...", shell_complete=completing.ids)
@click.option("--all", "whole_store", is_flag=True, help="Check the newest revision of all datasets in the store.")
@click.option(
    "--engine",
    type=click.Choice(["frictionless", "datapackage"]),
    help="Also show what this library says. It reads no file that a descriptor names.",
)
def check(app: App, names: tuple[str, ...], whole_store: bool, engine: str | None) -> None:
    """Check descriptors against their profile.

    Checks files (- for stdin) or datasets against the profile that each declares. With --all, or with --store alone, it
    checks each dataset of the store, and then counts the problems of each kind. Exit code 1 if there is a problem.

    Example: metastore check physics/cars@v1 --engine frictionless
    """
    whole_store = whole_store or (app.store_url is not None and not names)
    if bool(names) == whole_store:
        raise InvalidInput("give files or datasets to check, or --all, but not both")
    if names and all(map(is_file, names)):
        app.refuse_store("only files are checked")
    kinds: Counter[str] = Counter()
    for name, content in _of_store(app) if whole_store else _named(app, names):
        findings = _checked(content, app.profiles()) if isinstance(content, bytes) else (content,)
        verdict = _verdict(content, engine) if engine and isinstance(content, bytes) else None
        kinds.update(finding.kind for finding in findings)
        if verdict is not None and verdict.problems:
            kinds[verdict.library] += len(verdict.problems)
        _tell(app, name, findings, verdict, dataset=whole_store or not is_file(name))
    if whole_store and app.json:
        app.data({"kinds": dict(kinds.most_common())})
    elif whole_store:
        for kind, count in kinds.most_common():
            say(f"{count:7} {kind}")
    if kinds:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def _named(app: App, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if is_file(name):
            yield name, read_input(name)
        else:
            store = app.reader()
            tell_moment(store, *split_unless_file(name))
            yield name, store.dataset_bytes(*split_unless_file(name))[1]


def _of_store(app: App) -> Iterator[tuple[str, bytes | Finding]]:
    """Yield each dataset. One that cannot be read is a finding, and does not stop the rest."""
    store = app.reader()
    for dataset_id in store.dataset_list():
        try:
            yield str(dataset_id), store.dataset_bytes(dataset_id)[1]
        except (StorageCorrupt, NotFound) as error:
            yield str(dataset_id), Finding("", str(error), error.kind)


def _checked(content: bytes, profiles: str | None) -> tuple[Finding, ...]:
    try:
        findings: tuple[Finding, ...] = metastore.validate(content, profiles=profiles)
    except InvalidInput as error:
        return tuple(Finding(pointer, detail, error.kind) for pointer, detail in error.problems)
    return findings


def _verdict(content: bytes, engine: str) -> Verdict | None:
    """Return what a library says; None where the text is not even a descriptor, which is a finding of our own."""
    from metastore.packages import verdict_of

    try:
        descriptor = load(content)
    except ValueError:
        return None
    return verdict_of(descriptor, engine) if isinstance(descriptor, dict) else None


def _tell(app: App, name: str, findings: tuple[Finding, ...], verdict: Verdict | None, *, dataset: bool) -> None:
    if app.json:
        said = {"engine": verdict} if verdict is not None else {}
        app.data({"dataset" if dataset else "file": name, "findings": findings, **said})
        return
    count = len(findings)
    say(f"{name}: {count or 'no'} problem{'s' * (count != 1)}", fg="red" if findings else "green")
    for finding in findings:
        show(f"{name}: {finding}")
    if verdict is not None:
        say(f"{name}: {verdict}", fg="red" if verdict.problems else "green")
        for problem in verdict.problems:
            show(f"{name}: {verdict.library}: {problem}")


COMMANDS = tuple(_root.commands.values())
