"""Writes over a network: each is made once, or not at all, or said to be unknown.

Every write names the state that it was made for (`If-Match`), or that there is none yet (`If-None-Match: *`). So
however often it is sent, and however late a copy of it arrives, the service carries it out at most once. What is left
is to find out, when an answer was lost, whether it was: see `docs/explanation/remote.md`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from metastore.client.reader import API, RemoteReader
from metastore.client.responses import ENVELOPE, JSON, PROBLEM, understood_write
from metastore.client.transport import Answer, AnswerLost, Transport
from metastore.errors import (
    Conflict,
    DatasetDeleted,
    MetastoreError,
    NotFound,
    OutcomeUnknown,
    RevisionConflict,
    StorageBusy,
)
from metastore.parse import make_author, make_message, make_time
from metastore.store.writer import TRIES, AnyAuthor, check_expected
from metastore.types import Author, DatasetId, Revision
from metastore.wire import to_wire

_Made = TypeVar("_Made")
#: Among how many of the newest revisions, or lines of the journal, a lost write is looked for.
_RECENT = 1000


class CannotTell(Exception):
    """Too much happened since for anybody to say whether a write was made."""


@dataclass(frozen=True, slots=True)
class Said:
    """Who writes, why and when, as far as the caller says; the service fills in the rest."""

    author: Author | None
    message: str
    at: datetime | None

    def members(self) -> dict[str, Any]:
        """Return what a body says of it."""
        said = {"message": self.message, "author": to_wire(self.author), "at": to_wire(self.at)}
        return {name: member for name, member in said.items() if member is not None}

    def fits(self, author: Author, message: str, created: datetime) -> bool:
        """Tell whether something that was made can be what was meant."""
        return self.author in (None, author) and self.at in (None, created) and message == self.message


class RemoteWriter(RemoteReader):
    """What the writing calls have in common."""

    def __init__(self, http: Transport, *, author: AnyAuthor | None, max_bytes: int) -> None:
        super().__init__(http, max_bytes)
        self._author = make_author(author) if author is not None else None

    def _change(self, author: AnyAuthor | None, message: str | None, at: datetime | None, default: str) -> Said:
        who = make_author(author) if author is not None else self._author
        why = make_message(message) if message is not None else ""
        return Said(who, why or default, make_time(at) if at is not None else None)

    def _send(
        self,
        method: str,
        path: str,
        said: Mapping[str, Any],
        read: Callable[[Answer], _Made],
        *,
        match: str | None = None,
        document: tuple[str, bytes] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _Made:
        """Send a write.

        Args:
            method: Of HTTP.
            path: Behind `/api/v1`.
            said: The members of the body.
            read: Takes the answer.
            match: The id of the state that it is made for; None where there shall be none.
            document: A last member and its JSON, put in as it is.
            query: Parameters.
        """
        content = json.dumps(said).encode()
        if document is not None:
            name, text = document
            content = json.dumps({**said, name: 0}).encode()[: -len("0}")] + text + b"}"
        headers = {"Content-Type": ENVELOPE if document else JSON, "Accept": f"{ENVELOPE}, {JSON}, {PROBLEM}"}
        headers |= {"If-Match": f'"{match}"'} if match is not None else {"If-None-Match": "*"}
        return understood_write(self._http.write(method, API + path, query or {}, headers, content), read)

    def _once(self, send: Callable[[], _Made], look: Callable[[], _Made | None], names: str) -> _Made:
        """Send a write until it is known to be made.

        Args:
            send: Sends it, for one certain state.
            look: Returns what the write made; None where the state is still the one that it is for; raises a
                `Conflict` where it can no longer be made.
            names: The state that it is for.

        Raises:
            OutcomeUnknown: Answers were lost, and looking did not tell.
        """
        lost: AnswerLost | None = None
        for pause in self._http.pauses():
            try:
                return send()
            except AnswerLost as error:
                lost = error
                self._http.wait(pause)
            except MetastoreError as error:
                if lost is None:
                    raise
                if not isinstance(error, (Conflict, NotFound)):  # the lost one may still arrive
                    raise _unknown(lost, names) from error
            found = self._look(look, lost, names)
            if found is not None:
                return found
        assert lost is not None
        raise _unknown(lost, names) from lost

    def _look(self, look: Callable[[], _Made | None], lost: AnswerLost, names: str) -> _Made | None:
        try:
            return look()
        except Conflict:
            raise
        except (MetastoreError, CannotTell) as error:
            raise _unknown(lost, names) from error

    def _revise(
        self,
        dataset_id: DatasetId,
        expected: str | None,
        send: Callable[[str], _Made],
        is_ours: Callable[[Revision], bool],
        made: Callable[[Revision], _Made],
    ) -> _Made:
        """Add a revision on top of the one that the caller saw, else of the newest: again after a lost race."""
        check_expected(expected)
        head = self.revision_read(dataset_id).id if expected is None else expected
        for _ in range(TRIES):
            try:
                return self._once(
                    lambda on=head: send(on),  # type: ignore[misc]
                    lambda on=head: self._added(dataset_id, on, is_ours, made),  # type: ignore[misc]
                    head,
                )
            except RevisionConflict as conflict:
                newest = conflict.actual or self._newest(dataset_id, head)
                if expected is not None:
                    raise RevisionConflict(dataset_id, expected=expected, actual=newest) from None
                head = str(newest)
                self._http.wait(random.uniform(0, 0.01))
        raise StorageBusy(f"{dataset_id} is being changed by too many others; try again")

    def _newest(self, dataset_id: DatasetId, head: str) -> str:
        """Return the newest revision, where the service said no more than that there is nothing to replace."""
        found = self.revision_read(dataset_id)
        if found.deleted and found.id == head:
            raise DatasetDeleted(dataset_id, found)
        return found.id

    def _added(
        self,
        dataset_id: DatasetId,
        on: str | None,
        is_ours: Callable[[Revision], bool],
        made: Callable[[Revision], _Made],
    ) -> _Made | None:
        """Look for the revision right on top of another one (None: the first): only that can be ours.

        Raises:
            RevisionConflict: It is somebody else's, so ours was not made and cannot be any more.
        """
        newest: Revision | None = None
        for revision in self.revision_list(dataset_id, limit=_RECENT):
            newest = newest or revision
            if revision.id == on:
                return None
            if revision.parent == on:
                if is_ours(revision):
                    return made(revision)
                raise RevisionConflict(dataset_id, expected=on, actual=newest.id)
        raise CannotTell(f"{dataset_id} has another history now")

    def _journalled(self, dataset_id: DatasetId, action: str, details: Mapping[str, Any], said: Said) -> bool:
        """Tell whether the journal says that the caller did this."""
        withdrawn: set[Any] = set()
        for entry in self.journal(dataset_id, limit=_RECENT):
            if entry.action == "withdrawn":
                withdrawn.add(entry.details.get("entry"))
            elif (
                entry.action == action
                and entry.id not in withdrawn
                and all(entry.details.get(name) == value for name, value in details.items())
                and said.fits(entry.author, entry.message, entry.created)
            ):
                return True
        return False


def _unknown(lost: AnswerLost, names: str) -> OutcomeUnknown:
    return OutcomeUnknown(str(lost), names)
