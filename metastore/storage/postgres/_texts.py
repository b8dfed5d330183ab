"""The searchable texts of a dataset, each with the period in which it held, as rows of the search index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from metastore.descriptor.document import DESCRIPTOR
from metastore.errors import StorageCorrupt
from metastore.git.objects import Commit, GitObject
from metastore.git.repository import DELETED_TREE, Repository, commit_at
from metastore.git.trees import find_blob
from metastore.search.documents import Document, document
from metastore.search.values import FACETS
from metastore.search.words import GAP, words_of_all
from metastore.storage.postgres._spans import MARK, changes, items
from metastore.types import DatasetId

#: Values above this size are indexed by their beginning and a hash, in bytes: PostgreSQL's indexes hold no longer ones.
_MOST_INDEXED = 500
#: How large the texts of one statement may be together, in characters.
_MOST_TEXT = 4 * 1024 * 1024
#: Of larger descriptors, the words are not remembered, in bytes.
_SMALL = 16 * 1024
#: An id without words. Those of the real one are added by the database, which keeps them right when it changes.
_NO_ID = DatasetId("", "")


class Version(NamedTuple):
    """What the index has of a revision: its time, whether it is a deletion, and its descriptor."""

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
    continues = before is not None and cut is not None and cut > before.since
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


def rows(wanted: Iterable[Version], read: Read) -> Iterator[dict[str, Any]]:
    """Yield all texts of versions, where they differ from the ones before, each with its words and its facets."""
    held, _, now = _periods(wanted, None)
    return (_row(*each, now=now, read=read) for each in held)


def _parts(held: Periods, before: Version | None, has_past: bool, now: int, read: Read) -> Iterator[dict[str, Any]]:
    """Yield the changes of spans, and then the texts."""
    kept, states = list[dict[str, Any]](), list[tuple[int, set[str]]]()
    for version, until in held:
        row = _row(version, until, now=now, read=read)
        states += [(version.since, items(row["words"], row))] if has_past else []
        kept.append(row if until is None else {**row, **of_former(row)})
    last = _row(before, None, now=now, read=read) if before is not None and held else None
    yield from changes(states, items(last["words"], last) if last else None)
    yield from kept


def of_former(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs once a text has become a former one: of its words, only those of the title are kept."""
    title_words = row["words"].partition(GAP)[0] + GAP if row["title"] is not None else ""
    return {**dict.fromkeys((*FACETS[1:], "spelled")), "words": title_words}


def _end(until: int | None, latest: int) -> int:
    return latest if until is None else min(until, latest)


def _row(version: Version, until: int | None, *, now: int, read: Read) -> dict[str, Any]:
    """Return a text as a row of the table `dataset_text`."""
    content = raw_descriptor(version.blob, read)
    title, words, facets = (_described if len(content) <= _SMALL else _described.__wrapped__)(content)
    return {
        "since": version.since,
        "until": until,
        "changed": now if until is None else version.since,
        "deleted": version.deleted,
        "blob": version.blob,
        "title": title,
        "words": words,
        **facets,
    }


@lru_cache(64)  # the next write of a dataset asks for the text that this one adds
def _described(content: bytes) -> tuple[str | None, str, Mapping[str, Any]]:
    """Return the title, the words and the facets of a descriptor."""
    seen = document(_NO_ID, content)
    return plain(seen.title) or None, _words(seen), _facets(seen)


def raw_descriptor(blob: str | None, read: Read) -> bytes:
    """Return a descriptor; an empty one if there is none, or it cannot be read."""
    try:
        return read(blob).content if blob is not None else b"{}"
    except (KeyError, StorageCorrupt):  # `verify` names it
        return b"{}"


def _words(seen: Document) -> str:
    texts = seen.texts[1:] if seen.title else seen.texts[2:]
    return " ".join(["", *words_of_all(texts)])


def _facets(seen: Document) -> dict[str, Any]:
    """Return the values of all facets but the owner, folded, and how they are written where that differs."""
    row, spelled = dict[str, Any](), dict[str, dict[str, str]]()
    for facet in FACETS[1:]:
        keys = {facet_key(folded): plain(value).replace(MARK, " ") for folded, value in seen.folded(facet)}
        row[facet] = list(keys)
        if differing := {key: value for key, value in keys.items() if key != value}:
            spelled[facet] = differing
    return row | {"spelled": spelled or None}


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
        text = json.dumps(row)
        if chunk and size + len(text) > _MOST_TEXT:
            yield f"[{','.join(chunk)}]"
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    yield f"[{','.join(chunk)}]"
