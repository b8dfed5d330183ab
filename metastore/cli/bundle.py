"""`metastore bundle …`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metastore.bundle.checks import warnings
from metastore.bundle.exchange import FORMATS, ImportLine, read_rows
from metastore.bundle.port import Bundle
from metastore.cli import bundle_text
from metastore.cli.base import App, read_input, say
from metastore.cli.options import ATTRIBUTES, EXPECTED, TIME, WHERE, WHO, command
from metastore.cli.output import show, show_bytes
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import InvalidInput, PermissionDenied

if TYPE_CHECKING:
    from metastore.bundle.registry import BundleRegistry

NAME = click.argument("name")


@click.group()
def bundle() -> None:
    """Bundles: named lists of devices, their owners, and the record of every change."""


COMMANDS = (bundle,)


def _command(name: str, *options: Callable[..., Any], writes: bool = False) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        for option in reversed((*options, *WHERE, *(WHO if writes else ()))):
            function = option(function)
        return command(bundle, name)(function)

    return decorate


@_command(
    "list",
    click.argument("prefix", default=""),
    click.option("--group", help="Owned by this group."),
    click.option("--device", help="With this device."),
    click.option("--event", help="With this event."),
    click.option("--run/--no-run", default=None, help="That should, or should not, be running."),
    click.option("--host", help="That may run on this host."),
    click.option("--after", metavar="NAME", help="Begin behind this one."),
    click.option("--limit", type=click.IntRange(min=0), help="At most so many."),
)
def list_bundles(app: App, **wanted: Any) -> None:
    """List bundles, sorted; with a PREFIX only those whose names begin so."""
    found = _open(app).bundle_list(**wanted)
    if app.json:
        app.rows(found)
    else:
        for line in bundle_text.table(map(bundle_text.cells, found)):
            show(line)


@_command(
    "read",
    NAME,
    click.option("--snapshot", type=int, metavar="NUMBER", help="As it was then."),
    click.option("--at", type=TIME, metavar="TIME", help="As it was at this time."),
)
def read(app: App, name: str, snapshot: int | None, at: datetime | None) -> None:
    """Print a bundle with all its devices."""
    found = _open(app).bundle_read(name, snapshot=snapshot, at=at)
    app.data(found, bundle_text.lines(found))


@_command("create", NAME, click.option("--group", "ifb_group", required=True), *ATTRIBUTES, writes=True)
def create(app: App, name: str, comment: str | None, **given: Any) -> None:
    """Make a bundle; prints its first snapshot's number."""
    registry = _open(app, writes=True)
    _tell(app, registry.bundle_create({"name": name, **_values(given)}, user=_user(app), comment=comment), "Created")


@_command(
    "update",
    NAME,
    *ATTRIBUTES,
    click.option("--add-device", "add_devices", multiple=True, help="Add this one."),
    click.option("--remove-device", "remove_devices", multiple=True, help="Remove this one."),
    EXPECTED,
    writes=True,
)
def update(app: App, name: str, comment: str | None, expected: int | None, **given: Any) -> None:
    """Change attributes and devices; what is not named stays."""
    registry = _open(app, needs_groups=True)
    before = registry.bundle_read(name).snapshot
    made = registry.bundle_update(name, _values(given), user=_user(app), comment=comment, expected=expected)
    _tell(app, made, "Updated", before)


@_command("delete", NAME, EXPECTED, writes=True)
def delete(app: App, name: str, comment: str | None, expected: int | None) -> None:
    """Delete a bundle; its record stays, and `bundle restore` brings it back."""
    gone = _open(app, needs_groups=True).bundle_delete(name, user=_user(app), comment=comment, expected=expected)
    say(f"Deleted {name}; `metastore bundle restore {name} {gone.previous}` brings it back.")
    app.data(gone, str(gone.id))


