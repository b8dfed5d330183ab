"""`metastore describe`, `import` and `export`: the commands on files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

import metastore
from metastore.catalogue.exports import Outcome as ExportOutcome
from metastore.catalogue.imports import Outcome as ImportOutcome
from metastore.cli import completing
from metastore.cli.bars import Bar, bar_stream
from metastore.cli.base import App, is_relative, say, tell_moment
from metastore.cli.ids import ids_of
from metastore.cli.inputs import write_output
from metastore.cli.options import CREATE, WRITING, command
from metastore.cli.output import show
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.descriptor.document import DESCRIPTOR, encode
from metastore.errors import InvalidInput
from metastore.store.batch import new_batch_id
from metastore.types import DatasetId

if TYPE_CHECKING:
    from metastore.catalogue.exports import ExportLine
    from metastore.catalogue.imports import ImportLine, Rule
    from metastore.catalogue.sources import Item
    from metastore.store.base import Store

#: The most datasets that a command names one by one.
_NAMED = 3


@click.group(hidden=True)
def _root() -> None:
    """Hold the commands without a noun."""


@command(_root, "describe", stores="reads a folder of files, and no store")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="The name of the package. Default: that of the folder.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file to write to.")
def describe(app: App, folder: Path, name: str | None, output: Path | None) -> None:
    """Make a descriptor from files.

    The descriptor has the size, SHA-256, format and columns of every file in FOLDER.
    """
    from metastore.descriptor.describe import describe as describe_folder

    with click.progressbar(length=0, label="Reading", file=bar_stream()) as bar:

        def progress(done: int, total: int, path: str) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        descriptor = describe_folder(folder, name=name, progress=progress)
    if output is None:
        app.data(descriptor, encode(descriptor))
        return
    write_output(output, encode(descriptor))
    count = len(descriptor["resources"])
    say(f"Described {count} file{'s' * (count != 1)} in {output}.", fg="green")


@command(_root, "import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--owner", help="The owner of all; names come from the descriptors. Default: both from the path.")
@click.option("--lower-case", is_flag=True, help="Convert ids to lower case.")
@click.option("--only-new", "rule", flag_value="only-new", help="Skip datasets that are in the store already.")
@click.option(
    "--if-unchanged-since-import",
    "rule",
    flag_value="if-unchanged",
    help="Skip datasets that were changed in the store since their last import.",
)
@click.option(
    "--merge",
    "base",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Merge with changes that were made in the store. DIR keeps the descriptors of the last import.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be imported.")
@click.option("--fast", is_flag=True, help="Do not wait for the disk. After a power cut, import again.")
@click.option("--batch", metavar="ID", help="The id of this import for `metastore undo --batch`. Default: a new one.")
@WRITING[0]
@WRITING[1]
@WRITING[2]
@CREATE
def import_files(
    app: App,
    paths: tuple[Path, ...],
    owner: str | None,
    lower_case: bool,
    rule: Rule | None,
    base: Path | None,
    dry_run: bool,
    fast: bool,
    batch: str | None,
    **why: Any,
) -> None:
    """Store many descriptors.

    PATHS are folders with OWNER/NAME/datapackage.json below them, descriptors, JSON Lines (.jsonl), CSV, or responses
    of CKAN's API. Descriptors that are stored already are skipped, so after an interruption, run the command again.
    Failures are reported with their reasons, and the rest is imported; then the exit code is 1.

    Example: metastore import dumps --if-unchanged-since-import --dry-run
    """
    from metastore.catalogue import sources
    from metastore.catalogue.imports import Importer

    if rule and base:
        raise InvalidInput("--merge goes with neither --only-new nor --if-unchanged-since-import")
    count = len(sources.files(paths))
    if not count:
        raise InvalidInput(f"there is no {DESCRIPTOR} below {', '.join(map(str, paths))}")
    app.require_author()
    first, items = _first_good(sources.read(paths, owner=owner, lower_case=lower_case))
    store = _store_for(app, dry_run=dry_run, fast=fast, stores_any=first)
    logging.getLogger("metastore").setLevel(logging.ERROR)  # warnings would break the bar; findings are counted below
    importer = Importer(
        store,
        rule="merge" if base else rule or "replace",
        base=base,
        dry_run=dry_run,
        batch=batch or new_batch_id("import", why["at"]),
        **why,
    )
    lines: list[ImportLine] = []
    with Bar("Importing") as bar:
        for line in importer.run(items):
            lines.append(line)
            bar.show(len(lines), max(count, len(lines)))
    _tell_imported(app, lines, dry_run=dry_run)


def _store_for(app: App, *, dry_run: bool, fast: bool, stores_any: bool) -> Store:
    """Return the store to import into. It is not made for a dry run, nor to store nothing."""
    if app.is_new() and (dry_run or not stores_any):
        return metastore.connect("memory:")
    return app.reader() if dry_run else app.writer(sync=not fast)


def _first_good(items: Iterator[Item]) -> tuple[bool, Iterator[Item]]:
    """Tell whether any item can be stored, and return all items. Items after the first good one are not read yet."""
    seen = []
    for item in items:
        seen.append(item)
        if not item.problem and _can_be_stored(item.content):
            return True, chain(seen, items)
    return False, iter(seen)


def _can_be_stored(content: bytes) -> bool:
    try:
        metastore.validate(content)
    except InvalidInput:
        return False
    return True


def _tell_imported(app: App, lines: list[ImportLine], *, dry_run: bool) -> None:
    counts = {outcome: sum(line.outcome == outcome for line in lines) for outcome in get_args(ImportOutcome)}
    findings = sum(len(line.findings) for line in lines)
    failures = [
        {"file": line.source, "kind": line.kind, "reason": line.reason} for line in lines if line.outcome == "failed"
    ]
    for line in lines:
        if line.outcome == "failed" or (line.outcome == "skipped" and not app.json):
            say(str(line), fg="red" if line.outcome == "failed" else "yellow")
        elif not app.json and (app.verbose or (dry_run and line.outcome != "unchanged")):
            _tell_line(line)
    shown = {name: count for name, count in counts.items() if count or name not in ("merged", "skipped")}
    text = ", ".join(f"{count} {name}" for name, count in shown.items())
    text += f", {findings} finding{'s' * (findings != 1)}"
    notable = [line for line in lines if line.outcome != "unchanged" or line.findings]
    facts = {**counts, "findings": findings, "failures": failures, "lines": notable, "dry_run": dry_run}
    app.summary(facts, text + (" (dry run)" if dry_run else ""))
    if not (app.json or app.verbose or dry_run):  # else each finding was printed
        _tell_where_findings_are([str(line.dataset_id) for line in lines if line.findings])
    if failures:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def _tell_where_findings_are(ids: list[str]) -> None:
    if ids:
        say(f"To see the findings, run: metastore check {' '.join(ids) if len(ids) <= _NAMED else '--all'}")


def _tell_line(line: ImportLine) -> None:
    show(str(line))
    for change in line.changes:
        show(f"  {change}")
    for finding in line.findings:
        show(f"  finding: {finding}")


@command(_root, "export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("prefixes", nargs=-1, metavar="[PREFIX]...", shell_complete=completing.owners)
@click.option("--revision", metavar="TAG", help="Export this tag or revision; datasets without it are skipped.")
@click.option("--prune", is_flag=True, help="Remove the files of datasets that were deleted, moved or purged.")
@click.option("--overwrite", is_flag=True, help="Replace and remove files even if they were edited.")
@click.option("--dry-run", is_flag=True, help="Only list what would be written and removed.")
def export(app: App, folder: Path, prefixes: tuple[str, ...], revision: str | None, **options: bool) -> None:
    """Write descriptors to files.

    Writes the newest descriptor of each dataset to FOLDER/OWNER/NAME/datapackage.json. A PREFIX selects datasets whose
    ids begin with it, and - those whose ids are on stdin. A manifest in FOLDER lists the files, so that the next export
    keeps files that were edited, and --prune removes the files of datasets that are gone. Exit code 1 if a file was
    kept, a dataset could not be read, or no dataset has the revision.

    Examples: metastore export published --revision v1 --prune; metastore export published physics/ math/
    """
    from metastore.catalogue.exports import export as export_all

    store = app.reader()
    ids = list(ids_of(prefixes)) if prefixes == ("-",) else None
    if ids is not None and options["prune"]:
        raise InvalidInput("--prune looks for all that is gone: it goes with prefixes, and not with ids on stdin")
    with Bar("Exporting") as bar:

        def through(ids: list[DatasetId]) -> Iterator[DatasetId]:
            for done, dataset_id in enumerate(ids, 1):
                yield dataset_id
                bar.show(done, len(ids))

        lines = export_all(store, folder, prefix=prefixes or "", ids=ids, revision=revision, through=through, **options)
    _tell_exported(app, lines, dry_run=options["dry_run"])
    if revision is not None and is_relative(revision):
        _tell_revisions(app, store, lines, revision)


def _tell_revisions(app: App, store: Store, lines: list[ExportLine], name: str) -> None:
    """Say which revision of each dataset was exported."""
    ids = [line.path.rpartition("/")[0] for line in lines if line.outcome in ("written", "unchanged")]
    for dataset_id in ids if app.verbose else ids[:_NAMED]:
        tell_moment(store, dataset_id, name, f"{dataset_id}@{name}")
    if len(ids) > _NAMED and not app.verbose:
        say(f"… and so on for {len(ids)} datasets; --verbose lists all.")


def _tell_exported(app: App, lines: list[ExportLine], *, dry_run: bool) -> None:
    counts = {outcome: sum(line.outcome == outcome for line in lines) for outcome in get_args(ExportOutcome)}
    for line in lines:
        if line.reason:
            say(str(line), fg="red" if line.outcome in ("failed", "kept") else "yellow")
        elif app.verbose or (dry_run and line.outcome != "unchanged"):
            say(str(line))
    if counts["stale"]:
        one, many = "1 file belongs to a dataset that is", f"{counts['stale']} files belong to datasets that are"
        say(f"{one if counts['stale'] == 1 else many} gone; --prune removes them.", fg="yellow")
    exported = counts["written"] + counts["unchanged"]
    shown = {name: count for name, count in counts.items() if count and name not in ("written", "unchanged")}
    text = ", ".join([f"{exported} exported", *(f"{count} {name}" for name, count in shown.items())])
    notable = [line for line in lines if line.outcome != "unchanged"]
    failures = [line for line in lines if line.outcome == "failed"]
    facts = {"exported": exported, **counts, "failures": failures, "lines": notable, "dry_run": dry_run}
    app.summary(facts, text + (" (dry run)" if dry_run else ""))
    if counts["failed"] or counts["kept"] or (counts["skipped"] and not exported):
        raise click.exceptions.Exit(FOUND_PROBLEMS)


COMMANDS = tuple(_root.commands.values())
