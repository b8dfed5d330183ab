"""A service on loopback, over a real socket, for those who call it as anybody would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from metastore import MetaStore
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier, issue
from metastore.config import ServiceSettings
from metastore.web import create_app

SECRET = "only the tests sign with this, and it is long enough"
NOW = 1_700_000_000


def token(*scopes: str, user: str = "ann", **claims: Any) -> str:
    from datetime import timedelta

    return issue(SECRET, user=user, scopes=scopes, expires=timedelta(hours=1), now=NOW, **claims)


#: Everything, and signing for others.
TOKEN = token("ds:*:*", "ds:*:import")


class Quiet(WSGIRequestHandler):
    """Answers, and logs nothing."""

    def log(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(store: MetaStore, settings: ServiceSettings | None = None, **options: Any) -> Iterator[str]:
    """Serve a store; yields the address."""
    verifier = Verifier([GivenKeys(secret_key(SECRET))], clock=lambda: NOW)
    app = create_app(store, verifier=verifier, settings=settings, **options)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