@_command("copy", NAME, click.argument("new_name"), writes=True)
def copy(app: App, name: str, new_name: str, comment: str | None) -> None:
    """Make a bundle like another one, in the same group."""
    registry = _open(app, needs_groups=True)
    _tell(app, registry.bundle_copy(name, new_name, user=_user(app), comment=comment), "Created")


@_command("restore", NAME, click.argument("snapshot", type=int), EXPECTED, writes=True)
def restore(app: App, name: str, snapshot: int, comment: str | None, expected: int | None) -> None:
    """Make a bundle what it was at a SNAPSHOT, by a new change; also a deleted one."""
    registry = _open(app, needs_groups=True)
    newest = registry.bundle_log(name, limit=1)
    made = registry.bundle_restore(name, snapshot, user=_user(app), comment=comment, expected=expected)
    _tell(app, made, "Restored", newest[0].id if newest else None)


@_command("undo", NAME, click.argument("snapshot", type=int), EXPECTED, writes=True)
def undo(app: App, name: str, snapshot: int, comment: str | None, expected: int | None) -> None:
    """Take the change that a SNAPSHOT made out of a bundle, and keep those after it."""
    registry = _open(app, needs_groups=True)
    newest = registry.bundle_log(name, limit=1)
    made = registry.bundle_undo(name, snapshot, user=_user(app), comment=comment, expected=expected)
    _tell(app, made, "Undone:", newest[0].id if newest else None)


@_command(
    "log",
    click.argument("name", required=False),
    click.option("--by", "user", metavar="USER", help="Made by this user."),
    click.option("--device", help="That added or removed this device."),
    click.option("--since", type=TIME, metavar="TIME", help="Made then or later."),
    click.option("--until", type=TIME, metavar="TIME", help="Made before then."),
    click.option("--before", type=int, metavar="NUMBER", help="Older than this snapshot."),
    click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="At most so many."),
)
def log(app: App, **wanted: Any) -> None:
    """List changes of one bundle or all.

    Newest first: number, time, who, what, why.
    """
    app.rows(_open(app).bundle_log(**wanted), bundle_text.log_line)


@_command("snapshot", click.argument("number", type=int))
def snapshot(app: App, number: int) -> None:
    """Print a change: who, when, why, and the whole state after it."""
    found = _open(app).bundle_snapshot(number)
    app.data(found, bundle_text.snapshot_lines(found))


@_command("diff", click.argument("snapshot_a", type=int), click.argument("snapshot_b", type=int, required=False))
def diff(app: App, snapshot_a: int, snapshot_b: int | None) -> None:
    """Compare two snapshots; without SNAPSHOT_B, with the bundle's newest."""
    registry = _open(app)
    if snapshot_b is None:
        snapshot_b = registry.bundle_log(registry.bundle_snapshot(snapshot_a).name, limit=1)[0].id
    found = registry.bundle_diff(snapshot_a, snapshot_b)
    if app.json:
        app.data(found)
    elif lines := list(bundle_text.diff_lines(found)):
        app.data(found, lines)
    else:
        say("No difference.")


@_command("verify", click.option("--heads", metavar="FILE", help="What this printed earlier: it has to hold still."))
def verify(app: App, heads: str | None) -> None:
    """Check the whole record.

    Walks the chain of hashes of every bundle and prints its head: keep the heads elsewhere, and nobody can rewrite
    the record unseen. Exit code 1 if a chain is broken.
    """
    lines = read_input(heads).decode(errors="replace").splitlines() if heads else []
    kept = {name: head for head, name, *_ in (line.split() for line in lines if line.count(" "))}
    broken = 0
    for check in _open(app).bundle_verify(kept):
        broken += check.problem is not None
        app.data(check, str(check))
    if broken:
        say(f"{broken} broken chain{'s' * (broken != 1)} found.", fg="red")
        raise click.exceptions.Exit(FOUND_PROBLEMS)
    say("Every chain holds.", fg="green")


