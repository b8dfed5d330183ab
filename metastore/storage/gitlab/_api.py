"""GitLab's REST API, version 4, as far as a store needs it: the projects of one group.

https://docs.gitlab.com/ee/api/projects.html, .../api/groups.html, .../api/issues.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from metastore.errors import (
    AlreadyExists,
    InvalidInput,
    MetastoreError,
    OutcomeUnknown,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)
from metastore.http.client import Host
from metastore.http.fields import Fields, Unexpected, rows
from metastore.http.responses import Redirected, Response, ResponseLost
from metastore.storage.naming import OWN_OWNER, Naming
from metastore.types import DatasetId

#: Begins the names of repositories whose datasets have names that GitLab does not take.
HEX_PREFIX = "metastore-hex."
_TAKEN_BY_GITLAB = {
    *("badges", "blame", "blob", "builds", "commits", "create", "create_dir", "edit", "environments", "files"),
    *("find_file", "new", "preview", "raw", "refs", "tree", "update", "wikis"),
}
#: GitLab refuses the first two, and keeps a project's wiki and designs at its path with the others.
_ENDINGS = (".git", ".atom", ".wiki", ".design")
_PLAIN = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_TRIES = 3


class GitLabNaming(Naming):
    """What repositories are called on GitLab, which does not take every name that a dataset can have.

    Names must not begin or end with a special character, hold two of them in a row, end in `.git` or `.atom`, or be a
    word of GitLab's own addresses ("Reserved project and group names"). Such a name becomes `metastore-hex.` and its
    bytes.
    """

    refused_endings = ()  # such names are kept under others

    def repository(self, dataset_id: DatasetId) -> str:
        name = super().repository(dataset_id)
        if name.startswith(HEX_PREFIX):
            raise InvalidInput(f"names that begin with {HEX_PREFIX} are the store's own: not {name}")
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
        # Only where the name is the one that we would choose: there is one repository for a dataset.
        return found if found and self.repository(found) == repository.lower() else None


class Project(NamedTuple):
    """A project as the API describes it."""

    id: int
    path: str
    lfs_enabled: bool
    last_activity: datetime
    topics: tuple[str, ...]
    is_going: bool

    @classmethod
    def of(cls, facts: Fields) -> Project:
        """Read an answer. Raises StorageUnavailable."""
        return cls(
            facts.number("id"),
            facts.text("path_with_namespace"),
            "lfs_enabled" in facts and facts.truth("lfs_enabled"),  # not told to everybody
            facts.moment("last_activity_at") if facts.optional_text("last_activity_at") else datetime.now(UTC),
            facts.texts("topics") if "topics" in facts else (),
            "marked_for_deletion_on" in facts and facts.optional_text("marked_for_deletion_on") is not None,
        )


class MovedAway(Exception):
    """A project is at another full path now. Never leaves a storage."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class GitLabApi:
    """The projects of a group.

    Args:
        host: The API.
        group: The group's full path.
    """

    def __init__(self, host: Host, group: str) -> None:
        self._host = host
        self.group = group
        self._namespace: int | None = None

    def full_path(self, name: str) -> str:
        """Return the full path of a project of the group."""
        return f"{self.group}/{name}"

    def namespace(self) -> int:
        """Return the group's number.

        Raises:
            StorageUnavailable: There is no such group, or the token may not see it.
        """
        if self._namespace is None:
            answer = self._host.call("GET", f"/groups/{quote(self.group, safe='')}", handled=(404,))
            if answer.status == 404:
                raise StorageUnavailable(f"there is no group {self.group} that the token's owner may see")
            self._namespace = answer.fields("group").number("id")
        return self._namespace

    def find(self, path: str) -> Project | None:
        """Return the project at a full path, or None; `MovedAway` where it was there once."""
        found = self._look_up(f"/projects/{quote(path, safe='')}")
        if found and found.path.lower() != path.lower():
            raise MovedAway(found.path)
        return found

    def by_number(self, number: int) -> Project | None:
        """Return a project wherever it is, or None."""
        return self._look_up(f"/projects/{number}")

    def _look_up(self, path: str) -> Project | None:
        """Return a project, or None: what is marked for deletion is gone, though GitLab keeps it for days."""
        try:
            answer = self._host.call("GET", path, handled=(404,))
        except Redirected as moved:
            number = urlsplit(moved.location).path.rpartition("/")[2]
            if not number.isdecimal():
                raise
            answer = self._host.call("GET", f"/projects/{number}", handled=(404,))
        if answer.status == 404:
            return None
        project = Project.of(answer.fields("project"))
        return None if project.is_going else project

    def projects(self) -> Iterator[Project]:
        """Yield the projects of the group itself, a page at a time, but not those that are marked for deletion."""
        query: dict[str, str | int] = {
            "pagination": "keyset",
            "order_by": "id",
            "sort": "asc",
            "per_page": 100,
            "with_shared": "false",
        }
        for page in self._host.pages(f"/groups/{quote(self.group, safe='')}/projects", query=query):
            projects = map(Project.of, rows(page.json(), "projects"))
            yield from (project for project in projects if not project.is_going)

    def create(self, asked: Mapping[str, Any]) -> Project:
        """Make an empty project without Git LFS of its own, or return the one that is there.

        Args:
            asked: What the API takes; `path` is the name in the group.

        Raises:
            InvalidInput: GitLab does not take it; the message says why.
        """
        name = asked["path"]
        body = {**asked, "namespace_id": self.namespace(), "lfs_enabled": False}
        # Asked twice, the second answer is that the path is taken.
        answer = self._host.call("POST", "/projects", body=body, handled=(400,), repeatable=True)
        if answer.status != 400:
            made = Project.of(answer.fields("project"))
            if made.path.lower() == self.full_path(name).lower():
                return made
        found = self.find(self.full_path(name))
        if found is None:
            raise InvalidInput(f"GitLab makes no project {name}: {answer.message()}")
        return found

    def without_lfs(self, project: Project) -> Project:
        """Turn GitLab's own LFS off: with it on, it refuses pushes with pointers to what it does not have.

        Raises:
            StorageUnavailable: It stays on.
        """
        if not project.lfs_enabled:
            return project
        answer = self._host.call("PUT", f"/projects/{project.id}", body={"lfs_enabled": False}, repeatable=True)
        changed = answer.fields("project")
        if changed.truth("lfs_enabled"):
            raise StorageUnavailable(f"Git LFS cannot be turned off for {project.path}, so pointers would be refused")
        return Project.of(changed)

    def rename(self, project: Project, name: str, title: str, revision: str) -> None:
        """Give a project another path in its group; GitLab forwards the old one.

        Raises:
            AlreadyExists: The path is taken.
            OutcomeUnknown: The answer was lost, and GitLab cannot be asked.
        """
        target = self.full_path(name)

        def landed() -> bool:
            found = self.by_number(project.id)
            return found is not None and found.path.lower() == target.lower()

        def done(answer: Response) -> bool:
            return Project.of(answer.fields("project")).path.lower() == target.lower()

        answer = self._settled("PUT", project, {"path": name, "name": title}, done, landed, revision)
        if answer and answer.status == 400:
            try:
                taken = self.find(target)
            except MovedAway:
                taken = None
            if taken and taken.id != project.id:
                raise AlreadyExists(title)
            raise InvalidInput(f"GitLab renames no project to {name}: {answer.message()}")

    def remove(self, project: Project, revision: str) -> None:
        """Let GitLab delete a project, which it does later: until then it is marked.

        Raises:
            PermissionDenied: The token's owner may not; that takes another role than a rename.
            OutcomeUnknown: The answer was lost, and GitLab cannot be asked.
        """

        def done(answer: Response) -> bool:
            return answer.status in (202, 204)

        def landed() -> bool:
            return self.by_number(project.id) is None

        answer = self._settled("DELETE", project, None, done, landed, revision)
        if answer and answer.status == 400 and not landed():
            raise StorageError(f"GitLab does not delete {project.path}: {answer.message()}")

    def _settled(
        self,
        method: str,
        project: Project,
        body: Any,
        done: Callable[[Response], bool],
        landed: Callable[[], bool],
        revision: str,
    ) -> Response | None:
        """Change a project; if no answer says that it is done, read whether it is, and ask again if it is not."""
        lost: Exception | None = None
        for _ in range(_TRIES):
            try:
                answer = self._host.call(method, f"/projects/{project.id}", body=body, handled=(400, 404, 405))
                if answer.status in (404, 405) and not lost:
                    raise StorageBusy(f"{project.path} was moved or deleted meanwhile; try again")
                if answer.status >= 400 or done(answer):
                    return answer
                lost = ResponseLost(answer.address, "answered something else")
            except (ResponseLost, Unexpected) as error:
                lost = error
            except MetastoreError as error:
                if lost:
                    raise OutcomeUnknown(f"an answer of GitLab about {project.path} was lost", revision) from error
                raise
            try:
                if landed():
                    return None
            except MetastoreError as error:
                raise OutcomeUnknown(f"an answer of GitLab about {project.path} was lost", revision) from error
        raise OutcomeUnknown(f"answers of GitLab about {project.path} were lost", revision) from lost

    def issues(self, path: str) -> Iterator[Fields]:
        """Yield the open issues of a project as the API describes them, a page at a time."""
        for page in self._host.pages(
            f"/projects/{quote(path, safe='')}/issues", query={"state": "opened", "per_page": 100}
        ):
            yield from rows(page.json(), "issues")


def title_of(dataset_id: DatasetId) -> str:
    """Return the name of a dataset's project for people, which has to be unique in its group."""
    return dataset_id.name if dataset_id.owner != OWN_OWNER else f"{dataset_id.owner} {dataset_id.name}"
