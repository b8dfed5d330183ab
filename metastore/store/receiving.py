"""History that was made elsewhere, received into a storage of Git objects: byte for byte, or not at all.

The objects are checked as `verify` checks them before they count, and each descriptor as a write checks it. The newest
one has to fit the rules of the store as well. A line of the journal says who brought what, since the revisions name
authors of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metastore import events
from metastore.descriptor.document import DESCRIPTOR, decode
from metastore.descriptor.limits import at_most_values, most_values
from metastore.descriptor.resources import check
from metastore.errors import AlreadyExists, DatasetMoved, DatasetNotFound, InvalidInput, RevisionConflict
from metastore.git.history import expect_head
from metastore.git.objects import GitObject
from metastore.git.pack import PUSH_LESS
from metastore.git.receive_pack import Update
from metastore.git.received import Received
from metastore.git.repository import HEADS, TAGS, Repository
from metastore.parse import is_tag_name
from metastore.storage.objects import ObjectStorage
from metastore.store._journal import Journal
from metastore.store.base import Store
from metastore.store.store import MetaStore
from metastore.types import Change, DatasetId, Revision, RevisionId

Objects = Mapping[str, GitObject]
#: How many values the descriptors of a reference may have together. To read a million takes half a second.
_MOST_VALUES = 1_000_000
#: Called with the newest revision before a change counts, or None; and of each revision that it adds, the oldest first,
#: whether it is a deletion. Raises if the caller may not make the change.
Allow = Callable[[Revision | None, Sequence[bool]], None]


@dataclass(frozen=True, slots=True)
class Receiver:
    """Receives histories into a store.

    Attributes:
        store: The store, which is the sender of events.
        storage: Its storage, which keeps any object as it is.
        prepare: Checks a descriptor by the rules of the store.
        expire: Called after each change of a dataset, so that the next search sees it.
    """

    store: Store
    storage: ObjectStorage
    prepare: Callable[[bytes], Any]
    expire: Callable[[], None]

    @classmethod
    def of(cls, store: Store) -> Receiver:
        """Return the receiver of a store. Raises InvalidInput: its storage does not keep any object as it is."""
        storage = store.storage if isinstance(store, MetaStore) else None
        if not isinstance(storage, ObjectStorage) or not storage.carries_any_object:
            raise InvalidInput("this store keeps its datasets elsewhere: copy to where they are")
        assert isinstance(store, MetaStore)
        return cls(store, storage, store._writer.prepare, store._finder.expire)

    def revisions(self, dataset_id: DatasetId, update: Update, objects: Objects, change: Change, allow: Allow) -> None:
        """Let the branch of a dataset go on, or make a new dataset.

        Args:
            dataset_id: A dataset, live or deleted; or a free id.
            update: From where to where the branch goes; from None for a new dataset.
            objects: Those that the dataset lacks. What the branch does not need is not stored.
            change: Who brought them, when, and why, for the journal.
            allow: Called before anything is stored.

        Raises:
            InvalidInput: It is another branch, or something is wrong with the objects.
            RevisionConflict: The branch is not where the update says.
            AlreadyExists: The update is for a new dataset, and there is one.
            DatasetMoved: The dataset has another id now.
        """
        before, received = self._look(dataset_id, update, objects)
        allow(before, received.deletions())
        head, old = RevisionId(str(update.new)), before.id if before else None
        with Journal(self.storage).line("receive", dataset_id, {"before": old, "revision": head}, change):
            self.storage.adopt(dataset_id, received.needed, head, parent=old)
        after = self.storage.resolve(dataset_id, head)
        self.expire()
        events.send(events.dataset_changed, self.store, events.DatasetEvent("receive", dataset_id, before, after))

    def tag(self, dataset_id: DatasetId, update: Update, objects: Objects, change: Change) -> None:
        """Add a tag to a dataset; the arguments are those of `revisions`.

        Raises:
            InvalidInput: The name is none of a tag, or something is wrong with the objects.
            AlreadyExists: There is a tag of this name.
            DatasetNotFound: There is no dataset, or it was moved.
        """
        name, target = update.name.removeprefix(TAGS), str(update.new)
        if not is_tag_name(name):
            raise InvalidInput(f"a tag cannot be called {name[:60]!r}")
        with self.storage.objects(dataset_id) as repository:
            if update.old is not None or repository.tag_target(name) is not None:
                raise AlreadyExists(f"tag {name} of {dataset_id}")
            received = self._checked(dataset_id, repository, repository.branch, update, objects)
        with Journal(self.storage).line("receive", dataset_id, {"tag": name, "tag_id": target}, change):
            self.storage.adopt_tag(dataset_id, received.needed, name, target)
        tag = self.storage.tag(dataset_id, name)
        events.send(events.tag_changed, self.store, events.TagEvent("receive", dataset_id, None, tag))

    def _look(self, dataset_id: DatasetId, update: Update, objects: Objects) -> tuple[Revision | None, Received]:
        """Return the newest revision, and what came after a check of it."""
        try:
            with self.storage.objects(dataset_id) as repository:
                _expect_branch(update, repository.branch)
                if update.old is None:
                    raise AlreadyExists(dataset_id)
                expect_head(dataset_id, repository, update.old)
                received = self._checked(dataset_id, repository, repository.branch, update, objects)
        except DatasetMoved:
            raise
        except DatasetNotFound:
            if update.old is not None:
                raise RevisionConflict(dataset_id, expected=update.old, actual=None) from None
            _expect_branch(update, self.storage.branch)
            received = self._checked(dataset_id, None, self.storage.branch, update, objects)
        return self.storage.resolve(dataset_id, update.old) if update.old else None, received

    def _checked(
        self, dataset_id: DatasetId, repository: Repository | None, branch: str, update: Update, objects: Objects
    ) -> Received:
        received = Received(objects, repository, branch, update.name, str(update.new))
        received.check(dataset_id, _Inspection(self.store.max_bytes))
        if update.name.startswith(HEADS):
            self._check_newest(received)
        return received

    def _check_newest(self, received: Received) -> None:
        if received.is_deletion:
            return
        content = received.file(DESCRIPTOR)
        if content is None:
            raise InvalidInput(f"the newest revision has no {DESCRIPTOR}")
        self.prepare(content)


class _Inspection:
    """Checks the files in the root of revisions by the rules for a write.

    Args:
        max_bytes: The largest descriptor, in bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = _MOST_VALUES

    def __call__(self, dataset_id: DatasetId, path: str, content: bytes) -> str | None:
        """Return what is wrong with a file, or None."""
        if path != DESCRIPTOR:
            return None
        self._left -= at_most_values(content)
        if self._left < 0:
            return f"is one too many: those before it have {_MOST_VALUES} values; {PUSH_LESS}"
        try:
            check(decode(content, max_bytes=self._max_bytes, max_values=most_values(self._max_bytes)))
        except InvalidInput as error:
            return f"cannot be stored: {error}"
        return None


def _expect_branch(update: Update, branch: str) -> None:
    if update.name != HEADS + branch:
        raise InvalidInput(f"the branch of the dataset is called {branch}")
