"""Looks up in the journal of a store which datasets and tags a call removed or changed: others were lost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from metastore.errors import DatasetNotFound, StorageCorrupt
from metastore.files.reading import read_file
from metastore.git.repository import TAGS
from metastore.storage.lines import JOURNAL, LINE, parse_line
from metastore.storage.local._repository import GitRepository
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

#: The file of a copy that names the newest line of the journal at the moment when the copy was made: what was written
#: before is about earlier datasets of its id. A run that is killed leaves copies, and no line in the backup's journal.
COPIED_AFTER = "copied-after"
_UNREADABLE = "unreadable"


class _Line(NamedTuple):
    action: str
    dataset: DatasetId
    details: Mapping[str, Any]
    place: int  # in the journal, from the oldest on
    is_new: bool  # the backup's journal did not have it when the run began


class Journaled:
    """The changes that the journal of a source records, which are therefore not damage. The journal is read on use.

    Args:
        source: The store that is backed up.
        target: The backup. Lines that its journal has were written before its last complete run.
    """

    def __init__(self, source: GitStorage, target: GitStorage) -> None:
        self._source = source
        self._known = _line_ids(target)
        self._newest: str | None = None
        self._places: dict[str, int] = {}
        self._withdrawn: set[str] = set()
        self._by_id: dict[str, _Line] = {}

    def newest(self) -> str:
        """Return the id of the newest line; empty if there is none."""
        try:
            return self._source.resolve(JOURNAL, None).id
        except DatasetNotFound:
            return ""
        except StorageCorrupt:
            return _UNREADABLE

    def tag_changed(self, name: str, held: str) -> bool:
        """Tell whether a call changed or deleted a tag that holds an object."""
        return any(
            line.action in ("tag_delete", "tag_update")
            and line.details.get("tag") == name.removeprefix(TAGS)
            and line.details.get("tag_id") == held
            for line in self._read()
        )

    def purged(self, copy: GitRepository, dataset_id: DatasetId) -> bool:
        """Tell whether the dataset of a copy was purged, under this id or one that it moved to."""
        ids = self.ids_of(copy, dataset_id)
        purges = (line for line in self._read() if line.action == "purge" and line.dataset in ids)
        return any(self._concerns(line, copy) for line in purges)

    def ids_of(self, copy: GitRepository, dataset_id: DatasetId) -> set[DatasetId]:
        """Return the id of the dataset of a copy, and those that it moved to."""
        ids, waiting = {dataset_id}, [dataset_id]
        lines = (line for line in self._read() if line.action == "move" and self._concerns(line, copy))
        moves = [(line.dataset, DatasetId(*str(line.details.get("new_id")).partition("/")[::2])) for line in lines]
        while waiting:
            here = waiting.pop()
            there = {new_id for former, new_id in moves if former == here}
            waiting += there - ids
            ids |= there
        return ids

    def _concerns(self, line: _Line, copy: GitRepository) -> bool:
        """Tell a line about this dataset from one about an earlier dataset of the same id."""
        if line.is_new and self._is_after(line, read_file(f"{copy.path}/{COPIED_AFTER}")):
            return True
        with suppress(KeyError, StorageCorrupt):
            copy.read_uncached(str(line.details.get("revision")))
            return True
        return False

    def _is_after(self, line: _Line, mark: bytes | None) -> bool:
        """Tell whether a line was written after a copy was made; older versions did not note when that was."""
        place = self._places.get(mark.decode(errors="replace")) if mark else -1
        return place is not None and line.place > place

    def _read(self) -> list[_Line]:
        """Return the lines that were not withdrawn; those written since the last call are read now."""
        identities: list[str] = []
        with suppress(DatasetNotFound, StorageCorrupt):
            newest = self._source.resolve(JOURNAL, None).id
            for revision in self._source.history(JOURNAL, newest) if newest != self._newest else ():
                if revision.id == self._newest:
                    break
                identities.append(revision.id)
            self._newest = newest
        for identity in reversed(identities):
            self._take(identity, self._places.setdefault(identity, len(self._places)))
        return [line for identity, line in self._by_id.items() if identity not in self._withdrawn]

    def _take(self, identity: str, place: int) -> None:
        with suppress(ValueError, StorageCorrupt):  # a damaged line proves nothing
            content = self._source.read(JOURNAL, identity, LINE)  # type: ignore[arg-type]
            action, dataset_id, details, origin = parse_line(content)
            if origin is not None:  # it tells of a change that was made elsewhere
                return
            if action == "withdrawn":
                self._withdrawn.add(str(details.get("entry")))
            self._by_id[identity] = _Line(action, dataset_id, details, place, identity not in self._known)


def _line_ids(storage: GitStorage) -> set[str]:
    try:
        newest = storage.resolve(JOURNAL, None)
        return {line.id for line in storage.history(JOURNAL, newest.id)}
    except (DatasetNotFound, StorageCorrupt):
        return set()
