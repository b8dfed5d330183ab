"""The service's metrics for Prometheus. Requests cannot make the number of series grow without bound."""

from __future__ import annotations

import functools
from typing import Any

from metastore import config, events

#: The upper bounds of the buckets of durations, in seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
#: The media type of Prometheus' text format.
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one process. The processes of a server share theirs through a folder."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        requests = Counter(
            "metastore_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        durations = Histogram(
            "metastore_http_request_duration_seconds",
            "From the request's head to the end of the answer.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "metastore_http_requests_in_flight",
            "Requests being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._writes = Counter("metastore_writes", "Writes that landed.", ("action",), registry=self.registry)
        self.conflicts = Counter(
            "metastore_conflicts", "Writes refused since something else is there.", registry=self.registry
        )
        # A call of `labels` costs more than the counting itself.
        self._requests: Any = functools.cache(requests.labels)
        self._durations: Any = functools.cache(durations.labels)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is the pattern of the path, so that ids add no new series."""
        known = method if method in _METHODS else "other"
        self._requests(known, route, status).inc()
        self._durations(known, route).observe(seconds)

    def follow(self, store: Any) -> None:
        """Count the writes to a store."""
        events.dataset_changed.connect(self._written, sender=store)
        events.tag_changed.connect(self._written, sender=store)

    def _written(self, store: Any, event: Any) -> None:
        kind = "tag_" if isinstance(event, events.TagEvent) else ""
        self._writes.labels(kind + event.action).inc()

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format, of all processes that share the folder."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self.registry
        if config.metrics_folder() is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


@functools.cache
def metrics() -> Metrics:
    """Return this process's metrics."""
    return Metrics()
