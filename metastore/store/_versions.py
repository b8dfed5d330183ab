"""Grades differences, and compares the `version` of a descriptor with its changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from metastore.descriptor.document import load_written
from metastore.descriptor.file_changes import Document
from metastore.descriptor.grade import GRADES, Grades, claimed, default, next_version
from metastore.errors import InvalidInput
from metastore.types import DatasetId, Diff, Revision

VersionRule = Literal["off", "warn", "refuse"]
_log = logging.getLogger("metastore")


class Versions:
    """Grades differences by a table of rules, and checks the version of written descriptors.

    Raises:
        InvalidInput: The rule is unknown, or the table is invalid.
    """

    def __init__(self, rule: VersionRule, grades: str | Path | Sequence[Mapping[str, Any]] | None) -> None:
        if rule not in ("off", "warn", "refuse"):
            raise InvalidInput(f"version_rule is off, warn or refuse, not {rule!r}")
        self._rule = rule
        self._own = Grades.load(grades) if grades is not None else None

    @property
    def _grades(self) -> Grades:
        return default() if self._own is None else self._own

    def diff(self, old: Revision, new: Revision, before: Mapping[str, Any], after: Mapping[str, Any]) -> Diff:
        """Compare two descriptors."""
        from metastore.descriptor import difference  # slow to import, and reads compare nothing
        from metastore.descriptor.summary import only_the_order, summary

        changes = difference.changes(before, after)
        grade = self._grades.grade(changes)
        version = next_version(before.get("version"), grade)
        line = summary(changes) or only_the_order(before, after)
        return Diff(old, new, difference.json_patch(before, after), changes, line, grade, version)

    def check(self, dataset_id: DatasetId, old: bytes, document: Document) -> None:
        """Compare the changes with the changes that the version claims.

        Raises:
            InvalidInput: The version claims less, and the rule is to refuse that.
        """
        if self._rule == "off":
            return
        before = load_written(old)
        said = claimed(before.get("version"), document.value.get("version")) if isinstance(before, dict) else None
        if said is None:
            return
        from metastore.descriptor import difference

        grade = self._grades.grade(difference.changes(before, load_written(document.content)))
        if _rank(said) >= _rank(grade):
            return
        advice = next_version(before["version"], grade)
        problem = f"this is a {grade} change, so the version after {before['version']} is {advice} or higher"
        if self._rule == "refuse":
            raise InvalidInput(problem, pointer="/version")
        _log.warning("%s: %s", dataset_id, problem)


def _rank(grade: str) -> int:
    return GRADES.index(grade) if grade else -1
