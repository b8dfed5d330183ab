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
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", value)
        if not match:
            self.fail(f"{value!r} is not a duration such as 15m, 8h, 30d or 4w", param, ctx)
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
        if not timedelta() < duration <= _LONGEST:
            self.fail(f"{value!r} is not between a second and ten years (3660d): no token can be withdrawn", param, ctx)
        return duration


class _Email(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_email(value):
            self.fail(f"{value!r} is not an address such as ann@example.org", param, ctx)
        return str(value)


@click.group(hidden=True)
def _root() -> None:
    """Hold the command without a noun."""


@command(_root, "token")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope to grant; repeatable.")
@click.option(
    "--bundles",
    multiple=True,
    metavar="GROUP:write",
    help="Allow changes of a group's bundles, within the groups file; repeatable, * for any group.",
)
@click.option("--user", required=True, help="The user of the token.")
@click.option("--name", help="The user's name, for revisions.")
@click.option("--email", type=_Email(), help="The user's address, for revisions.")
@click.option(
    "--expires", type=_Duration(), default="1d", show_default=True, help="How long the token is valid, such as 8h."
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

    The token is signed with the service's own key, which is made if it does not exist. An example of a SCOPE is
    ds:physics/cars:read,update. Without --bundles, the token only reads bundles.
    """
    texts = [*" ".join(scopes).split(), *(f"bundles:{grant}" for grant in bundles)]
    if not texts:
        raise click.UsageError("give the scopes of the token: --scope, --bundles, or both")
    from metastore import config
    from metastore.auth.tokens import issue

    settings = config.load()
    if app.store_url is not None:
        settings = replace(settings, url=app.store_url)
    service, now = settings.service, time.time()
    issued = issue(
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
    app.data({"token": issued, "user": user, "scopes": texts, "expires": until}, issued)


COMMANDS = tuple(_root.commands.values())
