"""Checks descriptors against Data Package profiles: the vendored versions 1 and 2, and a deployment's own.

Nothing is ever fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from metastore.descriptor._rules import broken_rules, why_refused
from metastore.descriptor._schema_errors import SchemaError, Schemas, kind_in_words
from metastore.descriptor.document import escape, load
from metastore.descriptor.resources import words_of
from metastore.errors import InvalidInput
from metastore.os_errors import in_words
from metastore.phrase import Phrase, counted
from metastore.types import Finding

#: The most findings that are listed, and the most further ones that are counted.
_MOST, _COUNTED = 100, 1000
#: The base address of a deployment's own schemas, for references between them.
_OWN = "https://profiles.invalid/"
_VENDORED = {
    "1.0/data-package": "https://specs.frictionlessdata.io/schemas/data-package.json",
    "1.0/tabular-data-package": "https://specs.frictionlessdata.io/schemas/tabular-data-package.json",
    "2.0/datapackage": "https://datapackage.org/profiles/2.0/datapackage.json",
}
#: The addresses that Data Package has given these profiles over the years, from their names on.
_ADDRESS = re.compile(
    r"https?://(?:(?:www\.)?(?:specs\.frictionlessdata\.io|frictionlessdata\.io|datapackage\.org)/"
    r"(?:schemas/|profiles/1\.0/)|raw\.githubusercontent\.com/frictionlessdata/\S+/)"
    r"(tabular-data-package|data-?package)(?:\.json)?/?"
)


@dataclass(frozen=True)
class Profiles:
    """The profiles that a store knows.

    Attributes:
        own: A deployment's JSON Schemas by path or URL, beside the vendored ones.
    """

    own: Mapping[str, Any]

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | None) -> Profiles:
        """Read profiles from a folder, or take JSON Schemas by URL.

        Args:
            source: A folder with `*.json` files, in folders too, or a mapping of URL to schema.

        Raises:
            InvalidInput: There is no such folder, or a schema is not valid or refers to a missing one.
        """
        if source is None:
            return _plain()
        profiles = cls(_read(Path(source)) if isinstance(source, (str, Path)) else dict(source))
        for address in profiles.own:
            try:
                next(profiles._schemas.errors(profiles._uris[address], {}), None)
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise InvalidInput(f"the profile {address} is not usable: {str(error)[:300]}") from None
        return profiles

    def findings(self, descriptor: Mapping[str, Any], *, with_pointers: bool = False) -> tuple[Finding, ...]:
        """Check a descriptor against the profile that it declares; without a declaration, against version 1.

        Version 2 declares itself by `$schema`, version 1 by `profile` (Data Package 2.0, "$schema"). An unknown profile
        is a finding of the kind `unknown-profile`, and the descriptor is judged by the base profile.

        Args:
            descriptor: Ordinary values.
            with_pointers: Also name the local files that get no Git LFS pointer.

        Returns:
            At most 100 findings. If there are more, one more finding counts the rest, up to a thousand.
        """
        found = self._findings(descriptor, with_pointers=with_pointers)
        first = tuple(islice(found, _MOST))
        more = sum(1 for _ in islice(found, _COUNTED + 1))
        if not more:
            return first
        return (*first, Finding("", _more(more), "more"))

    def _findings(self, descriptor: Mapping[str, Any], *, with_pointers: bool) -> Iterator[Finding]:
        uri, label, wrong = self._profile_of(descriptor)
        yield from wrong
        tabular = uri == _VENDORED["1.0/tabular-data-package"]
        by_schema_address = tabular and "profile" not in descriptor
        errors = self._schemas.errors(
            uri, _judged(descriptor, {"profile": "tabular-data-resource"} if by_schema_address else {})
        )
        by_schema = (_in_words(descriptor, error, label) for error in errors if not _is_unsafe(descriptor, error))
        yield from chain(by_schema, broken_rules(descriptor, with_pointers=with_pointers, tabular=tabular))

    def _profile_of(self, descriptor: Mapping[str, Any]) -> tuple[str, str, tuple[Finding, ...]]:
        """Return the address of the profile to check against, its label, and what is wrong with the declaration."""
        wrong: tuple[Finding, ...] = ()
        for member, otherwise in (("$schema", "2.0/datapackage"), ("profile", "1.0/data-package")):
            declared = descriptor.get(member)
            if not isinstance(declared, str):
                if member == "$schema" and member in descriptor:  # the schemas of version 1 do not know this member
                    wrong = (_no_address(declared),)
                continue
            if name := _vendored(declared):
                return _VENDORED[name], f"Data Package {name[:3]}", wrong
            if address := self._own_profile(declared):
                return self._uris[address], address, wrong
            detail = Phrase("unknown profile %(profile)r, not fetched", profile=declared[:100])
            unknown = Finding(f"/{escape(member)}", detail, "unknown-profile")
            return _VENDORED[otherwise], f"Data Package {otherwise[:3]}", (*wrong, unknown)
        return _VENDORED["1.0/data-package"], "Data Package 1.0", wrong

    def _own_profile(self, declared: str) -> str | None:
        """Return a deployment's profile by its `$id` or address, else the one whose path is the longest end of it."""
        wanted = declared.rstrip("/#")
        by_id = {str(uri).rstrip("/#"): address for address, uri in self._uris.items()}
        if wanted in self.own or wanted in by_id:
            return wanted if wanted in self.own else by_id[wanted]
        whole = f"/{wanted}".removesuffix(".json")
        ends = [address for address in self.own if whole.endswith(f"/{address.removesuffix('.json')}")]
        return max(ends, key=len, default=None)

    @cached_property
    def _uris(self) -> dict[str, str]:
        return {address: _uri(address, schema) for address, schema in self.own.items()}

    @cached_property
    def _schemas(self) -> Schemas:
        own = {uri: _bare(self.own[address]) for address, uri in self._uris.items()}
        by_path = {f"{_OWN}{address}": own[uri] for address, uri in self._uris.items() if "://" not in address}
        return Schemas({**_vendored_schemas(), **own, **by_path})


