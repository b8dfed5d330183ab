"""The top of the command line."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

import metastore
from metastore.cli.base import App, say
from metastore.cli.options import COMMON, GUESSED, Commands
from metastore.cli.output import show
from metastore.cli.problems import EXIT_CODES, set_up_logging, show_error
from metastore.errors import InvalidInput, MetastoreError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_EPILOG = """\b
Exit codes: 0 done, 1 a check found something, 2 wrong request, 3 not found,
4 conflict or taken, 5 the storage failed, 6 not allowed, 130 interrupted.
Example: metastore dataset create physics/cars cars.json -m 'First version'"""
#: The module of each command; it is imported when the command is used, since imports take most of the time of a start.
MODULES = {
    name: module
    for module, names in {
        "bundle": "bundle",
        "check": "check",
        "compare": "diff",
        "database": "database",
        "dataset": "dataset owner",
        "files": "describe export import",
        "revision": "blame changes journal project resource revision",
        "search": "search",
        "serve": "serve",
        "tag": "tag",
        "token": "token",
        "transfer": "copy init mirror pull push",
        "upkeep": "adopt backup check-host completion pack recover restore settle status verify",
    }.items()
    for name in names.split()
}
#: Names that people guess, and the commands that they stand for.
SHORTCUTS = {
    "history": ("revision", "list"),
    "log": ("revision", "list"),
    "ls": ("dataset", "list"),
    "show": ("dataset", "read"),
    "tags": ("tag", "list"),
    "undo": ("dataset", "undo"),
}


class _Top(Commands):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(MODULES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, or the one that a shortcut stands for."""
        first, *rest = SHORTCUTS.get(name, (name,))
        command = _load(first)
        for part in rest:
            command = command.get_command(ctx, part) if isinstance(command, click.Group) else None
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command. For an unknown one, fail and name similar ones."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            import difflib

            known = {**_by_verb(), **dict.fromkeys(MODULES), **dict.fromkeys(SHORTCUTS)}
            guessed = [f"`dataset {verb}`" for verb in GUESSED.get(args[0], ())[:1]]
            names = [args[0]] if args[0] in known else difflib.get_close_matches(args[0], known, 3)
            near = guessed or [known[name] or name for name in names]
            hint = f" Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands and shortcuts."""
        from click.shell_completion import CompletionItem

        guessed = [CompletionItem(name, help=" ".join(path)) for name, path in SHORTCUTS.items()]
        found = [item for item in guessed if item.value.startswith(incomplete)]
        return [*found, *super().shell_complete(ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, and the shortcuts below them."""
        super().format_commands(ctx, formatter)
        with formatter.section("Shortcuts"):
            formatter.write_dl([(name, " ".join(path)) for name, path in SHORTCUTS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. A broken pipe ends it with 141, not with click's 1, which has another meaning here."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader, such as `head`, has ended
            _give_up_stdout()
            raise click.exceptions.Exit(141) from None


@click.group(cls=_Top, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metastore.__version__, prog_name="metastore", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Store Data Package descriptors. Every change leaves a trace and can be undone."""
    context.ensure_object(App)


for option in COMMON:
    cli = option(cli)


def _load(name: str) -> click.Command | None:
    """Return a command, for which its module is imported; None if there is no such command."""
    if name not in MODULES:
        return None
    commands: tuple[click.Command, ...] = import_module(f"metastore.cli.{MODULES[name]}").COMMANDS
    return next(command for command in commands if command.name == name)


def _by_verb() -> dict[str, str]:
    """Return each verb of a noun, such as `revert`, with its whole commands, since people try the verb alone."""
    nouns = [noun for noun in MODULES if isinstance(_load(noun), click.Group)]
    found: dict[str, list[str]] = {}
    for noun in sorted(nouns, key=lambda noun: noun != "dataset"):  # which is mostly meant
        group = _load(noun)
        for verb in group.commands if isinstance(group, click.Group) else ():
            found.setdefault(verb, []).append(f"`{noun} {verb}`")
    return {verb: " or ".join(commands[:3]) for verb, commands in found.items()}


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    set_up_logging()
    _write_all_of_it()
    as_json, app = "--json" in sys.argv, App()
    try:
        sys.exit(cli(standalone_mode=False, obj=app) or 0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        if as_json:
            sys.exit(show_error(InvalidInput(error.format_message()), as_json=True))
        text = io.StringIO()
        error.show(text)
        show(*text.getvalue().splitlines(), err=True)  # the message may quote text of others
        sys.exit(EXIT_CODES[InvalidInput])
    except MetastoreError as error:
        sys.exit(show_error(error, as_json=as_json, advise=not app.quiet))
    except OSError as error:  # stdout cannot be written
        from metastore.os_errors import in_words

        say(f"Error: {in_words(error)}: {error.filename or 'stdout'}", fg="red")
        _give_up_stdout()
        sys.exit(5)


def _write_all_of_it() -> None:
    """Buffer stdout. With PYTHONUNBUFFERED, Python may write a part of the output, and drop the rest silently."""
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        sys.stdout = open(sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115


def _give_up_stdout() -> None:
    """Discard the rest of the output, since Python would try to write it at exit, and fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
