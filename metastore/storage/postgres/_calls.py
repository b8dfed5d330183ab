"""Calls of the database: rows for reads, and functions that change a dataset, until their outcome is known."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import psycopg

from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    MetastoreError,
    OutcomeUnknown,
    RevisionConflict,
    StorageBusy,
    TagNotFound,
)
from metastore.postgres.connection import Connection, confirm, database_errors
from metastore.postgres.database import Database
from metastore.storage.postgres import _queries
from metastore.storage.postgres._replicas import Replicas
from metastore.types import DatasetId

Values = Mapping[str, Any]
#: Returns calls, each with its values.
Rest = Callable[[], Iterator[tuple[str, Values]]]


class Calls:
    """Calls of a database.

    Args:
        database: The database.
        replicas: Are asked first for what never changes.
    """

    def __init__(self, database: Database, replicas: Replicas | None = None) -> None:
        self._database = database
        self._replicas = replicas

    def rows(self, query: str, values: Any = None) -> list[Any]:
        """Return the rows of a query that may be repeated."""
        with database_errors():
            return self._database.patiently(lambda connection: connection.rows(query, values))

    def lasting_rows(self, query: str, values: Any, is_there: Callable[[list[Any]], object] = bool) -> list[Any]:
        """Return the rows of a query for what never changes once it is there; a replica that has it may answer.

        Args:
            query: The query.
            values: Its values.
            is_there: Tells whether rows contain what was asked for.
        """
        rows = self.replicated_rows(query, values)
        return rows if is_there(rows) else self.rows(query, values)

    def replicated_rows(self, query: str, values: Any) -> list[Any]:
        """Return the rows of a query, as a replica has them at some time; none if no replica answers."""
        return self._replicas.rows(query, values) if self._replicas is not None else []

    def close(self) -> None:
        """Close this process's connections; the next call opens them again."""
        self._database.close()
        if self._replicas is not None:
            self._replicas.close()

    def was_made(self, attempt: str) -> bool:
        """Tell whether a write was made; from now on it is not made any more."""
        identity, _, place = attempt.partition("@")
        values = identity, int(place) if place else None
        with database_errors():
            rows = self._database.surely(lambda connection: connection.rows(_queries.SETTLE, values))
        made: bool = rows[0][0]
        return made

    def raise_missing(self, dataset_id: DatasetId) -> NoReturn:
        """Raise DatasetMoved or DatasetNotFound for an id without a dataset."""
        if rows := self.rows(_queries.FORWARD, (dataset_id.owner, dataset_id.name)):
            raise DatasetMoved(dataset_id, DatasetId(*rows[0]))
        raise DatasetNotFound(dataset_id)

    def make(
        self,
        query: str,
        dataset_id: DatasetId,
        place: int | None,
        values: Values,
        expected: str | None = None,
        rest: Rest | None = None,
    ) -> None:
        """Call a function that changes a dataset, until its outcome is known.

        Args:
            query: The call.
            dataset_id: The dataset.
            place: Its key, as it was read; None for one that is to be made.
            values: The arguments of the call.
            expected: The id that the caller believes the head, or the tag, to have.
            rest: Returns further calls of the same transaction. They get the place of the dataset, too.

        Raises:
            DatasetNotFound: There is no such dataset any more.
            StorageBusy: Another one was made there.
            AlreadyExists: The id or tag is taken.
            RevisionConflict: It has another head, or the tag another id.
            TagNotFound: There is no such tag.
            OutcomeUnknown: The connection was lost, and the server stays away.
        """
        identity = {"owner": dataset_id.owner, "name": dataset_id.name, "place": place}
        outcome, actual = self._once(query, {"attempt": attempt_id(), **identity, **values}, rest)
        if outcome == "done":
            return
        if outcome == "missing":
            self.raise_missing(dataset_id)
        if outcome == "replaced":
            raise StorageBusy(f"{dataset_id} was replaced meanwhile; try again")
        tag = str(values.get("old_name") or values.get("new_name"))
        if outcome == "tag-missing":
            raise TagNotFound(dataset_id, tag)
        if outcome == "taken":
            raise AlreadyExists(_taken(dataset_id, values))
        subject = f"{dataset_id}@{tag}" if outcome == "tag-conflict" else dataset_id
        raise RevisionConflict(subject, expected=expected, actual=actual.hex() if actual else None)

    def _once(self, query: str, values: Values, rest: Rest | None) -> tuple[str, bytes | None]:
        """Run a write. It is sent again if the connection is lost, and made once, since it carries its own id."""
        lost = False

        def work(connection: Connection) -> tuple[str, bytes | None]:
            nonlocal lost
            try:
                answer = self._attempt(connection, query, values, rest)
                if lost and answer[0] == "done":  # perhaps by an earlier attempt
                    confirm(connection)
                return answer
            except psycopg.OperationalError:
                lost = lost or connection.closed
                raise

        try:
            with database_errors():
                return self._database.surely(work)
        except OutcomeUnknown as error:
            error.attempt = _named(values)
            raise
        except MetastoreError as error:
            if not lost:
                raise
            problem = f"the connection was lost during the change, and then: {error}"
            raise OutcomeUnknown(problem, attempt=_named(values)) from error

    def _attempt(
        self,
        connection: Connection,
        query: str,
        values: Values,
        rest: Rest | None,
    ) -> tuple[str, bytes | None]:
        """Run a write once, with what was too much for its statement in the same transaction."""
        if rest is None:
            return _outcome(connection, query, values)
        with connection.transaction():
            answer = _outcome(connection, query, values)
            if answer[0] == "done":
                place, _ = connection.rows(_queries.PLACE, values)[0]
                for further, more in rest():
                    connection.deadline = time.monotonic() + self._database.patience
                    connection.rows(further, {**values, "place": place, **more})
        return answer


def attempt_id() -> uuid.UUID:
    """Return a new id. It begins with the time (version 7), so that an index grows at its end, where its pages fill."""
    begin, chance = time.time_ns() // 1_000_000 << 80, int.from_bytes(os.urandom(10))
    return uuid.UUID(int=begin | 7 << 76 | (chance >> 64 & 0xFFF) << 64 | 2 << 62 | chance & 2**62 - 1)


def _named(values: Values) -> str:
    """Return the id of an attempt, with the key of the dataset where it has one: that is where it is looked for."""
    place = values["place"]
    return f"{values['attempt']}@{place}" if place is not None else str(values["attempt"])


def _outcome(connection: Connection, query: str, values: Values) -> tuple[str, bytes | None]:
    outcome, actual = connection.rows(query, values)[0]
    return outcome, actual


def _taken(dataset_id: DatasetId, values: Values) -> object:
    """Return what a change found to be taken: the new id, the tag, or the dataset itself."""
    if "new_owner" in values:
        return DatasetId(values["new_owner"], values["new_name"])
    return f"tag {values['new_name']} of {dataset_id}" if "new_name" in values else dataset_id
