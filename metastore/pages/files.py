"""The file of a resource: where it is, and its beginning if the service can read it. Nothing is fetched for that.

A file is read from the dataset's own repository, or from the folder of a Git LFS server on the same machine.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass

from metastore.descriptor.lfs import CONFIG, is_pointer, sha256_of
from metastore.descriptor.resources import is_url, local_path
from metastore.errors import MetastoreError
from metastore.files.reading import open_file
from metastore.pages.overview import Resource, link_of, text_of
from metastore.pages.previews import Preview, table_of
from metastore.service.context import service
from metastore.types import DatasetId, RevisionId

#: The bytes of a file that are read, and the characters of a text that are shown.
_READ, _SHOWN = 64 * 1024, 20_000
#: The rows of a table that are shown.
_ROWS = 50
#: The largest file in Git, in bytes, that is read: Git's objects are read whole.
_LARGEST = 1024 * 1024
_OID, _SIZE = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.M), re.compile(rb"^size ([0-9]{1,18})$", re.M)
#: No space in it stands for the end of a line: an empty line would then be looked at once for each one before it.
_SERVER = re.compile(r"^[^\S\n]*url[^\S\n]*=[^\S\n]*(\S+)[^\S\n]*$", re.M)
#: Encodings of text. Others that Python knows are programs in disguise, or take long: `unicode_escape`, `punycode`.
_ENCODINGS = re.compile(
    r"ascii|utf-(8|16|32)(-sig|-le|-be)?|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|big5\w*|gb\d+|gbk|shift_jis\w*|euc_\w+"
    r"|iso2022_\w+|johab|hz|tis-620|kz1048|ptcp154"
)
_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True, slots=True)
class FileView:
    """A file as a page shows it.

    Attributes:
        state: `shown`, `empty`, `binary`, `encoding` (an unknown one), `large` (in Git, too large to read), `differs`
            (it has another size than the descriptor says), `pointer` (only that is kept), `web`, `several` or `absent`.
        path: The path of the file.
        server: The Git LFS server that has the file, of a pointer; may be empty.
        digest: The SHA-256 of the file, of a pointer.
        size: The size of the file in bytes, or None if it is not known.
        table: Its first rows, of a table.
        text: Its beginning, of any other text.
        is_cut: Whether the text goes on.
    """

    state: str
    path: str
    server: str = ""
    digest: str = ""
    size: int | None = None
    table: Preview | None = None
    text: str = ""
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The first bytes of a file, and its size."""

    content: bytes
    size: int


def file_of(resource: Resource, subject: DatasetId, revision: RevisionId) -> FileView | None:
    """Return what to say about the file of a resource; None if the descriptor holds the data, or names no file."""
    if (path := local_path(resource.value)) is None:
        return _elsewhere(resource)
    config, _ = _in_git(subject, revision, CONFIG)
    size = resource.member("bytes")
    claimed = size if isinstance(size, int) and not isinstance(size, bool) else None
    kept, large = _in_git(subject, revision, path, claimed if config is None else None)
    if kept is not None and not is_pointer(kept):
        return _shown(resource, path, _Beginning(kept[:_READ], len(kept)))
    digest, length = _named(kept, resource, claimed)
    found = _in_folder(subject, digest) if digest else None
    if found is not None:
        is_other = length is not None and length != found.size
        return FileView("differs", path, size=found.size) if is_other else _shown(resource, path, found)
    if kept is not None:
        server = _SERVER.search(config.decode("utf-8", "replace")) if config is not None else None
        address = link_of(server[1]) if server else None
        return FileView("pointer" if kept else "empty", path, address or "", digest, length)
    return FileView("absent", path, size=claimed) if large is None else FileView("large", path, size=large)


def _elsewhere(resource: Resource) -> FileView | None:
    path = resource.member("path")
    if "data" in resource.value:
        return None
    if isinstance(path, str) and is_url(path):
        return FileView("web", path)
    return FileView("several", resource.path) if isinstance(path, list) and path else None


def _in_git(
    subject: DatasetId, revision: RevisionId, path: str, claimed: int | None = None
) -> tuple[bytes | None, int | None]:
    """Return a file of the dataset's repository, or its size if that is too large to read it.

    Both are None if there is no such file, or the repository is behind a service. Of a file on a Git host, only the
    descriptor may say the size (`claimed`).
    """
    try:
        storage = service().store.storage
        size = storage.size(subject, revision, path)
        size = claimed if size is None else size
        if size is not None and size > _LARGEST:
            return None, size
        return storage.read(subject, revision, path), None
    except MetastoreError:
        return None, None


def _named(pointer: bytes | None, resource: Resource, claimed: int | None) -> tuple[str, int | None]:
    """Return the SHA-256 and the size of a file, by its pointer or by the descriptor."""
    oid, size = (part.search(pointer) if pointer else None for part in (_OID, _SIZE))
    if oid and size:
        return oid[1].decode(), int(size[1])
    return sha256_of(resource.value) or "", claimed


def _in_folder(subject: DatasetId, digest: str) -> _Beginning | None:
    """Return the beginning of a file in the folder of the Git LFS server, if the settings name one.

    Servers differ in their folders: giftless has none below that of a repository, Git LFS itself has two.
    """
    template = service().settings.lfs_folder
    if template is None:
        return None
    folder = template.replace("{owner}", subject.owner).replace("{name}", subject.name)
    for path in (f"{folder}/{digest}", f"{folder}/{digest[:2]}/{digest[2:4]}/{digest}"):
        try:
            with open(path, "rb", opener=open_file) as file:
                return _Beginning(file.read(_READ), os.fstat(file.fileno()).st_size)
        except (OSError, MetastoreError):  # the next folder may have it
            continue
    return None


def _shown(resource: Resource, path: str, found: _Beginning) -> FileView:
    """Show the beginning of a file as a table or as text, if it is one."""
    if not found.size:
        return FileView("empty", path)
    try:
        text = _decoded(found, text_of(resource.member("encoding")) or "utf-8")
    except LookupError:
        return FileView("encoding", path, size=found.size)
    if text is None or _BINARY.search(text):
        return FileView("binary", path, size=found.size)
    is_whole = len(found.content) == found.size
    kind = _kind(resource, path)
    table = table_of(resource, text, mark=kind, most=_ROWS, is_whole=is_whole) if kind else None
    if table is not None:
        return FileView("shown", path, size=found.size, table=table)
    return FileView("shown", path, size=found.size, text=text[:_SHOWN], is_cut=not is_whole or len(text) > _SHOWN)


def _decoded(found: _Beginning, encoding: str) -> str | None:
    """Return the beginning of a file as text; None if it is none. Raises LookupError: an unknown encoding."""
    codec = codecs.lookup(encoding)
    if not _ENCODINGS.fullmatch(codec.name):
        raise LookupError(encoding)
    decoder = codecs.getincrementaldecoder("utf-8-sig" if codec.name == "utf-8" else codec.name)()
    try:
        return decoder.decode(found.content, final=len(found.content) == found.size)
    except UnicodeError:
        return None


def _kind(resource: Resource, path: str) -> str:
    """Return the usual delimiter of a kind of table; an empty text for a file that is not a table."""
    names = {resource.format.lower(), text_of(resource.member("mediatype")).lower(), path.rpartition(".")[2].lower()}
    if names & {"tsv", "text/tab-separated-values"}:
        return "\t"
    return "," if names & {"csv", "text/csv"} else ""
