"""Parses the responses of a service: values, and errors as the store raised them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from metastore.descriptor.document import load, load_written
from metastore.descriptor.limits import limit_values
from metastore.errors import (
    AlreadyExists,
    AuthenticationError,
    DatasetDeleted,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MergeConflict,
    MetastoreError,
    NotADataset,
    NotADescriptor,
    OutcomeUnknown,
    PathNotFound,
    PermissionDenied,
    ResourceNotFound,
    RevisionConflict,
    RevisionNotFound,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
    TagNotFound,
    TooLarge,
)
from metastore.http.responses import MOST_VALUES, Response, ResponseLost
from metastore.parse import parse_dataset_id
from metastore.types import ChangeRequest, Dataset, DatasetId, Difference, Finding, Revision
from metastore.wire import from_wire
from metastore.wording import shortened

JSON = "application/json"
ENVELOPE = "application/vnd.metastore+json"
PROBLEM = "application/problem+json"
RAW = "application/octet-stream"
_Value = TypeVar("_Value")
_OptionalText = str | None
#: A dataset, a revision, its descriptor as it is stored, and the findings of a check.
Enveloped = tuple[DatasetId, Revision, bytes, tuple[Finding, ...]]
#: Each error that a store raises, with the attributes of its class.
_FACTS: Mapping[type[MetastoreError], Mapping[str, Any]] = {
    InvalidInput: {},
    TooLarge: {},
    DatasetNotFound: {"dataset_id": DatasetId},
    DatasetDeleted: {"dataset_id": DatasetId, "revision": Revision},
    DatasetMoved: {"dataset_id": DatasetId, "new_id": DatasetId},
    RevisionNotFound: {"dataset_id": DatasetId, "revision": str},
    PathNotFound: {"dataset_id": DatasetId, "revision": str, "path": str},
    TagNotFound: {"dataset_id": DatasetId, "name": str},
    ResourceNotFound: {"dataset_id": DatasetId, "resource": str},
    AlreadyExists: {"what": object},
    RevisionConflict: {"subject": object, "expected": _OptionalText, "actual": _OptionalText},
    MergeConflict: {"subject": object, "places": tuple[Difference, ...]},
    AuthenticationError: {},
    PermissionDenied: {"scope": _OptionalText},
    StorageError: {},
    StorageBusy: {},
    StorageUnavailable: {},
    StorageCorrupt: {},
    NotADescriptor: {"dataset_id": DatasetId, "revision": str},
    NotADataset: {"problem": str},
    OutcomeUnknown: {"wanted": _OptionalText, "before": _OptionalText, "change": ChangeRequest | None},
}
_KINDS = {kind.kind: kind for kind in _FACTS}
#: The most characters of a reason that the service gives.
_LONGEST_DETAIL = 10_000


def understood(answer: Response, read: Callable[[Response], _Value]) -> _Value:
    """Read the value of a successful response.

    Raises:
        MetastoreError: The error that the service raised.
        StorageUnavailable: The response is not from MetaStore.
    """
    if 200 <= answer.status < 300:
        try:
            return read(answer)
        except ValueError as error:
            raise StorageUnavailable(f"{_said(answer)}, but not what MetaStore says: {error}") from None
    raise _problem(answer) or _foreign(answer)


def understood_write(answer: Response, read: Callable[[Response], _Value]) -> _Value:
    """Read the value in the response to a write. Raises `ResponseLost` if it does not tell whether the write was made.

    Raises:
        MetastoreError: The error that the service raised; nothing was changed.
    """
    if 200 <= answer.status < 300:
        try:
            return read(answer)
        except ValueError as error:
            raise _lost(answer, f"{_said(answer)}, but not what MetaStore says: {error}") from None
    problem = _problem(answer)
    if problem is None and answer.status >= 500:  # a proxy, or a service that failed on the way
        raise _lost(answer, str(_foreign(answer)))
    raise problem or _foreign(answer)


def _lost(answer: Response, sentence: str) -> ResponseLost:
    return ResponseLost(answer.address, sentence.removeprefix(f"{answer.address} "))


def _said(answer: Response) -> str:
    phrase = next((each.phrase for each in HTTPStatus if each == answer.status), "")
    return f"{answer.address} answered {answer.status} {phrase}".rstrip()


def _foreign(answer: Response) -> MetastoreError:
    """Return the error for a response that is not from MetaStore, but for example from a proxy."""
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return InvalidInput(f"{_said(answer)}: what was sent is larger than it takes")
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return StorageBusy(f"{_said(answer)}; try again")
    if 300 <= answer.status < 400:
        where = shortened(answer.headers.get("location", "nowhere"))
        return StorageUnavailable(f"{_said(answer)} to {where}, and is not followed: connect there if that is right")
    detail = _members(answer).get("detail")
    what = shortened(detail) if isinstance(detail, str) else f"it is {answer.media_type or 'of no type'}"
    return StorageUnavailable(f"{_said(answer)}, not as MetaStore does: {what}")


def _members(answer: Response) -> dict[str, Any]:
    try:
        said = json_of(answer) if answer.media_type == PROBLEM else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _problem(answer: Response) -> MetastoreError | None:
    """Return the error in a problem document, with its text and attributes; None if it is not one of ours."""
    said = _members(answer)
    kind = _KINDS.get(str(said.get("kind")))
    if kind is None:
        return None
    try:
        detail = from_wire(str, said.get("detail"))[:_LONGEST_DETAIL]
        facts = {name: _fact(hint, said.get(name)) for name, hint in _FACTS[kind].items()}
        facts |= _more_facts(kind, said, answer)
    except ValueError:
        return None
    error = kind.__new__(kind, detail)
    error.args = (detail,)
    error.__dict__.update(facts)
    return error


def _fact(hint: Any, said: Any) -> Any:
    if hint is not object:
        return from_wire(hint, said)
    try:
        return parse_dataset_id(said)
    except InvalidInput:  # such as owner/name@tag
        return from_wire(str, said)


def _more_facts(kind: type[MetastoreError], document: Mapping[str, Any], answer: Response) -> dict[str, Any]:
    if kind is AuthenticationError:
        return {"missing": "error=" not in answer.headers.get("www-authenticate", "")}
    if not issubclass(kind, InvalidInput):
        return {}
    problems = from_wire(tuple[Finding, ...], document.get("errors"))
    pointer = problems[0].pointer if problems and answer.status == HTTPStatus.UNPROCESSABLE_ENTITY else None
    return {"pointer": pointer, "problems": tuple((problem.pointer, problem.detail) for problem in problems)}


def json_of(answer: Response) -> Any:
    """Return the JSON of a response.

    Raises:
        ValueError: It is not JSON, declares another media type, or has too many values.
    """
    if answer.media_type not in (JSON, ENVELOPE, PROBLEM):
        raise ValueError(f"it is {answer.media_type or 'of no type'}")
    limit_values(answer.content, MOST_VALUES)
    return load_written(answer.content)


def value(kind: Any) -> Callable[[Response], Any]:
    """Return a function that reads a value of the given class."""
    return lambda answer: from_wire(kind, json_of(answer))


def raw(answer: Response) -> bytes:
    """Return the body of a response unchanged. Raises ValueError."""
    if answer.media_type != RAW:
        raise ValueError(f"it is {answer.media_type or 'of no type'}")
    return answer.content


def nothing(answer: Response) -> None:
    """Accept a response that only confirms a write."""
    if answer.status != HTTPStatus.NO_CONTENT:
        raise ValueError("there should be nothing")


def enveloped(answer: Response) -> Enveloped:
    """Take our envelope apart. Its last member is the descriptor, byte for byte as stored.

    Raises:
        ValueError: It is not such an envelope.
    """
    if answer.media_type != ENVELOPE:
        raise ValueError(f"it is {answer.media_type or 'of no type'}")
    # Inside a JSON string, a backslash would precede the quotation mark.
    head, separator, rest = answer.content.partition(b', "descriptor": ')
    if not separator or not rest.endswith(b"}"):
        raise ValueError("it has no descriptor at its end")
    members = from_wire(dict, load(head + b"}"))
    findings = from_wire(tuple[Finding, ...], members.get("findings"))
    return from_wire(DatasetId, members.get("id")), from_wire(Revision, members.get("revision")), rest[:-1], findings


def dataset(answer: Response) -> Dataset:
    """Read a dataset. Raises ValueError."""
    dataset_id, revision, content, findings = enveloped(answer)
    return Dataset(dataset_id, revision, from_wire(dict, load(content)), content, findings)


def next_page(answer: Response) -> str | None:
    """Return the query of the next page (RFC 8288), or None on the last page. Its path is that of the list.

    Raises:
        ValueError: The link leads to another service.
    """
    found = answer.next_page()
    if found is None:
        return None
    address, _, query = found.partition("?")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//", address) and address != answer.address:
        raise ValueError(f"its next page is elsewhere: {shortened(address)}")
    return query
