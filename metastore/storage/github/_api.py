"""GitHub's API as we use it: one method a call, answers as values.

REST makes repositories and objects; GraphQL reads, and moves references: `updateRefs` is atomic over several of them,
and compares each with what it is expected to be. Docs: https://docs.github.com/rest and /graphql.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from metastore.errors import PermissionDenied, StorageBusy, StorageError, StorageUnavailable
from metastore.git.objects import Commit, Entry, TagObject
from metastore.http.client import Host
from metastore.http.responses import Redirected, Response, ResponseLost
from metastore.storage.github import _queries

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_RAW = {"Accept": "application/vnd.github.raw+json"}
NOTHING = "0" * 40
_TRIES = 3
_FORBIDDEN = {"FORBIDDEN", "INSUFFICIENT_SCOPES", "SAML_SSO_REQUIRED"}


class Rejected(Exception):
    """GitHub says that references were not moved. Never leaves a storage."""

    def __init__(self, kinds: Sequence[str], said: str) -> None:
        super().__init__(said)
        self.forbidden = bool(_FORBIDDEN.intersection(kinds))


class Move(NamedTuple):
    """What a reference shall be, and what it has to be before; None is not to be there."""

    name: str
    before: str | None
    after: str | None


class GitHubHost(Host):
    """The host, with the limits that GraphQL tells in an answer of 200."""

    def _limit(self, answer: Response) -> float | None:
        if answer.status == 200 and b'"RATE_LIMITED"' in answer.content:
            errors = answer.json().get("errors")
            if any(error.get("type") == "RATE_LIMITED" for error in errors or ()):
                return super()._limit(replace(answer, status=429))
        return super()._limit(answer)


class GitHubApi:
    """The calls.

    Args:
        host: Where to send them.
        owner: The account or organisation whose repositories are served.
    """

    def __init__(self, host: Host, owner: str) -> None:
        self.host = host
        self.owner = owner
        self._account: bool | None = None

    # GraphQL

    def ask(self, question: str, **variables: Any) -> Mapping[str, Any]:
        """Ask a question of GraphQL; parts that are not there are None.

        Raises:
            PermissionDenied: The token may not.
            StorageUnavailable: GitHub failed.
        """
        for _ in range(_TRIES):
            value = self._graphql({"query": question, "variables": {"owner": self.owner, **variables}}, repeatable=True)
            errors = [error for error in value.get("errors") or () if error.get("type") != "NOT_FOUND"]
            if not errors:
                return value.get("data") or {}
            if any(error.get("type") in _FORBIDDEN for error in errors):
                raise PermissionDenied(f"GitHub does not allow the token's owner to read: {_said(errors)}")
        raise StorageUnavailable(f"GitHub could not answer: {_said(errors)}")

    def repository(self, question: str, name: str, **variables: Any) -> Mapping[str, Any] | None:
        """Ask about a repository; None where there is none, or none that we may know of."""
        found: Mapping[str, Any] | None = self.ask(question, name=name, **variables).get("repository")
        return found

    def pages(self, question: str, *path: str, **variables: Any) -> Iterator[Any]:
        """Yield the nodes of a connection, page by page; nothing where what has them is not there."""
        after = None
        while True:
            found: Any = self.ask(question, after=after, **variables)
            for step in path:
                found = (found or {}).get(step)
            if not found:
                return
            yield from (node for node in found["nodes"] if node)
            if not found["pageInfo"]["hasNextPage"]:
                return
            after = found["pageInfo"]["endCursor"]

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
        value = self._graphql({"query": _queries.UPDATE, "variables": variables}, repeatable=False)
        if errors := value.get("errors"):
            kinds = [str(error.get("type")) for error in errors]
            if not any(error.get("path") or error.get("type") for error in errors):
                raise ResponseLost("GitHub", f"failed: {_said(errors)}")
            raise Rejected(kinds, _said(errors))

    def _graphql(self, body: Mapping[str, Any], *, repeatable: bool) -> Mapping[str, Any]:
        path = "/graphql"
        if self.host.base.endswith("/api/v3"):
            path = self.host.base.removesuffix("/v3") + path
        value = self.host.call("POST", path, body=body, repeatable=repeatable).json()
        if not isinstance(value, dict):
            raise StorageUnavailable("GitHub answered a question with something else")
        return value

    # Repositories

    def is_organisation(self) -> bool:
        """Tell whether the owner is an organisation; asked once.

        Raises:
            StorageUnavailable: There is no such owner.
            PermissionDenied: It is an account, and not the token's.
        """
        if self._account is None:
            answer = self.host.call("GET", f"/users/{quote(self.owner)}", handled=(404,))
            if answer.status == 404:
                raise StorageUnavailable(f"GitHub knows no account or organisation {self.owner}")
            account = answer.json()["type"] != "Organization"
            if account and (mine := self.host.call("GET", "/user").json()["login"]).lower() != self.owner.lower():
                raise PermissionDenied(f"the token is {mine}'s: it makes no repositories for {self.owner}")
            self._account = account
        return not self._account

    def create(self, name: str, *, private: bool, description: str) -> Response:
        """Make a repository with a first commit, so that objects can be put into it."""
        path = f"/orgs/{quote(self.owner)}/repos" if self.is_organisation() else "/user/repos"
        body = {"name": name, "private": private, "description": description, "auto_init": True}
        return self.host.call("POST", path, body=body)

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Return what REST says of the repository of this very name; None where there is none."""
        try:
            answer = self.host.call("GET", self._path(name), handled=(404,))
        except Redirected:
            return None
        found: Mapping[str, Any] | None = answer.json() if answer.status == 200 else None
        return found

    def change(self, name: str, settings: Mapping[str, Any]) -> Response:
        """Change a repository's settings, its name among them; 422 is the caller's to handle."""
        return self.host.call("PATCH", self._path(name), body=settings, handled=(422,))

    def delete(self, name: str) -> None:
        """Delete a repository."""
        self.host.call("DELETE", self._path(name), handled=(404,))

    def set_topic(self, name: str, topic: str) -> None:
        """Give a repository one topic."""
        self.host.call("PUT", self._path(name, "topics"), body={"names": [topic]}, repeatable=True)

    def reference(self, name: str, reference: str, etag: str | None) -> Response:
        """Ask what a reference names; 304 where it is what `etag` was given for, which costs nothing."""
        headers = {"If-None-Match": etag} if etag else None
        path = self._path(name, f"git/ref/{quote(reference.removeprefix('refs/'))}")
        return self.host.call("GET", path, headers=headers, handled=(404, 409))

    def time_of_day(self) -> datetime:
        """Return GitHub's own clock, by a call that counts against no limit."""
        from email.utils import parsedate_to_datetime

        answer = self.host.call("GET", "/rate_limit", handled=(404,))  # 404: Enterprise without limits
        return parsedate_to_datetime(answer.headers["date"])

    # Objects

    def blob(self, name: str, oid: str) -> bytes | None:
        """Return a blob; None where there is none."""
        answer = self.host.call("GET", self._path(name, f"git/blobs/{oid}"), headers=_RAW, handled=(404, 409, 422))
        return answer.content if answer.status == 200 else None

    def tree(self, name: str, oid: str) -> dict[str, Entry] | None:
        """Return one level of a tree; None where there is none."""
        answer = self.host.call("GET", self._path(name, f"git/trees/{oid}"), handled=(404, 409, 422))
        if answer.status != 200:
            return None
        return {line["path"]: Entry(line["mode"].lstrip("0"), line["sha"]) for line in answer.json()["tree"]}

    def put_blob(self, name: str, content: bytes) -> str:
        """Store a blob, and return its id."""
        return self._put(name, "blobs", {"content": b64encode(content).decode(), "encoding": "base64"})

    def put_tree(self, name: str, lines: Sequence[Mapping[str, Any]], base: str | None) -> str:
        """Store a tree, and return its id."""
        return self._put(name, "trees", {"tree": lines, **({"base_tree": base} if base else {})})

    def put_commit(self, name: str, commit: Commit) -> str:
        """Store a commit, and return its id."""
        who = _who(commit)
        parents = [commit.parent] if commit.parent else []
        message = f"{commit.message}\n" if commit.message else ""
        body = {"message": message, "tree": commit.tree, "parents": parents, "author": who, "committer": who}
        return self._put(name, "commits", body)

    def put_tag(self, name: str, tag: TagObject) -> str:
        """Store an annotated tag, and return its id; no reference leads to it yet."""
        message = f"{tag.description}\n" if tag.description else ""
        body = {"tag": tag.name, "message": message, "object": tag.target, "type": tag.kind, "tagger": _who(tag)}
        return self._put(name, "tags", body)

    def _put(self, name: str, kind: str, body: Mapping[str, Any]) -> str:
        path = self._path(name, f"git/{kind}")
        for attempt in range(_TRIES):
            answer = self.host.call("POST", path, body=body, repeatable=True, handled=(404, 409, 422))
            if answer.status != 409:  # a repository is said to be empty until its first commit has come through
                break
            self.host.pause(attempt)
        else:
            raise StorageBusy(f"GitHub is not ready with {self.owner}/{name}: {answer.message()}")
        if answer.status == 404:
            raise Redirected(path)
        if answer.status == 422:
            raise StorageError(f"GitHub does not take what was to be stored: {answer.message()}")
        sha = answer.json().get("sha")
        if not isinstance(sha, str):
            raise StorageError(f"GitHub did not say which object it made of {kind}")
        return sha

    def _path(self, name: str, below: str = "") -> str:
        return f"/repos/{quote(self.owner)}/{quote(name)}" + (f"/{below}" if below else "")


def _who(made: Commit | TagObject) -> dict[str, str]:
    return {"name": made.author.name, "email": made.author.email, "date": made.created.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _said(errors: Any) -> str:
    return "; ".join(str(error.get("message", ""))[:200] for error in errors) or json.dumps(errors)[:200]
