"""Reads from replicas: of what never changes once it is there."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from metastore.errors import StorageUnavailable
from metastore.postgres.connection import check_dsn
from metastore.postgres.database import Database

#: How long a read waits for a connection, and how much longer for an answer, in seconds. Then the primary is asked.
_PATIENCE, _TIMEOUT = 1.0, 2.0
#: How long no replica is asked after one was away, in seconds.
_PAUSE = 5.0


class Replicas:
    """The replicas of a database. A read that they cannot answer is no error: the primary is asked then.

    Args:
        dsn: One replica, or several; of several hosts, one that only follows is preferred.
        size: The largest number of connections per process.

    Raises:
        InvalidInput: The DSN cannot be read.
    """

    def __init__(self, dsn: str, *, size: int) -> None:
        checked = check_dsn(dsn)
        wanted = conninfo_to_dict(dsn).get("target_session_attrs") or "prefer-standby"
        url = make_conninfo(checked, target_session_attrs=str(wanted))
        self._database = Database(url, size=size, patience=_PATIENCE, timeout=_TIMEOUT)
        self._ask_again = 0.0

    def rows(self, query: str, values: Any) -> list[Any]:
        """Return the rows of a query; none if no replica answers."""
        if time.monotonic() < self._ask_again:
            return []
        try:
            return self._database.patiently(lambda connection: connection.rows(query, values))
        except (psycopg.Error, StorageUnavailable):  # also if the replica does not have the tables yet
            self._ask_again = time.monotonic() + _PAUSE
            return []

    def close(self) -> None:
        """Close this process's connections."""
        self._database.close()
