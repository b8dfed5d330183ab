"""The versions of a dataset: its tags, newest first, with the changes from one to the next, and who made them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, zip_longest

from metastore.errors import MetastoreError
from metastore.service.context import service
from metastore.store.metering import Meter, metered
from metastore.store.summaries import MOST_SECONDS, PAGE_BYTES
from metastore.types import DatasetId, Revision, Tag

_READ = 500
#: The revisions between two others that a page lists.
MOST_STEPS = 50
#: The difference of two revisions never changes. 1,000 grades with their summaries take some 5 MB.
_MOST_REMEMBERED = 1_000
_remembered: dict[tuple[str, str], tuple[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Version:
    """A tag in a list of them.

    Attributes:
        tag: The tag.
        before: The name of the previous tag in time, or None.
        grade: `major`, `minor` or `patch`, compared with that tag; empty if nothing differs, or it is not known.
        summary: The changes since that tag, on one line.
    """

    tag: Tag
    before: str | None = None
    grade: str = ""
    summary: str = ""


def versions_of(subject: DatasetId, most: int, *, compared: bool) -> tuple[list[Version], int]:
    """Return the newest tags, and the number of tags, which is at most 500.

    Args:
        subject: The dataset.
        most: The most tags to return.
        compared: Whether to compare each with the previous one, which takes a while for a descriptor of some megabytes.
    """
    tags = sorted(
        islice(service().store.tag_list(subject), _READ), key=lambda tag: (tag.created, tag.name), reverse=True
    )
    pairs = islice(zip_longest(tags, tags[1:]), most)
    with metered() as meter:
        versions = [_version(subject, tag, older, compared=compared and not _is_spent(meter)) for tag, older in pairs]
    return versions, len(tags)


def steps_between(subject: DatasetId, old: Revision, new: Revision) -> list[Revision]:
    """Return the revisions after the earlier one up to the later one, newest first, at most one more than `MOST_STEPS`.

    Empty if the earlier one is not before the later one, as the revisions of another history are not.
    """
    early, late = sorted((old, new), key=lambda side: side.created)
    steps = list[Revision]()
    for revision in service().store.revision_list(subject, late.id, limit=MOST_STEPS + 1):
        if revision.id == early.id:
            return steps
        steps.append(revision)
    return steps if len(steps) > MOST_STEPS else []


def _is_spent(meter: Meter) -> bool:
    return meter.spent > PAGE_BYTES or meter.seconds > MOST_SECONDS


def _version(subject: DatasetId, tag: Tag, older: Tag | None, *, compared: bool) -> Version:
    if older is None:
        return Version(tag)
    grade, summary = _between(subject, older.revision, tag.revision) if compared else ("", "")
    return Version(tag, older.name, grade, summary)


def _between(subject: DatasetId, old: str, new: str) -> tuple[str, str]:
    if (known := _remembered.get((old, new))) is not None:
        return known
    try:
        diff = service().store.revision_diff(subject, old, new)
    except MetastoreError:  # one of them is not a descriptor, or is gone; the comparison says which
        return "", ""
    if len(_remembered) >= _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[old, new] = diff.grade, diff.summary
    return _remembered[old, new]
