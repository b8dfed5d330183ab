"""What a request says, parsed at the edge: bodies, preconditions, parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.service.context import service
from metastore.types import Author, DatasetId

_Expected = TypeVar("_Expected", str, int)
JSON = "application/json"
#: A document of our own around a descriptor or patch, with what else a write can say.
ENVELOPE = "application/vnd.metastore+json"
#: How many items a page of a list has, unless asked otherwise; and at most.
PAGE, LARGEST_PAGE = 100, 1000
_ID, _NUMBER = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9]{1,18}")
_LEADING = re.compile(r"[0-9a-f]+")
_TAG = re.compile(r'(?:W/)?"([^"]*)"')
#: Who writes, why and when.
CHANGE = ("message", "author", "at")
_ENVELOPED = ("descriptor", "patch", *CHANGE, "expected")


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request.

    Attributes:
        type: Its media type.
        text: As it came.
        members: The members of our own envelope; empty where the body is the document itself.
    """

    type: str
    text: bytes
    members: Mapping[str, Any]


def dataset_id(owner: str, name: str) -> DatasetId:
    """Parse the id in a path. Raises InvalidInput."""
    return parse_dataset_id((owner, name))


def body(*types: str) -> Body:
    """Read the body, which has to be of one of these media types.

    Raises:
        UnsupportedMediaType: It is of another one.
        InvalidInput: It is no envelope, though it says so.
        RequestEntityTooLarge: It is larger than the service takes.
    """
    # A body without a type is not JSON: a page of another site can send one without asking (Fetch, "CORS-safelisted").
    given = request.mimetype
    if given not in types:
        known = ", ".join(types)
        raise UnsupportedMediaType(f"the Content-Type has to be one of {known}, not {given or 'missing'}")
    text = request.get_data(cache=False)
    most = request.max_content_length
    if request.content_length is None and most is not None and len(text) >= most:
        raise RequestEntityTooLarge  # what comes in chunks is cut off there, and what is left could look whole
    return Body(given, text, _named(_members(text), _ENVELOPED) if given == ENVELOPE else {})


