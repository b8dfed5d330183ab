"""The licences that the form of a dataset offers: those of the Open Definition, then those of SPDX."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent.parent / "data" / "licences" / "licences.json"
_NAME = re.compile(r"/licenses/(\d+)/name")


@cache
def known() -> dict[str, tuple[str, str]]:
    """Return title and address of each licence by its id, those for data first; an address may be empty."""
    return {name: (title, path) for name, (title, path) in json.loads(_FILE.read_text("utf-8")).items()}


def complete(descriptor: Any, changed: Mapping[str, Any]) -> None:
    """Give licences that were chosen by their id the title and the address of that licence.

    Args:
        descriptor: A descriptor with the new values, which is changed in place.
        changed: The new values by JSON Pointer. A title or address that was typed too is kept.
    """
    for pointer, new in changed.items():
        match = _NAME.fullmatch(pointer)
        if match and isinstance(new, str) and new in known():
            licence = descriptor["licenses"][int(match[1])]
            for member, value in zip(("title", "path"), known()[new], strict=True):
                if value and f"/licenses/{match[1]}/{member}" not in changed:
                    licence[member] = value
