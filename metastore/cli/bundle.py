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
from metastore.cli.base import App, say
from metastore.cli.inputs import read_input
from metastore.cli.options import ATTRIBUTES, EXPECTED, TIME, WHERE, WHO, Noun, Number, command
from metastore.cli.output import show_bytes
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import InvalidInput, PermissionDenied

if TYPE_CHECKING:
    from metastore.bundle.registry import BundleRegistry

NAME = click.argument("name")


@click.group(cls=Noun)
def bundle() -> None:
    """Read and change bundles of devices."""


COMMANDS = (bundle,)


def _command(name: str, *options: Callable[..., Any], writes: bool = False, lists: str = "") -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        for option in reversed((*options, *WHERE, *(WHO if writes else ()))):
            function = option(function)
        return command(bundle, name, lists=lists)(function)

    return decorate


@_command(
    "list",
    click.argument("prefix", default=""),
    click.option("--group", help="Only bundles of this group."),
    click.option("--device", help="Only bundles with this device."),
    click.option("--event", help="Only bundles with this event."),
    click.option("--run/--no-run", default=None, help="Only bundles that should, or should not, be running."),
    click.option("--host", help="Only bundles that may run on this host."),
    click.option("--after", metavar="NAME", help="Begin after this name."),
    click.option("--limit", type=Number(0), help="The most bundles to list."),
    lists="name event ifb_group storage run udp writable hosts updated",
)
def list_bundles(app: App, **wanted: Any) -> None:
    """List bundles.

    With a PREFIX, it lists only bundles whose names begin with it.
    """
    app.rows(_open(app).bundle_list(**wanted), text=bundle_text.cells, titles=bundle_text.TITLES)


@_command(
    "read",
    NAME,
    click.option("--snapshot", type=int, metavar="NUMBER", help="Print the state at this snapshot."),
    click.option("--at", type=TIME, metavar="TIME", help="Print the state at this time."),
)
def read(app: App, name: str, snapshot: int | None, at: datetime | None) -> None:
    """Print a bundle with all its devices."""
    stored = _open(app).bundle_read(name, snapshot=snapshot, at=at)
    app.data(stored, bundle_text.lines(stored))


@_command("create", NAME, click.option("--group", "ifb_group", required=True), *ATTRIBUTES, writes=True)
def create(app: App, name: str, comment: str | None, **options: Any) -> None:
    """Create a bundle; print the number of its first snapshot."""
    registry = _open(app, writes=True)
    _tell(app, registry.bundle_create({"name": name, **_values(options)}, user=_user(app), comment=comment), "Created")


@_command(
    "update",
    NAME,
    *ATTRIBUTES,
    click.option("--add-device", "add_devices", multiple=True, help="A device to add; repeatable."),
    click.option("--remove-device", "remove_devices", multiple=True, help="A device to remove; repeatable."),
    EXPECTED,
    writes=True,
)
def update(app: App, name: str, comment: str | None, expected: int | None, **options: Any) -> None:
    """Change some attributes and devices of a bundle; the others stay."""
    registry = _open(app, needs_groups=True)
    before = registry.bundle_read(name).snapshot
    updated = registry.bundle_update(name, _values(options), user=_user(app), comment=comment, expected=expected)
    _tell(app, updated, "Updated", before)


@_command("delete", NAME, EXPECTED, writes=True)
def delete(app: App, name: str, comment: str | None, expected: int | None) -> None:
    """Delete a bundle. Its record stays, and `bundle restore` restores it."""
    gone = _open(app, needs_groups=True).bundle_delete(name, user=_user(app), comment=comment, expected=expected)
    say(f"Deleted {name}; `metastore bundle restore {name} {gone.previous}` brings it back.")
    app.data(gone, str(gone.id))


@_command("copy", NAME, click.argument("new_name"), writes=True)
def copy(app: App, name: str, new_name: str, comment: str | None) -> None:
    """Copy a bundle to another name in the same group."""
    registry = _open(app, needs_groups=True)
    _tell(app, registry.bundle_copy(name, new_name, user=_user(app), comment=comment), "Created")


@_command("restore", NAME, click.argument("snapshot", type=int), EXPECTED, writes=True)
def restore(app: App, name: str, snapshot: int, comment: str | None, expected: int | None) -> None:
    """Restore a bundle to a SNAPSHOT.

    That makes a new snapshot. It works for a deleted bundle, too.
    """
    registry = _open(app, needs_groups=True)
    newest = registry.bundle_log(name, limit=1)
    restored = registry.bundle_restore(name, snapshot, user=_user(app), comment=comment, expected=expected)
    _tell(app, restored, "Restored", newest[0].id if newest else None)


@_command("undo", NAME, click.argument("snapshot", type=int), EXPECTED, writes=True)
def undo(app: App, name: str, snapshot: int, comment: str | None, expected: int | None) -> None:
    """Undo the change of a SNAPSHOT, and keep later ones.

    Undoing a deletion restores the bundle; undoing its creation deletes it, if no later change stands.
    """
    registry = _open(app, needs_groups=True)
    newest = registry.bundle_log(name, limit=1)
    undone = registry.bundle_undo(name, snapshot, user=_user(app), comment=comment, expected=expected)
    before = newest[0].id if newest else None
    if undone.snapshot != before and registry.bundle_snapshot(undone.snapshot or 0).deleted:
        back = f"`metastore bundle restore {name} {before}` brings it back"
        say(f"Undid {snapshot}, which created {name}. So the bundle is deleted; {back}.", fg="green")
        app.data(undone, str(undone.snapshot))
    else:
        _tell(app, undone, "Undone:", before)


