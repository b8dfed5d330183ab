"""Rules of Data Package that JSON Schema cannot express, such as references to missing names and colliding paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from metastore.descriptor._schema_errors import kind_of_value
from metastore.descriptor.lfs import sha256_of
from metastore.descriptor.resources import local_path, of_path, resources, why_unsafe, words_of
from metastore.phrase import Phrase
from metastore.types import Finding

#: A hash whose method is misspelt, so that no program recognises it.
_MISSPELT = re.compile(r"(?!sha256:)(?i:sha-?256:)")

_WORDS = {"path": Phrase("path"), "extrapaths": Phrase("extra path")}


def broken_rules(descriptor: Mapping[str, Any], *, with_pointers: bool, tabular: bool) -> Iterator[Finding]:
    """Yield the findings of the resources, one by one.

    Args:
        descriptor: Ordinary values.
        with_pointers: Also name the local files that get no Git LFS pointer.
        tabular: The profile asks for schemas itself.
    """
    fields = cache(partial(_fields_by_resource, descriptor))  # once, and only if a foreign key needs it
    for index, resource in resources(descriptor):
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
    yield from _collisions(descriptor)


def _fields_by_resource(descriptor: Mapping[str, Any]) -> dict[str, frozenset[str] | None]:
    named = (resource for _, resource in resources(descriptor) if _is_text(resource.get("name")))
    return {resource["name"]: _names(resource) for resource in named}


def _references(resource: Mapping[str, Any], place: str, where: Callable[[], str]) -> Iterator[Finding]:
    """Yield the unsafe references to files. `check` refuses only those to files that are written to disk."""
    paths = [(member, resource[member]) for member in ("schema", "dialect") if _is_text(resource.get(member))]
    for member in ("path", "extrapaths"):
        value = resource.get(member)
        listed = enumerate(value) if isinstance(value, list) else ()
        paths += [(f"{member}/{number}", path) for number, path in listed if _is_text(path)]
        paths += [(member, value)] if isinstance(value, str) else []
    for member, path in paths:
        if problem := why_refused(path):
            what = _WORDS.get(member.partition("/")[0], member)
            yield Finding(f"{place}/{member}", of_path(path, what, where(), problem), "unsafe")


def why_refused(path: str) -> str | None:
    """Return why a reference to a file is unsafe; None if it is safe."""
    return Phrase("reads a file of the machine") if re.match("(?i)file:", path) else why_unsafe(path)


def _extra_paths(value: Any, place: str, where: Callable[[], str]) -> Iterator[Finding]:
    """Yield a finding if `extrapaths`, which no schema has, is not a list of texts, as frictionless expects."""
    if not isinstance(value, list):
        detail = Phrase("'extrapaths' of %(where)s is %(value)s, not a list", where=where(), value=kind_of_value(value))
        yield Finding(f"{place}/extrapaths", detail, "type")
        return
    for number, path in enumerate(value):
        if not _is_text(path):
            values = {"number": number + 1, "where": where(), "value": kind_of_value(path)}
            detail = Phrase("extra path %(number)s of %(where)s is %(value)s, not text", **values)
            yield Finding(f"{place}/extrapaths/{number}", detail, "type")


def _names(resource: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the names of a resource's fields; None if they are not known."""
    schema = resource.get("schema")
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list):
        return None
    return frozenset(field["name"] for field in fields if isinstance(field, dict) and _is_text(field.get("name")))


def _of_schema(
    schema: Any, place: str, where: Callable[[], str], fields: Callable[[], Mapping[str, Any]]
) -> Iterator[Finding]:
    if not isinstance(schema, dict) or (own := _names({"schema": schema})) is None:
        return
    first: dict[str, int] = {}
    for number, field in enumerate(schema["fields"]):
        name = field.get("name") if isinstance(field, dict) else None
        if isinstance(name, str) and first.setdefault(name, number) != number:
            detail = Phrase("two fields of %(where)s have the name %(name)r", where=where(), name=name[:100])
            yield Finding(f"{place}/fields/{number}/name", detail, "duplicate-field")
    for name in _listed(schema.get("primaryKey")):
        if name not in own:
            detail = Phrase("the primary key of %(where)s names no field: %(name)r", where=where(), name=name[:100])
            yield Finding(f"{place}/primaryKey", detail, "key")
    keys = schema.get("foreignKeys")
    for number, key in enumerate(keys if isinstance(keys, list) else ()):
        if isinstance(key, dict):
            for problem in _of_foreign_key(key, own, fields()):
                values = {"number": number + 1, "where": where(), "problem": problem}
                detail = Phrase("foreign key %(number)s of %(where)s %(problem)s", **values)
                yield Finding(f"{place}/foreignKeys/{number}", detail, "key")


def _of_foreign_key(key: Mapping[str, Any], own: frozenset[str], fields: Mapping[str, Any]) -> Iterator[str]:
    unknown = (name[:100] for name in _listed(key.get("fields")) if name not in own)
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
        absent = (name[:100] for name in _listed(reference.get("fields")) if name not in there)
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


def _collisions(descriptor: Mapping[str, Any]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for index, resource in resources(descriptor):
        for member in ("path", "extrapaths"):
            for path in _listed(resource.get(member)):
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


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if _is_text(item)] if isinstance(value, list) else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
