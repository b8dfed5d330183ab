"""`metastore database …`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from metastore.cli.base import App
from metastore.cli.options import Noun, command
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import InvalidInput, needs_extra


@click.group(cls=Noun)
def database() -> None:
    """Set up and inspect a PostgreSQL database."""


COMMANDS = (database,)
_URL = click.option(
    "--url", metavar="URL", help="The database. Default: --store, METASTORE_BUNDLES_URL or METASTORE_STORE."
)


def _command(name: str, *options: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        for option in reversed((*options, _URL)):
            function = option(function)
        return command(database, name)(function)

    return decorate


@_command(
    "migrate",
    click.option("--role", help="The role of an application. Default: metastore_app, if it exists."),
)
def migrate(app: App, url: str | None, role: str | None) -> None:
    """Create or update the tables.

    Existing tables of bundles are adopted. Run the command as the role that owns the tables. It is safe to repeat it,
    and to run it on several machines at once.
    """
    with needs_extra("postgres"):
        from metastore.postgres.migrate import migrate
    applied = migrate(_url(app, url), role=role)
    app.data({"migrations": applied}, applied or ["Everything was up to date."])


@_command("status")
def status(app: App, url: str | None) -> None:
    """Show versions, sizes, replicas and risks.

    Exit code 1 if the tables have to be migrated, if acknowledged changes could be lost, or if the feed is blocked.
    """
    with needs_extra("postgres"):
        from metastore.postgres.status import status
    state = status(_url(app, url))
    app.data(state, str(state).splitlines())
    if state.risks or state.stalls or state.schema != state.wanted:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


@_command("roles")
def roles(app: App, url: str | None) -> None:
    """Create the roles for an application.

    These are metastore_app and metastore_reader. They cannot log in: grant them to roles that can. Run the command as
    the role that owns the tables and may create roles.
    """
    with needs_extra("postgres"):
        from metastore.postgres.roles import set_up_roles
    app.rows(set_up_roles(_url(app, url)))


def _url(app: App, url: str | None) -> str:
    from metastore import config

    settings = config.load()
    for candidate in (url, app.bundles_url, app.store_url, settings.bundles_url, settings.url):
        if candidate and candidate.startswith(("postgresql://", "postgres://")):
            return candidate
    raise InvalidInput("name the database: --url postgresql://user@host/name")
