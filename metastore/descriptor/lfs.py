"""The files beside a descriptor that let `git clone` fetch its data through Git LFS.

Formats: git-lfs `docs/spec.md` (pointers), git-lfs-config(5) (`.lfsconfig`), gitattributes(5). A dataset has these
files if it has a `.lfsconfig`: one pointer for each resource with a local path, a SHA-256 and a size in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from metastore.descriptor.document import DESCRIPTOR
from metastore.descriptor.resources import local_path, resources
from metastore.errors import InvalidInput
from metastore.types import DatasetId

ATTRIBUTES, CONFIG = ".gitattributes", ".lfsconfig"
#: The attributes of a file in Git LFS.
_FILTER = " filter=lfs diff=lfs merge=lfs -text"
_POINTER_START = b"version https://git-lfs.github.com/spec/v1\n"
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Paths that need no quotes in `.gitattributes`. Nearly all match.
_PLAIN = re.compile(r"[\w./-]+", re.ASCII)


def files_of(descriptor: Mapping[str, Any], content: bytes, config: bytes | None) -> dict[str, bytes]:
    """Return the files of a new dataset: `datapackage.json`, and with a `.lfsconfig` the files for Git LFS.

    Args:
        descriptor: The descriptor, checked.
        content: The same as it is stored.
        config: The content of `.lfsconfig`, or None for a dataset without LFS.

    Raises:
        InvalidInput: Two resources share a path and disagree about its content, or one's path is another's folder.
    """
    files = {DESCRIPTOR: content}
    if config is not None:
        pointers = pointers_of(descriptor)
        files[CONFIG] = config
        files[ATTRIBUTES] = attributes(pointers)
        files |= pointers
    return files


def pointers_of(descriptor: Mapping[str, Any]) -> dict[str, bytes]:
    """Return path -> pointer file of each resource that has one."""
    pointers: dict[str, bytes] = {}
    for index, resource in resources(descriptor):
        path, sha256, size = local_path(resource), sha256_of(resource), resource.get("bytes")
        if path is None or sha256 is None or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            continue
        # "An empty file is the pointer for an empty file": Git would see any other content as a change.
        pointer = b"%soid sha256:%s\nsize %d\n" % (_POINTER_START, sha256.encode(), size) if size else b""
        if pointers.setdefault(path, pointer) != pointer:
            raise InvalidInput(
                f"another resource says something else of the content of {path!r}", pointer=f"/resources/{index}"
            )
    _no_file_is_a_folder(pointers)
    return pointers


def is_pointer(content: bytes) -> bool:
    """Tell whether a file is a Git LFS pointer. An empty file is the pointer of an empty file."""
    return not content or (len(content) < 1024 and content.startswith(_POINTER_START))


def attributes(paths: Iterable[str], kept: bytes = b"", *, gone: Iterable[str] = ()) -> bytes:
    """Return a `.gitattributes` that sends these paths through Git LFS.

    Args:
        paths: Paths inside the dataset.
        kept: An older `.gitattributes`. Its lines come first, without those about `paths` and `gone`.
        gone: Paths that are no longer sent through Git LFS.
    """
    ours = {_line(path): None for path in sorted(paths)}
    # metastore-lib wrote paths as they are, neither anchored nor quoted.
    dropped = {*ours, *map(_line, gone), *(f"{path}{_FILTER}" for path in (*paths, *gone))}
    # Not splitlines: a path may have characters that end a line for Python, but not for Git.
    lines = kept.decode(errors="surrogateescape").removesuffix("\n").split("\n") if kept else ()
    foreign = (line for line in lines if line not in dropped)
    return "".join(f"{line}\n" for line in (*foreign, *ours)).encode(errors="surrogateescape")


def config_of(lfs_url: str, dataset_id: DatasetId) -> bytes:
    """Return the `.lfsconfig` for a server's address; `{owner}` and `{name}` in it are replaced."""
    url = lfs_url.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)
    return f"[lfs]\n\turl = {url}\n\tlocksverify = false\n".encode()


def check_url(lfs_url: str) -> str:
    """Refuse an address that would break out of `.lfsconfig`.

    Raises:
        InvalidInput: It has white space, quotes, or characters that a Git configuration treats as its own.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'#;\\]+", lfs_url):
        raise InvalidInput("an LFS server's address looks like https://lfs.example.org/{owner}/{name}")
    return lfs_url


def sha256_of(resource: Mapping[str, Any]) -> str | None:
    """Return the `sha256` member, else `hash: "sha256:…"` (Data Package, "hash"), in lower case."""
    value = resource.get("sha256")
    if not isinstance(value, str):
        value = resource.get("hash")
        if not isinstance(value, str) or not value.startswith("sha256:"):
            return None
        value = value.removeprefix("sha256:")
    value = value.lower()
    return value if _SHA256.fullmatch(value) else None


def _no_file_is_a_folder(paths: Mapping[str, bytes]) -> None:
    folders = {path.rpartition("/")[0]: path for path in paths}
    for folder, path in folders.items():
        while folder:
            if folder in paths:
                raise InvalidInput(f"{folder!r} cannot be a file and the folder of {path!r} at once")
            folder = folder.rpartition("/")[0]


def _line(path: str) -> str:
    """Return the line of `.gitattributes` that sends one path through Git LFS, and no other path.

    A backslash escapes globs (gitignore(5)). Characters that would end the pattern need C quotes (gitattributes(5)).
    """
    return f"/{path}{_FILTER}" if _PLAIN.fullmatch(path) else _quoted(f"/{path}") + _FILTER


def _quoted(path: str) -> str:
    pattern = re.sub(r"([\\*?\[\]])", r"\\\1", path)
    if not re.search(r'[\s"#!]', pattern):
        return pattern
    return '"' + pattern.replace("\\", "\\\\").replace('"', '\\"') + '"'
