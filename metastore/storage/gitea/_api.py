"""The part of the REST API of Gitea and Forgejo, version 1, that a store needs: the repositories of one owner.

Both publish it as `swagger.v1.json`, and answer these calls alike. A call names a repository by its path, so it can
reach another one than the one that was looked up. Responses have the repository's number, which is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from metastore.errors import AlreadyExists, InvalidInput, StorageBusy, StorageError, StorageUnavailable
from metastore.http.client import Host
from metastore.http.fields import Fields, Unexpected, rows
from metastore.http.responses import Redirected, Response
from metastore.storage.hosted.projects import MovedAway, Project, Projects, Wanted, issue_of
from metastore.storage.naming import Naming
from metastore.types import Issue

#: The largest page of both, unless they are configured otherwise (MAX_RESPONSE_ITEMS).
_PAGE = 50
_GONE = (301, 302, 307, 404)


class GiteaNaming(Naming):
    """Names repositories on Gitea, which reserves some endings (`IsUsableRepoName`)."""

    refused_endings = (".wiki", ".git", ".rss", ".atom")


class _Owner(NamedTuple):
    """The owner's number, and the path of the call that creates repositories."""

    number: int
    make_at: str


class GiteaApi(Projects):
    """The repositories of an organisation, or of the token's owner; see `Projects`."""

    kind = "Gitea"
    right_to_delete = "an owner's rights"
    right_to_push = "the right to read code"

    def __init__(self, host: Host, group: str) -> None:
        super().__init__(host, group)
        self._known_owner: _Owner | None = None

    def ping(self) -> None:
        self._owner()

    def _owner(self) -> _Owner:
        if self._known_owner is None:
            at = f"/orgs/{quote(self.group)}"
            answer = self._host.call("GET", at, handled=(404,))
            if answer.status == 404:
                self._known_owner = _Owner(self._our_number(), "/user/repos")
            else:
                self._known_owner = _Owner(answer.fields("organization").number("id"), f"{at}/repos")
        return self._known_owner

    def _our_number(self) -> int:
        user = self._host.call("GET", "/user").fields("user")
        if user.text("login").lower() != self.group.lower():
            raise StorageUnavailable(
                f"there is no organisation {self.group} that the token's owner can see, and the token belongs to "
                f"{user.text('login')}"
            )
        return user.number("id")

    def find(self, path: str) -> Project | None:
        try:
            answer = self._host.call("GET", _address(path), handled=(404,))
        except Redirected as moved:
            answer = self._host.call("GET", _redirected(moved), handled=(404,))
        found = None if answer.status == 404 else project_of(answer.fields("repository"))
        if found and found.path.lower() != path.lower():
            raise MovedAway(found.path)
        return found

    def by_number(self, number: int) -> Project | None:
        answer = self._host.call("GET", f"/repositories/{number}", handled=(404,))
        return None if answer.status == 404 else project_of(answer.fields("repository"))

    def all(self) -> Iterator[Project]:
        # From the last page to the first: after a deletion, later repositories move to pages that are still to be read.
        first = self._page(1)
        for number in range(first.pages, 1, -1):
            yield from self._page(number).projects
        yield from (self._page(1) if first.pages > 1 else first).projects

    def _page(self, number: int) -> _Page:
        query: dict[str, str | int] = {
            "uid": self._owner().number,
            "exclusive": "true",
            "sort": "id",
            "order": "asc",
            "limit": _PAGE,
            "page": number,
        }
        answer = self._host.call("GET", "/repos/search", query=query)
        found = answer.fields("repositories")
        if not found.truth("ok"):
            raise Unexpected(f"{self.kind} refuses to list its repositories")
        total = answer.headers.get("x-total-count", "")
        projects = [project_of(each) for each in found.rows("data")]
        if not total.isdecimal() or (number == 1 and int(total) > 0 and not projects):
            raise Unexpected(f"{self.kind} does not say how many repositories there are")
        return _Page(projects, ceil(int(total) / max(1, len(projects))))

    def create(self, wanted: Wanted) -> Project:
        body = {
            "name": wanted.name,
            "description": wanted.description,
            "private": wanted.private,
            "auto_init": False,
            "default_branch": "main",
            "object_format_name": "sha1",
        }
        # If the request is sent twice, the second answer is that the name is taken.
        answer = self._host.call("POST", self._owner().make_at, body=body, handled=(409, 422), repeatable=True)
        path = self.full_path(wanted.name)
        if answer.status == 201:
            created = project_of(answer.fields("repository"))
            if created.path.lower() == path.lower():
                return created
        existing = self._taken(path) if answer.status == 409 else self._at(path)
        if existing is None and answer.status == 409:
            raise AlreadyExists(wanted.title)
        if existing is None:
            raise InvalidInput(f"{self.kind} does not create the repository {wanted.name}: {answer.message()}")
        return existing

    def prepare(self, project: Project, wanted: Wanted | None = None) -> Project:
        """Add the wanted topic to a project."""
        topic = wanted.topic if wanted else None
        if topic and topic not in project.topics:
            topics = [*project.topics, topic]
            self._host.call("PUT", f"{_address(project.path)}/topics", body={"topics": topics}, repeatable=True)
        return project

    def rename(self, project: Project, name: str, title: str, revision: str) -> None:
        target = self.full_path(name)

        def send() -> Response:
            return self._host.call("PATCH", _address(project.path), body={"name": name}, handled=(*_GONE, 422))

        def landed() -> bool:
            current = self.by_number(project.id)
            return current is not None and current.path.lower() == target.lower()

        def done(answer: Response) -> bool:
            renamed = project_of(answer.fields("repository"))
            if renamed.id != project.id and renamed.path.lower() == target.lower():
                self._give_back(project, renamed)
            return renamed.id == project.id and renamed.path.lower() == target.lower()

        answer = self._settled(project, send, done, landed, revision)
        if answer and answer.status == 422:
            holder = self._at(target)
            if holder and holder.id != project.id:
                raise AlreadyExists(title)
            raise InvalidInput(f"{self.kind} does not rename the repository to {name}: {answer.message()}")

    def _give_back(self, project: Project, other: Project) -> None:
        """Give another repository its name back, which took the path of a project after the project was looked up."""
        body = {"name": project.name}
        self._host.call("PATCH", _address(other.path), body=body, handled=(*_GONE, 422), repeatable=True)
        raise StorageBusy(f"{project.path} was replaced meanwhile; try again")

    def remove(self, project: Project, revision: str) -> None:
        def send() -> Response:
            return self._host.call("DELETE", _address(project.path), handled=_GONE)

        def done(answer: Response) -> bool:
            return answer.status == 204

        def landed() -> bool:
            return self.by_number(project.id) is None

        self._settled(project, send, done, landed, revision)

    def issues(self, path: str) -> Iterator[Issue]:
        at = f"{_address(path)}/issues"
        query: dict[str, str | int] = {"state": "open", "type": "issues", "limit": _PAGE}
        for page in self._host.pages(at, query=query, handled=(404,)):
            if page.status == 404:
                self._expect_no_issues(path)
                return
            yield from (issue_of(each, "number", "html_url") for each in rows(page.json(), "issues"))

    def _expect_no_issues(self, path: str) -> None:
        """Raise StorageError unless the repository's issues are turned off, which Gitea reports as 404."""
        if self._host.call("GET", _address(path)).fields("repository").truth("has_issues"):
            raise StorageError(f"{self.kind} shows {path}, but not its issues")


class _Page(NamedTuple):
    """A page of repositories, and the number of pages of this size."""

    projects: list[Project]
    pages: int


def project_of(facts: Fields) -> Project:
    """Read a repository from a response. Raises StorageUnavailable."""
    topics = facts.texts("topics") if "topics" in facts and not facts.is_null("topics") else ()
    return Project(facts.number("id"), facts.text("full_name"), False, facts.moment("updated_at"), topics, False)


def _address(path: str) -> str:
    return f"/repos/{quote(path)}"


def _redirected(moved: Redirected) -> str:
    """Return the new address of a repository. Raises `Redirected` if it is another page, such as one to sign in."""
    if not re.fullmatch(r".*/api/v1/repos/[^/]+/[^/]+", urlsplit(moved.location).path):
        raise moved
    return moved.location
