"""GitHub's REST API as we use it: one method a call, answers as values.

REST makes repositories and objects; GraphQL (`graph`) reads, and moves references. Docs: https://docs.github.com/rest.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from metastore.errors import PermissionDenied, StorageError, StorageUnavailable
from metastore.git.objects import Commit, Entry, TagObject
from metastore.http.client import Host
from metastore.http.fields import Unexpected
from metastore.http.responses import Missing, Redirected, Response, ResponseLost
from metastore.storage.github._graphql import GraphQl

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_RAW = {"Accept": "application/vnd.github.raw+json"}


class GitHubApi:
    """The calls.

    Args:
        host: Where to send them.
        owner: The account or organisation whose repositories are served.
    """

    def __init__(self, host: Host, owner: str) -> None:
        self.host = host
        self.owner = owner
        self.graph = GraphQl(host, owner)
        self._account: bool | None = None

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
            account = answer.fields("account").text("type") != "Organization"
            if account and (mine := self._login()).lower() != self.owner.lower():
                raise PermissionDenied(f"the token is {mine}'s: it makes no repositories for {self.owner}")
            self._account = account
        return not self._account

    def _login(self) -> str:
        return self.host.call("GET", "/user").fields("user").text("login")

    def create(self, name: str, *, private: bool, description: str) -> RestRepository:
        """Make a repository with a first commit, so that objects can be put into it.

        `ResponseLost` stays inside the storage: the repository may have been made.
        """
        path = f"/orgs/{quote(self.owner)}/repos" if self.is_organisation() else "/user/repos"
        body = {"name": name, "private": private, "description": description, "auto_init": True}
        answer = self.host.call("POST", path, body=body)
        return _believed(answer, name)

    def get(self, name: str) -> RestRepository | None:
        """Return what REST says of the repository of this very name; None if there is none."""
        try:
            answer = self.host.call("GET", self._path(name), handled=(404,))
        except Redirected:
            return None
        return RestRepository.of(answer) if answer.status != 404 else None

    def change(self, name: str, settings: Mapping[str, Any]) -> Response:
        """Change a repository's settings, its name among them; 422 is the caller's to handle.

        Two exceptions stay inside the storage: `ResponseLost`, also where the answer is about something else; and
        `Missing`, if the repository is not there (any more, or yet).
        """
        path = self._path(name)
        answer = self.host.call("PATCH", path, body=settings, handled=(404, 422))
        if answer.status == 404:
            raise Missing(path)
        if answer.status != 422:
            _believed(answer, str(settings.get("name", name)))
        return answer

    def delete(self, name: str) -> None:
        """Delete a repository.

        Two exceptions stay inside the storage: `Missing`, and `ResponseLost`, also after an answer of another kind.
        """
        path = self._path(name)
        answer = self.host.call("DELETE", path, handled=(404,))
        if answer.status == 404:
            raise Missing(path)
        if answer.status != 204:
            raise ResponseLost(answer.address, f"answered {answer.status} to a deletion")

    def set_topic(self, name: str, topic: str) -> None:
        """Give a repository one topic."""
        path = self._path(name, "topics")
        answer = self.host.call("PUT", path, body={"names": [topic]}, repeatable=True, handled=(404,))
        if answer.status == 404:
            raise Missing(path)
        answer.fields("topics").texts("names")

    def reference(self, name: str, reference: str, etag: str | None) -> Response:
        """Ask what a reference names; 304 where it is what `etag` was given for, which costs nothing."""
        headers = {"If-None-Match": etag} if etag else None
        path = self._path(name, f"git/ref/{quote(reference.removeprefix('refs/'))}")
        return self.host.call("GET", path, headers=headers, handled=(404, 409))

    def time_of_day(self) -> datetime:
        """Return GitHub's own clock, by a call that counts against no limit."""
        from email.utils import parsedate_to_datetime

        answer = self.host.call("GET", "/rate_limit", handled=(404,))  # 404: Enterprise without limits
        try:
            return parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            raise Unexpected("GitHub does not say what time it is") from None

    # Objects

    def blob(self, name: str, oid: str) -> bytes | None:
        """Return a blob; None if there is none."""
        answer = self.host.call("GET", self._path(name, f"git/blobs/{oid}"), headers=_RAW, handled=(404, 409, 422))
        return answer.content if answer.status == 200 else None

    def tree(self, name: str, oid: str) -> dict[str, Entry] | None:
        """Return one level of a tree; None if there is none.

        Raises:
            StorageUnavailable: GitHub does not tell all of it.
        """
        answer = self.host.call("GET", self._path(name, f"git/trees/{oid}"), handled=(404, 409, 422))
        if answer.status != 200:
            return None
        tree = answer.fields("tree")
        if tree.truth("truncated"):
            raise Unexpected(f"GitHub tells only a part of the tree {oid}: it is too large for the API")
        return {line.text("path"): Entry(line.text("mode").lstrip("0"), line.oid("sha")) for line in tree.rows("tree")}

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
        answer = self.host.call("POST", path, body=body, repeatable=True, handled=(404, 409, 422))
        if answer.status in (404, 409):  # 409: said to be empty until its first commit has come through
            raise Missing(path)
        if answer.status == 422:
            raise StorageError(f"GitHub does not take what was to be stored: {answer.message()}")
        return answer.fields(kind).oid("sha")

    def _path(self, name: str, below: str = "") -> str:
        return f"/repos/{quote(self.owner)}/{quote(name)}" + (f"/{below}" if below else "")


def _who(made: Commit | TagObject) -> dict[str, str]:
    return {"name": made.author.name, "email": made.author.email, "date": made.created.strftime("%Y-%m-%dT%H:%M:%SZ")}


class RestRepository(NamedTuple):
    """A repository as REST describes it."""

    name: str
    node_id: str
    branch: str

    @classmethod
    def of(cls, answer: Response) -> RestRepository:
        """Read an answer. Raises `Unexpected`."""
        found = answer.fields("repository")
        return cls(found.text("name"), found.text("node_id"), found.text("default_branch"))


def _believed(answer: Response, name: str) -> RestRepository:
    """Return what a change made, if the answer says so; otherwise that has to be read: `ResponseLost`."""
    try:
        changed = RestRepository.of(answer)
    except Unexpected as error:
        raise ResponseLost(answer.address, f"gave no usable answer: {error}") from None
    if changed.name.lower() != name.lower():
        raise ResponseLost(answer.address, f"answered about {changed.name}")
    return changed
