"""The fields of a JSON response, read strictly: a missing field is a failure of the host.

Proxies, limits and outages answer with status 200 too. If a missing field were read as "there is none", a write that
was never made would be acknowledged, or an existing resource reported as not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from metastore.errors import StorageUnavailable


class Unexpected(StorageUnavailable):
    """A response lacks the expected fields. If it answers a change, only a read tells whether the change was made."""


class Fields:
    """A JSON object of a response.

    Every method raises `Unexpected` if the field is missing or has another type.

    Args:
        value: The object; checked here.
        where: The name of the object in errors, such as `repository`.
    """

    __slots__ = ("_value", "_where")

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Unexpected(f"the host's answer has no {where}: it answers otherwise than documented")
        self._value = value
        self._where = where

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def is_null(self, name: str) -> bool:
        """Tell whether a field is present and null."""
        return self._value.get(name, self) is None

    def text(self, name: str) -> str:
        """Return a string."""
        return str(self._get(name, str))

    def oid(self, name: str) -> str:
        """Return the id of a Git object: 40 lower-case hex digits."""
        if not re.fullmatch("[0-9a-f]{40}", found := self.text(name)):
            raise self._unexpected(name)
        return found

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None if the field is null."""
        return None if self._get(name, (str, type(None))) is None else self.text(name)

    def number(self, name: str) -> int:
        """Return an integer."""
        return int(self._get(name, int))

    def truth(self, name: str) -> bool:
        """Return a boolean."""
        return bool(self._get(name, bool))

    def moment(self, name: str) -> datetime:
        """Return a time (RFC 3339), in UTC."""
        try:
            return datetime.fromisoformat(self.text(name)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self._unexpected(name) from None

    def below(self, name: str) -> Fields:
        """Return an object."""
        return Fields(self._get(name, dict), f"{self._where}.{name}")

    def optional(self, name: str) -> Fields | None:
        """Return an object, or None if the field is null."""
        return None if self._get(name, (dict, type(None))) is None else self.below(name)

    def rows(self, name: str) -> Iterator[Fields]:
        """Yield the objects of a list, without nulls."""
        return rows(self._get(name, list), f"{self._where}.{name}")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        items = self._get(name, list)
        if not all(isinstance(item, str) for item in items):
            raise self._unexpected(name)
        return tuple(items)

    def _get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        value = self._value.get(name, self)  # the object itself stands for a missing field: it is never a JSON value
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._unexpected(name)
        return value

    def _unexpected(self, name: str) -> Unexpected:
        return Unexpected(f"the host's answer has no {self._where}.{name}: it answers otherwise than documented")


def rows(value: Any, where: str) -> Iterator[Fields]:
    """Yield the objects of a list, without nulls. Raises `Unexpected`."""
    if not isinstance(value, list):
        raise Unexpected(f"the host's answer has no {where}: it answers otherwise than documented")
    return (Fields(each, where) for each in value if each is not None)
