"""Options: those of every command, those of commands that write, and those of `metastore bundle`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from metastore.cli.base import App

#: Verbs that people guess from Git, shells and SQL, and what they may stand for.
GUESSED = {
    **dict.fromkeys(("rename", "mv"), ("move", "update")),
    **dict.fromkeys(("remove", "rm", "drop"), ("delete",)),
    **dict.fromkeys(("get", "show", "cat"), ("read",)),
    **dict.fromkeys(("add", "new", "insert"), ("create",)),
    **dict.fromkeys(("change", "set", "save", "commit"), ("update",)),
    **dict.fromkeys(("history", "log", "ls"), ("list",)),
    **dict.fromkeys(("restore", "reset", "rollback"), ("revert",)),
}
#: The forms of a list; `metastore.cli.lists` prints them.
FORMATS = ("plain", "table", "csv", "json", "jsonl")


class Commands(click.Group):
    """A group of commands. It says of an option of a command where the option belongs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the name of a command. Fail for those that stand behind it."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not (paths := list(_having(self, error.option_name, ctx))):
                raise
            path = max(paths, key=lambda path: sum(word in args for word in path.split()))
            example = f"{ctx.command_path} {path} … {error.option_name}"
            raise click.UsageError(
                f"{error.option_name} is an option of some commands, and belongs behind them: {example}", ctx
            ) from None


