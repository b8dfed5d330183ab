"""Git's objects as bytes and ids, without any Git: the formats of blobs, trees, commits and tags.

Every storage makes its ids here, so that the same history has the same ids everywhere. Formats: "Git Internals - Git
Objects" in Pro Git, and gitformat-commit; time zone offsets are always `+0000`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from metastore.types import Author, BlobId, Change, RevisionId, TagSpec

KINDS = BLOB, TREE, COMMIT, TAG = "blob", "tree", "commit", "tag"
#: The modes of the entries of a tree, as Git writes them.
FOLDER, SUBMODULE, FILE = "40000", "160000", "100644"
_BLANK = " \t\r"  # in the format; other white space can be part of a name
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEX = re.compile("[0-9a-f]{40}")
_COMMIT_BEGIN = re.compile(rb"tree [0-9a-f]{40}\n(?:parent ([0-9a-f]{40})\n)?")
#: Text that UTF-7, IDNA and Python's escapes read otherwise than ASCII does.
_ASCII = b"xn--4ca.+AAA-\\u0041"
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that datetime knows


class GitObject(NamedTuple):
    """An object as Git stores it: its kind (`blob`, `tree`, `commit` or `tag`) and its content without the header."""

    kind: str
    content: bytes


class Entry(NamedTuple):
    """A line of a tree; `mode` as Git writes it, such as `FOLDER`."""

    mode: str
    id: str


@dataclass(frozen=True, slots=True)
class Commit:
    """The content of a commit; `parent` is the first parent."""

    tree: str
    parent: RevisionId | None
    author: Author
    created: datetime
    message: str


class TagObject(NamedTuple):
    """The content of an annotated tag; `kind` is the kind of its target."""

    target: str
    kind: str
    name: str
    author: Author
    created: datetime
    description: str


def object_id(kind: str, content: bytes) -> str:
    """Return the SHA-1 that Git gives to an object."""
    digest = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)), usedforsecurity=False)
    digest.update(content)  # apart, so that large content is not copied
    return digest.hexdigest()


def blob_id(content: bytes) -> BlobId:
    """Return the id of a blob."""
    return BlobId(object_id(BLOB, content))


def commit_content(tree: str, parent: str | None, change: Change, merged: Iterable[str] = ()) -> bytes:
    """Return the content of a commit; `merged` are further parents.

    Author and committer are the same, so that the id depends on nothing else.
    """
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else []), *(f"parent {other}" for other in merged)]
    who = _identity(change.author, change.at)
    return "\n".join([*lines, f"author {who}", f"committer {who}", "", _text(change.message)]).encode()


def tag_content(tag: TagSpec) -> bytes:
    """Return the content of an annotated tag."""
    head = f"object {tag.revision}\ntype commit\ntag {tag.name}\ntagger {_identity(tag.author, tag.at)}\n\n"
    return (head + _text(tag.description)).encode()


def parse_commit(content: bytes) -> Commit:
    """Read a commit.

    Raises:
        ValueError: It is not a commit.
    """
    headers, message = _split(content, {"tree", "author"})
    author, created = _parse_identity(headers["author"])
    parent = headers.get("parent")
    return Commit(_id(headers["tree"]), RevisionId(_id(parent)) if parent else None, author, created, message)


def first_parent(content: bytes) -> str | None:
    """Return the first parent of a commit, if it has one, without reading the rest of the commit.

    Raises:
        ValueError: It is not a commit.
    """
    begin = _COMMIT_BEGIN.match(content)
    if begin is None:
        raise ValueError("not a commit")
    return begin[1].decode() if begin[1] else None


def parse_tag(content: bytes) -> TagObject:
    """Read an annotated tag. One without a tagger (old tags) gets an author of unknown name and time zero.

    Raises:
        ValueError: It is not a tag.
    """
    headers, message = _split(content, {"object", "type", "tag"})
    author, created = _parse_identity(headers.get("tagger", "unknown <> 0 +0000"))
    return TagObject(_id(headers["object"]), headers["type"], headers["tag"], author, created, message)


def parse_tree(content: bytes) -> dict[str, Entry]:
    """Read one level of a tree: name -> entry, in Git's order. Names that are not UTF-8 keep surrogate escapes.

    Raises:
        ValueError: It is not a tree.
    """
    return {
        name.decode(errors="surrogateescape"): Entry(mode.decode(), identity.hex())
        for mode, name, identity in _tree_rows(content)
    }


def find_entry(content: bytes, name: str) -> Entry | None:
    """Read one entry of one level of a tree, or None. The other entries are skipped without parsing.

    Raises:
        ValueError: The bytes before the entry are not a tree.
    """
    try:
        wanted = b" %s\0" % name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return None
    # A match at `place` may be part of an id, or of a longer name. So `position` walks along the starts of the rows, to
    # that of the row with the match; `zero` is the end of its name, and 20 bytes of an id follow.
    position, place = 0, -1 if "\0" in name else content.find(wanted)
    while place >= 0:
        while 0 <= (zero := content.find(b"\0", position)) < place:
            position = zero + 21
        if content.find(b" ", position) == place:
            if zero + 21 > len(content):
                raise ValueError("not a tree")
            return Entry(content[position:place].decode(), content[zero + 1 : zero + 21].hex())
        place = content.find(wanted, place + 1)
    return None


def _tree_rows(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield mode, name and id, raw."""
    position = 0
    while position < len(content):
        zero = content.index(b"\0", position)
        mode, _, name = content[position:zero].partition(b" ")
        position = zero + 21
        if position > len(content):
            raise ValueError("not a tree")
        yield mode, name, content[zero + 1 : position]


