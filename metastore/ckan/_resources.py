"""Map the resources of a CKAN dataset to those of a descriptor, and back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from metastore.ckan._fields import RESOURCE, beyond, from_json, in_order, laid_over, text, to_ckan, to_standard, untold
from metastore.descriptor.resources import check, is_url
from metastore.errors import InvalidInput

#: The member of a CKAN resource that holds the members without a field in CKAN, as JSON text.
MEMBER = "datapackage"
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)


def describe(listed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Convert resources of CKAN to resources of a descriptor."""
    described = []
    for index, (resource, view) in enumerate(zip(listed, _views(listed), strict=True)):
        foreign = from_json(resource.get(MEMBER))
        kept = isinstance(foreign, dict) and bool(foreign) and "ckan" not in foreign
        members = laid_over(view, foreign if kept else {})
        rest = untold(resource, _recovered(index, members, foreign=False))
        if kept:
            del rest[MEMBER]
        described.append({**members, "ckan": rest} if rest else members)
    return described


def pack(listed: Sequence[Mapping[str, Any]], *, foreign: bool) -> list[dict[str, Any]]:
    """Convert resources of a descriptor to resources of CKAN."""
    packed = []
    for index, resource in enumerate(listed):
        rest = resource.get("ckan", {})
        recovered = _recovered(index, resource, foreign=foreign)
        packed.append({**recovered, **rest} if isinstance(rest, dict) else recovered)
    for resource, ours, view in zip(listed, packed, _views(packed), strict=True):
        members = {member: value for member, value in resource.items() if member != "ckan"}
        more = beyond(members, view)
        address = text(ours.get("url"))
        if foreign and "path" in members and address and not is_url(address):
            more["path"] = members["path"]  # CKAN would turn it into an address: "http://cars.csv"
        if more:
            ours[MEMBER] = in_order(more)
    return packed


def _views(listed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the standard members of CKAN's resources, each with a unique name."""
    taken: set[str] = set()
    views = []
    for index, resource in enumerate(listed):
        called, fallback = text(resource.get("name")), _fallback(index, resource)
        name = _unique(_slug(called or "") or fallback, taken)
        view = {"name": name, "title": called if called not in (name, None) or called == fallback else None}
        view |= {"path": _path(resource, name), **to_standard(RESOURCE, resource)}
        if sha256 := _sha256(resource):
            view["hash"] = f"sha256:{sha256}"
        views.append({member: value for member, value in view.items() if value is not None})
    return views


def _recovered(index: int, said: Mapping[str, Any], *, foreign: bool) -> dict[str, Any]:
    """Return the CKAN fields that the standard members of a resource determine."""
    fields = to_ckan(RESOURCE, said, foreign=foreign)
    name, title, path = (text(said.get(member)) for member in ("name", "title", "path"))
    if title or (name and name != _fallback(index, fields)):
        fields["name"] = title or name
    if path and _storable(path):
        fields["url"] = path
    return fields


def _fallback(index: int, resource: Mapping[str, Any]) -> str:
    """Return a name for a resource that has none in CKAN."""
    return f"resource-{_slug(text(resource.get('id')) or '')[:8] or index + 1}"


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain)[:100].strip("-._")


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(found)
    return found


def _path(resource: Mapping[str, Any], name: str) -> str | None:
    """Return the path of the data: for an upload with a known hash, a file that a Git LFS pointer can replace."""
    url = text(resource.get("url"))
    if (
        url
        and resource.get("url_type") == "upload"
        and _sha256(resource)
        and to_standard(RESOURCE, resource).get("bytes")
    ):
        local = f"data/{name}/{_filename(url)}"
        if _storable(local):
            return local
    return url if url and _storable(url) else None


def _filename(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:
        path = url
    return unquote(path, errors="replace").rpartition("/")[2] or "data"


def _sha256(resource: Mapping[str, Any]) -> str | None:
    """Return the SHA-256, from `hash` if it is one, or from `sha256`, which extensions for large files add."""
    for member in ("hash", "sha256"):
        value = resource.get(member)
        if isinstance(value, str) and (found := _SHA256.fullmatch(value)):
            return found[1]
    return None


def _storable(path: str) -> bool:
    try:
        check({"resources": [{"path": path}]})
    except InvalidInput:
        return False
    return True
