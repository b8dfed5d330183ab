"""The service's metrics for Prometheus. Requests cannot make the number of series grow without bound."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from metastore import config, events
from metastore.errors import MetastoreError
from metastore.forks import ForkSafeLock

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

#: The upper bounds of the buckets of durations, in seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
#: How many seconds the numbers of a database are shown before it is asked again.
_FRESH = 5.0
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
        self._in_use, self._waiting = (
            Gauge(f"metastore_database_pool_{name}", text, registry=self.registry, multiprocess_mode="livesum")
            for name, text in (
                ("in_use", "Connections in use by this service."),
                ("waiting", "Calls that wait for a connection of this service."),
            )
        )
        self.databases = Databases()
        self.registry.register(self.databases)
        # A call of `labels` costs more than the counting itself.
        self._requests: Any = functools.cache(requests.labels)
        self._durations: Any = functools.cache(durations.labels)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is the pattern of the path, so that ids add no new series."""
        known = method if method in _METHODS else "other"
        self._requests(known, route, status).inc()
        self._durations(known, route).observe(seconds)
        if self.databases.watched:
            self._look_at_pools()

    def _look_at_pools(self) -> None:
        """Note how many connections this process uses; processes cannot ask each other."""
        from metastore.postgres.database import pools

        stats = [pool.get_stats() for pool in pools()]
        self._in_use.set(sum(each["pool_size"] - each["pool_available"] for each in stats))
        self._waiting.set(sum(each["requests_waiting"] for each in stats))

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
            registry.register(self.databases)
        return generate_latest(registry)


class Databases:
    """The numbers of databases, which are asked for them when the metrics are read, at most once in some seconds."""

    def __init__(self) -> None:
        self.watched: dict[str, str] = {}
        self._seen: list[GaugeMetricFamily] = []
        self._asked = float("-inf")
        self._mutex = ForkSafeLock()

    def watch(self, url: str) -> None:
        """Ask a database from now on. Its name is the label of its numbers."""
        from metastore.postgres.connection import database_name

        self.watched[url] = database_name(url)
        self._asked = float("-inf")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the numbers of all databases, as a collector of prometheus_client does."""
        with self._mutex:
            if self._asked < time.monotonic() - _FRESH:
                self._seen = list(self._ask())
                self._asked = time.monotonic()
            yield from self._seen

    def _ask(self) -> Iterator[GaugeMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        families: dict[str, GaugeMetricFamily] = {}

        def add(name: str, text: str, database: str, value: float) -> None:
            full = f"metastore_database_{name}"
            family = families.setdefault(full, GaugeMetricFamily(full, text, labels=["database"]))
            family.add_metric([database], value)

        for url, database in self.watched.items():
            from metastore.postgres.status import gauges

            try:
                found = gauges(url)
            except MetastoreError:
                found = ()
            add("up", "Whether the database answers.", database, bool(found))
            for gauge in found:
                add(*gauge[:2], database, gauge.value)
        yield from families.values()


@functools.cache
def metrics() -> Metrics:
    """Return this process's metrics."""
    return Metrics()
