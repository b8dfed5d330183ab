"""The rules that `git fsck --strict` holds single objects to. Names of the rules: git-fsck(1), "fsck messages"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from metastore.git.objects import BLOB, COMMIT, TAG, TREE, GitObject

_FILE_MODES = (b"100644", b"100755", b"100664", b"120000", b"160000")
_FOLDER_MODE, _LINK_MODE = b"40000", b"160000"
_ID = re.compile(rb"[0-9a-f]{40}")
_IDENTITY = re.compile(rb"[^<>\n]* <[^<>\n]*> (0|[1-9][0-9]*) [+-][0-9]{4}")
_LATEST = 2**63 - 1
#: Names that a checkout on Windows or macOS would take for `.git`.
_GIT_FOLDER = re.compile(r"(\.git|git~1)[ .]*(:.*)?", re.IGNORECASE | re.DOTALL)
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


def faults(found: GitObject) -> Iterator[str]:
    """Yield what breaks the format of an object, a sentence each."""
    if found.kind == TREE:
        yield from _of_tree(found.content)
    elif found.kind == COMMIT:
        yield from _of_commit(found.content)
    elif found.kind == TAG:
        yield from _of_tag(found.content)
    elif found.kind != BLOB:
        yield f"its kind {found.kind!r} is unknown"


def _of_tree(content: bytes) -> Iterator[str]:
    rows = []
    position = 0
    while position < len(content):
        zero = content.find(b"\0", position)
        mode, space, name = content[position:zero].partition(b" ")
        if zero < 0 or not space or zero + 21 > len(content) or not re.fullmatch(b"[0-7]+", mode):
            yield "it cannot be read to its end"
            return
        rows.append((mode, name, content[zero + 1 : zero + 21]))
        position = zero + 21
    for mode, name, identity in rows:
        yield from _of_entry(mode, name, identity)
    names = [name for _, name, _ in rows]
    keys = [name + b"/" if mode.lstrip(b"0") == _FOLDER_MODE else name for mode, name, _ in rows]
    if len(set(names)) < len(names):
        yield "it has two entries of one name"
    elif keys != sorted(keys):
        yield "its entries are not in order"


def _of_entry(mode: bytes, name: bytes, identity: bytes) -> Iterator[str]:
    shown = name.decode(errors="replace")
    if mode.startswith(b"0"):
        yield f"the mode of {shown!r} begins with a zero"
    if mode.lstrip(b"0") not in (*_FILE_MODES, _FOLDER_MODE):
        yield f"{shown!r} has the mode {mode.decode()}, which Git does not know"
    if not any(identity):
        yield f"{shown!r} leads to the object of only zeros"
    if not name or b"/" in name or name in (b".", b"..") or _is_git_folder(name):
        yield f"an entry is called {shown!r}"


def _is_git_folder(name: bytes) -> bool:
    text = _IGNORED_BY_HFS.sub("", name.decode(errors="replace"))
    return _GIT_FOLDER.fullmatch(text) is not None


def _of_commit(content: bytes) -> Iterator[str]:
    head, lines = _head(content)
    if head is not None:
        yield head
        return
    if b"\0" in content:
        yield "it contains a NUL character"
    if not lines or not _is_id(lines.pop(0), b"tree"):
        yield "it does not begin with a tree"
        return
    while lines and lines[0].startswith(b"parent "):
        if not _is_id(line := lines.pop(0), b"parent"):
            yield f"its parent {line[7:60]!r} is not an id"
    for role in (b"author", b"committer"):
        yield from _of_role(role, lines)


def _of_role(role: bytes, lines: list[bytes]) -> Iterator[str]:
    """Take the lines of one role off the front."""
    count = 0
    while lines and lines[0].startswith(role + b" "):
        yield from _of_identity(role.decode(), lines.pop(0)[len(role) + 1 :])
        count += 1
    if count != 1:
        yield f"it has {count or 'no'} {role.decode()}{'s' * (count > 1)}"


def _of_identity(role: str, line: bytes) -> Iterator[str]:
    match = _IDENTITY.fullmatch(line)
    if match is None or int(match[1]) > _LATEST:
        yield f"its {role} {line[:80].decode(errors='replace')!r} is not 'Name <email> seconds +zone'"


def _of_tag(content: bytes) -> Iterator[str]:
    head, lines = _head(content)
    if head is not None:
        yield head
        return
    if not lines or not _is_id(lines[0], b"object"):
        yield "it does not begin with an object"
    elif len(lines) < 2 or lines[1] not in (b"type commit", b"type tree", b"type blob", b"type tag"):
        yield "it does not say which kind of object it names"
    elif len(lines) < 3 or not lines[2].startswith(b"tag "):
        yield "it has no name"
    elif len(lines) > 3 and lines[3].startswith(b"tagger "):
        yield from _of_identity("tagger", lines[3][7:])


def _head(content: bytes) -> tuple[str | None, list[bytes]]:
    """Return what is wrong with the header as a whole, or None, and its lines."""
    header, blank, _ = content.partition(b"\n\n")
    if not blank and not content.endswith(b"\n"):
        return "its header has no end", []
    if b"\0" in header:
        return "its header contains a NUL character", []
    return None, header.rstrip(b"\n").split(b"\n")


def _is_id(line: bytes, name: bytes) -> bool:
    word, _, identity = line.partition(b" ")
    return word == name and _ID.fullmatch(identity) is not None
