"""What a client has written: the least revisions that its later reads have to see."""

from __future__ import annotations

from contextlib import suppress

from metastore.types import DatasetId, RevisionId

#: How many datasets are remembered.
_MOST = 10_000


class Written:
    """The newest revision that this client knows of each dataset that it wrote last.

    Where two threads write one dataset, no revision is known to follow on both: none is remembered then.
    """

    def __init__(self) -> None:
        self._known: dict[DatasetId, str | object] = {}

    def get(self, dataset_id: DatasetId) -> str | None:
        """Return the revision that a read has to see; None if it has to see all."""
        known = self._known.get(dataset_id)
        return known if isinstance(known, str) else None

    def begin(self, dataset_id: DatasetId) -> object:
        """Forget a dataset that is about to be written. Returns what `wrote` takes."""
        turn = object()
        self.forget(dataset_id)
        self._known[dataset_id] = turn
        if len(self._known) > _MOST:
            with suppress(StopIteration, RuntimeError):  # another thread has changed the dict
                self._known.pop(next(iter(self._known)), None)
        return turn

    def wrote(self, dataset_id: DatasetId, turn: object, revision: RevisionId) -> None:
        """Note what a write made, if no other one of the dataset has begun since, and the dataset was not moved."""
        if self._known.get(dataset_id) is turn:
            self._known[dataset_id] = revision
        else:
            self.forget(dataset_id)

    def forget(self, dataset_id: DatasetId) -> None:
        """Let reads of a dataset see all."""
        self._known.pop(dataset_id, None)

    def saw(self, dataset_id: DatasetId, before: str | None, revision: RevisionId) -> None:
        """Note what a read saw that had to see `before`, so that no later read sees less."""
        if before is not None and self._known.get(dataset_id) == before:
            self._known[dataset_id] = revision
