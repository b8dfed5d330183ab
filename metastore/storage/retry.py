"""Repeats writes after a lost race, with one backoff for all: datasets, the journal, bundles, the list of moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TypeVar

from metastore import forks
from metastore.errors import AlreadyExists, RevisionConflict, StorageBusy
from metastore.forks import ForkSafeLock
from metastore.storage.port import Storage
from metastore.types import BlobId, Change, DatasetId, Revision

_Result = TypeVar("_Result")
_Head = TypeVar("_Head", Revision, Revision | None)
FileChanges = Mapping[str, bytes | BlobId | None]
#: The attempts before the caller has to try again later.
TRIES = 100
#: The pause after the first lost race, in seconds at most. Each further one may be longer by as much.
_PAUSE = 0.0005


class LostRace(Exception):
    """Raised by an attempt that another writer overtook, so that it is repeated."""


class _Queues:
    """The writers of this process that lost a race, and those that came after them, by what they write."""

    def __init__(self) -> None:
        self._mutex = ForkSafeLock()
        self._queues: dict[object, tuple[ForkSafeLock, int]] = {}
        forks.register(self, _Queues._forget)

    def __contains__(self, subject: object) -> bool:
        return subject in self._queues

    @contextmanager
    def turn(self, subject: object) -> Iterator[None]:
        """Wait until the body is the only one for this subject."""
        with self._mutex:
            queue, count = self._queues.get(subject) or (ForkSafeLock(), 0)
            self._queues[subject] = queue, count + 1
        try:
            with queue:
                yield
        finally:
            with self._mutex:
                queue, count = self._queues.pop(subject, (queue, 1))
                if count > 1:
                    self._queues[subject] = queue, count - 1

    def _forget(self) -> None:
        """Forget the parent's writers in a forked child."""
        self._queues.clear()


_queues = _Queues()


def retry(
    attempt: Callable[[], _Result],
    subject: object,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    place: object = None,
) -> _Result:
    """Call `attempt` until it does not raise `LostRace`.

    The writers of this process that lost a race take turns, and go ahead of those that begin later. Otherwise one that
    needs longer than the others could lose each time.

    Args:
        attempt: Reads what is there, and writes.
        subject: What is being changed, for the message.
        turn: Entered after the first lost race, so that writers of all processes who lost one queue up.
        place: Where the writers of this process meet, such as a storage; None if they do not queue.

    Raises:
        StorageBusy: Every attempt lost.
    """
    waits = (place, subject) in _queues
    with ExitStack() as queue:
        if waits:
            queue.enter_context(_turn(place, subject, turn))
        for count in range(1, TRIES + 1):
            try:
                return attempt()
            except LostRace:
                if not waits:
                    waits = True
                    queue.enter_context(_turn(place, subject, turn))
                import random  # slow to import, and most writes are alone

                time.sleep(random.uniform(0, _PAUSE * count))
    raise StorageBusy(f"{subject} is being changed by too many others; try again")


@contextmanager
def _turn(place: object, subject: object, turn: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    with nullcontext() if place is None else _queues.turn((place, subject)), turn():
        yield


def append(
    storage: Storage,
    dataset_id: DatasetId,
    read_head: Callable[[], _Head],
    compute: Callable[[_Head], tuple[FileChanges, Change]],
) -> tuple[_Head, Revision]:
    """Read the newest revision, compute what changes, and append it; all of it again after a lost race.

    Args:
        storage: Where the dataset is.
        dataset_id: The dataset.
        read_head: Returns the newest revision, or None to create the dataset. Its errors end the call, so one that
            demands a certain revision is never repeated on another.
        compute: Returns the files that change, and who changes them. No files: nothing is written.

    Returns:
        The revisions before and after; the same one if nothing was written.

    Raises:
        StorageBusy: Every attempt lost a race.
    """

    def attempt() -> tuple[_Head, Revision]:
        before = read_head()
        files, change = compute(before)
        if before is not None and not files:
            return before, before
        try:
            return before, _write(storage, dataset_id, before, files, change)
        except (RevisionConflict, AlreadyExists) as error:
            raise LostRace from error

    return retry(attempt, dataset_id, lambda: storage.turn(dataset_id), place=storage)


def _write(
    storage: Storage, dataset_id: DatasetId, before: Revision | None, files: FileChanges, change: Change
) -> Revision:
    if before is not None:
        return storage.append(dataset_id, files, change, parent=before.id)
    first = {path: content for path, content in files.items() if isinstance(content, bytes)}
    return storage.create(dataset_id, first, change)