def _having(group: click.Group, option: str, context: click.Context) -> Iterator[str]:
    """Yield the commands below a group that have an option, by their paths."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {path}" for path in _having(command, option, context))
        elif command is not None and any(option in parameter.opts for parameter in command.params):
            yield name


class Noun(Commands):
    """The commands of a noun. For an unknown one, it names the one that is meant."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for option in COMMON:  # they may stand anywhere on the line; the help of each command lists them
            option(self)
            self.params[-1].hidden = True  # type: ignore[attr-defined]  # it is an option

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command. For a verb that people guess, fail and name ours."""
        for meant in GUESSED.get(args[0], ()) if args[0] not in self.commands else ():
            if meant in self.commands:
                ctx.fail(f"No such command {args[0]!r}. Did you mean `{self.name} {meant}`?")
        return super().resolve_command(ctx, args)


def keep(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that keeps an option's value in the `App`. The option may stand anywhere on the line."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value not in (None, False):  # otherwise the option may stand before the command
            setattr(context.ensure_object(App), attribute, value)

    return callback


def _be_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    keep("verbose")(context, parameter, value)
    if value:
        logging.getLogger("metastore").setLevel(logging.INFO)
        logging.getLogger("httpx").setLevel(logging.INFO)  # it says each request


def _be_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    keep("quiet")(context, parameter, value)
    if value:
        logging.getLogger("metastore").setLevel(logging.ERROR)


class _Time(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            at = datetime.fromisoformat(value)
        except ValueError as error:
            reason = "" if "isoformat" in str(error) else f" ({error})"
            self.fail(f"{value!r} is not a time such as 2024-05-01 or 2024-05-01T12:00:00Z{reason}", param, ctx)
        if len(value) == len("2024-05-01"):
            return at.replace(tzinfo=UTC)  # a plain date begins at midnight in UTC
        if at.tzinfo is None:
            self.fail(f"{value!r} has no time zone: write {at.isoformat()}Z for UTC", param, ctx)
        return at


TIME = _Time()


class Number(click.IntRange):
    """A whole number in a range."""

    name = "integer"


COMMON: tuple[Callable[..., Any], ...] = (
    click.option(
        "--store",
        metavar="URL",
        expose_value=False,
        callback=keep("store_url"),
        help="The store: a path, or the URL of a store or service. Default: METASTORE_STORE, or ./metastore-data.",
    ),
    click.option("--json", is_flag=True, expose_value=False, callback=keep("json"), help="Print JSON for programs."),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_be_quiet,
        help="Print only results and errors, without progress bars and counts.",
    ),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_be_verbose,
        help="Also print requests to other servers, and a line for each dataset of an import or export.",
    ),
)
#: For commands that do not work on the store that the options name: to refuse it in words.
_NO_STORE = click.option("--store", hidden=True, expose_value=False, callback=keep("store_url"))
WRITING: tuple[Callable[..., Any], ...] = (
    click.option(
        "-a",
        "--author",
        metavar="'NAME <EMAIL>'",
        expose_value=False,
        callback=keep("author"),
        help="The author. Default: METASTORE_AUTHOR, or Git's user.name and user.email.",
    ),
    click.option("-m", "--message", metavar="TEXT", help="The reason for the change."),
    click.option("--at", type=TIME, metavar="TIME", help="The time of the change, for imports. Default: now."),
)
#: For commands that make a store where there is none.
CREATE = click.option(
    "--create",
    is_flag=True,
    expose_value=False,
    callback=keep("create"),
    help="If there is no store yet, make one without asking or saying so.",
)
EXPECTING: tuple[Callable[..., Any], ...] = (
    click.option("--expected", metavar="ID", help="Fail with a conflict unless this id is still the newest."),
)
#: The options of `metastore bundle`.
WHERE: tuple[Callable[..., Any], ...] = (
    click.option(
        "--bundles",
        metavar="URL",
        expose_value=False,
        callback=keep("bundles_url"),
        help="The store of bundles. Default: --store, METASTORE_BUNDLES_URL or METASTORE_STORE.",
    ),
    click.option(
        "--groups",
        metavar="FILE",
        expose_value=False,
        callback=keep("groups_file"),
        help="The members of each group, needed for changes. Default: METASTORE_GROUPS_FILE.",
    ),
)
WHO: tuple[Callable[..., Any], ...] = (
    click.option(
        "--user",
        expose_value=False,
        callback=keep("user"),
        help="The user. Default: METASTORE_USER, or the login name.",
    ),
    click.option("-m", "--comment", metavar="TEXT", help="The reason for the change."),
)
EXPECTED = click.option(
    "--expected", type=int, metavar="NUMBER", help="Fail with a conflict unless this is still the newest snapshot."
)
ATTRIBUTES: tuple[Callable[..., Any], ...] = (
    click.option("--event", help="The event at which devices are read, such as e,a9."),
    click.option("--storage", type=click.Choice(["long", "short"]), help="How long readings are kept."),
    click.option("--run/--no-run", default=None, help="Whether a collector should be running now."),
    click.option("--udp/--no-udp", default=None, help="Whether UDP messages should be sent."),
    click.option("--collectable/--not-collectable", "writable", default=None, help="Whether a collector may read it."),
    click.option("--host", "hosts", multiple=True, help="A host that the collector may run on; repeatable."),
    click.option("--device", "devices", multiple=True, help="A device; repeat it for all devices of the bundle."),
    click.option("--devices-from", metavar="FILE", help="A file (- for stdin) with all devices, one on a line."),
)


def _named(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    keep("fields")(context, parameter, tuple(filter(None, value.split(","))) if value else None)


def listing(columns: Sequence[str]) -> tuple[Callable[..., Any], ...]:
    """Return the options of a command that prints a list whose tables have some columns."""
    return (
        click.option(
            "--format",
            type=click.Choice(FORMATS),
            expose_value=False,
            callback=keep("format"),
            help="The form of the list. Default: plain, lines for people; --json is short for jsonl.",
        ),
        click.option(
            "--fields",
            metavar="NAME,...",
            expose_value=False,
            callback=_named,
            help=f"Print only these fields, in this order. Default of table and csv: {','.join(columns)}.",
        ),
    )


def command(
    group: click.Group,
    name: str,
    *,
    writes: bool = False,
    expects: bool = False,
    many: bool = False,
    stores: str = "",
    lists: str = "",
) -> Callable[..., Any]:
    """Make a function a command, with the options of every command and those of its kind.

    Args:
        group: The group of the command.
        name: Its name.
        writes: Whether it takes an author, a message and a time.
        expects: Whether it takes `--expected`.
        many: Whether it does its work for several datasets: `-` for the ids on stdin, and an argument `dataset_ids`.
        stores: For a command that does not work on the store that the options name, what it does instead.
        lists: For a command that prints a list, the columns of its tables; the function passes them to `App.rows`.
    """
    options = [
        *(listing(lists.split()) if lists else ()),
        *((_NO_STORE, *COMMON[1:]) if stores else COMMON),
        *(WRITING if writes else ()),
        *(EXPECTING if expects else ()),
    ]

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            app = click.get_current_context().ensure_object(App)
            app.columns = tuple(lists.split())
            if stores:
                app.refuse_store(f"`{click.get_current_context().command_path}` {stores}")
            if writes:
                app.require_author()
            if not many:
                return once(app, *args, **kwargs)
            from metastore.cli.ids import for_each

            return for_each(functools.partial(once, app, *args), kwargs)

        def once(app: App, *args: Any, **kwargs: Any) -> Any:
            if expects and "name" not in kwargs:  # a tag's id has no abbreviation
                kwargs["expected"] = app.full_id(kwargs["dataset_id"], kwargs["expected"])
            return function(app, *args, **kwargs)

        decorated: Any = run
        for option in reversed(options):
            decorated = option(decorated)
        result: click.Command = group.command(name)(decorated)
        return result

    return decorate
