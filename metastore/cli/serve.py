"""`metastore serve`: the service, with settings for production."""

from __future__ import annotations

import gc
import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from metastore.cli.base import App, say
from metastore.cli.options import Number, command
from metastore.errors import needs_extra

if TYPE_CHECKING:
    from metastore.config import Settings


@click.group(hidden=True)
def _root() -> None:
    """Hold the command without a noun."""


@command(_root, "serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=Number(0, 65535), default=8000, show_default=True, help="The port; 0 for a free one.")
@click.option("--workers", type=Number(1, 256), help="The processes. Default: one per core, at least two.")
@click.option(
    "--threads",
    type=Number(1, 1024),
    default=128,
    show_default=True,
    help="The requests that each process answers at once.",
)
def serve(app: App, host: str, port: int, workers: int | None, threads: int) -> None:
    """Serve the store over HTTP.

    SIGTERM stops the service when the requests in flight have finished. The access log goes to stdout and errors go to
    stderr, as lines of JSON.
    """
    with needs_extra("web"):
        from metastore import config, trust, web
        from metastore.service import server
    settings = config.load()
    if app.store_url is not None:
        settings = replace(settings, url=app.store_url)
    listener = server.listen(host, port)
    # Opened here once, so that a wrong setting is one message and not a traceback from each process; then closed, since
    # connections do not survive a fork.
    service = web.open_service(settings)
    service.close()
    if settings.url.startswith("memory:"):  # processes share no memory
        workers = 1
    address, own_key = listener.getsockname(), trust.has_own_key(settings)
    serving = server.Serving(
        listener,
        workers or max(2, os.cpu_count() or 1),
        threads,
        ready=lambda: _tell(settings, address, app.store_url, own_key),
    )
    gc.set_threshold(1_000)  # `main` made it rare, which suits commands that end soon
    server.serve(lambda: web.make_app(web.reopened(service, settings)), serving)


def _tell(settings: Settings, address: tuple[str, int], option: str | None, own_key: bool) -> None:
    from metastore import trust

    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    say(f"Serving {_shown(settings.url)} at http://{host}:{address[1]} - Ctrl-C stops it.", bold=True)
    for line in trust.said_at_start(settings):
        say(line)
    if own_key:
        store = f" --store {shlex.quote(_shown(option))}" if option is not None else ""
        say(f"To make a token:  metastore token --user YOU --scope 'ds:OWNER/*:create,read,update'{store}")
    if settings.groups_file is None:
        say("Bundles can only be read, since METASTORE_GROUPS_FILE is not set.")


def _shown(url: str) -> str:
    """Return a URL without its password, which may stand before the host or among libpq's parameters."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        url = url.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1)
    return url.partition("?")[0] if url.startswith(("postgresql://", "postgres://")) else url


COMMANDS = tuple(_root.commands.values())
