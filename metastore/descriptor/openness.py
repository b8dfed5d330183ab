"""Tells whether licences are open, as CKAN does: by the Open Definition or the Open Source Definition."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

#: All licences are open; one of them is not on the list of open ones; or the dataset or a resource has no licence.
OPENNESS = ("open", "not-open", "none")
_FILE = Path(__file__).parent.parent / "data" / "licences" / "open.json"
#: The members that name a licence; the last three are those of old descriptors and of other profiles.
_NAMES = ("name", "title", "path", "id", "type", "url")
_ADDRESS = re.compile(r"https?://(?:www\.)?")
#: Creative Commons by attribution, with or without share-alike: all versions, and those adapted to a country's law.
_ATTRIBUTION = re.compile(r"cc-by(-sa)?-[1-4]\.[05](-[a-z]{2,4})?|creativecommons\.org/licenses/by(-sa)?/.*")
_OPEN_FOR_ALL = re.compile(r"creativecommons\.org/publicdomain/(zero|mark)/.*")
_VERSIONS = re.compile(r"(-only|-or-later|\+)$")
#: Longer texts name no licence of the list.
_LONGEST = 200


def licences_of(thing: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the licences of a descriptor or a resource; in old descriptors, what `license` says."""
    given = thing.get("licenses") or thing.get("license") or ()
    items = given if isinstance(given, list) else [given]
    named = [{"name": item} if isinstance(item, str) and item.strip() else item for item in items]
    return [item for item in named if isinstance(item, dict) and item]


def openness(descriptor: Mapping[str, Any]) -> str:
    """Return one of `OPENNESS`. The licences of the dataset hold for its resources that have none themselves."""
    given = descriptor.get("resources")
    resources = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    general, own = licences_of(descriptor), [licences_of(each) for each in resources]
    licences = [*general, *(licence for each in own for licence in each)]
    if not all(_is_open(tuple(map(licence.get, _NAMES))) for licence in licences):
        return "not-open"
    return "open" if general or (own and all(own)) else "none"


def _is_open(names: tuple[Any, ...]) -> bool:
    return any(_is_listed(name) for name in names if isinstance(name, str) and len(name) <= _LONGEST)


@lru_cache(1024)
def _is_listed(name: str) -> bool:
    key = _key(name)
    patterns = (_ATTRIBUTION, _OPEN_FOR_ALL)
    return key in _listed() or any(pattern.fullmatch(key) for pattern in patterns)


@cache
def _listed() -> frozenset[str]:
    known = json.loads(_FILE.read_text("utf-8"))
    return frozenset(map(_key, (*known["ids"], *known["addresses"])))


def _key(name: str) -> str:
    """Return an id or an address as they are compared: `CC BY 4.0` is `CC-BY-4.0`, and `http` is `https`."""
    return _VERSIONS.sub("", _ADDRESS.sub("", "-".join(name.lower().split())).rstrip("/"))
