"""What a Git host answers: values, where the next page is, and how long it wants to be left alone.

Docs obeyed: "Rate limits for the REST API" of GitHub, "Rate limits" of GitLab, RFC 9110 (Retry-After), RFC 8288 (Link).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from metastore.errors import StorageUnavailable

_UNNAMED_WAIT = 60.0  # seconds; what GitHub asks for where an answer names no time
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')


class Answer(NamedTuple):
    """An answer as it came; names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body as values. Raises StorageUnavailable where it is no JSON: a proxy's page, say."""
        try:
            return self._value()
        except ValueError:
            raise StorageUnavailable(f"the host answered {self.status} with something that is no JSON") from None

    def said(self) -> str:
        """Return what the host says for people, shortened; empty where it says nothing."""
        try:
            value = self._value()
        except ValueError:
            return ""
        found = value.get("message") or value.get("error") if isinstance(value, dict) else None
        return found[:200] if isinstance(found, str) else json.dumps(found)[:200] if found else ""

    def _value(self) -> Any:
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    def next_page(self) -> str | None:
        """Return the address of the next page."""
        found = _NEXT.search(self.headers.get("link", ""))
        return found[1] if found else None

    def limit(self, now: float) -> float | None:
        """Return for how many seconds the host wants to be left alone, or None where the answer is no such wish.

        Args:
            now: The time, in seconds since 1970.
        """
        headers = self.headers
        if self.status not in (403, 429) or not (self.status == 429 or self._means_limit()):
            return None
        if (after := headers.get("retry-after", "")).isdecimal():
            return float(after)
        reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
        remaining = headers.get("x-ratelimit-remaining") or headers.get("ratelimit-remaining")
        if reset.isdecimal() and remaining == "0":
            return max(1.0, float(reset) - now)
        return _UNNAMED_WAIT

    def _means_limit(self) -> bool:
        """Tell whether a 403 is about limits: by its headers, or by the page of the documentation that it names."""
        if "retry-after" in self.headers or self.headers.get("x-ratelimit-remaining") == "0":
            return True
        try:
            value = self._value()
        except ValueError:
            return False
        return isinstance(value, dict) and "rate-limit" in str(value.get("documentation_url"))


class AnswerLost(Exception):
    """A change was sent and no answer came: read whether it was made. Never leaves a storage."""


class Redirected(Exception):
    """What was asked for is somewhere else, at `location`. Never leaves a storage."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location
