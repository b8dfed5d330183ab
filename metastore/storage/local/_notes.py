"""Notes of a local store: where the dataset of an id moved, or that it was purged.

A repository at an id always counts more than a note, so a move or purge writes its note first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from metastore.errors import DatasetMoved, DatasetNotFound, NotADataset, OutcomeUnknown
from metastore.files.reading import is_folder, read_file
from metastore.phrase import Phrase
from metastore.storage.local.layout import Layout, is_id, parsed_id
from metastore.types import DatasetId


class Note(NamedTuple):
    """The note of an id.

    Attributes:
        moved_to: Where its dataset moved; None if it was purged.
        former: The ids that led to it.
    """

    moved_to: DatasetId | None
    former: tuple[DatasetId, ...] = ()


class Notes:
    """The notes of a store, a file each.

    Args:
        layout: The store's folders and files.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def ids(self) -> Iterator[DatasetId]:
        """Yield the ids that have a note, also those that have a repository again."""
        notes = self._layout.private("notes")
        for owner in os.listdir(notes) if os.path.isdir(notes) else ():
            with suppress(NotADirectoryError):  # a file that some system left, such as `.DS_Store`
                yield from (DatasetId(owner, name) for name in os.listdir(f"{notes}/{owner}") if is_id(owner, name))

    def path(self, dataset_id: DatasetId) -> str:
        """Return the file of an id's note. The file's time is the time of the change, by the store's clock."""
        return self._layout.private(f"notes/{dataset_id}")

    def read(self, dataset_id: DatasetId) -> Note | None:
        """Return the note of an id, or None if there is none that can be read."""
        try:
            content = dict(json.loads(read_file(self.path(dataset_id)) or b"{}"))
        except (ValueError, TypeError):
            return None
        former = content.get("former")
        ids = filter(None, map(parsed_id, former if isinstance(former, list) else ()))
        return Note(parsed_id(content.get("moved")), tuple(ids)) if content else None

    def write(self, dataset_id: DatasetId, note: Note) -> None:
        """Set the note of an id."""
        content = {"moved": str(note.moved_to)} if note.moved_to else {"purged": True}
        path, at = self.path(dataset_id), self._layout.clock.tick()
        self._layout.replace(path, json.dumps({**content, "former": note.former}).encode())
        os.utime(path, ns=(at, at))

    @contextmanager
    def writing(self, dataset_id: DatasetId, note: Note) -> Iterator[None]:
        """Write a note before the body moves or purges the dataset; if the body fails, restore the previous note.

        A process that is killed in between leaves a note beside a dataset, and the dataset counts.
        """
        path = self.path(dataset_id)
        before = read_file(path)
        self.write(dataset_id, note)
        try:
            yield
        except OutcomeUnknown:
            raise
        except BaseException:
            with suppress(OSError):
                os.unlink(path) if before is None else self._layout.replace(path, before)
            raise

    def remove(self, dataset_id: DatasetId) -> None:
        """Remove the note of an id that has a dataset now. A note that cannot be removed stays, and is not read."""
        with suppress(OSError):
            os.unlink(self.path(dataset_id))

    def moved_to(self, dataset_id: DatasetId) -> DatasetId | None:
        """Return where a dataset that moved away is now. A move that was cut off may have left several steps."""
        passed = [dataset_id]
        step = self._target(dataset_id)
        while step is not None and step not in passed:
            if os.path.isdir(self._layout.path(step)):
                return step
            passed.append(step)
            step = self._target(step)
        # One that moved back meanwhile is at an id that was passed.
        return next((step for step in passed[1:] if os.path.isdir(self._layout.path(step))), None)

    def raise_missing(self, dataset_id: DatasetId) -> None:
        """Raise the error for an id without a repository; return if there is one, perhaps since a moment ago.

        Raises:
            DatasetMoved: A note says where the dataset went.
            DatasetNotFound: There is nothing.
            NotADataset: Something else is in the repository's place, such as a file.
            StorageUnavailable: The store itself is gone.
        """
        path = self._layout.path(dataset_id)
        there = is_folder(path)
        if there is False:
            raise NotADataset(path, Phrase("is not a folder, so it is not a Git repository"))
        if there is None:
            if new_id := self.moved_to(dataset_id):
                raise DatasetMoved(dataset_id, new_id) from None
            if not os.path.lexists(path):  # the note goes when a dataset comes back
                self._layout.mark.expect()
                raise DatasetNotFound(dataset_id) from None

    def redirect(self, dataset_id: DatasetId) -> None:
        """Redirect the ids that lead to one without a dataset to where that one leads, before another dataset takes it.

        Each rename and purge ends with this. If it was cut off, the next one that wants the id does it.
        """
        note = self.read(dataset_id)
        for older in note.former if note else ():
            if self._target(older) == dataset_id:
                with self._layout.changing(older):
                    self._redirect(older, dataset_id)

    def _redirect(self, older: DatasetId, dataset_id: DatasetId) -> None:
        note = self.read(older)
        if note and note.moved_to == dataset_id:  # still, under the lock
            self.write(older, note._replace(moved_to=self._target(dataset_id)))

    def _target(self, dataset_id: DatasetId) -> DatasetId | None:
        note = self.read(dataset_id)
        return note.moved_to if note else None
