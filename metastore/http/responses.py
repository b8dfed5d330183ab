"""Responses as values: their JSON, the next page, and the wait that a host demands.

Follows "Rate limits for the REST API" of GitHub, "Rate limits" of GitLab, RFC 9110 (Retry-After), RFC 8288 (Link).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metastore.errors import StorageUnavailable
from metastore.http.fields import Fields, Unexpected

#: The most pages of one list: ten million repositories, a hundred to a page.
MOST_PAGES = 100_000
#: The most values in the JSON of a response. In memory, a value takes up to a hundred times its bytes.
MOST_VALUES = 2_000_000
_UNNAMED_WAIT = 60.0  # seconds: GitHub's advice for a limit without a time
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
#: What stands between the brackets of a link and the next ones, if the link leads to the next page.
_NEXT = re.compile(r'([^>]*)>\s*;[^,]*\brel="?next\b')


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response.

    Attributes:
        address: The requested address, without parameters.
        status: The status code.
        headers: The headers; names in lower case.
        content: The body, decompressed.
    """

    address: str
    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """The body's media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """The wait that the server demands, in seconds (RFC 9110, section 10.2.3). A date is ignored."""
        text = self.headers.get("retry-after", "")
        return float(text) if re.fullmatch(r"[0-9]{1,9}", text) else None

    def json(self) -> Any:
        """Return the body as JSON values.

        Raises:
            StorageUnavailable: The body is not JSON, but for example the page of a proxy, or has too many values.
        """
        try:
            return self._value()
        except ValueError:
            if _has_many_values(self.content):
                raise Unexpected(f"the host answered {self.status} with more than {MOST_VALUES} values") from None
            raise Unexpected(f"the host answered {self.status} with something that is no JSON") from None

    def fields(self, where: str) -> Fields:
        """Return the body as a JSON object, read strictly; `where` names it in errors. Raises StorageUnavailable."""
        return Fields(self.json(), where)

    def message(self) -> str:
        """Return the host's message to people, shortened; empty if there is none."""
        if self.media_type == "text/plain":  # Git's servers give their reasons so
            return " ".join(self.content[:1000].decode(errors="replace").split())[:300]
        try:
            value = self._value()
        except ValueError:
            return ""
        if not isinstance(value, dict):
            return ""
        errors: Any = value.get("errors")
        details = errors if isinstance(errors, list) else []
        details = [each.get("message") if isinstance(each, dict) else each for each in details]
        parts = [value.get("message") or value.get("error"), value.get("error_description"), *details]
        words = [part if isinstance(part, str) else json.dumps(part) for part in parts if part]
        return "; ".join(" ".join(each.split())[:300] for each in words)[:500]

    def _value(self) -> Any:
        if _has_many_values(self.content):
            raise ValueError(f"it has more than {MOST_VALUES} values")
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    def next_page(self) -> str | None:
        """Return the address of the next page (RFC 8288), or None on the last page."""
        # Each part is looked at once: a search in the whole header can take a minute if it is a hostile one.
        for part in self.headers.get("link", "").split("<")[1:]:
            if link := _NEXT.match(part):
                return link[1]
        return None

    def limit(self, now: float) -> float | None:
        """Return the seconds until the host's limit ends, or None if it sets no limit.

        Args:
            now: The time, in seconds since 1970.
        """
        if self.status not in (403, 429) or not (self.status == 429 or self._means_limit()):
            return None
        if self.retry_after is not None:
            return self.retry_after
        headers = self.headers
        reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
        remaining = headers.get("x-ratelimit-remaining") or headers.get("ratelimit-remaining")
        if reset.isdecimal() and remaining == "0":
            return max(1.0, float(reset) - now)
        return _UNNAMED_WAIT

    def _means_limit(self) -> bool:
        """Tell whether a 403 is a limit, by its headers or by its link to the documentation."""
        if "retry-after" in self.headers or self.headers.get("x-ratelimit-remaining") == "0":
            return True
        try:
            value = self._value()
        except ValueError:
            return False
        return isinstance(value, dict) and "rate-limit" in str(value.get("documentation_url"))


def _has_many_values(content: bytes) -> bool:
    """Tell whether JSON has more than `MOST_VALUES` values. What is inside of texts counts only at first sight."""
    return _most_values(content) > MOST_VALUES and _most_values(_TEXT.sub(b"", content)) > MOST_VALUES


def _most_values(content: bytes) -> int:
    return content.count(b",") + content.count(b"[") + content.count(b"{")


class Pages:
    """The pages of one list of a server that may be broken or hostile, and lead on for ever."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def turn(self, address: str) -> str:
        """Return the address or cursor of the next page.

        Raises:
            StorageUnavailable: The list was there before, or has more than 100,000 pages.
        """
        if hash(address) in self._seen:
            raise Unexpected("the server leads from page to page in a circle")
        if len(self._seen) >= MOST_PAGES:
            raise Unexpected(f"the server's list has more than {MOST_PAGES} pages")
        self._seen.add(hash(address))
        return address


class _Failed(Exception):
    """A request without a usable response. Never leaves a storage or a client.

    Attributes:
        address: The requested address, without parameters.
        reason: The cause, as the end of a sentence about the address.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address} {reason}")
        self.address = address
        self.reason = reason


class NotSent(_Failed):
    """The server was not reached: nothing happened."""


class ResponseLost(_Failed):
    """The request was sent but no response came: it may have been carried out."""


class Unreadable(ResponseLost):
    """A response came that cannot be read to its end. A repetition would bring the same."""


class Redirected(StorageUnavailable):
    """The resource is at another address, `location`. A storage that expects this translates it."""

    def __init__(self, location: str) -> None:
        super().__init__(f"the host sends us to {location}, where nothing is asked for: give that address")
        self.location = location


class Missing(Redirected):
    """The resource does not exist: no longer, or not yet on the machine that answered."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.args = (f"the host says that {location} is not there",)
