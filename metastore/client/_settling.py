"""Writes over a network. Each is made once or not at all, or raises `OutcomeUnknown`.

Every write names the state that it is for (`If-Match`), or that there is none yet (`If-None-Match: *`). So the service
carries it out at most once, however often it is sent and however late a copy arrives. If a response is lost, the
client reads whether the write was made: see `docs/explanation/remote.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from metastore.client._transport import Transport
from metastore.errors import (
    Conflict,
    DatasetDeleted,
    MetastoreError,
    NotFound,
    OutcomeUnknown,
    RevisionConflict,
)
from metastore.http.responses import ResponseLost
from metastore.storage.retry import LostRace, retry
from metastore.store.base import Store
from metastore.store.settling import CannotTell, added
from metastore.types import ChangeRequest, Revision
from metastore.wire import to_wire

_Made = TypeVar("_Made")


def members_of(request: ChangeRequest) -> dict[str, Any]:
    """Return the members of a body that name the author, reason and time of a change. The service adds missing ones."""
    members = {"message": request.message, "author": to_wire(request.author), "at": to_wire(request.at)}
    return {name: member for name, member in members.items() if member is not None}


class Settling:
    """Sends writes to a service, and finds out whether they were made."""

    def __init__(self, store: Store, http: Transport) -> None:
        self._store = store
        self._http = http

    def once(
        self,
        request: ChangeRequest,
        send: Callable[[], _Made],
        look: Callable[[], _Made | None],
        before: str | None,
    ) -> _Made:
        """Send a write until it is known to be made.

        Args:
            request: The write.
            send: Sends it for the given state.
            look: Returns the result of the write, or None if the state is still the one before it. Raises a
                `Conflict` if the write can no longer be made.
            before: The state before the write; None if there is none yet.

        Raises:
            OutcomeUnknown: Responses were lost, and looking did not help.
        """
        lost: ResponseLost | None = None
        for pause in self._http.pauses():
            try:
                return send()
            except ResponseLost as error:
                lost = error
                self._http.wait(pause)
            except MetastoreError as error:
                if lost is None:
                    raise
                if not isinstance(error, (Conflict, NotFound)):  # the lost one may still arrive
                    raise _unknown(request, lost, before) from error
            made = self._look(request, look, lost, before)
            if made is not None:
                return made
        assert lost is not None
        raise _unknown(request, lost, before) from lost

    def _look(
        self, request: ChangeRequest, look: Callable[[], _Made | None], lost: ResponseLost, before: str | None
    ) -> _Made | None:
        try:
            return look()
        except Conflict:
            raise
        except (MetastoreError, CannotTell) as error:
            raise _unknown(request, lost, before) from error

    def revise(
        self,
        request: ChangeRequest,
        send: Callable[[str], _Made],
        is_ours: Callable[[Revision], bool],
        made: Callable[[Revision], _Made],
    ) -> _Made:
        """Add a revision on top of the expected one. Without one, use the newest, and retry after a lost race."""
        parent = request.expected or self._store.revision_read(request.dataset_id).id

        def look() -> _Made | None:
            revision = added(self._store, request.dataset_id, parent, is_ours)
            return made(revision) if revision is not None else None

        def attempt() -> _Made:
            nonlocal parent
            try:
                return self.once(request, lambda: send(parent), look, parent)
            except RevisionConflict as conflict:
                newest = str(conflict.actual or self._newest(request, parent))
                if request.expected is not None:
                    raise RevisionConflict(request.dataset_id, expected=parent, actual=newest) from None
                parent = newest
                raise LostRace from conflict

        return retry(attempt, request.dataset_id, place=self._store)

    def _newest(self, request: ChangeRequest, parent: str) -> str:
        """Return the newest revision after the service refused `parent`. Raises DatasetDeleted if it is a deletion."""
        newest = self._store.revision_read(request.dataset_id)
        if newest.deleted and newest.id == parent:
            raise DatasetDeleted(request.dataset_id, newest)
        return newest.id


def _unknown(request: ChangeRequest, lost: ResponseLost, before: str | None) -> OutcomeUnknown:
    return OutcomeUnknown(str(lost), before=before, change=request)
