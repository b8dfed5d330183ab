"""Grades differences by a table of rules, and computes the next version.

The rules follow the recipe for versions of Data Packages. They are in `metastore/data/grades.json`, some with their
reason (`why`); a deployment can have its own table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self
from unicodedata import normalize

from metastore.descriptor.document import load
from metastore.descriptor.item_names import same_fields
from metastore.errors import InvalidInput
from metastore.os_errors import in_words
from metastore.types import Difference

#: From the least to the most severe.
GRADES = ("patch", "minor", "major")
_KINDS = frozenset({"added", "removed", "changed", "renamed", "moved"})
_SEMANTIC = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?![\w.])")
#: Type -> the types that hold all its values. `int` and `float` come from early drafts of the specification.
_WIDER = {
    "int": {"integer", "number", "string", "any"},
    "float": {"number", "string", "any"},
    "integer": {"number", "string", "any"},
    "year": {"integer", "number", "string", "any"},
    "boolean": {"string", "any"},
    "string": {"any"},
} | {name: {"string", "any"} for name in ("number", "date", "time", "datetime", "yearmonth", "duration", "geopoint")}
#: Beginnings of licence names, grouped by how much the licences require, in the order of the search.
_LICENCES = (
    ("cc0", "pddl", "odc-pddl", "public", "unlicense", "other-pd"),
    ("cc-by-nc-nd", "cc-by-nc-sa", "cc-by-nd"),
    ("cc-by-nc", "other-nc"),
    ("cc-by-sa", "odbl", "odc-odbl", "gfdl", "gpl", "agpl"),
    ("cc-by", "odc-by", "mit", "bsd", "apache", "ogl", "uk-ogl", "other-at"),
)
#: Words in the titles of licences -> the same in their names.
_LICENCE_WORDS = (
    ("creative-commons-", "cc-"),
    ("cc-zero", "cc0"),
    ("cc-attribution", "cc-by"),
    ("non-commercial", "nc"),
    ("noncommercial", "nc"),
    ("share-alike", "sa"),
    ("sharealike", "sa"),
    ("no-derivatives", "nd"),
    ("noderivatives", "nd"),
    ("open-data-commons-public-domain", "pddl"),
)
_STRICTNESS = dict(zip(_LICENCES, (0, 4, 3, 2, 1), strict=True))

#: The defaults of members of a resource and its schema.
_DEFAULTS = {"missingValues": ([""],), "encoding": ("utf-8", "UTF-8", "utf8")}
#: The format that `default` stands for, in a date, a time and a datetime.
_ISO_FORMATS = {"%Y-%m-%d", "%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"}
#: Formats of dates and times in drafts of the specification, and their codes today. Minutes follow the hour.
_FORMER_FORMAT = re.compile(r"(?:yyyy|mm|dd|hh|ss|[-/.: tz])+", re.IGNORECASE)
_FORMER_CODES = (("yyyy", "%Y"), ("dd", "%d"), ("hh:mm", "%H:%M"), ("ss", "%S"), ("mm", "%m"), ("t", "T"), ("z", "Z"))


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes:
        grade: `major`, `minor` or `patch`.
        kinds: The kinds of differences.
        place: Their place in words; `*` stands for anything within one part, `**` for anything.
        when: A condition on the values: `wider` (the new type holds all values of the old), `any` (the type is `any`
            or `string`, as a missing one), `looser` (a limit lets more through), `no-stricter` (the licence asks for no
            more than before), `less-strict` (it asks for less), `spelling` (only case, white space, punctuation or the
            form of a letter changed), `default` (a default was written out or left out, or a format or key was spelled
            otherwise), `address` (one address replaced another); empty for none.
    """

    grade: str
    kinds: frozenset[str]
    place: str
    when: str = ""

    def fits(self, difference: Difference) -> bool:
        """Tell whether the rule matches a difference."""
        if difference.kind not in self.kinds or _pattern(self.place).fullmatch(difference.where) is None:
            return False
        return not self.when or _CONDITIONS[self.when](difference)


