"""`metastore token`: tokens for a service that has its own key."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from metastore.cli.base import App
from metastore.cli.options import command
from metastore.parse import is_email

_LONGEST = timedelta(days=3660)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,6})([smhdw])", value)
        if not found:
            self.fail(f"{value!r} is no duration such as 15m, 8h, 30d or 4w", param, ctx)
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
        if not timedelta() < duration <= _LONGEST:
            self.fail(f"{value!r} is not between a second and ten years (3660d): no token can be withdrawn", param, ctx)
        return duration


class _Email(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_email(value):
            self.fail(f"{value!r} is no address such as ann@example.org", param, ctx)
        return str(value)


@click.group(hidden=True)
def _root() -> None:
    """Carry the commands that have no noun."""


@command(_root, "token")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="What is granted; repeatable.")
@click.option(
    "--bundles",
    multiple=True,
    metavar="GROUP:write",
    help="Grants changes of a group's bundles, as far as the groups file lets the user; repeatable, * for any group.",
)
@click.option("--user", required=True, help="Whose token it is.")
@click.option("--name", help="The user's name, for revisions.")
@click.option("--email", type=_Email(), help="The user's address, for revisions.")
@click.option(
    "--expires", type=_Duration(), default="1d", show_default=True, help="For how long it counts, such as 8h."
)
def token(
    app: App,
    scopes: tuple[str, ...],
    bundles: tuple[str, ...],
    user: str,
    name: str | None,
    email: str | None,
    expires: timedelta,
) -> None:
    """Issue a token for the service.

    It is signed with the service's own key, which is made if there is none yet. A SCOPE is such as
    ds:physics/cars:read,update. Without --bundles the token only reads bundles.
    """
    texts = [*" ".join(scopes).split(), *(f"bundles:{each}" for each in bundles)]
    if not texts:
        raise click.UsageError("say what the token grants: --scope, --bundles, or both")
    from metastore import config
    from metastore.auth.tokens import issue

    settings = config.load()
    if app.store_url is not None:
        settings = replace(settings, url=app.store_url)
    service, now = settings.service, time.time()
    made = issue(
        config.own_secret(settings),
        user=user,
        scopes=texts,
        expires=expires,
        now=now,
        name=name,
        email=email,
        issuer=service.jwt_issuer,
        audience=service.jwt_audience,
        user_claim=service.user_claim,
        default_owner=service.default_owner,
    )
    until = datetime.fromtimestamp(int(now + expires.total_seconds()), UTC)
    app.data({"token": made, "user": user, "scopes": texts, "expires": until}, made)


COMMANDS = tuple(_root.commands.values())
