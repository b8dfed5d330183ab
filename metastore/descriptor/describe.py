"""Makes a descriptor of a folder of files: their names, sizes, hashes, media types, and the columns of tables.

If frictionless is installed, it guesses the schemas of CSV and TSV files. It gets only the first bytes of a file, and
neither the file nor its name, so it cannot read further, follow a path, or fetch anything.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, count
from mimetypes import MimeTypes
from pathlib import Path
from posixpath import basename, normpath, splitext
from typing import Any

from metastore.descriptor import _tabular as tabular
from metastore.descriptor.document import DESCRIPTOR, decode
from metastore.descriptor.limits import MAX_BYTES
from metastore.descriptor.resources import check, local_path, resources
from metastore.errors import InvalidInput
from metastore.files.reading import place_in
from metastore.os_errors import storage_errors
from metastore.parse import encodable

_CHUNK = 1024 * 1024
#: Media types that Python 3.11 does not know.
_MORE = {
    "geojson": "application/geo+json",
    "gz": "application/gzip",
    "md": "text/markdown",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "yaml": "application/yaml",
    "yml": "application/yaml",
}
_log = logging.getLogger("metastore")
Progress = Callable[[int, int, str], None]


def _silent(bytes_done: int, bytes_total: int, path: str) -> None:
    pass


def describe(folder: str | Path, *, name: str | None = None, progress: Progress = _silent) -> dict[str, Any]:
    """Make a descriptor of the files in a folder, and in the folders below it.

    Each file gets a resource, in the order of paths. Hidden files and folders are skipped, and so are links to folders
    and links that leave the folder. An existing `datapackage.json` is kept, except for resources whose file is gone;
    sizes and hashes are measured again, and existing schemas are kept. A table that cannot be understood gets no
    schema; the log says why (INFO). Without frictionless, no table gets one; the log says so once (WARNING).

    Args:
        folder: The folder of the files; nothing in it is changed.
        name: The package's name; otherwise the one in `datapackage.json`, else the folder's.
        progress: Called with the bytes read so far, the bytes in total, and the path of the file that is being read.

    Returns:
        A descriptor that can be stored.

    Raises:
        InvalidInput: There is no such folder, a file has a name that no resource may have, or the `datapackage.json`
            or the name is not valid.
        StorageUnavailable: A file cannot be read.
    """
    root = os.path.realpath(os.path.expanduser(folder))
    if not os.path.isdir(root):
        raise InvalidInput(f"{folder} is not a folder")
    with storage_errors():
        known = _known(root)
        described = {path for _, resource in resources(known) for path in _many(resource)}
        paths = [path for path in sorted(_files(root)) if path not in described]
        check({"resources": [{"path": path} for path in paths]})
        made = {"name": "", **known} | {"name": _package_name(name, known, root)}
        made["resources"] = [*_measured(root, paths, known, progress), *_elsewhere(known)]
    check(made)
    return made


def _known(root: str) -> dict[str, Any]:
    path = f"{root}/{DESCRIPTOR}"
    if not _is_inside(root, path):
        return {}
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        known = decode(content, max_bytes=MAX_BYTES)
        check(known)
    except InvalidInput as error:
        raise InvalidInput(f"the {DESCRIPTOR} that is there: {error}", problems=error.problems) from None
    return dict(known)


def _package_name(name: str | None, known: Mapping[str, Any], root: str) -> str:
    if name is not None and not re.fullmatch(r"[-a-z0-9._/]+", name):
        raise InvalidInput(f"a package's name is lower case letters, digits and - . _ /, not {name!r}")
    return name or known.get("name") or slug(os.path.basename(root)) or "package"


def _many(resource: Mapping[str, Any]) -> list[str]:
    """Return the paths of a resource that has several files."""
    path = resource.get("path")
    return [normpath(part) for part in path if isinstance(part, str)] if isinstance(path, list) else []


def _elsewhere(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the resources that are not a single file: URLs, several files, inline data."""
    return [resource for _, resource in resources(known) if local_path(resource) is None]


def _files(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            if not name.startswith(".") and path != DESCRIPTOR and _is_inside(root, f"{root}/{path}"):
                encodable(path, f"the name of the file {path!a}")
                yield path


def _raise(error: OSError) -> None:
    raise error


def _is_inside(root: str, path: str) -> bool:
    """Tell whether a path, with links resolved, is a file in the folder and not hidden."""
    place = place_in(root, path)
    return place is not None and "/." not in f"/{place}"


def _measured(root: str, paths: list[str], known: Mapping[str, Any], progress: Progress) -> Iterator[dict[str, Any]]:
    before = {local_path(resource): resource for _, resource in resources(known)}
    taken = {name for _, resource in resources(known) if isinstance(name := resource.get("name"), str)}
    total, done = sum(os.path.getsize(f"{root}/{path}") for path in paths), 0
    guesses = _guesses_schemas(paths)
    for path in paths:
        old = before.get(path, {})
        kind = kind_of(path)
        resource: dict[str, Any] = {"name": old.get("name") or free_name(path, taken), "path": path, **kind} | old
        resource |= {"path": path} | _measure(f"{root}/{path}", old, partial(_tell, progress, path, done, total))
        if guesses and "schema" not in old and kind.get("format") in tabular.FORMATS:
            table = tabular.table(f"{root}/{path}", kind["format"])
            resource |= {member: value for member, value in table.items() if member not in old}
        done += resource["bytes"]
        yield resource


def _guesses_schemas(paths: list[str]) -> bool:
    """Tell whether frictionless can guess the schemas of these files. If it is missing, log what to install."""
    tables = sum(kind_of(path).get("format") in tabular.FORMATS for path in paths)
    if not tables:
        return False
    try:
        tabular.frictionless()
    except InvalidInput as error:
        _log.warning("the columns of %d table%s are not described: %s", tables, "s" * (tables != 1), error)
        return False
    return True


def _tell(progress: Progress, path: str, done: int, total: int, size: int) -> None:
    progress(done + size, max(total, done + size), path)


def _measure(path: str, old: Mapping[str, Any], tell: Callable[[int], None]) -> dict[str, Any]:
    """Read a file once. `tell` is called with the number of bytes read so far."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            tell(size)
    if not size:
        tell(0)
    sha256 = digest.hexdigest()
    # For Git LFS pointers, a `sha256` member takes precedence over `hash`, so they must agree.
    return {"bytes": size, "hash": f"sha256:{sha256}"} | ({"sha256": sha256} if "sha256" in old else {})


def kind_of(path: str) -> dict[str, str]:
    """Return the members `format` (the file extension in lower case, if there is one) and `mediatype` of a resource."""
    ending = splitext(path)[1][1:].lower()
    known = MimeTypes().guess_type(f"x.{ending}")[0]  # a new instance ignores the machine's list of types
    media_type = _MORE.get(ending) or known or "application/octet-stream"
    return {"format": ending, "mediatype": media_type} if ending else {"mediatype": media_type}


def free_name(path: str, taken: set[Any]) -> str:
    """Derive a free name from a file name; if it is taken, add the folders, then a number."""
    stem, whole = (slug(text) or "resource" for text in (splitext(basename(path))[0], path))
    names = chain((stem, whole), (f"{whole}-{number}" for number in count(2)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name


def slug(text: str) -> str:
    """Return a text reduced to the characters allowed in a name. The result may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")
