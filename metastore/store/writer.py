"""The writes of a store: `Store` parses each call into a `ChangeRequest`, and a `Writer` carries it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from metastore.descriptor.file_changes import Document
from metastore.types import Author, ChangeRequest, Dataset, JournalEntry, Revision, Tag


class Writer(ABC):
    """Carries out writes. Each method returns and raises the same as the call of `Store` with its name."""

    @abstractmethod
    def prepare(self, descriptor: Any) -> Document:
        """Check a descriptor and encode it. Raises InvalidInput."""

    @abstractmethod
    def create(self, request: ChangeRequest, document: Document) -> Dataset: ...

    @abstractmethod
    def update(self, request: ChangeRequest, document: Document) -> Dataset: ...

    @abstractmethod
    def patch(self, request: ChangeRequest, patch: Any) -> Dataset: ...

    @abstractmethod
    def delete(self, request: ChangeRequest) -> Revision: ...

    @abstractmethod
    def purge(self, request: ChangeRequest, *, force: bool) -> None: ...

    @abstractmethod
    def move(self, request: ChangeRequest) -> Dataset: ...

    @abstractmethod
    def revert(self, request: ChangeRequest) -> Dataset: ...

    @abstractmethod
    def undo(self, request: ChangeRequest) -> Dataset: ...

    @abstractmethod
    def tag_create(self, request: ChangeRequest) -> Tag: ...

    @abstractmethod
    def tag_update(self, request: ChangeRequest, old: Tag) -> Tag: ...

    @abstractmethod
    def tag_delete(self, request: ChangeRequest, old: Tag) -> None: ...

    @abstractmethod
    def journal_import(self, lines: Sequence[JournalEntry], author: Author | None) -> int: ...