class Grades:
    """A table of rules. The first matching rule counts."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)

    @classmethod
    def load(cls, source: str | Path | Sequence[Mapping[str, Any]] | None = None) -> Self:
        """Read a table: a JSON file, its rows, or (None) the table that comes with MetaStore.

        Raises:
            InvalidInput: It cannot be read, or a row makes no sense.
        """
        rows = source if source is not None and not isinstance(source, (str, Path)) else _read(source)
        return cls(_rule(number, row) for number, row in enumerate(rows, 1))

    def grade(self, differences: Iterable[Difference]) -> str:
        """Return the grade of a change: the highest of its differences, or an empty text if there are none."""
        found = {self.of(difference) for difference in differences}
        return next((grade for grade in reversed(GRADES) if grade in found), "")

    def of(self, difference: Difference) -> str:
        """Return the grade of one difference; `patch` if no rule fits."""
        if difference.where == "version":
            return ""
        return next((rule.grade for rule in self._rules if rule.fits(difference)), "patch")


@cache
def default() -> Grades:
    """Return the table that comes with MetaStore."""
    return Grades.load()


def _read(source: str | Path | None) -> Any:
    if source is None:
        from importlib.resources import files  # slow to import

        return json.loads(files("metastore").joinpath("data/grades.json").read_text("utf-8"))
    try:
        rows = load(Path(source).read_bytes())
    except OSError as error:
        raise InvalidInput(f"the rules for grades cannot be read from {source}: {in_words(error)}") from None
    except ValueError as error:
        raise InvalidInput(f"the rules for grades in {source} are not JSON: {error}") from None
    if not isinstance(rows, list):
        raise InvalidInput(f"the rules for grades in {source} have to be a list of objects")
    return rows


def _rule(number: int, row: Any) -> Rule:
    row = row if isinstance(row, Mapping) else {}
    grade, kinds, place, when = (row.get(key, "") for key in ("grade", "kinds", "place", "when"))
    known = isinstance(kinds, (list, tuple)) and bool(kinds) and _KINDS.issuperset(map(str, kinds))
    problems = {
        "its grade is major, minor or patch": grade not in GRADES,
        "its kinds are a list of added, removed, changed, renamed or moved": not known,
        "its place is a text such as 'resource * › title'": not isinstance(place, str) or not place,
        f"its when is one of {', '.join(_CONDITIONS)}": when not in ("", *_CONDITIONS),
    }
    if wrong := [problem for problem, is_there in problems.items() if is_there]:
        raise InvalidInput(f"row {number} of the rules for grades is wrong: {wrong[0]}")
    return Rule(grade, frozenset(map(str, kinds)), place, when)


@cache
def _pattern(place: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", place)
    wild = {"**": ".*", "*": r"(?:(?! › ).)*"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL)


def _is_wider(difference: Difference) -> bool:
    new = "any" if difference.new is None else difference.new
    return isinstance(difference.old, str) and new in _WIDER.get(difference.old, ())


def _is_any(difference: Difference) -> bool:
    return difference.new in ("any", "string")


def _is_default(difference: Difference) -> bool:
    values, member = (difference.old, difference.new), difference.where.rpartition(" › ")[2]
    if same_fields(member, *values):
        return True
    if member != "format":
        return None in values and any(value in _DEFAULTS.get(member, ()) for value in values)
    old, new = (_format(value) for value in values)
    return old == new or {old, new} - _ISO_FORMATS == {"default"}


def _format(value: Any) -> str:
    """Return the format of a field as the present specification spells it, such as `%Y` for `yyyy`."""
    text = "default" if value is None else str(value)
    if not _FORMER_FORMAT.fullmatch(text):
        return text
    text = text.lower()
    for former, now in _FORMER_CODES:
        text = text.replace(former, now)
    return text


def _is_address(difference: Difference) -> bool:
    return isinstance(difference.old, str) and isinstance(difference.new, str)


def _is_looser(difference: Difference) -> bool:
    old, new, limit = difference.old, difference.new, difference.where.rpartition(" › ")[2]
    if limit in ("required", "unique"):
        return new is False
    if not all(isinstance(value, (int, float)) for value in (old, new)):
        return False
    rises: bool = new > old
    return (rises and limit.lower().startswith("max")) or (not rises and limit.lower().startswith("min"))


def _is_no_stricter(difference: Difference) -> bool:
    old, new = (_strictness(value) for value in (difference.old, difference.new))
    return old is not None and new is not None and new <= old


def _is_less_strict(difference: Difference) -> bool:
    old, new = (_strictness(value) for value in (difference.old, difference.new))
    return old is not None and new is not None and new < old


def _is_spelling(difference: Difference) -> bool:
    old, new = (
        re.sub(r"[\W_]+", "", normalize("NFKC", str(value)).casefold()) for value in (difference.old, difference.new)
    )
    return bool(old) and old == new


def _strictness(licence: Any) -> int | None:
    """Return how much a licence, or the strictest of several, requires; None if one is unknown."""
    if isinstance(licence, list):
        ranks = [_strictness(item) for item in licence]
        return None if None in ranks else max((rank for rank in ranks if rank is not None), default=None)
    if isinstance(licence, dict):
        ranks = [_strictness(licence[key]) for key in ("name", "id", "type", "title") if key in licence]
        return next((rank for rank in ranks if rank is not None), None)
    text = re.sub(r"[\s_]+", "-", str(licence).lower())
    for words, short in _LICENCE_WORDS:
        text = text.replace(words, short)
    return next((rank for names, rank in _STRICTNESS.items() if text.startswith(names)), None)


_CONDITIONS = {
    "wider": _is_wider,
    "any": _is_any,
    "looser": _is_looser,
    "no-stricter": _is_no_stricter,
    "less-strict": _is_less_strict,
    "spelling": _is_spelling,
    "default": _is_default,
    "address": _is_address,
}


def next_version(version: Any, grade: str) -> str | None:
    """Return the version after a change of this grade; None if the version is not `MAJOR.MINOR.PATCH`."""
    numbers = _numbers(version)
    if numbers is None or not grade:
        return None
    at = 2 - GRADES.index(grade)
    return ".".join(map(str, (*numbers[:at], numbers[at] + 1, *(0,) * (2 - at))))


def claimed(old: Any, new: Any) -> str | None:
    """Return the grade that a change of version claims, or an empty text; None if the versions cannot be compared."""
    before, after = _numbers(old), _numbers(new)
    if before is None or after is None:
        return None
    return next((GRADES[2 - at] for at in range(3) if after[at] != before[at] and after > before), "")


def _numbers(version: Any) -> tuple[int, ...] | None:
    found = _SEMANTIC.match(version) if isinstance(version, str) else None
    return tuple(map(int, found.groups())) if found else None
