"""The part of GitHub's GraphQL API that a store needs: queries, pages, and moves of references.

`updateRefs` is atomic over several references, and compares each with its expected value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from metastore.errors import PermissionDenied, StorageUnavailable
from metastore.git.repository import TAGS
from metastore.http.client import Host
from metastore.http.fields import Fields, Unexpected
from metastore.http.responses import Pages, Response, ResponseLost
from metastore.storage.github import _queries

NOTHING = "0" * 40
_TRIES = 3
_FORBIDDEN = {"FORBIDDEN", "INSUFFICIENT_SCOPES", "SAML_SSO_REQUIRED"}
_LIMITS = {"RATE_LIMITED", "RATE_LIMIT", "graphql_rate_limit"}


class Rejected(Exception):
    """GitHub reports that references were not moved. Never leaves a storage."""

    def __init__(self, kinds: Sequence[str], said: str) -> None:
        super().__init__(said)
        self.forbidden = bool(_FORBIDDEN.intersection(kinds))
        self.not_found = "NOT_FOUND" in kinds


class Move(NamedTuple):
    """A change of one reference from its required value; None means absent."""

    name: str
    before: str | None
    after: str | None


class GitHubHost(Host):
    """The host, including limits that come in a response with status 200.

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
    """A response of GraphQL whose only errors are that something was not found."""

    data: Fields
    not_found: bool

    def top(self, name: str) -> Fields | None:
        """Return the queried object. None only if GitHub reports it as not found, since a null alone could mean more.

        Raises:
            StorageUnavailable: GitHub reports no such error, but returns nothing.
        """
        found = self.data.optional(name)
        if found is None and not self.not_found:
            raise Unexpected(f"GitHub tells of no {name}: it is not there, or not for the token's owner to see")
        return found


class GraphQl:
    """The queries, and the one mutation.

    Args:
        host: The host of the API.
        owner: The account or organisation whose repositories are served.
    """

    def __init__(self, host: Host, owner: str) -> None:
        self._host = host
        self._owner = owner

    def _ask(self, question: str, **variables: Any) -> _Answer:
        """Send a query to GraphQL.

        Raises:
            PermissionDenied: The token lacks a right.
            StorageUnavailable: GitHub failed.
        """
        for _ in range(_TRIES):
            value = self._send({"query": question, "variables": {"owner": self._owner, **variables}}, repeatable=True)
            said = _errors(value)
            errors = [error for error in said if error.get("type") != "NOT_FOUND"]
            if not errors:
                return _Answer(Fields(value.get("data"), "data"), bool(said))
            if any(str(error.get("type")) in _FORBIDDEN for error in errors):
                raise PermissionDenied(f"GitHub does not allow the token's owner to read: {_said(errors)}")
        raise StorageUnavailable(f"GitHub could not answer: {_said(errors)}")

    def repository(self, question: str, name: str, **variables: Any) -> Fields | None:
        """Query a repository; None if there is none that the token can see."""
        return self._ask(question, name=name, **variables).top("repository")

    def pages(self, question: str, top: str, connection: str, **variables: Any) -> Iterator[Fields]:
        """Yield the nodes of a connection, page by page; nothing if GitHub reports `top` as not found.

        Raises:
            StorageUnavailable: GitHub reports no such error, but returns nothing; or its pages do not end.
        """
        after: str | None = None
        turning = Pages()
        while True:
            holder = self._ask(question, after=after, **variables).top(top)
            if holder is None:
                return
            page = holder.below(connection)
            yield from page.rows("nodes")
            info = page.below("pageInfo")
            if not info.truth("hasNextPage"):
                return
            after = turning.turn(info.text("endCursor"))

    def move(self, node_id: str, moves: Sequence[Move], *, force: bool = False) -> None:
        """Move references, all or none. A `before` of None is compared too, unless the move is forced.

        Raises to the storage: `Rejected`, if they were not moved, and `ResponseLost`, if that is unknown.
        """
        updates = []
        for each in moves:
            # A tag is never a descendant of another, so moving one is always forced, but compared nevertheless.
            forced = force or each.name.startswith(TAGS)
            update = {"name": each.name, "afterOid": each.after or NOTHING, "force": forced}
            if each.before or not force:
                update["beforeOid"] = each.before or NOTHING
            updates.append(update)
        variables = {"input": {"repositoryId": node_id, "refUpdates": updates}}
        try:
            value = self._send({"query": _queries.UPDATE, "variables": variables}, repeatable=False)
            errors = _errors(value)
            if not errors:
                Fields(value.get("data"), "data").below("updateRefs")  # null would mean that no reference was moved
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
    """Return the errors in a response of GraphQL. Raises `Unexpected`."""
    errors = value.get("errors")
    if errors is not None and not isinstance(errors, list):
        raise Unexpected("GitHub says in a way of its own that something is wrong")
    return [error if isinstance(error, dict) else {"message": str(error)} for error in errors or ()]


def _said(errors: Any) -> str:
    return "; ".join(str(error.get("message", ""))[:200] for error in errors) or json.dumps(errors)[:200]
