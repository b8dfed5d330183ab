"""Finds errors against a JSON Schema lazily, picks the branch that fits best, and words each error in one sentence.

jsonschema-rs decides what is valid. It computes its whole list of errors before it returns the first, which takes a
second per 40,000 errors, and it gives whole objects as the reason. So this module walks the schema itself, and
descends only into parts that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urldefrag, urljoin

from metastore.descriptor.document import escape
from metastore.phrase import Phrase, both, either, neither
from metastore.wording import spelled

Path = tuple[str | int, ...]

#: Keywords that concern a value itself, not its members.
_OWN = frozenset(
    {"type", "enum", "const", "required", "pattern", "format", "uniqueItems", "multipleOf"}
    | {f"{bound}{what}" for bound in ("min", "max") for what in ("Items", "Length", "Properties")}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)
#: Keywords that qualify another one where they are true or false, as in draft 4.
_EXCLUSIVE = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
#: The most errors of a branch that are counted to judge how well it fits.
_JUDGED = 10
_LONGEST_VALUE = 80
_DEEPEST = 64
_TYPES = {
    "string": Phrase("text"),
    "number": Phrase("a number"),
    "integer": Phrase("a whole number"),
    "boolean": Phrase("true or false"),
    "object": Phrase("an object"),
    "array": Phrase("a list"),
    "null": "null",
}
#: The patterns of the vendored profiles in words.
_PATTERNS = {
    "^([-a-z0-9._/])+$": Phrase("but may have only a to z, 0 to 9 and - . _ /"),
    "^([-a-zA-Z0-9._])+$": Phrase("but may have only a to z, A to Z, 0 to 9 and - . _"),
    r"^(?=^[^./~])(^((?!\.{2}).)*$).*$": Phrase("but may not begin with . / or ~, nor have two dots together"),
    r"^((?=[^./~])(?!file:)((?!\/\.\.\/)(?!\\)(?!:\/\/).)*|(http|ftp)s?:\/\/.*)$": Phrase(
        "which is neither a URL nor a path inside the dataset"
    ),
    "^([^:]+:[a-fA-F0-9]+|[a-fA-F0-9]{32}|)$": Phrase("which is not an algorithm, a colon and hexadecimal digits"),
    "^(.+)/(.+)$": Phrase("which is not a type and a subtype, such as text/csv"),
}


class SchemaError(NamedTuple):
    """One error: the keyword that failed, the path to the value, and the predicate of a sentence about the value."""

    keyword: str
    path: Path
    predicate: Phrase


@dataclass(frozen=True)
class Schemas:
    """JSON Schemas by address. They can refer to each other; nothing is ever fetched."""

    documents: Mapping[str, Any]
    _validators: dict[str, Any] = field(default_factory=dict)

    def errors(self, uri: str, instance: Any) -> Iterator[SchemaError]:
        """Yield the errors of a value against a schema, one by one.

        Raises:
            ValueError: The schema is not valid, or refers to an unknown one.
        """
        return self._errors(f"{uri}#", self.documents[uri], instance, (), 0)

    def _errors(self, at: str, schema: Any, instance: Any, path: Path, depth: int) -> Iterator[SchemaError]:
        if self._validator(at).is_valid(instance):
            return
        silent = True
        if isinstance(schema, dict) and depth < _DEEPEST:
            for error in self._parts(at, schema, instance, path, depth + 1):
                silent = False
                yield error
        if silent:
            yield SchemaError("other", path, Phrase("does not fit its profile"))

    def _parts(self, at: str, schema: dict[str, Any], instance: Any, path: Path, depth: int) -> Iterator[SchemaError]:
        if isinstance(reference := schema.get("$ref"), str):
            target = urljoin(at, reference)
            target = target if "#" in target else f"{target}#"
            yield from self._errors(target, self._resolve(target), instance, path, depth)
            return
        own = list(self._own(at, schema, instance, path))
        yield from own
        if any(error.keyword == "type" for error in own):  # its other keywords are about another type
            return
        yield from self._inside(at, schema, instance, path, depth)
        for index, part in enumerate(schema.get("allOf", ())):
            yield from self._errors(f"{at}/allOf/{index}", part, instance, path, depth)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                yield from self._branches(f"{at}/{keyword}", schema[keyword], keyword, instance, path, depth)

    def _inside(self, at: str, schema: dict[str, Any], instance: Any, path: Path, depth: int) -> Iterator[SchemaError]:
        """Yield the errors of members and items."""
        if isinstance(instance, dict):
            for name, part in schema.get("properties", {}).items():
                if name in instance:
                    place = f"{at}/properties/{escape(name)}"
                    yield from self._errors(place, part, instance[name], (*path, name), depth)
        items = schema.get("items")
        if isinstance(instance, list) and isinstance(items, dict):
            for index, item in enumerate(instance):
                yield from self._errors(f"{at}/items", items, item, (*path, index), depth)

    def _own(self, at: str, schema: dict[str, Any], instance: Any, path: Path) -> Iterator[SchemaError]:
        """Yield the errors of the value itself. Each error of jsonschema-rs would quote the whole value, twice."""
        for keyword, wanted in schema.items():
            if keyword == "required":
                missing = [name for name in wanted if name not in instance] if isinstance(instance, dict) else []
                yield from (SchemaError(keyword, path, _predicate(keyword, name, instance)) for name in missing)
            elif keyword in _EXCLUSIVE.values() and isinstance(wanted, bool):
                continue
            elif keyword in _OWN and not self._compiled(at, keyword, schema).is_valid(instance):
                yield SchemaError(keyword, path, _predicate(keyword, wanted, instance))

    def _branches(
        self, at: str, branches: list[Any], keyword: str, instance: Any, path: Path, depth: int
    ) -> Iterator[SchemaError]:
        """Yield the errors of the best-fitting branch. If branches only require members, list the alternatives."""
        found = [
            list(islice(self._errors(f"{at}/{number}", branch, instance, path, depth), _JUDGED))
            for number, branch in enumerate(branches)
        ]
        fitting = [branch for branch, errors in zip(branches, found, strict=True) if not errors]
        if len(fitting) > 1 and keyword == "oneOf":
            asked = dict.fromkeys(name for branch in fitting for name in branch.get("required", ()))
            which = [name for name in asked if not all(name in each["required"] for each in fitting)]
            several = Phrase("has %(names)s, but only one is allowed", names=both(which)) if which else None
            yield SchemaError(keyword, path, several or Phrase("is ambiguous"))
        elif not fitting:
            scores = [_misfit(errors, len(path)) for errors in found]
            best = [errors for errors, score in zip(found, scores, strict=True) if score == min(scores)]
            yield from _either(best, path)

    def _validator(self, at: str) -> Any:
        if at not in self._validators:
            self._validators[at] = self._class(at)({"$ref": at}, registry=self._registry)
        return self._validators[at]

    @cached_property
    def _registry(self) -> Any:
        import jsonschema_rs

        return jsonschema_rs.Registry(list(self.documents.items()), draft=jsonschema_rs.Draft7, retriever=_refuse)

    def _compiled(self, at: str, keyword: str, schema: dict[str, Any]) -> Any:
        key = f"{keyword} {at}"
        if key not in self._validators:
            exclusive = _EXCLUSIVE.get(keyword)
            qualified = {exclusive: True} if exclusive and schema.get(exclusive) is True else {}
            self._validators[key] = self._class(at)({keyword: schema[keyword], **qualified})
        return self._validators[key]

    def _class(self, at: str) -> Any:
        import jsonschema_rs

        declared = str(self.documents.get(urldefrag(at)[0], {}).get("$schema"))
        return jsonschema_rs.Draft4Validator if "draft-04" in declared else jsonschema_rs.Draft7Validator

    def _resolve(self, at: str) -> Any:
        uri, pointer = urldefrag(at)
        part = self.documents.get(uri)
        for key in pointer.split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            part = part[int(key)] if isinstance(part, list) else part.get(key) if isinstance(part, dict) else None
        return part


def _refuse(uri: str) -> Any:
    raise ValueError(f"there is no schema {uri}, and nothing is fetched")


def _misfit(errors: list[SchemaError], depth: int) -> int:
    """Return how badly a branch fits. A branch for another `type`, in either sense, is not the intended one."""
    return sum(
        100
        if error.keyword == "type" and len(error.path) == depth
        else 50
        if error.keyword in ("enum", "const") and error.path[-1:] == ("type",)
        else 1
        for error in errors
    )


def _either(best: list[list[SchemaError]], path: Path) -> Iterator[SchemaError]:
    """Yield the errors that all of the best branches share; the alternatives between them become one sentence."""
    common = [error for error in best[0] if all(error in errors for errors in best)]
    yield from common
    choices = [errors[0] for errors in ([e for e in errors if e not in common] for errors in best) if errors]
    missing = [error.predicate.values["name"] for error in choices if error.keyword == "required"]
    if len(choices) > 1 and len(missing) == len(choices) and all(error.path == path for error in choices):
        yield SchemaError("required", path, Phrase("has neither %(names)s", names=neither(dict.fromkeys(missing))))
    elif len(choices) > 1 and {(error.keyword, error.path) for error in choices} == {("enum", choices[0].path)}:
        value = choices[0].predicate.values["value"]
        options = either(dict.fromkeys(error.predicate.values["wanted"] for error in choices))
        yield SchemaError("enum", choices[0].path, _is_not(value, _cut(options, 4 * _LONGEST_VALUE)))
    elif len(choices) == len(best) and choices:
        yield from (error for error in best[0] if error not in common)


def _predicate(keyword: str, wanted: Any, instance: Any) -> Phrase:
    if keyword == "required":
        return Phrase("has no %(name)s", name=wanted)
    if keyword == "type":
        names = [wanted] if isinstance(wanted, str) else wanted
        return _is_not(kind_in_words(instance), either(_TYPES.get(name, name) for name in names))
    if keyword == "pattern" and instance == "":
        return Phrase("must not be empty")
    if keyword.startswith(("min", "max")) and keyword.endswith(("Items", "Length", "Properties")):
        return _of_length(keyword, wanted, instance)
    if keyword == "uniqueItems":
        return Phrase("has an item twice")
    value = _shown(instance)
    if keyword in ("enum", "const"):
        options = [wanted] if keyword == "const" else wanted
        texts = (option if isinstance(option, str) else spelled(option) for option in options)
        return _is_not(value, _cut(either(texts), 3 * _LONGEST_VALUE))
    if keyword == "pattern":
        unlike = _PATTERNS.get(wanted) or Phrase("which does not match %(form)s", form=_cut(wanted, _LONGEST_VALUE))
        return Phrase("is %(value)s, %(unlike)s", value=value, unlike=unlike)
    if keyword == "format":
        return Phrase("is %(value)s, which is not a valid %(form)s", value=value, form=wanted)
    rule = f"{keyword} {spelled(wanted, _LONGEST_VALUE)}"
    return Phrase("is %(value)s, which breaks %(rule)s", value=value, rule=rule)


def _is_not(value: str, wanted: str) -> Phrase:
    return Phrase("is %(value)s, not %(wanted)s", value=value, wanted=wanted)


def _of_length(keyword: str, wanted: Any, instance: Any) -> Phrase:
    if keyword.startswith("min") and not instance:
        return Phrase("must not be empty")
    units = {"Items": Phrase("items"), "Length": Phrase("characters"), "Properties": Phrase("members")}
    values = {"number": wanted, "units": units[keyword[3:]]}
    if keyword.startswith("min"):
        return Phrase("has fewer than %(number)s %(units)s", **values)
    return Phrase("has more than %(number)s %(units)s", **values)


def kind_in_words(value: Any) -> str:
    """Return the kind of a JSON value in words, such as `a list`."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    kinds = ((str, "string"), ((int, float), "number"), (dict, "object"), (list, "array"))
    return next((_TYPES[name] for kind, name in kinds if isinstance(value, kind)), Phrase("something else"))


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return kind_in_words(value)
    return spelled(value, _LONGEST_VALUE)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
