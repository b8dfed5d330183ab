"""For whoever runs the service: does it live, can it answer, what does it do."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Blueprint, Flask, Response

from metastore.errors import MetastoreError
from metastore.service.context import Service, service
from metastore.service.metrics import TEXT, metrics
from metastore.service.problems import problem
from metastore.service.watch import Watch

operation = Blueprint("operation", __name__)
_RETRY_AFTER = "5"
_log = logging.getLogger("metastore")


def install(app: Flask, served: Service) -> None:
    """Watch every request of an application, and let it say how it is."""
    app.register_blueprint(operation)
    metrics().follow(served.store)
    app.wsgi_app = Watch(app.wsgi_app, served.settings.cors_origins)  # type: ignore[method-assign]


@operation.get("/healthz")
def health() -> Response:
    """Say that the process lives."""
    return _fresh(Response('{"status": "alive"}', mimetype="application/json"))


@operation.get("/readyz")
def ready() -> Response:
    """Say whether what is served can be reached; why not is in the log alone."""
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
    """Say what was counted, for Prometheus."""
    return _fresh(Response(metrics().text(), content_type=TEXT))


def _fresh(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
