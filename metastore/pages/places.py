"""Places in a descriptor, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metastore.pages.overview import cut, text_of

_NOUNS = {"resources": "resource", "fields": "field", "licenses": "licence", "contributors": "contributor"}
_NOUNS |= {"sources": "source", "keywords": "keyword", "foreignKeys": "foreign key"}


def place_of(descriptor: Any, pointer: str) -> str:
    """Return a JSON Pointer in words: `resource stations › field lat › type`."""
    words, value, noun = list[str](), descriptor, ""
    for part in (token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]):
        value = _member(value, part)
        if noun:
            name = text_of(value.get("name") or value.get("title")) if isinstance(value, Mapping) else ""
            words.append(f"{noun} {cut(name, 60) or int(part) + 1 if part.isdecimal() else part}")
            noun = ""
        elif part in _NOUNS and isinstance(value, list):
            noun = _NOUNS[part]
        elif part != "schema":
            words.append(cut(part, 60))
    return " › ".join([*words, *([f"{noun}s"] if noun else [])])


def _member(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and key.isdecimal() and len(key) < 9 and int(key) < len(value):
        return value[int(key)]
    return None
