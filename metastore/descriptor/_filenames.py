"""What is made of a file's name: a resource's name, format and media type, the same on every machine."""

from __future__ import annotations

import re
import unicodedata
from itertools import chain, count
from mimetypes import MimeTypes
from posixpath import basename, splitext
from typing import Any

#: Those that Python 3.11 does not know.
_MORE = {
    "geojson": "application/geo+json",
    "gz": "application/gzip",
    "md": "text/markdown",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "yaml": "application/yaml",
    "yml": "application/yaml",
}


def kind_of(path: str) -> dict[str, str]:
    """Return the members `format` (the ending in lower case; none without one) and `mediatype` of a resource."""
    ending = splitext(path)[1][1:].lower()
    known = MimeTypes().guess_type(f"x.{ending}")[0]  # an instance of its own has not the machine's list
    media_type = _MORE.get(ending) or known or "application/octet-stream"
    return {"format": ending, "mediatype": media_type} if ending else {"mediatype": media_type}


def free_name(path: str, taken: set[Any]) -> str:
    """Make a name of a file's, with its folders where that is taken, and a number where that is taken too."""
    stem, whole = (slug(text) or "resource" for text in (splitext(basename(path))[0], path))
    names = chain((stem, whole), (f"{whole}-{number}" for number in count(2)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name


def slug(text: str) -> str:
    """Return a text with nothing but the characters that a name may have; of some texts nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")
