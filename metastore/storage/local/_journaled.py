"""Looks up in the journal of a store which datasets and tags a call removed or changed: others were lost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from metastore.errors import DatasetNotFound, StorageCorrupt
from metastore.git.reachable import peeled
from metastore.git.repository import TAGS
from metastore.storage.lines import JOURNAL, LINE, parse_line
from metastore.storage.local._repository import GitRepository
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId


class _Line(NamedTuple):
    action: str
    dataset: DatasetId
    details: Mapping[str, Any]
    is_new: bool  # the backup's journal did not have it when the run began


class Journaled:
    """What the journal of a source says was changed by a call, and so is no damage. It is read when it is needed.

    Args:
        source: The store that is backed up.
        target: The backup. Lines that its journal has were written before its last complete run.
    """

    def __init__(self, source: GitStorage, target: GitStorage) -> None:
        self._source = source
        self._known = _line_ids(target)
        self._newest: str | None = None
        self._lines: list[_Line] = []
        self._withdrawn: set[str] = set()
        self._by_id: dict[str, _Line] = {}

    def tag_changed(self, copy: GitRepository, name: str, held: str) -> bool:
        """Tell whether a tag that a copy has was changed or deleted by a call."""
        if not name.startswith(TAGS):
            return False
        commit = _commit_of(copy, held)
        return any(
            line.action in ("tag_delete", "tag_update")
            and line.details.get("tag") == name.removeprefix(TAGS)
            and commit in (line.details.get("old_revision"), line.details.get("revision"))
            for line in self._read()
        )

    def purged(self, copy: GitRepository, dataset_id: DatasetId) -> bool:
        """Tell whether the dataset of a copy was purged, under this id or one that it moved to."""
        ids, waiting = {dataset_id}, [dataset_id]
        lines = [line for line in self._read() if line.action in ("purge", "move") and self._concerns(line, copy)]
        while waiting:
            here = waiting.pop()
            for line in lines:
                if line.dataset != here:
                    continue
                if line.action == "purge":
                    return True
                new_id = DatasetId(*str(line.details.get("new_id")).partition("/")[::2])
                if new_id not in ids:
                    ids.add(new_id)
                    waiting.append(new_id)
        return False

    def _concerns(self, line: _Line, copy: GitRepository) -> bool:
        """Tell a line about this dataset from one about an earlier dataset of the same id."""
        if line.is_new:
            return True
        with suppress(KeyError, StorageCorrupt):
            copy.read_uncached(str(line.details.get("revision")))
            return True
        return False

    def _read(self) -> list[_Line]:
        """Return the lines that were not withdrawn; those written since the last call are read now."""
        with suppress(DatasetNotFound, StorageCorrupt):
            newest = self._source.resolve(JOURNAL, None).id
            if newest != self._newest:
                for revision in self._source.history(JOURNAL, newest):
                    if revision.id == self._newest:
                        break
                    self._take(revision.id)
                self._newest = newest
        return [line for identity, line in self._by_id.items() if identity not in self._withdrawn]

    def _take(self, identity: str) -> None:
        with suppress(ValueError):  # a damaged line proves nothing
            content = self._source.read(JOURNAL, identity, LINE)  # type: ignore[arg-type]
            action, dataset_id, details = parse_line(content)
            if action == "withdrawn":
                self._withdrawn.add(str(details.get("entry")))
            self._by_id[identity] = _Line(action, dataset_id, details, identity not in self._known)


def _line_ids(storage: GitStorage) -> set[str]:
    try:
        newest = storage.resolve(JOURNAL, None)
        return {line.id for line in storage.history(JOURNAL, newest.id)}
    except (DatasetNotFound, StorageCorrupt):
        return set()


def _commit_of(repository: GitRepository, identity: str) -> str:
    with suppress(StorageCorrupt):
        return peeled(repository, identity) or identity
    return identity
