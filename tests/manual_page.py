"""Run by `make man`: the manual page has to describe each command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from metastore.cli.app import cli


def commands(command: click.Command, path: str = "metastore") -> Iterator[str]:
    """Yield the whole name of each command below a command."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from commands(below, f"{path} {name}")


if __name__ == "__main__":
    page = Path(sys.argv[1]).read_text(encoding="utf-8").replace("\\", "")
    missing = [path for path in commands(cli) if f"\n{path} [OPTIONS]" not in page]
    if missing:
        sys.exit(f"the manual page does not describe: {', '.join(missing)}")
