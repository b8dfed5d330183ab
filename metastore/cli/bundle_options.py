"""The options that several commands of `metastore bundle` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from metastore.cli.base import keep

WHERE: tuple[Callable[..., Any], ...] = (
    click.option(
        "--bundles",
        metavar="URL",
        expose_value=False,
        callback=keep("bundles_url"),
        help="Where bundles are kept. Otherwise --store, else METASTORE_BUNDLES_URL, else METASTORE_STORE.",
    ),
    click.option(
        "--groups",
        metavar="FILE",
        expose_value=False,
        callback=keep("groups_file"),
        help="Who is in which group. Otherwise METASTORE_GROUPS_FILE; needed for changes.",
    ),
)
WHO: tuple[Callable[..., Any], ...] = (
    click.option(
        "--user",
        expose_value=False,
        callback=keep("user"),
        help="Who. Otherwise METASTORE_USER, else the login name.",
    ),
    click.option("-m", "--comment", metavar="TEXT", help="Why."),
)
EXPECTED = click.option("--expected", type=int, metavar="NUMBER", help="Only if this still is the newest snapshot.")
ATTRIBUTES: tuple[Callable[..., Any], ...] = (
    click.option("--event", help="When the devices are read, such as e,a9."),
    click.option("--storage", type=click.Choice(["long", "short"]), help="How long readings are kept."),
    click.option("--run/--no-run", default=None, help="Whether a collector should be running now."),
    click.option("--udp/--no-udp", default=None, help="Whether UDP messages should be sent."),
    click.option("--collectable/--not-collectable", "writable", default=None, help="Whether it may have a collector."),
    click.option("--host", "hosts", multiple=True, help="Where the collector may run; give it again for more."),
    click.option("--device", "devices", multiple=True, help="All its devices; give it again for more."),
    click.option("--devices-from", metavar="FILE", help="All its devices, from a file (or - for stdin), one a line."),
)