def _more(number: int) -> Phrase:
    if number > _COUNTED:
        return Phrase("there are more than %(number)s more problems", number=_COUNTED)
    return counted("there is %(number)s more problem", "there are %(number)s more problems", number)


def _no_address(declared: Any) -> Finding:
    detail = Phrase("'$schema' is %(value)s, not the address of a profile", value=kind_in_words(declared))
    return Finding("/$schema", detail, "type")


def _read(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InvalidInput(f"profiles are JSON Schemas in a folder, and {folder} is not one")
    schemas = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            schemas[path.relative_to(folder).as_posix()] = load(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
        except OSError as error:
            raise InvalidInput(f"the profile {path} cannot be read: {in_words(error)}") from None
        except ValueError as error:
            raise InvalidInput(f"the profile {path} is not JSON: {error}") from None
    return schemas


def _uri(address: str, schema: Any) -> str:
    declared = schema.get("$id", schema.get("id")) if isinstance(schema, dict) else None
    if isinstance(declared, str) and "://" in declared:
        return declared.rstrip("#")
    return address.rstrip("#") if "://" in address else f"{_OWN}{address}"


def _bare(schema: Any) -> Any:
    """Return a schema without its own id, since its address identifies it."""
    return {key: value for key, value in schema.items() if key not in ("$id", "id")}


def _vendored(declared: str) -> str | None:
    if declared in ("data-package", "tabular-data-package"):
        return f"1.0/{declared}"
    if declared.rstrip("/#").endswith("/profiles/2.0/datapackage.json"):
        return "2.0/datapackage"
    match = _ADDRESS.fullmatch(declared.rstrip("#"))
    return None if match is None else "1.0/tabular-data-package" if "tabular" in match[1] else "1.0/data-package"


@cache
def _vendored_schemas() -> dict[str, Any]:
    from importlib.resources import files  # slow to import

    folder = files("metastore") / "data" / "profiles"
    return {uri: _bare(json.loads((folder / f"{name}.json").read_bytes())) for name, uri in _VENDORED.items()}


def _judged(descriptor: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    """Replace values that the specification allows and the JSON Schemas refuse with values that both allow.

    `schema` and `dialect` may be a path or URL. A dataset whose files come later has no resources.

    Args:
        descriptor: Ordinary values.
        resource: The default members of each resource: a package that declares a tabular profile by `$schema` need not
            repeat it as `profile`.
    """
    whole = {**({"profile": "tabular-data-package"} if resource else {}), **descriptor}
    listed = descriptor.get("resources")
    if not isinstance(listed, list):
        return whole
    standing = {"schema": {"fields": [{"name": "x", "type": "string"}]}, "dialect": {}}
    told: list[Any] = []
    for item in listed:
        if isinstance(item, dict):
            references = [key for key in standing if isinstance(item.get(key), str)]
            if resource or references:
                item = {**resource, **item, **{key: standing[key] for key in references}}
        told.append(item)
    empty = {"name": "x", "path": "x", "profile": "tabular-data-resource", "schema": standing["schema"]}
    return {**whole, "resources": told or [empty]}


def _is_unsafe(descriptor: Mapping[str, Any], error: SchemaError) -> bool:
    """Tell whether a path does not fit its pattern because it is unsafe: the rules say that in better words."""
    if error.keyword != "pattern" or len(error.path) < 3 or (error.path[0], error.path[2]) != ("resources", "path"):
        return False
    value: Any = descriptor
    for part in error.path:
        value = value[part]
    return isinstance(value, str) and why_refused(value) is not None


def _in_words(descriptor: Mapping[str, Any], error: SchemaError, label: str) -> Finding:
    pointer = "".join(f"/{escape(str(part))}" for part in error.path)
    where = words_of(descriptor, error.path)
    detail = Phrase("%(where)s %(problem)s (%(profile)s)", where=where, problem=error.predicate, profile=label)
    return Finding(pointer, detail, error.keyword)


@cache
def _plain() -> Profiles:
    return Profiles({})


def findings(descriptor: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Check a descriptor against the vendored profiles. See `Profiles.findings`."""
    return _plain().findings(descriptor)
