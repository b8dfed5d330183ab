"""The searchable texts of a dataset, each with the period in which it held, as rows of the search index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any, NamedTuple

from metastore.descriptor.document import DESCRIPTOR
from metastore.errors import StorageCorrupt
from metastore.git.objects import Commit, GitObject
from metastore.git.repository import DELETED_TREE, Repository, commit_at
from metastore.git.trees import find_blob
from metastore.search.documents import document
from metastore.search.values import FACETS
from metastore.search.words import GAP, fold, words_of_each
from metastore.storage.postgres._spans import MARK, changes
from metastore.types import DatasetId

#: Values above this size are indexed by their beginning and a hash, in bytes: PostgreSQL's indexes hold no longer ones.
_MOST_INDEXED = 500
#: How large the texts of one statement may be together, in characters.
_MOST_TEXT = 4 * 1024 * 1024
#: Of larger descriptors, the words are not remembered, in bytes.
_SMALL = 16 * 1024
_NO_FACETS = dict.fromkeys((*FACETS[1:], "spelled"))
#: An id without words. Those of the real one are added by the database, which keeps them right when it changes.
_NO_ID = DatasetId("", "")


class Version(NamedTuple):
    """A revision as the index stores it: its time, whether it is a deletion, and its descriptor."""

    since: int
    deleted: bool
    blob: str | None

    def continues(self, before: Version | None) -> bool:
        """Tell whether the text of the version before holds on."""
        return before is not None and self[1:] == before[1:] and self.since >= before.since


class Texts(NamedTuple):
    """Texts for the index.

    Attributes:
        cut: The texts that the index has do not hold from this time on, in seconds since 1970; None if they do.
        rows: The new texts and spans, as JSON, some megabytes in each; at least one, perhaps with nothing in it.
        now: The time of the newest revision.
    """

    cut: int | None
    rows: Iterator[str]
    now: int

    def statements(self) -> Iterator[dict[str, Any]]:
        """Yield the values of the calls that put the texts into the index."""
        for number, rows in enumerate(self.rows):
            yield {"texts": rows, "now": self.now, "cut": None if number else self.cut}


Read = Callable[[str], GitObject]


def texts_of_write(
    commits: Sequence[Commit], parent: str | None, repository: Repository | None, objects: Mapping[str, GitObject]
) -> Texts:
    """Return the texts that a write adds to the index.

    Args:
        commits: The new revisions, the oldest first.
        parent: The revision before them, or None.
        repository: Has the parent.
        objects: Has what is new.
    """

    def read(identity: str) -> GitObject:
        return objects[identity] if identity in objects or repository is None else repository.get(identity)

    if repository is None or parent is None:
        return texts(versions(commits, None, read), None, read)
    last = commit_at(repository, parent)
    is_second = last.tree == DELETED_TREE and last.parent is not None
    (before,) = versions([last], commit_at(repository, str(last.parent)) if is_second else None, read)
    return texts(versions(commits, last, read), before, read)


def _time(commit: Commit) -> int:
    return int(commit.created.timestamp())


def versions(commits: Iterable[Commit], parent: Commit | None, read: Read) -> Iterator[Version]:
    """Yield what the index has of revisions, the oldest first.

    Args:
        commits: The revisions.
        parent: The revision before them, if there is one.
        read: Returns an object. Raises KeyError.
    """
    before = parent
    for commit in commits:
        deleted = commit.tree == DELETED_TREE
        described = before if deleted and before is not None else commit
        yield Version(_time(commit), deleted, _descriptor_of(described, read))
        before = commit


def _descriptor_of(commit: Commit, read: Read) -> str | None:
    try:
        return find_blob(commit.tree, DESCRIPTOR, lambda tree: read(tree).content)
    except (KeyError, ValueError, StorageCorrupt):  # `verify` names it
        return None


def texts(wanted: Iterable[Version], before: Version | None, read: Read) -> Texts:
    """Return the texts of versions, where they differ from the ones before.

    Args:
        wanted: The versions, the oldest first; at least one.
        before: The version before them, which the index has; None to replace all that it has.
        read: As for `versions`.
    """
    held, cut, now = _periods(wanted, before)
    continues = before is not None and cut is not None and cut >= before.since
    has_past = before is not None or len(held) > 1
    return Texts(cut, _chunks(_parts(held, before if continues else None, has_past, now, read)), now)


Periods = list[tuple[Version, int | None]]


def _periods(wanted: Iterable[Version], before: Version | None) -> tuple[Periods, int | None, int]:
    """Return the versions that differ from the ones before, each with its end; and the other members of `Texts`."""
    held = Periods()
    cut, last = None if before else 0, before
    for version in wanted:
        if not version.continues(last):
            # A clock that went back: earlier texts do not hold beyond this time either.
            held = [(each, _end(until, version.since)) for each, until in held if each.since < version.since]
            held.append((version, None))
            cut = version.since if cut is None else min(cut, version.since)
        last = version
    assert last is not None
    return held, cut, last.since


def states(wanted: Iterable[Version], read: Read) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Yield the texts of versions, where they differ from the ones before, as rows, and the items of each."""
    held, _, now = _periods(wanted, None)
    for version, until in held:
        described = _described_at(version, read)
        yield {**_NO_FACETS, **_row(version, until, described, now)}, described.items()


