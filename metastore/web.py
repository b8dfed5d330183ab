"""The service: a thin layer of Flask over the same calls.

`flask --app metastore.web run` tries it out, `metastore serve` and `gunicorn 'metastore.web:create_app()'` serve it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from flask import Flask

from metastore import config, pages
from metastore.config import ServiceSettings
from metastore.service import context, operation, problems
from metastore.service.bundles import bundles as bundle_routes
from metastore.service.datasets import datasets as dataset_routes
from metastore.service.revisions import revisions as revision_routes
from metastore.tokens import Verifier

if TYPE_CHECKING:
    from metastore.bundle.registry import BundleRegistry
    from metastore.store import MetaStore

API = "/api/v1"
#: What a body may have beyond the largest descriptor: the message of a write, and the names of members.
_ROOM = 1024 * 1024


def create_app(
    store: MetaStore | None = None,
    *,
    verifier: Verifier | None = None,
    bundles: BundleRegistry | None = None,
    settings: ServiceSettings | None = None,
    secret_key: str | None = None,
) -> Flask:
    """Make the service.

    Args:
        store: The datasets. Without it, everything that is not given is opened as the settings say; nothing set is a
            store in `./metastore-data`.
        verifier: Turns tokens into identities; without it, a given store can be read and not written.
        bundles: The registry of bundles; without it, a given store is served without any.
        settings: How the service behaves.
        secret_key: Signs the sessions of the pages, the same in every process; without it, nobody stays signed in
            from one process to the next.

    Raises:
        InvalidInput: A setting makes no sense; the message names it.
        StorageUnavailable: The store cannot be opened.
    """
    if store is None:
        served, secret_key = _configured()
    else:
        served = context.Service(store, verifier or Verifier(()), bundles, settings or ServiceSettings())
    app = Flask("metastore", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = served.store.max_bytes + _ROOM
    context.install(app, served)
    problems.install(app)
    for routes in (dataset_routes, revision_routes, bundle_routes):
        app.register_blueprint(routes, url_prefix=API)
    operation.install(app, served)
    pages.install(app, secret_key or secrets.token_hex(32))
    return app


def _configured() -> tuple[context.Service, str]:
    settings = config.load()
    store, registry = config.open_store(settings), config.open_bundles(settings)
    served = context.Service(store, config.verifier(settings), registry, settings.service)
    return served, config.session_secret(settings)
