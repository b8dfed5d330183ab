"""Rules of Data Package that JSON Schema cannot express, such as references to missing names and colliding paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from metastore.descriptor._schema_errors import kind_in_words
from metastore.descriptor.lfs import sha256_of
from metastore.descriptor.resources import is_plain, local_path, of_path, resources, why_unsafe, words_of
from metastore.phrase import Phrase
from metastore.types import Finding

#: The resources of a descriptor, with their positions.
_Listed = list[tuple[int, dict[str, Any]]]
#: A hash whose method is misspelt, so that no program recognises it.
_MISSPELT = re.compile(r"(?!sha256:)(?i:sha-?256:)")

#: The members of a resource that can name a file.
_REFERENCES = ("schema", "dialect", "path", "extrapaths")
_WORDS = {"path": Phrase("path"), "extrapaths": Phrase("extra path")}


def broken_rules(descriptor: Mapping[str, Any], *, with_pointers: bool, tabular: bool) -> Iterator[Finding]:
    """Yield the findings of the resources, one by one.

    Args:
        descriptor: Ordinary values.
        with_pointers: Also name the local files that get no Git LFS pointer.
        tabular: The profile asks for schemas itself.
    """
    listed = list(resources(descriptor))
    schemas = (resource.get("schema") for _, resource in listed)
    has_keys = any(isinstance(schema, dict) and "foreignKeys" in schema for schema in schemas)
    fields = _fields_by_resource(listed) if has_keys else {}  # it takes time
    for index, resource in listed:
        place = f"/resources/{index}"
        where = partial(words_of, descriptor, ("resources", index))  # only for findings: it takes time
        if not tabular and resource.get("profile") == "tabular-data-resource" and "schema" not in resource:
            detail = Phrase("%(where)s has no schema, which its profile tabular-data-resource requires", where=where())
            yield Finding(place, detail, "required")
        yield from _references(resource, place, where)
        if "extrapaths" in resource:
            yield from _extra_paths(resource["extrapaths"], place, where)
        yield from _of_schema(resource.get("schema"), f"{place}/schema", where, fields)
        yield from _of_hash(resource, place, where, with_pointers=with_pointers)
    yield from _collisions(descriptor, listed)


def _fields_by_resource(listed: _Listed) -> dict[str, set[str] | None]:
    named = (resource for _, resource in listed if isinstance(resource.get("name"), str))
    return {resource["name"]: _names(resource.get("schema")) for resource in named}


def _references(resource: Mapping[str, Any], place: str, where: Callable[[], str]) -> Iterator[Finding]:
    """Yield the unsafe references to files. `check` refuses only those to files that are written to disk."""
    for member in _REFERENCES:
        value = resource.get(member)
        if value is None or (isinstance(value, str) and is_plain(value)):
            continue
        paths = [(f"{place}/{member}", value)]
        if isinstance(value, list) and member in _WORDS:
            paths = [(f"{place}/{member}/{number}", path) for number, path in enumerate(value)]
        for pointer, path in paths:
            if isinstance(path, str) and (problem := why_refused(path)):
                yield Finding(pointer, of_path(path, _WORDS.get(member, member), where(), problem), "unsafe")


def why_refused(path: str) -> str | None:
    """Return why a reference to a file is unsafe; None if it is safe."""
    return Phrase("reads a file of the machine") if re.match("(?i)file:", path) else why_unsafe(path)


def _extra_paths(value: Any, place: str, where: Callable[[], str]) -> Iterator[Finding]:
    """Yield a finding if `extrapaths`, which no schema has, is not a list of texts, as frictionless expects."""
    if not isinstance(value, list):
        detail = Phrase("'extrapaths' of %(where)s is %(value)s, not a list", where=where(), value=kind_in_words(value))
        yield Finding(f"{place}/extrapaths", detail, "type")
        return
    for number, path in enumerate(value):
        if not isinstance(path, str):
            values = {"number": number + 1, "where": where(), "value": kind_in_words(path)}
            detail = Phrase("extra path %(number)s of %(where)s is %(value)s, not text", **values)
            yield Finding(f"{place}/extrapaths/{number}", detail, "type")


def _names(schema: Any) -> set[str] | None:
    """Return the names of a schema's fields; None if they are not known."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list):
        return None
    return {name for field in fields if isinstance(field, dict) and isinstance(name := field.get("name"), str)}