def _parts(held: Periods, before: Version | None, has_past: bool, now: int, read: Read) -> Iterator[dict[str, Any]]:
    """Yield the changes of spans, and then the texts."""
    kept, new = list[dict[str, Any]](), list[tuple[int, set[str]]]()
    for version, until in held:
        described = _described_at(version, read)
        new += [(version.since, described.items())] if has_past else []
        kept.append(_row(version, until, described, now))
    yield from changes(new, _described_at(before, read).items() if before is not None and held else None)
    yield from kept


def _end(until: int | None, latest: int) -> int:
    return latest if until is None else min(until, latest)


class _Described(NamedTuple):
    """The searchable content of a descriptor.

    Attributes:
        title: Its title, or None.
        texts: The words of each text, the title first, with spaces between them.
        facets: The columns of its facets.
        values: The values of its facets, as items of spans.
    """

    title: str | None
    texts: list[str]
    facets: Mapping[str, Any]
    values: Set[str]

    def items(self) -> set[str]:
        """Return the texts and the values of facets. The function `metastore_dataset_items` returns the same."""
        return {*self.texts, *self.values} - {""} or {""}

    def words(self) -> str:
        return "".join(map(_ended, self.texts))

    def title_words(self) -> str:
        return _ended(self.texts[0]) if self.title is not None else ""


def _ended(text: str) -> str:
    return f" {text} {GAP}" if text else f" {GAP}"


def _row(version: Version, until: int | None, described: _Described, now: int) -> dict[str, Any]:
    """Return a text as a row of the table `dataset_text`. A former one has the words of its title, and no facets."""
    is_present = until is None
    return {
        "since": version.since,
        "until": until,
        "changed": now if is_present else version.since,
        "deleted": version.deleted,
        "blob": version.blob,
        "title": described.title,
        "words": described.words() if is_present else described.title_words(),
        **(described.facets if is_present else {}),
    }


def _described_at(version: Version, read: Read) -> _Described:
    content = raw_descriptor(version.blob, read)
    return (_described if len(content) <= _SMALL else _described.__wrapped__)(content)


@lru_cache(64)  # the next write of a dataset asks for the text that this one adds
def _described(content: bytes) -> _Described:
    seen = document(_NO_ID, content)
    texts = seen.texts[1:] if seen.title else seen.texts[2:]
    facets, values = _facets(tuple(tuple(seen.values[facet]) for facet in FACETS[1:]))
    return _Described(plain(seen.title) or None, words_of_each(texts), facets, values)


def raw_descriptor(blob: str | None, read: Read) -> bytes:
    """Return a descriptor; an empty one if there is none, or it cannot be read."""
    try:
        return read(blob).content if blob is not None else b"{}"
    except (KeyError, StorageCorrupt):  # `verify` names it
        return b"{}"


@lru_cache(8)  # successive revisions mostly have the same
def _facets(values: tuple[tuple[str, ...], ...]) -> tuple[dict[str, Any], Set[str]]:
    """Return the columns of all facets but the owner: values folded, and how they are written where that differs.

    Return the items of spans, too.
    """
    row, spelled, found = dict[str, Any](), dict[str, dict[str, str]](), set[str]()
    for facet, written in zip(FACETS[1:], values, strict=True):
        keys = {facet_key(fold(value)): plain(value).replace(MARK, " ") for value in written}
        row[facet] = list(keys)
        if differing := {key: value for key, value in keys.items() if key != value}:
            spelled[facet] = differing
        found.update(f"{MARK}{facet}={key}{MARK + value if key != value else ''}" for key, value in keys.items())
    return row | {"spelled": spelled or None}, frozenset(found)


def facet_key(folded: str) -> str:
    """Return a folded value of a facet as it is indexed."""
    value = plain(folded).replace(MARK, " ")
    if 4 * len(value) <= _MOST_INDEXED or len(raw := value.encode()) <= _MOST_INDEXED:
        return value
    return f"{value[:20]} {hashlib.sha256(raw).hexdigest()}"


def plain(text: str) -> str:
    """Return a text without the characters that PostgreSQL does not store."""
    text = text.replace("\0", " ")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    chunk, size = list[str](), 0
    for row in rows:
        text = json.dumps({name: value for name, value in row.items() if value is not None})
        if chunk and size + len(text) > _MOST_TEXT:
            yield f"[{','.join(chunk)}]"
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    yield f"[{','.join(chunk)}]"
