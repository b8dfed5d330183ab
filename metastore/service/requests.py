"""Requests, parsed at the edge: bodies, preconditions and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from flask import request
from werkzeug.exceptions import (
    PreconditionFailed,
    PreconditionRequired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from metastore.auth.access import Identity
from metastore.descriptor.document import decode
from metastore.descriptor.limits import most_values
from metastore.errors import AuthenticationError, InvalidInput
from metastore.parse import parse_dataset_id
from metastore.service.context import service
from metastore.service.guard import may_read
from metastore.store.waiting import LONGEST
from metastore.types import Author, DatasetId

_Expected = TypeVar("_Expected", str, int)
JSON = "application/json"
#: Our own document around a descriptor or patch, which adds the other arguments of a write.
ENVELOPE = "application/vnd.metastore+json"
#: The number of items on a page of a list, by default and at most.
PAGE, LARGEST_PAGE = 100, 1000
_ID, _NUMBER = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9]{1,18}")
_LEADING = re.compile(r"[0-9a-f]+")
_TAG = re.compile(r'(?:W/)?"([^"]*)"')
#: The parameters of a write: why, by whom and when.
CHANGE = ("message", "author", "at")
#: How many values a body may have beside those of a descriptor.
_OTHER_VALUES = 100
_ENVELOPED = ("descriptor", "patch", *CHANGE, "expected")


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request.

    Attributes:
        type: The media type.
        text: The bytes, unchanged.
        members: The members of our own envelope; empty if the body is the document itself.
    """

    type: str
    text: bytes
    members: Mapping[str, Any]


def dataset_id(owner: str, name: str) -> DatasetId:
    """Parse the id in a path.

    Raises:
        InvalidInput: It is not an id. The message leads to `metastore adopt` if the store has a repository of that
            name, and the caller might read it under the id that it gets.
    """
    try:
        return parse_dataset_id((owner, name))
    except InvalidInput:
        with suppress(AuthenticationError):
            if may_read(DatasetId(owner.lower(), name.lower())):
                service().store.revision_read((owner, name))
        raise


def body(*types: str) -> Body:
    """Return the body, which has to be of one of these media types.

    Raises:
        UnsupportedMediaType: The body has another media type.
        InvalidInput: The body is called an envelope and is not one.
        RequestEntityTooLarge: The body is larger than the service accepts.
    """
    # A body without a type is not JSON: a page of another site can send one without asking (Fetch, "CORS-safelisted").
    media_type = request.mimetype
    if media_type not in types:
        known = ", ".join(types)
        raise UnsupportedMediaType(f"the Content-Type has to be one of {known}, not {media_type or 'missing'}")
    text = request.get_data(cache=False)
    most = request.max_content_length
    if request.content_length is None and most is not None and len(text) >= most:
        raise RequestEntityTooLarge  # chunks are cut off at the limit, and the rest could pass for a whole body
    return Body(media_type, text, _checked(_members(text), _ENVELOPED) if media_type == ENVELOPE else {})


