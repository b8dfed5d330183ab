"""The values that callers pass in and get back. All are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType, Self

from metastore.wording import outlined

#: A full Git commit id: 40 lower-case hex digits.
RevisionId = NewType("RevisionId", str)

#: The only file in the tree of a deletion. Its content is constant, so the tree id identifies a deletion on any host.
DELETED = ".metastore-deleted"
DELETED_CONTENT = b"This dataset was deleted. Its history is kept: see the revisions before this one.\n"


class BlobId(str):
    """The id of a Git blob, 40 lower-case hex digits; a class of its own, to tell it apart from content."""

    __slots__ = ()


class DatasetId(str):
    """The id of a dataset: the text `owner/name`, ordered by owner and then by name.

    It equals its text, so that `"physics/cars" in ids`, `json.dumps` and f-strings do what they say.
    """

    __slots__ = ()

    def __new__(cls, owner: str, name: str) -> Self:
        """Make an id of any two texts; `metastore.parse.parse_dataset_id` also checks them."""
        return super().__new__(cls, f"{owner}/{name}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.owner, self.name)

    @property
    def owner(self) -> str:
        """The part before the slash."""
        return self.partition("/")[0]

    @property
    def name(self) -> str:
        """The part after the slash."""
        return self.partition("/")[2]

    @property
    def is_own(self) -> bool:
        """Whether the dataset is the store's own, such as the journal. No list has it unless it is asked for."""
        return self.startswith("_")

    def __lt__(self, other: str) -> bool:
        return self.partition("/") < other.partition("/")

    def __le__(self, other: str) -> bool:
        return self.partition("/") <= other.partition("/")

    def __gt__(self, other: str) -> bool:
        return self.partition("/") > other.partition("/")

    def __ge__(self, other: str) -> bool:
        return self.partition("/") >= other.partition("/")

    def __repr__(self) -> str:
        return f"DatasetId({self.owner!r}, {self.name!r})"


@dataclass(frozen=True, slots=True)
class Author:
    """Who made a change.

    Attributes:
        name: Not empty, and without the characters that Git strips from names.
        email: May be empty.
    """

    name: str
    email: str = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.email else self.name


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes something, why, and when (UTC, whole seconds)."""

    author: Author
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A write, as its caller asked for it.

    Attributes:
        action: `create`, `update`, `patch`, `delete`, `purge`, `revert`, `undo`, `move`, `tag_create`, `tag_update` or
            `tag_delete`.
        dataset_id: The dataset, as it was called before.
        author: Who; None leaves it to the store, or to the service's token.
        message: Why; of a new tag, its description.
        at: When, in UTC, in whole seconds; None is the time at which the store carries it out.
        expected: The id of the revision or tag that the caller last saw, or None.
        content: The descriptor or patch, as JSON.
        new_id: Where a dataset is moved to.
        revision: The revision that a dataset is reverted to, whose change is undone, or that a tag is to name.
        since: The revision before the changes that are undone; None if the first revision is undone.
        tag: The tag, as it was called before.
        new_name: How a tag is to be called.
        description: The new description of a tag.
    """

    action: str
    dataset_id: DatasetId
    author: Author | None
    message: str
    at: datetime | None
    expected: str | None = None
    content: bytes | None = field(default=None, repr=False)
    new_id: DatasetId | None = None
    revision: str | None = None
    since: str | None = None
    tag: str | None = None
    new_name: str | None = None
    description: str | None = None


class Outcome(StrEnum):
    """The outcome of a change for which it was unknown at first."""

    LANDED = "landed"
    NOT_LANDED = "not landed"
    #: It still cannot be told. A repeat with `expected` is safe: it is made once at most.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a dataset.

    Attributes:
        id: The Git commit id, 40 hex digits.
        parent: The previous revision, or None for the first.
        author: Who made the revision.
        message: Why, without a trailing newline.
        created: When, in UTC and whole seconds.
        deleted: Whether the revision is a deletion.
    """

    id: RevisionId
    parent: RevisionId | None
    author: Author
    message: str
    created: datetime
    deleted: bool = False

    def __str__(self) -> str:
        return f"{self.id[:12]} {self.created:%Y-%m-%d %H:%M:%S} {self.author.name}: {first_line(self.message)}"


@dataclass(frozen=True, slots=True)
class TagSpec:
    """The content of a tag that is to be written."""

    name: str
    revision: RevisionId
    description: str
    author: Author
    at: datetime


@dataclass(frozen=True, slots=True)
class Tag:
    """A named revision.

    Attributes:
        name: Unique in its dataset.
        id: The id of the Git tag object (of the commit, for a lightweight tag); changes with every update.
        revision: The id of the revision it names.
        description: May be empty.
        author: Who made the tag, or changed it last.
        created: When, in UTC and whole seconds.
    """

    name: str
    id: str
    revision: RevisionId
    description: str
    author: Author
    created: datetime

    def __str__(self) -> str:
        return f"{self.name} -> {self.revision[:12]}" + (
            f" ({first_line(self.description)})" if self.description else ""
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that the check of a descriptor found.

    Attributes:
        pointer: JSON Pointer (RFC 6901) to the problem; empty for the whole document.
        detail: A sentence.
        kind: What kind of problem, such as `required`, `duplicate-field` or `unknown-profile`.
        known: True if the revision before a write had the same problem.
    """

    pointer: str
    detail: str
    kind: str = "invalid"
    known: bool = False

    def __str__(self) -> str:
        return f"{self.pointer or '(descriptor)'}: {self.detail}"


