"""The lines of the journal as they are stored: a dataset whose every revision replaces one small file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from metastore.parse import parse_dataset_id
from metastore.types import DatasetId

#: The dataset whose revisions are the journal's lines, and the file that each of them replaces.
JOURNAL = DatasetId("_metastore", "journal")
LINE = "entry.json"


def line_content(action: str, dataset_id: DatasetId, details: Mapping[str, Any]) -> bytes:
    """Return what is stored for a line."""
    line = {"action": action, "dataset": str(dataset_id), "details": details}
    return (json.dumps(line, indent=2, ensure_ascii=False) + "\n").encode()


def parse_line(content: bytes) -> tuple[str, DatasetId, Mapping[str, Any]]:
    """Return the action, the dataset and the details of a line. Raises ValueError."""
    try:
        line = json.loads(content)
        return line["action"], parse_dataset_id(line["dataset"]), line["details"]
    except (KeyError, TypeError):
        raise ValueError("it lacks a part, or is not an object") from None
