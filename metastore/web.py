"""The service: a thin layer of Flask over the calls of the library.

Try it with `flask --app metastore.web run`; serve it with `metastore serve` or `gunicorn 'metastore.web:create_app()'`.
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Flask

from metastore import config, pages, trust
from metastore.auth.tokens import Verifier
from metastore.config import ServiceSettings, Settings
from metastore.service import context, operation, problems, rate
from metastore.service.bundles import bundles as bundle_routes
from metastore.service.clones import clones as clone_routes
from metastore.service.datasets import datasets as dataset_routes
from metastore.service.description import description as description_routes
from metastore.service.description import refuse_unknown_parameters
from metastore.service.revisions import revisions as revision_routes

if TYPE_CHECKING:
    from metastore.bundle.registry import BundleRegistry
    from metastore.store.base import Store

API = "/api/v1"
#: The bytes that a body may have beyond the largest descriptor, for the message and the names of members.
_ROOM = 1024 * 1024


def create_app(
    store: Store | None = None,
    *,
    verifier: Verifier | None = None,
    bundles: BundleRegistry | None = None,
    settings: ServiceSettings | None = None,
    secret_key: str | None = None,
) -> Flask:
    """Make the service.

    Args:
        store: The datasets. Without it, the settings say what to open, and no other argument counts. Without settings,
            that is a store in `./metastore-data`. A line on stderr says what is open to whom.
        verifier: Turns tokens into identities. Without it, the store can only be read.
        bundles: The registry of bundles. Without it, the service has no bundles.
        settings: How the service behaves.
        secret_key: The key that signs the sessions of the pages, the same in every process. Without it, each process
            makes its own, and a user has to sign in to each.

    Raises:
        InvalidInput: A setting makes no sense; the message names it.
        StorageUnavailable: The store cannot be opened.
    """
    if store is None:
        loaded = config.load()
        app = make_app(open_service(loaded))
        for line in trust.said_at_start(loaded):
            print(line, file=sys.stderr)
        return app
    secret_key = secret_key or secrets.token_hex(32)
    return make_app(
        context.Service(store, verifier or Verifier(()), bundles, settings or ServiceSettings(), secret_key)
    )


def open_service(settings: Settings) -> context.Service:
    """Open the objects that the settings name. Raises as `create_app` does."""
    store, registry = config.open_store(settings), config.open_bundles(settings)
    secret_key, ended = trust.session_secret(settings), trust.session_file(settings, "ended.sqlite")
    return context.Service(
        store,
        trust.verifier(settings),
        registry,
        settings.service,
        secret_key,
        ended,
        databases=config.databases(settings),
    )


def reopened(served: context.Service, settings: Settings) -> context.Service:
    """Return the same service with connections of its own, which a forked process needs.

    The keys and groups are those that were read at the start, and their files are looked at again on use. A database
    was checked at the start, too. So a process that starts later, while such a file is broken or the database is away,
    refuses what the other processes refuse.
    """
    groups = served.bundles.groups if served.bundles is not None else None
    settings = replace(settings, options={**settings.options, "durable": None})
    registry = config.open_bundles(settings, groups=groups)
    return replace(served, store=config.open_store(settings), bundles=registry)


def make_app(served: context.Service) -> Flask:
    """Make the application that serves these objects."""
    app = Flask("metastore", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = served.store.max_bytes + _ROOM
    context.install(app, served)
    problems.install(app)
    app.before_request(refuse_unknown_parameters)
    rate.install(app, served.settings.rate_at_once)
    for routes in (dataset_routes, revision_routes, bundle_routes):
        app.register_blueprint(routes, url_prefix=API)
    app.register_blueprint(clone_routes)
    app.register_blueprint(description_routes)
    operation.install(app, served)
    pages.install(app, served)
    return app
