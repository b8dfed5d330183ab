"""The part of GitLab's REST API, version 4, that a store needs: the projects of one group.

https://docs.gitlab.com/ee/api/projects.html, .../api/groups.html, .../api/issues.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from metastore.errors import AlreadyExists, InvalidInput, StorageError, StorageUnavailable
from metastore.http.client import Host
from metastore.http.fields import Fields, Unexpected, rows
from metastore.http.responses import Redirected, Response
from metastore.storage.hosted.projects import MovedAway, Project, Projects, Wanted, issue_of
from metastore.storage.naming import Naming
from metastore.types import DatasetId, Issue

#: The prefix of repositories whose datasets have names that GitLab does not accept.
HEX_PREFIX = "metastore-hex."
_TAKEN_BY_GITLAB = {
    *("badges", "blame", "blob", "builds", "commits", "create", "create_dir", "edit", "environments", "files"),
    *("find_file", "new", "preview", "raw", "refs", "tree", "update", "wikis"),
}
#: GitLab refuses the first two; a project's path with the others is that of its wiki and its designs.
_ENDINGS = (".git", ".atom", ".wiki", ".design")
_PLAIN = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


class GitLabNaming(Naming):
    """Names repositories on GitLab, which does not accept every name that a dataset can have.

    Names must not begin or end with a special character, have two of them in a row, end in `.git` or `.atom`, or be
    reserved ("Reserved project and group names"). Such a name becomes `metastore-hex.` and its bytes.
    """

    refused_endings = ()  # such names are encoded

    def repository(self, dataset_id: DatasetId) -> str:
        name = super().repository(dataset_id)
        if name.startswith(HEX_PREFIX):
            raise InvalidInput(f"names that begin with {HEX_PREFIX} are reserved for the store, and {name} is one")
        if _PLAIN.fullmatch(name) and name not in _TAKEN_BY_GITLAB and not name.endswith(_ENDINGS):
            return name
        return HEX_PREFIX + name.encode().hex()

    def dataset(self, repository: str) -> DatasetId | None:
        name = repository.lower()
        if name.startswith(HEX_PREFIX):
            try:
                name = bytes.fromhex(name.removeprefix(HEX_PREFIX)).decode()
            except ValueError:
                return None
        found = super().dataset(name)
        # Only if we would choose the same name: a dataset has one repository.
        return found if found and self.repository(found) == repository.lower() else None


def project_of(facts: Fields) -> Project:
    """Read a project from a response. Raises StorageUnavailable."""
    return Project(
        facts.number("id"),
        facts.text("path_with_namespace"),
        "lfs_enabled" in facts and facts.truth("lfs_enabled"),  # some tokens do not see it
        facts.moment("last_activity_at") if facts.optional_text("last_activity_at") else datetime.now(UTC),
        facts.texts("topics") if "topics" in facts else (),
        "marked_for_deletion_on" in facts and facts.optional_text("marked_for_deletion_on") is not None,
    )


def _is_about_the_path(answer: Response) -> bool:
    """Tell whether GitLab refuses a path. We send only paths that it accepts, so another project has this one."""
    try:
        return "path" in answer.fields("refusal").below("message")
    except Unexpected:
        return False


class GitLabApi(Projects):
    """The projects of a group; see `Projects`."""

    kind = "GitLab"
    right_to_delete = "the role Owner"
    right_to_push = "the role Reporter"

    def __init__(self, host: Host, group: str) -> None:
        super().__init__(host, group)
        self._namespace: int | None = None

    def ping(self) -> None:
        self._number_of_group()

    def _number_of_group(self) -> int:
        if self._namespace is None:
            answer = self._host.call("GET", f"/groups/{quote(self.group, safe='')}", handled=(404,))
            if answer.status == 404:
                raise StorageUnavailable(f"there is no group {self.group} that the token's owner can see")
            self._namespace = answer.fields("group").number("id")
        return self._namespace

    def find(self, path: str) -> Project | None:
        found = self._look_up(f"/projects/{quote(path, safe='')}")
        if found and found.path.lower() != path.lower():
            raise MovedAway(found.path)
        return found

    def by_number(self, number: int) -> Project | None:
        return self._look_up(f"/projects/{number}")

    def _look_up(self, path: str) -> Project | None:
        """Return a project, or None. One marked for deletion counts as gone, though GitLab keeps it for days."""
        try:
            answer = self._host.call("GET", path, handled=(404,))
        except Redirected as moved:
            number = urlsplit(moved.location).path.rpartition("/")[2]
            if not number.isdecimal():
                raise
            answer = self._host.call("GET", f"/projects/{number}", handled=(404,))
        if answer.status == 404:
            return None
        project = project_of(answer.fields("project"))
        return None if project.is_going else project

    def all(self) -> Iterator[Project]:
        query: dict[str, str | int] = {
            "pagination": "keyset",
            "order_by": "id",
            "sort": "asc",
            "per_page": 100,
            "with_shared": "false",
        }
        for page in self._host.pages(f"/groups/{quote(self.group, safe='')}/projects", query=query):
            projects = map(project_of, rows(page.json(), "projects"))
            yield from (project for project in projects if not project.is_going)

    def create(self, wanted: Wanted) -> Project:
        body = {
            "name": wanted.title,
            "path": wanted.name,
            "visibility": "private" if wanted.private else "public",
            "description": wanted.description,
            "topics": [wanted.topic] if wanted.topic else [],
            "namespace_id": self._number_of_group(),
            "lfs_enabled": False,
        }
        # If the request is sent twice, the second answer is that the path is taken.
        answer = self._host.call("POST", "/projects", body=body, handled=(400,), repeatable=True)
        path = self.full_path(wanted.name)
        if answer.status != 400:
            created = project_of(answer.fields("project"))
            if created.path.lower() == path.lower():
                return created
        existing = self._taken(path) if _is_about_the_path(answer) else self._at(path)
        if existing is None:
            raise InvalidInput(f"GitLab does not create the project {wanted.name}: {answer.message()}")
        return existing

    def prepare(self, project: Project, wanted: Wanted | None = None) -> Project:
        """Turn off GitLab's own LFS: with it, GitLab refuses pushes whose pointers name files that it does not have.

        Raises:
            StorageUnavailable: It stays on.
        """
        if not project.lfs_enabled:
            return project
        answer = self._host.call("PUT", f"/projects/{project.id}", body={"lfs_enabled": False}, repeatable=True)
        changed = answer.fields("project")
        if changed.truth("lfs_enabled"):
            raise StorageUnavailable(f"Git LFS cannot be turned off for {project.path}, so pointers would be refused")
        return project_of(changed)

    def rename(self, project: Project, name: str, title: str, revision: str) -> None:
        target = self.full_path(name)

        def send() -> Response:
            body = {"path": name, "name": title}
            return self._host.call("PUT", f"/projects/{project.id}", body=body, handled=(400, 404, 405))

        def landed() -> bool:
            renamed = self.by_number(project.id)
            return renamed is not None and renamed.path.lower() == target.lower()

        def done(answer: Response) -> bool:
            return project_of(answer.fields("project")).path.lower() == target.lower()

        answer = self._settled(project, send, done, landed, revision)
        if answer and answer.status == 400:
            holder = self._at(target)
            if holder and holder.id != project.id:
                raise AlreadyExists(title)
            raise InvalidInput(f"GitLab does not rename the project to {name}: {answer.message()}")

    def remove(self, project: Project, revision: str) -> None:
        def send() -> Response:
            return self._host.call("DELETE", f"/projects/{project.id}", handled=(400, 404, 405))

        def done(answer: Response) -> bool:
            return answer.status in (202, 204)

        def landed() -> bool:
            return self.by_number(project.id) is None

        answer = self._settled(project, send, done, landed, revision)
        if answer and answer.status == 400 and not landed():
            raise StorageError(f"GitLab does not delete {project.path}: {answer.message()}")

    def issues(self, path: str) -> Iterator[Issue]:
        query: dict[str, str | int] = {"state": "opened", "per_page": 100}
        for page in self._host.pages(f"/projects/{quote(path, safe='')}/issues", query=query):
            for each in rows(page.json(), "issues"):
                yield issue_of(each, "iid", "web_url")
