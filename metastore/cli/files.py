"""`metastore describe`, `check`, `import` and `export`: between files and the store."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metastore.cli.base import FOUND_PROBLEMS, WRITING, App, command, go_through, read_input, say, write_output
from metastore.descriptor.document import DESCRIPTOR, decode, encode
from metastore.errors import DatasetDeleted, DatasetMoved, DatasetNotFound, InvalidInput, MetastoreError, StorageError
from metastore.parse import parse_dataset_id
from metastore.types import DatasetId

if TYPE_CHECKING:
    from datetime import datetime

    from metastore.store.store import MetaStore


@click.group(hidden=True)
def _root() -> None:
    """Carry the commands that have no noun."""


@command(_root, "describe")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="The package's name; otherwise the folder's.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to stdout.")
def describe(app: App, folder: Path, name: str | None, output: Path | None) -> None:
    """Make a descriptor from real files.

    Sizes, SHA-256, formats, and the columns of tables, of every file in FOLDER.
    """
    from metastore.descriptor.describe import describe as describe_folder

    with click.progressbar(length=0, label="Reading", file=sys.stderr) as bar:

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


@command(_root, "check")
@click.argument("files", nargs=-1, required=True)
def check(app: App, files: tuple[str, ...]) -> None:
    """Check descriptors against their profile.

    Each of the FILES is checked against the Data Package profile that it declares; exit code 1 if one fails.
    """
    from metastore import validate

    bad = False
    for file in files:
        try:
            found = [(finding.pointer, finding.detail) for finding in validate(read_input(file))]
        except InvalidInput as error:
            found = list(error.problems)
        bad = bad or bool(found)
        if app.json:
            findings = [{"pointer": pointer, "detail": detail} for pointer, detail in found]
            app.data({"file": file, "findings": findings})
        else:
            say(f"{file}: {len(found) or 'no'} problem{'s' * (len(found) != 1)}", fg="red" if found else "green")
            for pointer, detail in found:
                click.echo(f"{file}: {pointer or '(descriptor)'}: {detail}")
    if bad:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@command(_root, "import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--owner", help="Owner of all; the name is then the descriptor's `name`. Otherwise taken from the path.")
@click.option("--fast", is_flag=True, help="Do not wait for the disk; after a power cut, import again.")
@WRITING[0]
@WRITING[1]
@WRITING[2]
def import_files(
    app: App, paths: tuple[Path, ...], owner: str | None, fast: bool, message: str | None, at: datetime | None
) -> None:
    """Store many descriptors at once.

    PATHS are files, or folders with OWNER/NAME/datapackage.json below them. What is stored already and says the same
    is passed over, so that an interrupted import just goes on when started again. What fails is reported with its
    reason, and the rest is imported; exit code 1 then.
    """
    files = [file for path in paths for file in _descriptor_files(path)]
    if not files:
        raise InvalidInput(f"there is no {DESCRIPTOR} below {', '.join(map(str, paths))}")
    app.require_author()
    store = app.writer(sync=not fast)
    logging.getLogger("metastore").setLevel(logging.ERROR)  # findings are counted below: the bar stays whole
    counts = {"created": 0, "updated": 0, "unchanged": 0, "failed": 0, "findings": 0}
    failures: list[dict[str, str]] = []
    stored: dict[DatasetId, Path] = {}
    with click.progressbar(files, label="Importing", file=sys.stderr) as bar:
        for file in bar:
            try:
                content = read_input(str(file))
                dataset_id = _id_of(file, content, owner)
                first = stored.setdefault(dataset_id, file)
                if first.resolve() != file.resolve():
                    raise InvalidInput(f"{dataset_id} was taken from {first} already")
                done, findings = _import_one(store, dataset_id, content, message or f"Import {file.name}", at)
                counts[done] += 1
                counts["findings"] += findings
            except StorageError:
                raise
            except MetastoreError as error:
                counts["failed"] += 1
                failures.append({"file": str(file), "kind": error.kind, "reason": str(error)})
    for failure in failures:
        say(f"{failure['file']}: {failure['reason']}", fg="red")
    app.data({**counts, "failures": failures}, ", ".join(f"{count} {name}" for name, count in counts.items()))
    if failures:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@command(_root, "export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("prefix", default="")
def export(app: App, folder: Path, prefix: str) -> None:
    """Write descriptors to files.

    The newest of each dataset goes to FOLDER/OWNER/NAME/datapackage.json; with a PREFIX only those.
    """
    store = app.reader()
    exported = 0

    def write(dataset_id: DatasetId) -> None:
        nonlocal exported
        content = store.dataset_read(dataset_id).bytes
        write_output(folder / dataset_id.owner / dataset_id.name / DESCRIPTOR, content)
        exported += 1

    failures = go_through(list(store.dataset_list(prefix)), "Exporting", write)
    app.data({"exported": exported, "failures": failures}, f"{exported} exported")
    if failures:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


COMMANDS = tuple(_root.commands.values())


def _descriptor_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.rglob(DESCRIPTOR))
    else:
        yield path


def _import_one(
    store: MetaStore, dataset_id: DatasetId, content: bytes, message: str, at: datetime | None
) -> tuple[str, int]:
    """Store one descriptor. Returns what was done, and how many findings the check had."""
    try:
        before = store.revision_read(dataset_id)
    except DatasetMoved:  # creating it would cut off the way to where it is now
        raise
    except DatasetNotFound:
        made = store.dataset_create(dataset_id, content, message=message, at=at)
        return "created", len(made.findings)
    if before.deleted:
        raise DatasetDeleted(dataset_id, before)
    made = store.dataset_update(dataset_id, content, message=message, at=at)
    return ("unchanged" if made.revision == before else "updated"), len(made.findings)


def _id_of(file: Path, content: bytes, owner: str | None) -> DatasetId:
    if owner is None:
        folders = file.resolve().parent.parts
        if file.name != DESCRIPTOR or len(folders) < 3:
            raise InvalidInput(f"the path does not end in OWNER/NAME/{DESCRIPTOR}: give --owner")
        return parse_dataset_id((folders[-2], folders[-1]))
    descriptor: Any = decode(content)
    name = descriptor.get("name") if isinstance(descriptor, dict) else None
    if not isinstance(name, str):
        raise InvalidInput(f"it has no name that could follow {owner}/", pointer="/name")
    return parse_dataset_id((owner, name))