@_command(
    "import",
    click.argument("file"),
    click.option("--format", type=click.Choice(FORMATS), help="Otherwise by the name of the file."),
    click.option("--each", is_flag=True, help="Each for itself, and report what fails; otherwise all or nothing."),
    click.option("--dry-run", is_flag=True, help="Only say what would happen."),
    writes=True,
)
def import_bundles(app: App, file: str, format: str | None, each: bool, dry_run: bool, comment: str | None) -> None:
    """Create and update bundles from a FILE (- for stdin), JSON or CSV; exit code 1 if one failed."""
    rows = read_rows(read_input(file), format or ("csv" if file.lower().endswith(".csv") else "json"))
    registry, user = _open(app, writes=True), _user(app)
    try:
        lines = registry.bundle_import(rows, user=user, comment=comment, atomic=not each, dry_run=dry_run)
    except (InvalidInput, PermissionDenied):
        _complain(registry.bundle_import(rows, user=user, dry_run=True))
        say("Nothing was imported; with --each, what can be would be.")
        raise
    counts = {said: sum(line.outcome == said for line in lines) for said in _OUTCOMES}
    _complain(lines)
    text = ", ".join(f"{count} {said}" for said, count in counts.items())
    app.data({**counts, "lines": lines, "dry_run": dry_run}, text + (" (dry run)" if dry_run else ""))
    if counts["failed"]:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@_command(
    "export",
    click.argument("names", nargs=-1, metavar="[NAME]..."),
    click.option("--format", type=click.Choice(FORMATS), help="Otherwise by the name of the output, else json."),
    click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to stdout."),
)
def export(app: App, names: tuple[str, ...], format: str | None, output: Path | None) -> None:
    """Write all or the named bundles as JSON or CSV, as `bundle import` reads them."""
    by_name = "csv" if output is not None and output.suffix.lower() == ".csv" else "json"
    pieces = _open(app).bundle_export(names or None, format=format or by_name)
    if output is None:
        for piece in pieces:
            show_bytes(piece.encode())
        return
    with output.open("w", encoding="utf-8", newline="") as file:
        file.writelines(pieces)
    say(f"Exported to {output}.", fg="green")


_OUTCOMES = ("created", "updated", "unchanged", "failed")


def _open(app: App, *, writes: bool = False, needs_groups: bool = False) -> BundleRegistry:
    """Open the registry, which has to be there unless something is to be written."""
    from metastore import config

    settings = config.load()
    path = app.groups_file or settings.groups_file
    if path is None and (writes or needs_groups):
        raise InvalidInput("who may change bundles? Name the groups file with --groups or METASTORE_GROUPS_FILE")
    registry = config.open_bundles(replace(settings, groups_file=path), url=_url(app), create=writes)
    click.get_current_context().call_on_close(registry.close)
    return registry


def _url(app: App) -> str:
    """Return where bundles are: what was typed goes before the environment, also where it names the whole store."""
    from metastore import config

    settings = config.load()
    return app.bundles_url or app.store_url or settings.bundles_url or settings.url


def _user(app: App) -> str | None:
    from metastore import config

    return app.user or config.load().user


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """Return what was given; an empty text for a list (`--host ''`) empties it."""
    source = given.pop("devices_from")
    values: dict[str, Any] = {key: value for key, value in given.items() if value not in (None, ())}
    values |= {key: [part for part in value if part] for key, value in values.items() if isinstance(value, tuple)}
    if source is not None:
        values["devices"] = [*values.get("devices", ()), *read_input(source).decode(errors="replace").split()]
    return values


def _tell(app: App, made: Bundle, done: str, before: int | None = None) -> None:
    if made.snapshot == before:
        say(f"{made.name} is so already: no snapshot was made.")
    else:
        say(f"{done} {made}.", fg="green")
    for finding in warnings(made):
        say(f"Unusual: {finding.detail}", fg="yellow")
    app.data(made, str(made.snapshot))


def _complain(lines: Iterable[ImportLine]) -> None:
    for line in lines:
        if line.outcome == "failed":
            say(str(line), fg="red")
