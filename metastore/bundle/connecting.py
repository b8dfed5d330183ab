"""Open a registry of bundles from a URL: any storage, or a PostgreSQL database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from metastore.bundle.policy import Groups
from metastore.bundle.port import BundleRecord
from metastore.bundle.registry import BundleRegistry
from metastore.bundle.versioned import VersionedRecord
from metastore.errors import InvalidInput, needs_extra
from metastore.storage.connect import STORAGE_OPTIONS, open_storage


def connect_bundles(url: str | Path, groups: Groups, **options: Any) -> BundleRegistry:
    """See `metastore.bundle.connect`."""
    clock = {"clock": options.pop("clock")} if "clock" in options else {}
    if os.fspath(url).startswith(("postgresql://", "postgres://")):
        return BundleRegistry(_open_postgres(os.fspath(url), options), groups, **clock)
    if unknown := sorted(set(options) - set(STORAGE_OPTIONS)):
        options_there = ", ".join(("clock", *STORAGE_OPTIONS))
        raise InvalidInput(f"connect has no option {unknown[0]!r}; its options are {options_there}")
    storage = open_storage(url, **options)
    # The index lies beside the repository; it is not part of the record.
    return BundleRegistry(VersionedRecord(storage, storage.private("bundles.sqlite")), groups, **clock)


def _open_postgres(url: str, options: dict[str, Any]) -> BundleRecord:
    options.pop("create", None)  # `metastore database migrate` creates the tables
    if unknown := sorted(set(options) - {"pool_size", "patience", "durable"}):
        raise InvalidInput(f"a database has no option {unknown[0]!r}; its options are durable, patience and pool_size")
    with needs_extra("postgres"):
        from metastore.bundle.postgres.record import PostgresRecord
    durable = options.pop("durable", "warn")
    record = PostgresRecord(url, **options)
    if durable is not None:
        record.check(durable)
    return record
