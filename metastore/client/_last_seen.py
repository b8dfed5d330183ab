"""Remembers what a client has written, so that its later reads see these revisions or newer ones."""

from __future__ import annotations

from contextlib import suppress

from metastore.types import DatasetId, RevisionId

#: How many datasets are remembered.
_MOST = 10_000


class LastSeen:
    """The newest revision that this client knows, for each of the datasets that it wrote last.

    If two threads write one dataset at once, nobody knows which revision follows the other, so none is remembered.
    """

    def __init__(self) -> None:
        self._known: dict[DatasetId, str | object] = {}

    def get(self, dataset_id: DatasetId) -> str | None:
        """Return the revision that a read has to see; None if it has to see the newest."""
        known = self._known.get(dataset_id)
        return known if isinstance(known, str) else None

    def begin(self, dataset_id: DatasetId) -> object:
        """Forget a dataset that is about to be written. Returns the `turn` for `wrote`."""
        turn = object()
        self.forget(dataset_id)
        self._known[dataset_id] = turn
        if len(self._known) > _MOST:
            with suppress(StopIteration, RuntimeError):  # another thread has changed the dict
                self._known.pop(next(iter(self._known)), None)
        return turn

    def wrote(self, dataset_id: DatasetId, turn: object, revision: RevisionId) -> None:
        """Remember the revision of a write, unless another write of the dataset began since, or the dataset moved."""
        if self._known.get(dataset_id) is turn:
            self._known[dataset_id] = revision
        else:
            self.forget(dataset_id)

    def forget(self, dataset_id: DatasetId) -> None:
        """Forget a dataset: its next read has to see the newest revision."""
        self._known.pop(dataset_id, None)

    def saw(self, dataset_id: DatasetId, before: str | None, revision: RevisionId) -> None:
        """Remember the revision that a read saw, which had to see `before`, so that no later read sees an older one."""
        if before is not None and self._known.get(dataset_id) == before:
            self._known[dataset_id] = revision
