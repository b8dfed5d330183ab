"""How every write goes: one read of the newest revision, a pure computation, one atomic append on top of it.

Who gives `expected` is told of a lost race; who does not has the computation done again on the new state.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime

from metastore.descriptor import lfs
from metastore.descriptor.document import MAX_BYTES
from metastore.descriptor.file_changes import FileChanges, Validation
from metastore.errors import InvalidInput, RevisionConflict, StorageBusy
from metastore.parse import looks_like_revision, make_author, make_message, make_time, parse_dataset_id
from metastore.storage.port import Storage
from metastore.store.reader import AnyId, Reader
from metastore.types import Author, Change, DatasetId, Revision

AnyAuthor = Author | str | tuple[str, str]
#: How often a write that lost a race is computed anew.
TRIES = 30


class Writer(Reader):
    """What the writing calls have in common.

    Every write takes `author` (an `Author`, `"Name <email>"` or a pair), `message` (why) and `at` (when: an aware
    datetime, for imports; otherwise now). Without an author the store's default is taken. All writes raise, beside
    what `Reader` says, `InvalidInput`, and `StorageError` when the storage fails; unless it is `OutcomeUnknown`,
    nothing has changed then.

    `expected` is the full id of the revision that the caller last saw: when it is not the newest any more, the write
    raises `RevisionConflict`, even where nothing would change.

    Args:
        storage: Where the datasets are.
        author: Who writes, unless a call says otherwise.
        fallback_author: Asked when a write has no author at all; it returns one, or None.
        lfs_url: A Git LFS server's address with `{owner}` and `{name}` in it: new datasets get the files for Git LFS.
        validation: What to do when a descriptor breaks the Data Package profile: `warn` (log it and return the
            findings), `strict` (refuse it) or `off`.
        max_bytes: The largest descriptor, in bytes.
        clock: Returns the time, with a time zone.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        author: AnyAuthor | None = None,
        fallback_author: Callable[[], Author | None] = lambda: None,
        lfs_url: str | None = None,
        validation: Validation = "warn",
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(storage)
        if validation not in ("off", "warn", "strict"):
            raise InvalidInput(f"validation is off, warn or strict, not {validation!r}")
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise InvalidInput(f"max_bytes is a number of bytes, not {max_bytes!r}")
        self._author = make_author(author) if author is not None else None
        self._fallback_author = fallback_author
        self._lfs_url = lfs.check_url(lfs_url) if lfs_url else None
        self._validation: Validation = validation
        self._max_bytes = max_bytes
        self._clock = clock

    @property
    def max_bytes(self) -> int:
        """The largest descriptor that is taken, in bytes."""
        return self._max_bytes

    def _append(
        self,
        dataset_id: DatasetId,
        compute: Callable[[Revision], FileChanges],
        change: Change,
        expected: str | None,
    ) -> tuple[Revision, Revision]:
        """Read the newest revision, compute, append; again after a lost race, unless `expected` is given.

        Returns:
            The revisions before and after; the same one where nothing changes.
        """
        with ExitStack() as queue:
            for attempt in range(TRIES):
                head = self._head(dataset_id, expected)
                changes = compute(head)
                if not changes:
                    return head, head
                try:
                    return head, self._storage.append(dataset_id, changes, change, parent=head.id)
                except RevisionConflict:
                    if expected is not None:
                        raise
                    if not attempt:
                        queue.enter_context(self._storage.turn(dataset_id))
                    time.sleep(random.uniform(0, 0.002))
        raise StorageBusy(f"{dataset_id} is being changed by too many others; try again")

    def _head(self, dataset_id: DatasetId, expected: str | None) -> Revision:
        check_expected(expected)
        head = self._storage.resolve(dataset_id, None)
        if expected is not None and head.id != expected:
            raise RevisionConflict(dataset_id, expected=expected, actual=head.id)
        return head

    def _change(self, author: AnyAuthor | None, message: str | None, at: datetime | None, default: str) -> Change:
        who = make_author(author) if author is not None else self._author or self._fallback_author()
        if who is None:
            raise InvalidInput("no author: give one, such as 'Ann Lee <ann@example.org>', or set Git's user.name")
        why = make_message(message) if message is not None else ""
        return Change(who, why or default, make_time(at if at is not None else self._clock()))


def own_id(dataset_id: AnyId) -> DatasetId:
    """Parse the id of a dataset that callers may write to."""
    identity = parse_dataset_id(dataset_id)
    if identity.owner.startswith("_"):
        raise InvalidInput(f"owners that begin with '_', such as {identity.owner!r}, are the store's own")
    return identity


def check_expected(expected: str | None) -> None:
    """Refuse what cannot be the full id of a revision or tag."""
    if expected is not None and not (
        isinstance(expected, str) and len(expected) == 40 and looks_like_revision(expected)
    ):
        raise InvalidInput(f"expected is a full id of 40 hex digits, as a read returns it, not {str(expected)[:60]!r}")