def members(*, optional: bool = False, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    """Return a body that is a JSON object with these members, and `expected`; empty for a missing, optional body.

    Raises:
        UnsupportedMediaType: The body is not JSON.
        InvalidInput: It is not an object, or has an unknown member.
    """
    if optional and not request.content_length and "Transfer-Encoding" not in request.headers:
        return {}
    return _checked(json_object(), (*allowed, "expected"))


def _checked(members: Mapping[str, Any], allowed: tuple[str, ...]) -> Mapping[str, Any]:
    for name in members:
        if name not in allowed:
            known = ", ".join(allowed)
            raise InvalidInput(f"there is no member {name[:60]!r}; there are {known}", pointer=f"/{name[:60]}")
    return members


def json_object() -> Mapping[str, Any]:
    """Return a body that is a JSON object.

    Raises:
        UnsupportedMediaType: The body is not JSON.
        InvalidInput: It is not an object.
    """
    return _members(body(JSON).text)


def _members(text: bytes) -> Mapping[str, Any]:
    most = most_values(service().store.max_bytes) + _OTHER_VALUES
    value = decode(text, max_bytes=request.max_content_length, max_values=most)
    if not isinstance(value, dict):
        raise InvalidInput("the body has to be a JSON object", pointer="")
    return value


def change(who: Identity, members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the author, message and time of a write, as keyword arguments for a call of the store.

    `message`, `author` and `at` come from the query or from the members of the body, which win. The default author is
    the caller.

    Raises:
        InvalidInput: One of them is malformed.
    """
    query = {name: request.args[name] for name in CHANGE if name in request.args}
    values = {**query, **(members or {})}
    author, at = _author(values.get("author")), _time(values.get("at"))
    signature: dict[str, Any] = {"author": author or who.author, "message": text(values, "message")}
    return signature | ({"at": at} if at is not None else {})


def text(members: Mapping[str, Any], name: str) -> str | None:
    """Return a member that is a string, or None if it is missing. Raises InvalidInput."""
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{name} has to be a string", pointer=f"/{name}")
    return value


def _author(value: Any) -> Author | None:
    from metastore.parse import make_author

    if isinstance(value, dict) and set(value) <= {"name", "email"}:
        value = Author(value.get("name", ""), value.get("email") or "")
    return make_author(value) if value is not None else None


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInput(f"at is a time with a zone, such as 2024-05-01T12:00:00Z, not {str(value)[:60]!r}")
    return at


def time(name: str) -> datetime | None:
    """Return a parameter that is a time. Raises InvalidInput."""
    return _time(request.args.get(name))


def expected(members: Mapping[str, Any] | None = None) -> str | None:
    """Return the id that the caller last saw: from `If-Match`, or from the body's member `expected`.

    Raises:
        InvalidInput: It is malformed, or the two differ.
        PreconditionFailed: `If-Match` has a tag that this service never sent.
        PreconditionRequired: Both are missing, and this service requires one.
    """
    member = text(members or {}, "expected")
    if member is None:
        return if_match(_ID)
    return _agreed(member, if_match(_ID) if "If-Match" in request.headers else None)


def expected_snapshot(members: Mapping[str, Any] | None = None) -> int | None:
    """Return the number of the snapshot that the caller last saw, as `expected` does."""
    member = (members or {}).get("expected")
    if member is not None:
        if type(member) is not int:
            raise InvalidInput("expected is the number of a snapshot", pointer="/expected")
        tag = if_match(_NUMBER) if "If-Match" in request.headers else None
        return _agreed(member, int(tag) if tag is not None else None)
    tag = if_match(_NUMBER)
    return int(tag) if tag is not None else None


def _agreed(member: _Expected, tag: _Expected | None) -> _Expected:
    """Return the state that the body expects. Raises InvalidInput: `If-Match` expects another."""
    if tag is not None and tag != member:
        raise InvalidInput("If-Match and the member 'expected' name different states", pointer="/expected")
    return member


def if_match(pattern: re.Pattern[str]) -> str | None:
    """Return the id in `If-Match`, without what a proxy adds to it (`W/`, `-gzip`); None for `*` or a missing header.

    Raises:
        InvalidInput: The header has no entity-tag, or several.
        PreconditionFailed: Its tag is not one of ours.
        PreconditionRequired: It is missing, and this service requires it.
    """
    header = request.headers.get("If-Match")
    if header is None:
        if service().settings.require_if_match and "If-None-Match" not in request.headers:
            raise PreconditionRequired("say which state the change is for: send If-Match with the ETag of a read")
        return None
    if header.strip() == "*":
        return None
    tags = _TAG.findall(header)
    if len(tags) != 1:
        raise InvalidInput("If-Match has to be one ETag, with its quotation marks, or *")
    match = pattern.match(tags[0])
    if match is None:
        raise PreconditionFailed(f"{tags[0][:60]} is not the ETag of any state: read again")
    return match[0]


def creates_only() -> bool:
    """Tell whether the request only creates (`If-None-Match: *`). Raises InvalidInput."""
    header = request.headers.get("If-None-Match")
    if header is not None and header.strip() != "*":
        raise InvalidInput("If-None-Match of a write can only be *")
    return header is not None


def is_known(etag: str) -> bool:
    """Tell whether the caller has this state already (`If-None-Match` of a read), as `if_match` reads tags."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    matches = (_LEADING.match(tag) for tag in _TAG.findall(header))
    return header.strip() == "*" or any(match is not None and match[0] == etag for match in matches)


def at_least() -> str | None:
    """Return the revision that a read has to see (`Metastore-At-Least`); None for the newest. Raises InvalidInput."""
    header = request.headers.get("Metastore-At-Least")
    if header is not None and not _ID.fullmatch(header):
        raise InvalidInput("Metastore-At-Least has to be the full id of a revision, 40 hex digits")
    return header


def limit() -> int:
    """Return the number of items on a page. Raises InvalidInput."""
    text = request.args.get("limit")
    if text is None:
        return PAGE
    if not text.isascii() or not text.isdecimal() or not 0 < len(text) < 10 or int(text) < 1:
        raise InvalidInput(f"limit is a number from 1 to {LARGEST_PAGE}, not {text[:20]!r}")
    return min(int(text), LARGEST_PAGE)


def wait() -> int:
    """Return how many seconds a request may wait for a change. Raises InvalidInput."""
    text = request.args.get("wait", "0")
    if not text.isascii() or not text.isdecimal() or len(text) > 2 or int(text) > LONGEST:
        raise InvalidInput(f"wait is a number of seconds from 0 to {LONGEST}, not {text[:20]!r}")
    return int(text)


def wanted_revisions() -> dict[str, Any]:
    """Return the filters of a list of revisions, as keyword arguments for `revision_list`.

    Raises:
        InvalidInput: A time is malformed.
    """
    texts = {name: request.args.get(name) for name in ("path", "resource", "field", "author", "grep")}
    return {**texts, "since": time("since"), "until": time("until")}


def flag(name: str) -> bool | None:
    """Return a parameter that is true or false, or None. Raises InvalidInput."""
    text = request.args.get(name)
    if text is None:
        return None
    if text.lower() not in ("true", "false", "1", "0"):
        raise InvalidInput(f"{name} is true or false, not {text[:20]!r}")
    return text.lower() in ("true", "1")


def wants_little() -> bool:
    """Tell whether the caller prefers an empty response (`Prefer: return=minimal`, RFC 7240)."""
    return "return=minimal" in request.headers.get("Prefer", "").replace(" ", "").lower()


def wants_envelope() -> bool:
    """Tell whether the caller accepts our own envelope."""
    return ENVELOPE in request.headers.get("Accept", "")