def _of_schema(
    schema: Any, place: str, where: Callable[[], str], fields: Mapping[str, set[str] | None]
) -> Iterator[Finding]:
    if (own := _names(schema)) is None:
        return
    first: dict[str, int] = {}
    for number, field in enumerate(schema["fields"] if len(own) < len(schema["fields"]) else ()):
        name = field.get("name") if isinstance(field, dict) else None
        if isinstance(name, str) and first.setdefault(name, number) != number:
            detail = Phrase("two fields of %(where)s have the name %(name)r", where=where(), name=name[:100])
            yield Finding(f"{place}/fields/{number}/name", detail, "duplicate-field")
    for name in _texts(schema.get("primaryKey")):
        if name not in own:
            detail = Phrase("the primary key of %(where)s names no field: %(name)r", where=where(), name=name[:100])
            yield Finding(f"{place}/primaryKey", detail, "key")
    keys = schema.get("foreignKeys")
    for number, key in enumerate(keys if isinstance(keys, list) else ()):
        if isinstance(key, dict):
            for problem in _of_foreign_key(key, own, fields):
                values = {"number": number + 1, "where": where(), "problem": problem}
                detail = Phrase("foreign key %(number)s of %(where)s %(problem)s", **values)
                yield Finding(f"{place}/foreignKeys/{number}", detail, "key")


def _of_foreign_key(key: Mapping[str, Any], own: set[str], fields: Mapping[str, set[str] | None]) -> Iterator[str]:
    unknown = (name[:100] for name in _texts(key.get("fields")) if name not in own)
    yield from (Phrase("names no field: %(name)r", name=name) for name in unknown)
    reference = key.get("reference")
    if not isinstance(reference, dict):
        return
    target = reference.get("resource") or ""
    if not isinstance(target, str):
        return
    if target and target not in fields:
        yield Phrase("refers to the resource %(name)r, which is not there", name=target[:100])
        return
    there = fields[target] if target else own
    if there is not None:
        absent = (name[:100] for name in _texts(reference.get("fields")) if name not in there)
        yield from (Phrase("refers to the field %(name)r, which is not there", name=name) for name in absent)


def _of_hash(
    resource: Mapping[str, Any], place: str, where: Callable[[], str], *, with_pointers: bool
) -> Iterator[Finding]:
    value = resource.get("hash")
    if isinstance(value, str) and _MISSPELT.match(value):
        method = value.partition(":")[0]
        detail = Phrase("the hash of %(where)s begins with %(method)s:, not sha256:", where=where(), method=method)
        yield Finding(f"{place}/hash", detail, "hash")
    if with_pointers and local_path(resource) is not None:
        size = resource.get("bytes")
        missing = [] if sha256_of(resource) else ["sha256"]
        missing += [] if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else ["bytes"]
        if missing:
            names = Phrase("sha256 and no bytes") if len(missing) == 2 else missing[0]
            detail = Phrase("%(where)s gets no Git LFS pointer: no %(names)s", where=where(), names=names)
            yield Finding(place, detail, "no-pointer")


def _collisions(descriptor: Mapping[str, Any], listed: _Listed) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for index, resource in listed:
        for member in ("path", "extrapaths"):
            for path in _texts(resource.get(member)):
                other = first.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
                if other != path:
                    from metastore.looks import only, visible  # hardly any descriptor needs it

                    both = (path[:100], other[:100])
                    one, two = (f"'{visible(each)}'" if only(*both) else repr(each) for each in both)
                    which = words_of(descriptor, ("resources", index))
                    values = {"what": _WORDS[member], "one": one, "where": which, "two": two}
                    detail = Phrase(
                        "the %(what)s %(one)s of %(where)s and %(two)s are one file on Windows and macOS", **values
                    )
                    yield Finding(f"/resources/{index}/{member}", detail, "collision")


def _texts(value: Any) -> list[str]:
    """Return the texts of a member that is a text or a list of them."""
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
