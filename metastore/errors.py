"""Every exception that MetaStore raises on purpose.

```
MetastoreError
├── InvalidInput (ValueError)    fix the request
│   └── TooLarge                 a document, or the work that a request makes, is too large
├── NotFound (LookupError)
│   ├── DatasetNotFound
│   │   ├── DatasetDeleted       its history is still there
│   │   └── DatasetMoved         it lives at another id
│   ├── RevisionNotFound
│   ├── PathNotFound
│   ├── TagNotFound
│   ├── ResourceNotFound
│   ├── BundleNotFound
│   │   └── BundleDeleted        it can be restored
│   └── SnapshotNotFound
├── Conflict
│   ├── AlreadyExists
│   ├── RevisionConflict         somebody else was faster
│   └── MergeConflict            a later change stands in the way of an undo
├── AuthenticationError          no token, or an unaccepted one
├── PermissionDenied             the caller lacks the right
└── StorageError                 not the caller's fault
    ├── StorageBusy              try again
    ├── StorageUnavailable       disk full, read-only, not reachable, not a store
    ├── StorageCorrupt           the stored data is damaged
    │   ├── NotADescriptor       a revision holds something else; its bytes can be read
    │   └── NotADataset          the repository at an id is not a dataset, for example if it is empty
    └── OutcomeUnknown           the change may or may not have been made
```

Classes are grouped by how a caller would handle them. Each carries its facts as attributes, a stable `kind`
for programs, and a sentence for people. None knows HTTP. All survive pickling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metastore.phrase import Phrase, joined

#: How many places of a merge conflict its message names, and how many the error carries.
_NAMED_PLACES, _MOST_PLACES = 3, 100


class MetastoreError(Exception):
    """The base of all errors of this library."""

    #: Stable text that names the kind of error; part of the public interface.
    kind = "error"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[MetastoreError], args: tuple[Any, ...], facts: dict[str, Any]) -> MetastoreError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class InvalidInput(MetastoreError, ValueError):
    """The request is invalid; repeating it unchanged fails again.

    Attributes:
        pointer: JSON Pointer (RFC 6901) to the invalid part of a document, or None.
        problems: Every problem, as pairs of pointer and sentence; at least one.
    """

    kind = "invalid-input"

    def __init__(self, message: str, *, pointer: str | None = None, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(
            Phrase("%(message)s (at %(pointer)s)", message=message, pointer=pointer) if pointer else message
        )
        self.pointer = pointer
        self.problems = problems or ((pointer or "", message),)


class TooLarge(InvalidInput):
    """A document is larger than the store accepts, or a request means more work than the service does at once."""

    kind = "too-large"


class NotFound(MetastoreError, LookupError):
    """The requested object does not exist."""

    kind = "not-found"


class DatasetNotFound(NotFound):
    """There is no dataset with this id."""

    kind = "dataset-not-found"

    def __init__(self, dataset_id: object, message: str | None = None) -> None:
        super().__init__(message or Phrase("there is no dataset %(name)s", name=dataset_id))
        self.dataset_id = dataset_id


class DatasetDeleted(DatasetNotFound):
    """The dataset was deleted; `revision` is the deletion, and everything before it can still be read."""

    kind = "dataset-deleted"

    def __init__(self, dataset_id: object, revision: Any) -> None:
        when, who = f"{revision.created:%Y-%m-%d %H:%M}", revision.author
        message = Phrase("dataset %(name)s was deleted on %(when)s by %(user)s", name=dataset_id, when=when, user=who)
        super().__init__(dataset_id, message)
        self.revision = revision


class DatasetMoved(DatasetNotFound):
    """The dataset has the id `new_id` now."""

    kind = "dataset-moved"

    def __init__(self, dataset_id: object, new_id: Any) -> None:
        super().__init__(dataset_id, Phrase("dataset %(name)s was moved to %(new)s", name=dataset_id, new=new_id))
        self.new_id = new_id


class RevisionNotFound(NotFound):
    """The dataset has no such revision."""

    kind = "revision-not-found"

    def __init__(self, dataset_id: object, revision: str, message: str | None = None) -> None:
        super().__init__(
            message or Phrase("dataset %(name)s has no revision %(revision)r", name=dataset_id, revision=revision)
        )
        self.dataset_id = dataset_id
        self.revision = revision


class PathNotFound(NotFound):
    """The revision has no file at this path."""

    kind = "path-not-found"

    def __init__(self, dataset_id: object, revision: str, path: str) -> None:
        super().__init__(
            Phrase(
                "revision %(revision)s of %(name)s has no file %(path)s",
                revision=revision[:12],
                name=dataset_id,
                path=path,
            )
        )
        self.dataset_id = dataset_id
        self.revision = revision
        self.path = path


class TagNotFound(NotFound):
    """The dataset has no such tag."""

    kind = "tag-not-found"

    def __init__(self, dataset_id: object, name: str) -> None:
        super().__init__(Phrase("dataset %(name)s has no tag %(tag)r", name=dataset_id, tag=name))
        self.dataset_id = dataset_id
        self.name = name


class ResourceNotFound(NotFound):
    """The descriptor has no such resource."""

    kind = "resource-not-found"

    def __init__(self, dataset_id: object, resource: str) -> None:
        super().__init__(Phrase("dataset %(name)s has no resource %(resource)r", name=dataset_id, resource=resource))
        self.dataset_id = dataset_id
        self.resource = resource


class BundleNotFound(NotFound):
    """There is no bundle with this name."""

    kind = "bundle-not-found"

    def __init__(self, name: str, message: str | None = None) -> None:
        super().__init__(message or Phrase("there is no bundle %(name)s", name=name))
        self.name = name


class BundleDeleted(BundleNotFound):
    """The bundle was deleted; `snapshot` is the deletion, and the snapshots before it can be restored."""

    kind = "bundle-deleted"

    def __init__(self, name: str, snapshot: Any) -> None:
        when = f"{snapshot.created:%Y-%m-%d %H:%M}"
        message = Phrase(
            "bundle %(name)s was deleted on %(when)s by %(user)s (snapshot %(number)s)",
            name=name,
            when=when,
            user=snapshot.user,
            number=snapshot.id,
        )
        super().__init__(name, message)
        self.snapshot = snapshot


class SnapshotNotFound(NotFound):
    """There is no snapshot with this number, or it belongs to another bundle."""

    kind = "snapshot-not-found"

    def __init__(self, snapshot: object, message: str | None = None) -> None:
        super().__init__(message or Phrase("there is no snapshot %(number)s", number=snapshot))
        self.snapshot = snapshot


class Conflict(MetastoreError):
    """The request was made for a state that is no longer the newest."""

    kind = "conflict"


class AlreadyExists(Conflict):
    """The id or name `what` is taken."""

    kind = "already-exists"

    def __init__(self, what: object) -> None:
        super().__init__(Phrase("%(name)s exists already", name=what))
        self.what = what


class RevisionConflict(Conflict):
    """The newest state is not the one that the change was made for.

    Attributes:
        subject: The dataset id, or `owner/name@tag`.
        expected: The id (of a bundle: the snapshot) that the caller last saw.
        actual: The id of the newest state now, or None if there is none.
    """

    kind = "revision-conflict"

    def __init__(self, subject: object, expected: str | int | None, actual: str | int | None) -> None:
        then = Phrase("at %(id)s", id=str(expected)[:12]) if expected else Phrase("not to be there")
        now = Phrase("it is at %(id)s now", id=str(actual)[:12]) if actual else Phrase("it is gone")
        super().__init__(
            Phrase(
                "%(name)s was expected %(then)s, but %(now)s: read it again, then repeat the change",
                name=subject,
                then=then,
                now=now,
            )
        )
        self.subject = subject
        self.expected = expected
        self.actual = actual


class MergeConflict(Conflict):
    """A later change stands in the way: it changed the same places. Nothing was changed.

    Attributes:
        subject: The dataset id.
        places: At most 100 `Difference` values: where, what stands there now (`new`), and what would (`old`).
    """

    kind = "merge-conflict"

    def __init__(self, subject: object, places: tuple[Any, ...]) -> None:
        wheres = [place.where for place in places[:_NAMED_PLACES]]
        where = joined(", ", wheres)
        if len(places) > len(wheres):
            where = Phrase("%(places)s and %(number)s more", places=where, number=len(places) - len(wheres))
        message = Phrase("a later change of %(name)s stands in the way", name=subject)
        super().__init__(joined(": ", [message, where]) if wheres else message)
        self.subject = subject
        self.places = places[:_MOST_PLACES]


class AuthenticationError(MetastoreError):
    """The caller is not authenticated. The message says why, and reveals no secret.

    Attributes:
        missing: True if there was no token, False if the token was not accepted.
    """

    kind = "authentication-error"

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


class PermissionDenied(MetastoreError):
    """The caller lacks the right. The message says why, and who has it.

    Attributes:
        scope: The scope that a token needs, such as `ds:org/x:metadata:update`; None if no scope decides.
    """

    kind = "permission-denied"

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope


class StorageError(MetastoreError):
    """The storage failed; the request itself may be valid."""

    kind = "storage-error"


class StorageBusy(StorageError):
    """The storage is overloaded or locked; the same call may succeed in a moment."""

    kind = "storage-busy"


class StorageUnavailable(StorageError):
    """The storage cannot be used: the disk is full or read-only, the host is unreachable, or there is no store.

    Also raised when tokens cannot be checked because their keys cannot be fetched.
    """

    kind = "storage-unavailable"


class StorageCorrupt(StorageError):
    """The stored data is damaged."""

    kind = "storage-corrupt"


class NotADescriptor(StorageCorrupt):
    """The stored content of a revision is not a JSON object, as a commit by plain Git may have. Its bytes can be read.

    Attributes:
        dataset_id: The dataset.
        revision: The full id of the revision.
    """

    kind = "not-a-descriptor"

    def __init__(self, dataset_id: object, revision: str, problem: str) -> None:
        values = {"name": dataset_id, "revision": revision[:12], "problem": problem}
        super().__init__(Phrase("datapackage.json of %(name)s at %(revision)s %(problem)s", **values))
        self.dataset_id = dataset_id
        self.revision = revision


class NotADataset(StorageCorrupt):
    """The repository at an id is not a dataset: it is empty, it uses SHA-256, or it is not a repository at all.

    Attributes:
        problem: What is wrong, after "it": `is empty`.
    """

    kind = "not-a-dataset"

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(joined(" ", (place, problem)))
        self.problem = problem


class OutcomeUnknown(StorageError):
    """The change was sent, and whether it was made cannot be told now. `Store.settle` finds out, or that of a registry.

    Attributes:
        wanted: The id of the revision or tag that the change makes. None if it makes none, as a purge, a move or the
            removal of a tag, and if only a service knows it. Of a bundle, its snapshot in words.
        before: The id of the newest revision, or of the tag, before the change; None if there was none.
        change: The call, as a `ChangeRequest`; None if it was a call on a bundle, or on a storage itself.
        attempt: The id by which a storage recognises the request itself; None if it gives none.
        bundles: The changes of bundles that were asked for, as their record keeps them; None if they were of a dataset.
    """

    kind = "outcome-unknown"

    def __init__(
        self,
        message: str,
        wanted: str | None = None,
        *,
        before: str | None = None,
        change: Any = None,
        attempt: str | None = None,
        bundles: Any = None,
    ) -> None:
        super().__init__(Phrase("%(message)s: whether the change was made is not known", message=message))
        self.wanted = wanted
        self.before = before
        self.change = change
        self.attempt = attempt
        self.bundles = bundles


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Turn a failed import of an optional package into an error that names the extra to install.

    Raises:
        InvalidInput: An import inside the block failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = f"pip install 'metastore-records[{name}]', or '.[{name}]' from a checkout"
        raise InvalidInput(f"this needs {error.name}, which is not installed: {extra}") from None
