"""GitHub's GraphQL, as we use it: questions, pages, and moving references.

`updateRefs` is atomic over several references, and compares each with what it is expected to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from metastore.errors import PermissionDenied, StorageUnavailable
from metastore.http.client import Host
from metastore.http.fields import Fields, Unexpected
from metastore.http.responses import Response, ResponseLost
from metastore.storage.github import _queries

NOTHING = "0" * 40
_TRIES = 3
_FORBIDDEN = {"FORBIDDEN", "INSUFFICIENT_SCOPES", "SAML_SSO_REQUIRED"}
_LIMITS = {"RATE_LIMITED", "RATE_LIMIT", "graphql_rate_limit"}


class Rejected(Exception):
    """GitHub says that references were not moved. Never leaves a storage."""

    def __init__(self, kinds: Sequence[str], said: str) -> None:
        super().__init__(said)
        self.forbidden = bool(_FORBIDDEN.intersection(kinds))
        self.not_found = "NOT_FOUND" in kinds


class Move(NamedTuple):
    """A change of one reference, from the value that it has to have; None means absent."""

    name: str
    before: str | None
    after: str | None


class GitHubHost(Host):
    """The host, with the limits that come as an answer of 200.

    GraphQL says `RATE_LIMITED` or, since 2025, `RATE_LIMIT` with the code `graphql_rate_limit`
    (https://github.com/yanyongyu/githubkit/issues/271).
    """

    #: "In general, no more than 80 content-generating requests per minute and no more than 500 … per hour"
    #: (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
    limits_of_changes = ((80, 60.0), (500, 3600.0))

    def _limit(self, answer: Response) -> float | None:
        if answer.status == 200 and answer.media_type == "application/json" and _says_limit(answer):
            return super()._limit(replace(answer, status=429))
        return super()._limit(answer)


def _says_limit(answer: Response) -> bool:
    if b"rate" not in answer.content.lower():
        return False
    try:
        value = answer.json()
    except Unexpected:
        return False
    if not isinstance(value, dict) or value.get("data"):
        return False
    marks = {str(error.get(name)) for error in _errors(value) for name in ("type", "code")}
    return bool(marks & _LIMITS) or "rate-limit" in str(value.get("documentation_url"))


class _Answer(NamedTuple):
    """An answer of GraphQL whose only errors are that something is not found."""

    data: Fields
    not_found: bool

    def top(self, name: str) -> Fields | None:
        """Return what was asked about; None only if GitHub says that it is not found, since a null alone may mean more.

        Raises:
            StorageUnavailable: GitHub does not say so, and tells nothing.
        """
        found = self.data.optional(name)
        if found is None and not self.not_found:
            raise Unexpected(f"GitHub tells of no {name}: it is not there, or not for the token's owner to see")
        return found


class GraphQl:
    """The questions, and the one mutation.

    Args:
        host: Where to send them.
        owner: The account or organisation whose repositories are served.
    """

    def __init__(self, host: Host, owner: str) -> None:
        self._host = host
        self._owner = owner

    def _ask(self, question: str, **variables: Any) -> _Answer:
        """Ask a question of GraphQL.

        Raises:
            PermissionDenied: The token may not.
            StorageUnavailable: GitHub failed.
        """
        for _ in range(_TRIES):
            value = self._send({"query": question, "variables": {"owner": self._owner, **variables}}, repeatable=True)
            said = _errors(value)
            errors = [error for error in said if error.get("type") != "NOT_FOUND"]
            if not errors:
                return _Answer(Fields(value.get("data"), "data"), bool(said))
            if any(error.get("type") in _FORBIDDEN for error in errors):
                raise PermissionDenied(f"GitHub does not allow the token's owner to read: {_said(errors)}")
        raise StorageUnavailable(f"GitHub could not answer: {_said(errors)}")

    def repository(self, question: str, name: str, **variables: Any) -> Fields | None:
        """Ask about a repository; None if there is none, or none that we may know of."""
        return self._ask(question, name=name, **variables).top("repository")

    def pages(self, question: str, top: str, connection: str, **variables: Any) -> Iterator[Fields]:
        """Yield the nodes of a connection, page by page; nothing if GitHub says that `top` is not there.

        Raises:
            StorageUnavailable: GitHub does not say so, but tells nothing either.
        """
        after: str | None = None
        while True:
            holder = self._ask(question, after=after, **variables).top(top)
            if holder is None:
                return
            page = holder.below(connection)
            yield from page.rows("nodes")
            info = page.below("pageInfo")
            if not info.truth("hasNextPage"):
                return
            if after == info.text("endCursor"):
                raise Unexpected("GitHub leads from a page to the same page")
            after = info.text("endCursor")

    def move(self, node_id: str, moves: Sequence[Move], *, force: bool = False) -> None:
        """Move references, all or none. A `before` of None is compared too, unless it is forced.

        Two exceptions are for the storage alone: `Rejected`, where they were not moved; and `ResponseLost`, where that
        cannot be told.
        """
        updates = []
        for each in moves:
            # One tag is no descendant of another: moving one is always forced, and compared all the same.
            forced = force or each.name.startswith("refs/tags/")
            update = {"name": each.name, "afterOid": each.after or NOTHING, "force": forced}
            if each.before or not force:
                update["beforeOid"] = each.before or NOTHING
            updates.append(update)
        variables = {"input": {"repositoryId": node_id, "refUpdates": updates}}
        try:
            value = self._send({"query": _queries.UPDATE, "variables": variables}, repeatable=False)
            errors = _errors(value)
            if not errors:
                Fields(value.get("data"), "data").below("updateRefs")  # null would be no reference moved
                return
        except Unexpected as error:
            raise ResponseLost("GitHub", f"gave no usable answer: {error}") from None
        if not any(error.get("path") or error.get("type") for error in errors):
            raise ResponseLost("GitHub", f"failed: {_said(errors)}")
        raise Rejected([str(error.get("type")) for error in errors], _said(errors))

    def _send(self, body: Mapping[str, Any], *, repeatable: bool) -> dict[str, Any]:
        path = "/graphql"
        if self._host.base.endswith("/api/v3"):
            path = self._host.base.removesuffix("/v3") + path
        value = self._host.call("POST", path, body=body, repeatable=repeatable).json()
        if not isinstance(value, dict):
            raise Unexpected("GitHub answered a question with something else")
        return value


def _errors(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the errors of an answer of GraphQL. Raises `Unexpected`."""
    errors = value.get("errors")
    if errors is not None and not isinstance(errors, list):
        raise Unexpected("GitHub says in a way of its own that something is wrong")
    return [error if isinstance(error, dict) else {"message": str(error)} for error in errors or ()]


def _said(errors: Any) -> str:
    return "; ".join(str(error.get("message", ""))[:200] for error in errors) or json.dumps(errors)[:200]
