"""The lines of the journal as they are stored: a dataset whose every revision replaces one small file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from metastore.parse import make_author, make_message, make_time, parse_dataset_id
from metastore.types import Author, DatasetId, RevisionId

#: The dataset whose revisions are the journal's lines, and the file that each of them replaces.
JOURNAL = DatasetId("_metastore", "journal")
LINE = "entry.json"


class Origin(NamedTuple):
    """The line of another store's journal that a line repeats: its id there, who, why and when.

    `contradicts` tells whether an earlier line repeats the same one in other words.
    """

    id: RevisionId
    author: Author
    message: str
    created: datetime
    contradicts: bool = False


class Line(NamedTuple):
    """A line as it is stored. Its origin is None unless it was copied from another store."""

    action: str
    dataset_id: DatasetId
    details: Mapping[str, Any]
    origin: Origin | None = None


def withdrawal(entry: object) -> str:
    """Return the message of a line that withdraws another. It repeats no reason, which may name a hidden dataset."""
    return f"Withdraw line {str(entry)[:12]}"


def line_content(line: Line) -> bytes:
    """Return what is stored for a line."""
    members: dict[str, Any] = {"action": line.action, "dataset": str(line.dataset_id), "details": line.details}
    if line.origin is not None:
        identity, author, message, created, contradicts = line.origin
        members["copied"] = {
            "line": identity,
            "author": {"name": author.name, "email": author.email},
            "message": message,
            "created": created.astimezone(UTC).isoformat(),
            **({"contradicts": True} if contradicts else {}),
        }
    return (json.dumps(members, indent=2, ensure_ascii=False) + "\n").encode()


def parse_line(content: bytes) -> Line:
    """Return a line. Raises ValueError."""
    try:
        line = json.loads(content)
        return Line(line["action"], parse_dataset_id(line["dataset"]), line["details"], _origin(line.get("copied")))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("it lacks a part, or is not an object") from None


def _origin(copied: Any) -> Origin | None:
    if copied is None:
        return None
    author = make_author((copied["author"]["name"], copied["author"]["email"]))
    message, created = make_message(copied["message"]), make_time(copied["created"])
    return Origin(copied["line"], author, message, created, copied.get("contradicts") is True)
