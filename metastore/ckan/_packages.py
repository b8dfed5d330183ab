"""Map a dataset of CKAN to a descriptor and back, field by field; `metastore.ckan` checks that nothing is lost."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping
from typing import Any

from metastore.ckan import _resources as resources
from metastore.ckan._fields import (
    PACKAGE,
    TAG,
    are_objects,
    beyond,
    from_json,
    in_order,
    laid_over,
    same,
    text,
    to_ckan,
    to_standard,
    untold,
)

#: The extra that holds the members without a field in CKAN, as JSON text.
EXTRA = "datapackage"
#: The member of that extra for contributors after those that CKAN has fields for.
_MORE = "contributors+"
_ORDER = (
    ("name", "id", "title", "description", "homepage", "version", "created", "keywords", "licenses", "contributors")
)  # fmt: skip
_LICENSE_NAME = re.compile(r"[-a-zA-Z0-9._]+")
_LICENSE = {"name": "license_id", "title": "license_title", "path": "license_url"}
#: Role (Data Package, "contributors") -> CKAN's fields for the name and the address.
_PEOPLE = {"author": ("author", "author_email"), "maintainer": ("maintainer", "maintainer_email")}


def describe(package: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a CKAN dictionary to a descriptor."""
    left, foreign = _without_extra(package)
    said = _laid_over(_view(left), foreign)
    if are_objects(left.get("resources")) and "resources" not in said:
        said["resources"] = resources.describe(left.pop("resources"))
    rest = untold(left, _recovered(said, foreign=False))
    said = {**{member: said[member] for member in _ORDER if member in said}, **said}
    if "resources" in said:
        said["resources"] = said.pop("resources")  # the longest goes last
    # A package that CKAN has not stored yet has no member `ckan`.
    return said if not rest and same(pack(said), package) else {**said, "ckan": rest}


def pack(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a descriptor to a CKAN dictionary."""
    said = dict(descriptor)
    elsewhere = not isinstance(said.get("ckan"), dict)
    rest = {} if elsewhere else said.pop("ckan")
    package = {**_recovered(said, foreign=elsewhere), **rest}
    if are_objects(said.get("resources")) and "resources" not in rest:
        package["resources"] = resources.pack(said.pop("resources"), foreign=elsewhere)
    return _with_extra(package, _beyond(said, _view(package)))


def _view(package: Mapping[str, Any]) -> dict[str, Any]:
    """Return the standard members of a CKAN dataset, without its resources."""
    view = to_standard(PACKAGE, package)
    tags = package.get("tags")
    if tags and are_objects(tags) and all(text(tag.get("name")) for tag in tags):
        view["keywords"] = [tag["name"] for tag in tags]
    if _LICENSE_NAME.fullmatch(text(package.get("license_id")) or ""):
        licence = {member: text(package.get(field)) for member, field in _LICENSE.items()}
        view["licenses"] = [{member: value for member, value in licence.items() if value}]
    if contributors := _contributors(package):
        view["contributors"] = contributors
    return view


def _recovered(said: Mapping[str, Any], *, foreign: bool) -> dict[str, Any]:
    """Return the CKAN fields that the standard members determine."""
    package = to_ckan(PACKAGE, said, foreign=foreign)
    words = said.get("keywords")
    if isinstance(words, list) and words and all(text(word) and (not foreign or TAG.fullmatch(word)) for word in words):
        package["tags"] = [{"name": word} for word in words]
    licenses = said.get("licenses")
    if are_objects(licenses) and len(licenses) == 1 and _is_ckan_license(licenses[0]):
        package |= {_LICENSE[member]: value for member, value in licenses[0].items()}
    return package | _people(said.get("contributors"))


def _is_ckan_license(licence: Mapping[str, Any]) -> bool:
    known = set(licence) <= set(_LICENSE) and all(text(value) for value in licence.values())
    return known and _LICENSE_NAME.fullmatch(licence.get("name", "")) is not None


# Contributors: the author, the maintainer, the organisation as publisher, then those without a field in CKAN.


def _contributors(package: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for role, (name, email) in _PEOPLE.items():
        if title := text(package.get(name)):
            address = text(package.get(email)) or ""
            found.append({"title": title, **({"email": address} if "@" in address else {}), "role": role})
    organization = package.get("organization")
    if isinstance(organization, dict) and (title := text(organization.get("title"))):
        found.append({"title": title, "role": "publisher"})
    return found


def _people(contributors: Any) -> dict[str, str]:
    people: dict[str, str] = {}
    left = list(contributors) if are_objects(contributors) else []
    for role, (name, email) in _PEOPLE.items():
        if left and left[0].get("role") == role and text(left[0].get("title")):
            person = left.pop(0)
            people[name] = person["title"]
            people |= {email: person["email"]} if text(person.get("email")) else {}
    return people


def _laid_over(view: Mapping[str, Any], foreign: Mapping[str, Any]) -> dict[str, Any]:
    more = foreign.get(_MORE)
    said = laid_over(view, {member: value for member, value in foreign.items() if member != _MORE})
    return {**said, "contributors": view.get("contributors", []) + more} if isinstance(more, list) else said


def _beyond(said: Mapping[str, Any], view: Mapping[str, Any]) -> dict[str, Any]:
    more = beyond(said, view)
    known, listed = view.get("contributors", []), more.get("contributors")
    if known and isinstance(listed, list) and same(listed[: len(known)], known):
        del more["contributors"]
        more[_MORE] = listed[len(known) :]
    return more


# Extras are kept as {key: value}, which reads and compares better than a list of pairs. CKAN sorts them by key.


def _without_extra(package: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the package with its extras as one object, and the content of our own extra apart."""
    left = dict(package)
    extras = left.get("extras")
    if not are_objects(extras) or not all(set(each) == {"key", "value"} for each in extras):
        return left, {}
    pairs = {each["key"]: each["value"] for each in extras if isinstance(each["key"], str)}
    if len(pairs) < len(extras):
        return left, {}
    foreign = from_json(pairs.get(EXTRA))
    if not isinstance(foreign, dict) or not foreign or "ckan" in foreign:
        return {**left, "extras": pairs}, {}
    del pairs[EXTRA], left["extras"]
    return ({**left, "extras": pairs} if pairs else left), foreign


def _with_extra(package: dict[str, Any], foreign: Mapping[str, Any]) -> dict[str, Any]:
    pairs = package.get("extras", {} if foreign else None)
    if not isinstance(pairs, dict):
        return package
    if foreign:
        keys = list(pairs)
        place = bisect(keys, EXTRA) if keys == sorted(keys) else len(keys)
        items = list(pairs.items())
        pairs = dict([*items[:place], (EXTRA, in_order(foreign)), *items[place:]])
    return {**package, "extras": [{"key": key, "value": value} for key, value in pairs.items()]}
