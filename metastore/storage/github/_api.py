"""The part of GitHub's REST API that a store needs: one method per call, which returns values.

REST creates repositories and objects; GraphQL (`graph`) reads, and moves references. Docs: https://docs.github.com/rest.
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
        host: The host of the API.
        owner: The account or organisation whose repositories are served.
    """

    def __init__(self, host: Host, owner: str) -> None:
        self.host = host
        self.owner = owner
        self.graph = GraphQl(host, owner)
        self._account: bool | None = None

    # Repositories

    def is_organisation(self) -> bool:
        """Tell whether the owner is an organisation; GitHub is asked only once.

        Raises:
            StorageUnavailable: There is no such owner.
            PermissionDenied: It is a user account, and not that of the token.
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
        """Create a repository with a first commit, so that it accepts objects.

        Raises `ResponseLost` to the storage: the repository may have been created.
        """
        path = f"/orgs/{quote(self.owner)}/repos" if self.is_organisation() else "/user/repos"
        body = {"name": name, "private": private, "description": description, "auto_init": True}
        answer = self.host.call("POST", path, body=body)
        return _believed(answer, name)

    def get(self, name: str) -> RestRepository | None:
        """Return REST's description of the repository with exactly this name; None if there is none."""
        try:
            answer = self.host.call("GET", self._path(name), handled=(404,))
        except Redirected:
            return None
        return RestRepository.of(answer) if answer.status != 404 else None

    def change(self, name: str, settings: Mapping[str, Any]) -> Response:
        """Change a repository's settings, such as its name. The caller handles a 422.

        Raises to the storage: `ResponseLost`, also if the response is about something else; and `Missing`, if the
        repository does not exist (no longer, or not yet).
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

        Raises to the storage: `Missing`, and `ResponseLost`, also for an unexpected response.
        """
        path = self._path(name)
        answer = self.host.call("DELETE", path, handled=(404,))
        if answer.status == 404:
            raise Missing(path)
        if answer.status != 204:
            raise ResponseLost(answer.address, f"answered {answer.status} to a deletion")

    def set_topic(self, name: str, topic: str) -> None:
        """Set the only topic of a repository."""
        path = self._path(name, "topics")
        answer = self.host.call("PUT", path, body={"names": [topic]}, repeatable=True, handled=(404,))
        if answer.status == 404:
            raise Missing(path)
        answer.fields("topics").texts("names")

    def reference(self, name: str, reference: str, etag: str | None) -> Response:
        """Ask for the target of a reference; a 304, if it is still that of `etag`, costs nothing."""
        headers = {"If-None-Match": etag} if etag else None
        path = self._path(name, f"git/ref/{quote(reference.removeprefix('refs/'))}")
        return self.host.call("GET", path, headers=headers, handled=(404, 409))

    def time_of_day(self) -> datetime:
        """Return the time of GitHub's own clock, by a call that counts against no limit."""
        from email.utils import parsedate_to_datetime

        answer = self.host.call("GET", "/rate_limit", handled=(404,))  # 404: an Enterprise server without limits
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
            StorageUnavailable: GitHub does not return all of it.
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
        if answer.status in (404, 409):  # 409: GitHub takes it for empty until the first commit has arrived everywhere
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
        """Read a repository from a response. Raises `Unexpected`."""
        found = answer.fields("repository")
        return cls(found.text("name"), found.text("node_id"), found.text("default_branch"))


def _believed(answer: Response, name: str) -> RestRepository:
    """Return the result of a change if the response has it. Otherwise it has to be read: raises `ResponseLost`."""
    try:
        changed = RestRepository.of(answer)
    except Unexpected as error:
        raise ResponseLost(answer.address, f"gave no usable answer: {error}") from None
    if changed.name.lower() != name.lower():
        raise ResponseLost(answer.address, f"answered about {changed.name}")
    return changed
