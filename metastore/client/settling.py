"""Writes over a network: each is made once, or not at all, or raises `OutcomeUnknown`.

Every write names the state that it is for (`If-Match`), or that there is none yet (`If-None-Match: *`). So the service
carries it out at most once, however often it is sent and however late a copy arrives. When an answer is lost, the
client reads whether the write was made: see `docs/explanation/remote.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from metastore.client.transport import Transport
from metastore.errors import (
    Conflict,
    DatasetDeleted,
    DatasetNotFound,
    MetastoreError,
    NotFound,
    OutcomeUnknown,
    RevisionConflict,
)
from metastore.http.responses import ResponseLost
from metastore.storage.retry import LostRace, retry
from metastore.store.base import Store
from metastore.types import ChangeRequest, Revision
from metastore.wire import to_wire

_Made = TypeVar("_Made")
#: Among how many of the newest revisions, or lines of the journal, a lost write is looked for.
_RECENT = 1000


class CannotTell(Exception):
    """Too much happened since the write to tell whether it was made."""


def members_of(request: ChangeRequest) -> dict[str, Any]:
    """Return the members of a body that say who changes something, why and when; the service adds what is missing."""
    members = {"message": request.message, "author": to_wire(request.author), "at": to_wire(request.at)}
    return {name: member for name, member in members.items() if member is not None}


def fits(request: ChangeRequest, value: Any, message: str) -> bool:
    """Tell whether a revision, tag or line of the journal can be the one that was asked for."""
    return request.author in (None, value.author) and request.at in (None, value.created) and message == request.message


class Settling:
    """Sends writes to a service, and finds out whether they were made."""

    def __init__(self, store: Store, http: Transport) -> None:
        self._store = store
        self._http = http

    def once(self, send: Callable[[], _Made], look: Callable[[], _Made | None], before: str) -> _Made:
        """Send a write until it is known to be made.

        Args:
            send: Sends it, for one certain state.
            look: Returns what the write made, or None if the state is still the one that it is for. Raises a
                `Conflict` if it can no longer be made.
            before: The state that it is for.

        Raises:
            OutcomeUnknown: Answers were lost, and looking did not tell.
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
                    raise OutcomeUnknown(str(lost), before) from error
            made = self._look(look, lost, before)
            if made is not None:
                return made
        assert lost is not None
        raise OutcomeUnknown(str(lost), before) from lost

    def _look(self, look: Callable[[], _Made | None], lost: ResponseLost, before: str) -> _Made | None:
        try:
            return look()
        except Conflict:
            raise
        except (MetastoreError, CannotTell) as error:
            raise OutcomeUnknown(str(lost), before) from error

    def revise(
        self,
        request: ChangeRequest,
        send: Callable[[str], _Made],
        is_ours: Callable[[Revision], bool],
        made: Callable[[Revision], _Made],
    ) -> _Made:
        """Add a revision on top of the expected one; without one, on the newest, and again after a lost race."""
        parent = request.expected or self._store.revision_read(request.dataset_id).id

        def attempt() -> _Made:
            nonlocal parent
            try:
                return self.once(lambda: send(parent), lambda: self.added(request, parent, is_ours, made), parent)
            except RevisionConflict as conflict:
                newest = str(conflict.actual or self._newest(request, parent))
                if request.expected is not None:
                    raise RevisionConflict(request.dataset_id, expected=parent, actual=newest) from None
                parent = newest
                raise LostRace from conflict

        return retry(attempt, request.dataset_id)

    def _newest(self, request: ChangeRequest, parent: str) -> str:
        """Return the newest revision, if the service said no more than that there is nothing to replace."""
        newest = self._store.revision_read(request.dataset_id)
        if newest.deleted and newest.id == parent:
            raise DatasetDeleted(request.dataset_id, newest)
        return newest.id

    def added(
        self,
        request: ChangeRequest,
        parent: str | None,
        is_ours: Callable[[Revision], bool],
        made: Callable[[Revision], _Made],
    ) -> _Made | None:
        """Look for the revision right on top of another one, or for the first: only that can be ours.

        Raises:
            RevisionConflict: It is somebody else's, so ours was not made and cannot be any more.
        """
        newest: Revision | None = None
        for revision in self._store.revision_list(request.dataset_id, limit=_RECENT):
            newest = newest or revision
            if revision.id == parent:
                return None
            if revision.parent == parent:
                if is_ours(revision):
                    return made(revision)
                raise RevisionConflict(request.dataset_id, expected=parent, actual=newest.id)
        raise CannotTell(f"{request.dataset_id} has another history now")

    def gone(self, request: ChangeRequest, head: str, details: Mapping[str, Any]) -> bool | None:
        """Tell whether a dataset was moved or purged as asked for; None while it is there as it was.

        Raises:
            RevisionConflict: Somebody else moved, purged or changed it.
        """
        try:
            if self._store.revision_read(request.dataset_id).id == head:
                return None
        except DatasetNotFound:
            pass
        if self._is_in_the_journal(request, details):
            return True
        raise RevisionConflict(request.dataset_id, expected=head, actual=None)

    def _is_in_the_journal(self, request: ChangeRequest, details: Mapping[str, Any]) -> bool:
        withdrawn: set[Any] = set()
        for entry in self._store.journal(request.dataset_id, limit=_RECENT):
            if entry.action == "withdrawn":
                withdrawn.add(entry.details.get("entry"))
            elif (
                entry.action == request.action
                and entry.id not in withdrawn
                and details.items() <= entry.details.items()
                and fits(request, entry, entry.message)
            ):
                return True
        return False
