"""Routes for operators: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Blueprint, Flask, Response

from metastore.errors import MetastoreError
from metastore.service.context import Service, service
from metastore.service.guard import know_from_token
from metastore.service.metrics import TEXT, metrics
from metastore.service.problems import problem
from metastore.service.watch import Watch

operation = Blueprint("operation", __name__)
_RETRY_AFTER = "5"
_log = logging.getLogger("metastore")


def install(app: Flask, served: Service) -> None:
    """Watch every request of an application, and add these routes."""
    app.register_blueprint(operation)
    app.after_request(know_from_token)
    metrics().follow(served.store)
    for url in served.databases:
        metrics().databases.watch(url)
    app.wsgi_app = Watch(app.wsgi_app, served.settings.cors_origins)  # type: ignore[method-assign]


@operation.get("/healthz")
def health() -> Response:
    """Answer that the process is alive."""
    return _fresh(Response('{"status": "alive"}', mimetype="application/json"))


@operation.get("/readyz")
def ready() -> Response:
    """Answer whether the storages can be reached. Only the log has the reason if not."""
    served = service()
    parts: dict[str, Callable[[], object]] = {"datasets": served.store.storage.ping}
    if (registry := served.bundles) is not None:
        parts["bundles"] = lambda: next(registry.bundle_list(limit=1), None)
    for name, ask in parts.items():
        try:
            ask()
        except (MetastoreError, OSError) as error:
            _log.error("not ready: the storage of %s: %s", name, error)
            response = problem(503, f"The storage of {name} does not answer.", "storage-unavailable")
            response.headers["Retry-After"] = _RETRY_AFTER
            return response
    return _fresh(Response('{"status": "ready"}', mimetype="application/json"))


@operation.get("/metrics")
def measured() -> Response:
    """Answer with the metrics, for Prometheus."""
    return _fresh(Response(metrics().text(), content_type=TEXT))


def _fresh(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
