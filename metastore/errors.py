"""Every exception that MetaStore raises on purpose.

```
MetastoreError
├── InvalidInput (ValueError)    fix the request
│   └── TooLarge                 larger than `max_bytes`
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
│   └── RevisionConflict         somebody else was faster
├── AuthenticationError          no token, or none that counts
├── PermissionDenied             somebody else may
└── StorageError                 not the caller's fault
    ├── StorageBusy              try again
    ├── StorageUnavailable       disk full, read-only, not reachable, not a store
    ├── StorageCorrupt           what is stored cannot be understood
    └── OutcomeUnknown           the change may or may not have been made
```

Classes are grouped by what a caller would do about them. Each carries its facts as attributes, a stable `kind`
for programs, and a sentence for people; none knows of HTTP. All of them survive pickling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
    """The request cannot be carried out as it is; asking again will not help.

    Attributes:
        pointer: JSON Pointer (RFC 6901) to the offending part of a document, or None.
        problems: All that was found, as (pointer, sentence) pairs; one or more.
    """

    kind = "invalid-input"

    def __init__(self, message: str, *, pointer: str | None = None, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{message} (at {pointer})" if pointer else message)
        self.pointer = pointer
        self.problems = problems or ((pointer or "", message),)


class TooLarge(InvalidInput):
    """A document is larger than the store takes."""

    kind = "too-large"

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"the document has {size} bytes; at most {most} are allowed")


class NotFound(MetastoreError, LookupError):
    """What was asked for is not there."""

    kind = "not-found"


class DatasetNotFound(NotFound):
    """There is no dataset with this id."""

    kind = "dataset-not-found"

    def __init__(self, dataset_id: object, message: str | None = None) -> None:
        super().__init__(message or f"there is no dataset {dataset_id}")
        self.dataset_id = dataset_id


class DatasetDeleted(DatasetNotFound):
    """The dataset was deleted; `revision` is the deletion, and everything before it can still be read."""

    kind = "dataset-deleted"

    def __init__(self, dataset_id: object, revision: Any) -> None:
        super().__init__(
            dataset_id, f"dataset {dataset_id} was deleted on {revision.created:%Y-%m-%d %H:%M} by {revision.author}"
        )
        self.revision = revision


class DatasetMoved(DatasetNotFound):
    """The dataset lives at `new_id` now."""

    kind = "dataset-moved"

    def __init__(self, dataset_id: object, new_id: Any) -> None:
        super().__init__(dataset_id, f"dataset {dataset_id} was moved to {new_id}")
        self.new_id = new_id


class RevisionNotFound(NotFound):
    """The dataset has no such revision."""

    kind = "revision-not-found"

    def __init__(self, dataset_id: object, revision: str, message: str | None = None) -> None:
        super().__init__(message or f"dataset {dataset_id} has no revision {revision!r}")
        self.dataset_id = dataset_id
        self.revision = revision


class PathNotFound(NotFound):
    """The revision has no file at this path."""

    kind = "path-not-found"

    def __init__(self, dataset_id: object, revision: str, path: str) -> None:
        super().__init__(f"revision {revision[:12]} of {dataset_id} has no file {path}")
        self.dataset_id = dataset_id
        self.revision = revision
        self.path = path


class TagNotFound(NotFound):
    """The dataset has no such tag."""

    kind = "tag-not-found"

    def __init__(self, dataset_id: object, name: str) -> None:
        super().__init__(f"dataset {dataset_id} has no tag {name!r}")
        self.dataset_id = dataset_id
        self.name = name


class ResourceNotFound(NotFound):
    """The descriptor has no such resource."""

    kind = "resource-not-found"

    def __init__(self, dataset_id: object, resource: str) -> None:
        super().__init__(f"dataset {dataset_id} has no resource {resource!r}")
        self.dataset_id = dataset_id
        self.resource = resource


class BundleNotFound(NotFound):
    """There is no bundle of this name."""

    kind = "bundle-not-found"

    def __init__(self, name: str, message: str | None = None) -> None:
        super().__init__(message or f"there is no bundle {name}")
        self.name = name


class BundleDeleted(BundleNotFound):
    """The bundle was deleted; `snapshot` is the deletion, and can be restored from."""

    kind = "bundle-deleted"

    def __init__(self, name: str, snapshot: Any) -> None:
        when = f"{snapshot.created:%Y-%m-%d %H:%M}"
        super().__init__(name, f"bundle {name} was deleted on {when} by {snapshot.user} (snapshot {snapshot.id})")
        self.snapshot = snapshot


class SnapshotNotFound(NotFound):
    """There is no snapshot of this number (or it is of another bundle)."""

    kind = "snapshot-not-found"

    def __init__(self, snapshot: object, message: str | None = None) -> None:
        super().__init__(message or f"there is no snapshot {snapshot}")
        self.snapshot = snapshot


class Conflict(MetastoreError):
    """The request was right for a state that is no longer the newest."""

    kind = "conflict"


class AlreadyExists(Conflict):
    """The id or name is taken; `what` is it."""

    kind = "already-exists"

    def __init__(self, what: object) -> None:
        super().__init__(f"{what} exists already")
        self.what = what


class RevisionConflict(Conflict):
    """The newest state is not the one that the change was made for.

    Attributes:
        subject: The dataset id, or `owner/name@tag`.
        expected: The id (of a bundle: the snapshot) that the caller last saw.
        actual: The id that is the newest now, or None where there is none.
    """

    kind = "revision-conflict"

    def __init__(self, subject: object, expected: str | int | None, actual: str | int | None) -> None:
        then = f"at {str(expected)[:12]}" if expected else "not to be there"
        now = f"it is at {str(actual)[:12]} now" if actual else "it is gone"
        super().__init__(f"{subject} was expected {then}, but {now}: read it again, then repeat the change")
        self.subject = subject
        self.expected = expected
        self.actual = actual


class AuthenticationError(MetastoreError):
    """Nobody knows who the caller is; the message says why, and gives nothing away.

    Attributes:
        missing: Whether no token came at all; False for one that does not count.
    """

    kind = "authentication-error"

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


class PermissionDenied(MetastoreError):
    """The caller may not do this; the message says why not, and who may.

    Attributes:
        scope: What a token would have to grant, such as `ds:org/x:metadata:update`; None where no scope decides.
    """

    kind = "permission-denied"

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope


class StorageError(MetastoreError):
    """The storage failed; the request itself may be right."""

    kind = "storage-error"


class StorageBusy(StorageError):
    """Too much is going on at once; the same call may succeed in a moment."""

    kind = "storage-busy"


class StorageUnavailable(StorageError):
    """The storage cannot be used as it is: disk full, read-only, not reachable, or not a store at all.

    Also raised where tokens cannot be checked because their keys cannot be fetched.
    """

    kind = "storage-unavailable"


class StorageCorrupt(StorageError):
    """What is stored cannot be understood: somebody or something damaged it."""

    kind = "storage-corrupt"


class OutcomeUnknown(StorageError):
    """The change was sent, and whether it was made cannot be told.

    Attributes:
        revision: The id of the revision or tag that the change makes; of the newest revision, for a move or purge; of
            a bundle, its snapshot in words. Through a service, the id of what the change was made for: of the newest
            revision or tag before it (of a dataset that was to be created, its own id).
    """

    kind = "outcome-unknown"

    def __init__(self, message: str, revision: str) -> None:
        super().__init__(f"{message}: read again whether the change was made, which has or names {revision}")
        self.revision = revision


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Say which extra brings a package that is missing, where one is imported on use.

    Raises:
        InvalidInput: An import inside the block failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(f"there is no {error.name}: install MetaStore with its extra [{name}]") from None