@dataclass(frozen=True)
class Dataset:
    """A descriptor at one revision.

    Attributes:
        id: The dataset id.
        revision: The revision that was read or made.
        descriptor: Plain Python values. The caller owns them and may change them.
        bytes: The stored UTF-8 JSON, byte for byte.
        findings: The problems that the check of a write found; empty after a read.
    """

    id: DatasetId
    revision: Revision
    descriptor: dict[str, Any] = field(repr=False)
    bytes: bytes = field(repr=False)
    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        return f"{self.id} at {self.revision}"

    def to_package(self, library: str = "frictionless", *, basepath: str | None = None) -> Any:
        """Return the descriptor as a package of another library, which reads the files that it describes.

        Nothing is read or fetched before the package is asked for data.

        Args:
            library: `frictionless` or `datapackage`.
            basepath: Where relative paths start: a folder, such as a clone of the dataset, or a URL.

        Returns:
            A `frictionless.Package` or a `datapackage.Package`.

        Raises:
            InvalidInput: The library is not installed, or does not take the descriptor.
        """
        from metastore.packages import make_package  # few programs need it

        return make_package(self.descriptor, library, basepath)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two descriptors, for people.

    Attributes:
        kind: `added`, `removed`, `changed`, `renamed` or `moved`.
        where: Plain words and names, such as `resource cars › field speed › type`; the former ones if it was renamed
            or moved.
        old: The value before, None if it was added. If it was renamed, its former name. If it was moved, its former
            place in words: `resource cars`, or within a list `after 'speed'`, `the start` or `the end`.
        new: The same after the change: the value, None if it was removed; the name; or the place, and a list of places
            if there are several.
        note: What stayed the same in a thing that was renamed, by which it was recognised, such as `path unchanged`;
            or what else a removal means, such as resources that have no licence now; otherwise empty.
    """

    kind: str
    where: str
    old: Any = None
    new: Any = None
    note: str = ""

    @property
    def is_in_place(self) -> bool:
        """Whether the thing moved within its list."""
        return self.kind == "moved" and (self.new in ("the start", "the end") or str(self.new).startswith("after '"))

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        if self.kind in ("changed", "renamed"):
            from metastore.contrast import contrasted  # most programs print no difference

            return f"{self.where} {self.kind}{contrasted(self.old, self.new)}{note}"
        if self.kind == "moved":
            if self.is_in_place:
                to, was = (place if place.startswith("after ") else None for place in (self.new, self.old))
                return f"{self.where} moved {to or f'to {self.new}'} (was {was or f'at {self.old}'})"
            places = self.new if isinstance(self.new, list) else [self.new]
            return f"{self.where} moved from {self.old} to {' and '.join(places)}"
        value = outlined(self.new if self.kind == "added" else self.old)
        return f"{self.where} {self.kind}: {value}{note}"


@dataclass(frozen=True, slots=True)
class Diff:
    """The difference between two revisions.

    Attributes:
        old: The revision compared from.
        new: The revision compared to.
        patch: JSON Patch (RFC 6902) that turns the old descriptor into the new one.
        changes: The same differences, for people.
        summary: The same on one line: `2 resources added; 3 fields changed in stations; licence changed`.
        grade: `major`, `minor` or `patch`, by what the change means to those who use the data; empty for no difference.
        version: The version that the new descriptor should have by that grade; None if the old one has none of the form
            `MAJOR.MINOR.PATCH`, or nothing differs.
    """

    old: Revision
    new: Revision
    patch: tuple[Mapping[str, Any], ...]
    changes: tuple[Difference, ...]
    summary: str = ""
    grade: str = ""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a descriptor, and the revision that gave it its present form.

    Attributes:
        pointer: JSON Pointer (RFC 6901) to the value.
        where: The same in words and names, such as `resource cars › schema › field speed › type`.
        value: The value: a text, number, boolean, None, or a list of such.
        revision: The newest revision that changed it.
    """

    pointer: str
    where: str
    value: Any
    revision: Revision


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue that the host of a dataset tracks."""

    number: int
    title: str
    state: str
    url: str


@dataclass(frozen=True, slots=True)
class Project:
    """A dataset with its tags, issues and flows; a storage that tracks no issues or flows leaves them empty."""

    owner: str
    dataset: Dataset
    tags: tuple[Tag, ...]
    issues: tuple[Issue, ...] = ()
    flows: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Copied:
    """Marks a line of the journal that another store wrote.

    Attributes:
        id: The id of the line in the store that wrote it.
        author: Who copied the line to this store.
        created: When the line came, in UTC and whole seconds.
        contradicts: Whether a line that was copied before it has the same id and dataset, and says something else.
    """

    id: RevisionId
    author: Author
    created: datetime
    contradicts: bool = False


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line of the journal: a change that adds no revision to the dataset.

    Attributes:
        id: The revision of the journal that holds the line.
        action: `move`, `purge`, `tag_update`, `tag_delete`, `adopt`, `receive` (of history that was made elsewhere),
            or `withdrawn`: the change before it was not made.
        dataset_id: The dataset id before the change.
        details: What changed: `new_id`, `revision`, `tag`, `old` and so on.
        author: Who.
        message: Why.
        created: When, in UTC and whole seconds.
        copied: Who copied the line from another store, and when; None for a line that this store wrote. A copied line
            tells of a change that was made elsewhere.
    """

    id: RevisionId
    action: str
    dataset_id: DatasetId
    details: Mapping[str, Any]
    author: Author
    message: str
    created: datetime
    copied: Copied | None = None

    @property
    def original_id(self) -> RevisionId:
        """The id of the line in the store that wrote it."""
        return self.copied.id if self.copied else self.id

    @property
    def came(self) -> datetime:
        """When the line came into this journal."""
        return self.copied.created if self.copied else self.created


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """The newest state of a dataset that changed.

    Attributes:
        dataset_id: The dataset.
        action: `changed`, `deleted`, `moved` or `purged`; `unreadable` if the repository is damaged or is not one.
        revision: The newest revision; None for a moved, purged or unreadable dataset.
        new_id: The id that a moved dataset has now; None also if the caller may not know it.
        cursor: Pass this to `changes(since=…)` to continue after this entry.
    """

    dataset_id: DatasetId
    action: str
    revision: Revision | None
    new_id: DatasetId | None
    cursor: str


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A dataset in a list.

    Attributes:
        id: The dataset.
        title: Its title, or its name if it has none; empty if it cannot be read.
        revision: Its newest revision, or the newest one at the time of the list; None if it cannot be read.
        problem: Why it cannot be read; otherwise empty.
    """

    id: DatasetId
    title: str = ""
    revision: Revision | None = None
    problem: str = ""

    @property
    def changed(self) -> datetime | None:
        """When the revision was made."""
        return self.revision.created if self.revision is not None else None

    def __str__(self) -> str:
        if self.revision is None:
            return f"{self.id}  {self.problem}"
        reason = first_line(self.revision.message)
        line = f"{self.id}  {self.revision.created:%Y-%m-%d}  {self.revision.author.name}  {self.title}"
        return f"{line}  ({reason})" if reason else line


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner of datasets.

    Attributes:
        name: The first part of their ids.
        datasets: The number of live datasets.
    """

    name: str
    datasets: int

    def __str__(self) -> str:
        return f"{self.datasets:7} {self.name}"


@dataclass(frozen=True, slots=True)
class TagEntry:
    """A tag in a list of several datasets' tags, or a dataset whose tags cannot be read.

    Attributes:
        dataset_id: The dataset.
        tag: The tag; None if the dataset's tags cannot be read.
        problem: Why they cannot be read; otherwise empty.
    """

    dataset_id: DatasetId
    tag: Tag | None = None
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.dataset_id}  {self.problem if self.tag is None else self.tag}"


@dataclass(frozen=True, slots=True)
class Damage:
    """A fault that `verify` found in a storage.

    Attributes:
        where: A dataset id, or a file of the store.
        kind: `unreadable`, `left-over-file`, `not-an-id`, `not-a-descriptor`, `search-index`, or for a head kept
            elsewhere `replaced` or `gone`; on GitLab also `lfs-is-on`, on GitLab and Gitea `left-over-project`.
        detail: A sentence.
        repaired: Whether it was repaired.
    """

    where: str
    kind: str
    detail: str
    repaired: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}" + (" (repaired)" if self.repaired else "")


def first_line(text: str) -> str:
    """Return the subject of a message."""
    return text.split("\n", 1)[0]