@_command(
    "log",
    click.argument("name", required=False),
    click.option("--by", "user", metavar="USER", help="Only changes by this user."),
    click.option("--device", help="Only changes that added or removed this device."),
    click.option("--since", type=TIME, metavar="TIME", help="Only from this time on."),
    click.option("--until", type=TIME, metavar="TIME", help="Only before this time."),
    click.option("--before", type=int, metavar="NUMBER", help="Only before this snapshot."),
    click.option("--limit", type=Number(0), default=50, show_default=True, help="The most to list."),
    lists="id created user action name comment",
)
def log(app: App, **wanted: Any) -> None:
    """List changes of one bundle or all.

    Each line has the number, time, user, change and comment; the newest comes first.
    """
    registry = _open(app)
    entries = registry.bundle_log(**wanted)
    name = wanted["name"]
    if name is not None and not entries and not registry.bundle_log(name, limit=1):
        registry.bundle_read(name)  # raises an error: there is no such bundle
    app.rows(entries, text=bundle_text.log_line)


@_command("snapshot", click.argument("number", type=int))
def snapshot(app: App, number: int) -> None:
    """Print a snapshot.

    A snapshot has the user, time and comment of a change, and the state of the bundle after it.
    """
    stored = _open(app).bundle_snapshot(number)
    app.data(stored, bundle_text.snapshot_lines(stored))


@_command("diff", click.argument("snapshot_a", type=int), click.argument("snapshot_b", type=int, required=False))
def diff(app: App, snapshot_a: int, snapshot_b: int | None) -> None:
    """Compare two snapshots. The default of SNAPSHOT_B is the bundle's newest one."""
    registry = _open(app)
    if snapshot_b is None:
        snapshot_b = registry.bundle_log(registry.bundle_snapshot(snapshot_a).name, limit=1)[0].id
    differences = registry.bundle_diff(snapshot_a, snapshot_b)
    if app.json:
        app.data(differences)
    elif lines := list(bundle_text.diff_lines(differences)):
        app.data(differences, lines)
    else:
        say("No differences.")


@_command("verify", click.option("--heads", metavar="FILE", help="An earlier output, whose heads have to be there."))
def verify(app: App, heads: str | None) -> None:
    """Check the whole record.

    Checks the chain of hashes of every bundle, and prints its head. Keep the heads elsewhere, and nobody can rewrite
    the record unnoticed. Exit code 1 if a chain is broken.
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
    click.option("--format", type=click.Choice(FORMATS), help="The format. Default: by the name of the file."),
    click.option("--each", is_flag=True, help="Import each bundle on its own and report failures, not all or none."),
    click.option("--dry-run", is_flag=True, help="Only list what would change."),
    writes=True,
)
def import_bundles(app: App, file: str, format: str | None, each: bool, dry_run: bool, comment: str | None) -> None:
    """Create and update many bundles.

    FILE has JSON or CSV (- for stdin). Exit code 1 if a bundle failed.
    """
    rows = read_rows(read_input(file), format or ("csv" if file.lower().endswith(".csv") else "json"))
    registry, user = _open(app, writes=True), _user(app)
    try:
        lines = registry.bundle_import(rows, user=user, comment=comment, atomic=not each, dry_run=dry_run)
    except (InvalidInput, PermissionDenied):
        _complain(registry.bundle_import(rows, user=user, dry_run=True))
        say("Nothing was imported. With --each, the other bundles would be.")
        raise
    counts = {outcome: sum(line.outcome == outcome for line in lines) for outcome in _OUTCOMES}
    _complain(lines)
    text = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    app.data({**counts, "lines": lines, "dry_run": dry_run}, text + (" (dry run)" if dry_run else ""))
    if counts["failed"]:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@_command(
    "export",
    click.argument("names", nargs=-1, metavar="[NAME]..."),
    click.option("--format", type=click.Choice(FORMATS), help="The format. Default: by the name of the output."),
    click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file to write to."),
)
def export(app: App, names: tuple[str, ...], format: str | None, output: Path | None) -> None:
    """Write all or some bundles as JSON or CSV.

    `metastore bundle import` reads the output.
    """
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
    """Open the registry. With `writes`, it is made if it is missing."""
    from metastore import config

    settings = config.load()
    path = app.groups_file or settings.groups_file
    if path is None and (writes or needs_groups):
        raise InvalidInput("a change needs the groups file: name it with --groups or METASTORE_GROUPS_FILE")
    registry = config.open_bundles(replace(settings, groups_file=path), url=_url(app), create=writes)
    click.get_current_context().call_on_close(registry.close)
    return registry


def _url(app: App) -> str:
    """Return the URL of the bundles. Options, even `--store`, come before the environment."""
    from metastore import config

    settings = config.load()
    return app.bundles_url or app.store_url or settings.bundles_url or settings.url


def _user(app: App) -> str | None:
    from metastore import config

    return app.user or config.load().user


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are set. An empty text (`--host ''`) empties a list."""
    source = options.pop("devices_from")
    values: dict[str, Any] = {key: value for key, value in options.items() if value not in (None, ())}
    values |= {key: [part for part in value if part] for key, value in values.items() if isinstance(value, tuple)}
    if source is not None:
        values["devices"] = [*values.get("devices", ()), *read_input(source).decode(errors="replace").split()]
    return values


def _tell(app: App, bundle: Bundle, done: str, before: int | None = None) -> None:
    if bundle.snapshot == before:
        say(f"{bundle.name} is like that already: no snapshot was made.")
    else:
        say(f"{done} {bundle}.", fg="green")
    for finding in warnings(bundle):
        say(f"Unusual: {finding.detail}", fg="yellow")
    app.data(bundle, str(bundle.snapshot))


def _complain(lines: Iterable[ImportLine]) -> None:
    for line in lines:
        if line.outcome == "failed":
            say(str(line), fg="red")
