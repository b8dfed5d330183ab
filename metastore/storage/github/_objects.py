"""Git objects as GitHub's REST API takes them: what of a new tree has to be sent, and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from metastore.git.objects import BLOB, FOLDER, SUBMODULE, Entry, GitObject, parse_tree

_TYPES = {FOLDER: "tree", SUBMODULE: "commit"}
#: Content up to this many bytes travels inside the tree; more is sent as a blob before.
INLINE = 256 * 1024
#: What goes in one request for a tree. Some 200 lines or 2.5 MB are reported to be answered by 502 or 422.
MOST_LINES, MOST_BYTES = 150, 2_000_000

ReadTree = Callable[[str], bytes]
Lines = dict[str, Entry | None]


def lines_of(
    tree: str, base: str | None, objects: Mapping[str, GitObject], read_tree: ReadTree
) -> tuple[Lines, str | None]:
    """Return what to send for a tree: path to entry (None: removed), and the tree that this is a change of.

    Args:
        tree: The tree to make, among `objects` unless GitHub has it.
        base: A tree that GitHub has, for a change; None for everything.
        objects: What GitHub may not have yet.
        read_tree: Returns the content of any other tree.
    """

    def read(identity: str) -> dict[str, Entry]:
        known = objects.get(identity)
        return parse_tree(known.content if known else read_tree(identity))

    whole: Lines = dict(_whole(tree, objects, read))
    changed: Lines = {}
    if base is None or _clash(base, tree, read, "", changed) or len(changed) >= len(whole) or not changed:
        return whole, None
    return changed, base


def _whole(
    tree: str, objects: Mapping[str, GitObject], read: Callable[[str], dict[str, Entry]], prefix: str = ""
) -> Iterator[tuple[str, Entry]]:
    """Yield the entries of a tree; a folder that GitHub has is one entry."""
    for name, entry in read(tree).items():
        if entry.mode == FOLDER and entry.id in objects:
            yield from _whole(entry.id, objects, read, f"{prefix}{name}/")
        else:
            yield prefix + name, entry


def _clash(old: str | None, new: str, read: Callable[[str], dict[str, Entry]], prefix: str, found: Lines) -> bool:
    """Collect what differs below two trees; True where a file takes a folder's place, or the other way round."""
    before, after = read(old) if old else {}, read(new)
    for name in before.keys() | after.keys():
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        folder = FOLDER in (was.mode if was else "", now.mode if now else "")
        if was and now and (was.mode == FOLDER) != (now.mode == FOLDER):
            return True
        if not folder:
            found[prefix + name] = now
        elif now is None:
            assert was
            found.update(dict.fromkeys(_files(was.id, read, f"{prefix}{name}/")))
        elif _clash(was.id if was else None, now.id, read, f"{prefix}{name}/", found):
            return True
    return False


def _files(tree: str, read: Callable[[str], dict[str, Entry]], prefix: str) -> Iterator[str]:
    for name, entry in read(tree).items():
        if entry.mode == FOLDER:
            yield from _files(entry.id, read, f"{prefix}{name}/")
        else:
            yield prefix + name


def portions(lines: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield what to send for a tree, one request after the other, each of which changes what the one before made.

    What is removed comes last: GitHub makes no empty tree.
    """
    portion: list[dict[str, Any]] = []
    size = 0
    for line in sorted(lines, key=lambda line: line.get("sha", "") is None):
        more = len(json.dumps(line))
        if portion and (len(portion) == MOST_LINES or size + more > MOST_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(line)
        size += more
    yield portion


def as_json(lines: Lines, objects: Mapping[str, GitObject]) -> list[dict[str, Any]]:
    """Return the lines as the API takes them, with small texts inside."""
    return [_line(path, entry, objects) for path, entry in sorted(lines.items())]


def _line(path: str, entry: Entry | None, objects: Mapping[str, GitObject]) -> dict[str, Any]:
    if entry is None:
        return {"path": path, "mode": "100644", "type": "blob", "sha": None}
    line = {"path": path, "mode": entry.mode.zfill(6), "type": _TYPES.get(entry.mode, "blob")}
    made = objects.get(entry.id)
    if made and made.kind == BLOB and (text := text_of(made.content)) is not None:
        return {**line, "content": text}
    return {**line, "sha": entry.id}


def text_of(content: bytes) -> str | None:
    """Return content that can travel inside a tree, as text; None for what is binary or too large."""
    if len(content) > INLINE or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
