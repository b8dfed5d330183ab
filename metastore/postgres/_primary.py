"""Finds the primary among several hosts: after a failover two of them may take writes, and only one counts."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from metastore.forks import ForkSafeLock
from metastore.postgres.connection import Connection, check_dsn, prepare

#: The number of the timeline that a server writes. Each promotion begins one with a higher number.
_TIMELINE = b"SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
#: How long a host may take to answer, and how long another one after the first answer, in seconds.
_LONGEST, _FURTHER = 3.0, 1.0
#: How long one that is asked may take, in seconds.
_PROBE = 10
_SEVERAL = "host", "hostaddr", "port"


class Primary:
    """Finds the primary among the hosts of a DSN.

    If the program that leads a cluster dies alone, its server goes on taking writes beside the one that is promoted.
    What it commits then is on no replica and is undone later. So of all hosts that take writes, the one on the newest
    timeline is the primary, and none on an older one is used any more.

    Args:
        dsn: One host, or several. Several that need not take writes (`target_session_attrs`) are left to libpq.
    """

    def __init__(self, dsn: str) -> None:
        #: The newest timeline that was seen, and where. An older one counts no more, even while the newest is away.
        self._newest = 0, dsn
        wants_writes = conninfo_to_dict(dsn).get("target_session_attrs") in ("read-write", "primary")
        self._hosts = separate(dsn) if wants_writes else []
        self._looked = float("-inf")
        self._looking, self._noting = ForkSafeLock(), ForkSafeLock()

    def timeline(self, age: float = 0.0) -> int:
        """Return the newest timeline; 0 with one host.

        Args:
            age: How many seconds ago the hosts may have been asked. They are asked again after that.
        """
        if len(self._hosts) > 1 and self._looked < time.monotonic() - age:
            with self._looking:
                if self._looked < time.monotonic() - age:
                    self._look()
        return self._newest[0]

    def dsn(self) -> str:
        """Return the DSN of the primary alone, looking for it; if none was ever found, that of all hosts."""
        self.timeline(1.0)
        return self._newest[1]

    def connect(self) -> Connection:
        """Open a prepared connection that commits each statement by itself. Raises as `adopt` does."""
        connection = Connection.connect(self.dsn(), autocommit=True)
        try:
            prepare(connection)
            self.adopt(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def adopt(self, connection: Connection) -> None:
        """Note the timeline of the server that a connection leads to, so that it is given up for a newer one.

        Raises:
            psycopg.OperationalError: It is older than one that was seen before.
        """
        if len(self._hosts) > 1:
            connection.timeline = _timeline_of(connection)
            connection.newest_timeline = partial(self.timeline, _FURTHER)
            if connection.timeline < self._newest[0]:
                raise psycopg.OperationalError("the server is not the primary any more")

    def _look(self) -> None:
        """Ask all hosts at once. One that is away delays this only a little; a late answer counts when it comes."""
        answers: SimpleQueue[bool] = SimpleQueue()
        for host in self._hosts:
            threading.Thread(target=self._ask, args=(host, answers), daemon=True).start()
        end = time.monotonic() + _LONGEST
        with suppress(Empty):
            for _ in self._hosts:
                if answers.get(timeout=max(end - time.monotonic(), 0.0)):
                    end = min(end, time.monotonic() + _FURTHER)
        self._looked = time.monotonic()

    def _ask(self, host: str, answers: SimpleQueue[bool]) -> None:
        """Note the timeline of a host, unless it is away or takes no writes."""
        timeline = 0
        with suppress(psycopg.Error), Connection.connect(host, connect_timeout=_PROBE, autocommit=True) as connection:
            connection.deadline = time.monotonic() + _PROBE
            timeline = _timeline_of(connection)
        with self._noting:
            if timeline > self._newest[0]:
                self._newest = timeline, host
        answers.put(timeline > 0)


def connect(dsn: str) -> Connection:
    """Open a prepared connection that commits each statement by itself; of several hosts, to the primary."""
    return Primary(check_dsn(dsn)).connect()


def separate(dsn: str) -> list[str]:
    """Return a DSN for each host of one."""
    parts = conninfo_to_dict(dsn)
    lists = {key: str(parts[key]).split(",") for key in _SEVERAL if parts.get(key)}
    count = max((len(values) for values in lists.values()), default=1)
    return [
        make_conninfo(dsn, **{key: values[number if len(values) > 1 else 0] for key, values in lists.items()})
        for number in range(count)
    ]


def _timeline_of(connection: Connection) -> int:
    row = connection.execute(_TIMELINE).fetchone()
    return int(row[0]) if row else 0