def members(*, optional: bool = False, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    """Read a JSON object with members of these names, and `expected`.

    Raises:
        UnsupportedMediaType: It is no JSON.
        InvalidInput: It is no object, or has a member of another name.
    """
    if optional and not request.content_length and "Transfer-Encoding" not in request.headers:
        return {}
    return _named(json_object(), (*allowed, "expected"))


def _named(given: Mapping[str, Any], allowed: tuple[str, ...]) -> Mapping[str, Any]:
    for name in given:
        if name not in allowed:
            known = ", ".join(allowed)
            raise InvalidInput(f"there is no member {name[:60]!r}; there are {known}", pointer=f"/{name[:60]}")
    return given


def json_object() -> Mapping[str, Any]:
    """Read a body that is a JSON object.

    Raises:
        UnsupportedMediaType: It is no JSON.
        InvalidInput: It is no object.
    """
    return _members(body(JSON).text)


def _members(text: bytes) -> Mapping[str, Any]:
    given = decode(text, max_bytes=len(text))  # it is no longer than the service takes
    if not isinstance(given, dict):
        raise InvalidInput("the body has to be a JSON object", pointer="")
    return given


def change(who: Identity, members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return who writes, why and when, as keyword arguments for a call of the store.

    `message`, `author` and `at` stand in the query or among the members of a body. Without an author, it is the caller.

    Raises:
        InvalidInput: One of them is malformed.
    """
    query = {name: request.args[name] for name in CHANGE if name in request.args}
    values = {**query, **(members or {})}
    author, at = _author(values.get("author")), _time(values.get("at"))
    signature: dict[str, Any] = {"author": author or who.author, "message": text(values, "message")}
    return signature | ({"at": at} if at is not None else {})


def text(said: Mapping[str, Any], name: str) -> str | None:
    """Return a member that is text, or None. Raises InvalidInput."""
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{name} is text", pointer=f"/{name}")
    return value


def _author(given: Any) -> Author | None:
    from metastore.parse import make_author

    if isinstance(given, dict) and set(given) <= {"name", "email"}:
        given = Author(given.get("name", ""), given.get("email") or "")
    return make_author(given) if given is not None else None


def _time(given: Any) -> datetime | None:
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInput(f"at is a time with a zone, such as 2024-05-01T12:00:00Z, not {str(given)[:60]!r}")
    return at


def time(name: str) -> datetime | None:
    """Return a parameter that is a time. Raises InvalidInput."""
    return _time(request.args.get(name))


def expected(given: Mapping[str, Any] | None = None) -> str | None:
    """Return the id that the caller last saw: from `If-Match`, or a body's `expected`.

    Raises:
        InvalidInput: It is no id, or the two differ.
        PreconditionFailed: What `If-Match` says was never the id of anything.
        PreconditionRequired: There is none, and this service demands one.
    """
    said = text(given or {}, "expected")
    return if_match(_ID) if said is None else _agreed(said, if_match(_ID) if "If-Match" in request.headers else None)


def expected_snapshot(given: Mapping[str, Any] | None = None) -> int | None:
    """Return the number of the snapshot that the caller last saw; otherwise as `expected`."""
    said = (given or {}).get("expected")
    if said is not None:
        if type(said) is not int:
            raise InvalidInput("expected is the number of a snapshot", pointer="/expected")
        found = if_match(_NUMBER) if "If-Match" in request.headers else None
        return _agreed(said, int(found) if found is not None else None)
    found = if_match(_NUMBER)
    return int(found) if found is not None else None


def _agreed(said: _Expected, found: _Expected | None) -> _Expected:
    """Return what the body expects. Raises InvalidInput: `If-Match` expects something else."""
    if found is not None and found != said:
        raise InvalidInput("If-Match and the member 'expected' name two states", pointer="/expected")
    return said


def if_match(pattern: re.Pattern[str]) -> str | None:
    """Return what `If-Match` names, whatever a proxy made of it (`W/`, `-gzip`); None for `*`, or where it is missing.

    Raises:
        InvalidInput: It has no entity-tag, or several.
        PreconditionFailed: It is no tag of ours.
        PreconditionRequired: It is missing, and this service demands it.
    """
    header = request.headers.get("If-Match")
    if header is None:
        if service().settings.require_if_match and "If-None-Match" not in request.headers:
            raise PreconditionRequired("say which state the change is made for: If-Match with the ETag of a read")
        return None
    if header.strip() == "*":
        return None
    tags = _TAG.findall(header)
    if len(tags) != 1:
        raise InvalidInput("If-Match has to be one ETag, with its quotation marks, or *")
    found = pattern.match(tags[0])
    if found is None:
        raise PreconditionFailed(f"{tags[0][:60]} is the ETag of no state: read again")
    return found[0]


def creates_only() -> bool:
    """Tell whether the request says that nothing may be there. Raises InvalidInput."""
    header = request.headers.get("If-None-Match")
    if header is not None and header.strip() != "*":
        raise InvalidInput("If-None-Match of a write can only be *")
    return header is not None


def is_known(etag: str) -> bool:
    """Tell whether the caller has this state already (`If-None-Match` of a read), whatever a proxy made of the tag."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    known = (_LEADING.match(tag) for tag in _TAG.findall(header))
    return header.strip() == "*" or any(found is not None and found[0] == etag for found in known)


def limit() -> int:
    """Return how many items a page shall have. Raises InvalidInput."""
    given = request.args.get("limit")
    if given is None:
        return PAGE
    if not given.isascii() or not given.isdecimal() or not 0 < len(given) < 10 or int(given) < 1:
        raise InvalidInput(f"limit is a number from 1 to {LARGEST_PAGE}, not {given[:20]!r}")
    return min(int(given), LARGEST_PAGE)


def wanted_revisions() -> dict[str, Any]:
    """Return the parameters that say which revisions are wanted, as keyword arguments for `revision_list`.

    Raises:
        InvalidInput: A time is malformed.
    """
    texts = {name: request.args.get(name) for name in ("path", "resource", "field", "author", "grep")}
    return {**texts, "since": time("since"), "until": time("until")}


def flag(name: str) -> bool | None:
    """Return a parameter that is true or false, or None. Raises InvalidInput."""
    given = request.args.get(name)
    if given is None:
        return None
    if given.lower() not in ("true", "false", "1", "0"):
        raise InvalidInput(f"{name} is true or false, not {given[:20]!r}")
    return given.lower() in ("true", "1")


def wants_little() -> bool:
    """Tell whether the caller would rather have no body (`Prefer: return=minimal`, RFC 7240)."""
    return "return=minimal" in request.headers.get("Prefer", "").replace(" ", "").lower()


def wants_envelope() -> bool:
    """Tell whether the caller asks for our own media type."""
    return ENVELOPE in request.headers.get("Accept", "")