def tree_content(entries: Mapping[str, Entry]) -> bytes:
    """Return the content of one level of a tree, sorted as Git does: by bytes, folders as if their names ended in /."""
    rows = []
    for name, entry in entries.items():
        raw = name.encode(errors="surrogateescape")
        key = raw + b"/" if entry.mode == FOLDER else raw
        rows.append((key, b"%s %s\0" % (entry.mode.encode(), raw) + bytes.fromhex(entry.id)))
    return b"".join(row for _, row in sorted(rows))


def links(found: GitObject) -> Iterator[str]:
    """Yield the ids of the objects that an object refers to. Commits of submodules are in other repositories.

    A commit yields its tree and then its parents, a tag its target.

    Raises:
        ValueError: The object cannot be read.
    """
    if found.kind == TREE:
        yield from (entry.id for entry in parse_tree(found.content).values() if entry.mode != SUBMODULE)
    elif found.kind in (COMMIT, TAG):
        if not found.content.startswith(b"tree " if found.kind == COMMIT else b"object "):
            raise ValueError("it leads nowhere")
        for line in found.content.partition(b"\n\n")[0].split(b"\n"):
            name, _, value = line.partition(b" ")
            if name in (b"tree", b"parent", b"object"):
                yield _id(value.decode("ascii", "replace"))


def _text(text: str) -> str:
    return f"{text}\n" if text else ""


def _identity(author: Author, at: datetime) -> str:
    return f"{author.name} <{author.email}> {int((at - _EPOCH).total_seconds())} +0000"


def _parse_identity(text: str) -> tuple[Author, datetime]:
    who, _, when = text.rpartition(">")
    words = when.split()
    seconds = int(words[0]) if words else 0
    return _parse_author(who), datetime.fromtimestamp(max(0, min(seconds, _LATEST)), UTC)


@lru_cache(1024)  # a history has few authors
def _parse_author(who: str) -> Author:
    name, _, email = who.partition("<")
    return Author(name.strip(_BLANK), email.strip(_BLANK))


def _id(text: str) -> str:
    if not _HEX.fullmatch(text):
        raise ValueError("not the id of an object")
    return text


def _split(content: bytes, needed: Set[str]) -> tuple[dict[str, str], str]:
    """Split headers (the first of each name) and message. Foreign charsets are honoured, broken text is replaced."""
    head, _, message = content.partition(b"\n\n")
    charset = _charset(head)
    lines = head.decode(charset, "replace").split("\n")
    headers: dict[str, str] = dict([line.partition(" ")[::2] for line in reversed(lines)])
    if not headers.keys() >= needed:
        raise ValueError("not a commit or tag")
    return headers, message.decode(charset, "replace").rstrip("\n")


def _charset(head: bytes) -> str:
    """Return the charset that a commit names, if it is one that extends ASCII; otherwise UTF-8.

    Python has other codecs too. Some make half surrogates of plain text, which cannot be written, or take quadratic
    time.
    """
    _, named, rest = head.partition(b"\nencoding ")
    if named:
        charset = rest.partition(b"\n")[0].decode("ascii", "replace")
        with suppress(LookupError, ValueError):
            if _ASCII.decode(charset) == _ASCII.decode():
                return charset
    return "utf-8"
