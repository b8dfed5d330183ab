"""The repositories of one owner, through a host's API. Each kind of host has a subclass.

They are called projects here, as on GitLab: a repository with a name, a number, and settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from metastore.errors import MetastoreError, OutcomeUnknown, StorageBusy
from metastore.http.client import Host
from metastore.http.fields import Fields, Unexpected
from metastore.http.responses import Missing, Response, ResponseLost
from metastore.types import DatasetId, Issue

_TRIES = 3
#: How long to look for a project whose path is taken, in seconds.
_LAG = 10.0


class Project(NamedTuple):
    """A project as the API describes it.

    Attributes:
        id: Its number, which no other project of the host ever has.
        path: Its full path, such as `labs/physics/cars`.
        lfs_enabled: Whether the host refuses pushes with pointers to data that it does not have.
        last_activity: When it was last written to, as far as the host notes it.
        topics: Its topics.
        is_going: Whether it is marked for deletion.
    """

    id: int
    path: str
    lfs_enabled: bool
    last_activity: datetime
    topics: tuple[str, ...]
    is_going: bool

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Wanted(NamedTuple):
    """A project to be created: its name in addresses, its name for people, and its settings."""

    name: str
    title: str
    description: str
    private: bool
    topic: str | None


class MovedAway(Exception):
    """A project is at another full path now. Never leaves a storage."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Projects(ABC):
    """The projects of one owner.

    Args:
        host: The API.
        group: The full path of the owner: a user, an organisation, or a group.
    """

    #: The name of the kind of host, for errors.
    kind: str
    #: The right to delete a project, which is more than the right to rename it.
    right_to_delete: str
    #: The right to read and push.
    right_to_push: str

    def __init__(self, host: Host, group: str) -> None:
        self._host = host
        self.group = group

    def full_path(self, name: str) -> str:
        """Return the full path of a project of the owner."""
        return f"{self.group}/{name}"

    @abstractmethod
    def ping(self) -> None:
        """Return if the host knows the owner.

        Raises:
            StorageUnavailable: There is no such owner, or the token cannot see it.
        """

    @abstractmethod
    def find(self, path: str) -> Project | None:
        """Return the project at a full path, or None. Raises `MovedAway` if it was there once."""

    @abstractmethod
    def by_number(self, number: int) -> Project | None:
        """Return a project wherever it is now, or None."""

    @abstractmethod
    def all(self) -> Iterator[Project]:
        """Yield the owner's projects, page by page, without those that are marked for deletion."""

    @abstractmethod
    def create(self, wanted: Wanted) -> Project:
        """Create an empty project, or return the existing one.

        Raises:
            InvalidInput: The host refuses it; the message says why.
        """

    @abstractmethod
    def prepare(self, project: Project, wanted: Wanted | None = None) -> Project:
        """Configure a project before datasets are pushed to it, and return its new state.

        Raises:
            StorageUnavailable: The host refuses the settings.
        """

    @abstractmethod
    def rename(self, project: Project, name: str, title: str, revision: str) -> None:
        """Give a project another path; the host forwards the old one.

        Args:
            project: The project, with its present path.
            name: Its new name in addresses.
            title: Its new name for people.
            revision: For an error about an unknown outcome.

        Raises:
            AlreadyExists: The path is taken.
            OutcomeUnknown: The response was lost, and the host cannot be reached.
        """

    @abstractmethod
    def remove(self, project: Project, revision: str) -> None:
        """Delete a project, given with its present path. A host may keep it, marked, for some days.

        Raises:
            PermissionDenied: The token's owner lacks the right.
            OutcomeUnknown: The response was lost, and the host cannot be reached.
        """

    @abstractmethod
    def issues(self, path: str) -> Iterator[Issue]:
        """Yield the open issues of a project."""

    # For subclasses

    def _at(self, path: str) -> Project | None:
        """Return the project at a full path; None if there is none now, even if there was one."""
        try:
            return self.find(path)
        except MovedAway:
            return None

    def _taken(self, path: str) -> Project | None:
        """Return the project at a path that the host reports as taken, or None if it does not show one.

        If the response to an earlier create was lost, not every machine of the host may know the project yet.
        """

        def attempt() -> Project:
            project = self._at(path)
            if project is None:
                raise Missing(path)
            return project

        try:
            return self._host.when_there(attempt, within=_LAG)
        except Missing:
            return None

    def _settled(
        self,
        project: Project,
        send: Callable[[], Response],
        done: Callable[[Response], bool],
        landed: Callable[[], bool],
        revision: str,
    ) -> Response | None:
        """Change a project. If no response confirms the change, read whether it was made, and repeat it if not.

        Args:
            project: The project.
            send: Requests the change; also returns responses that refuse it.
            done: Tells whether a response confirms the change.
            landed: Reads whether the change was made.
            revision: The revision, for an error about an unknown outcome.
        """
        lost: Exception | None = None
        for _ in range(_TRIES):
            try:
                answer = send()
                if answer.status in _ELSEWHERE:
                    if not lost:
                        raise StorageBusy(f"{project.path} was moved or deleted meanwhile; try again")
                elif answer.status >= 400 or done(answer):
                    return answer
                else:
                    lost = ResponseLost(answer.address, "answered something else")
            except (ResponseLost, Unexpected) as error:
                lost = error
            except MetastoreError as error:
                if lost:
                    raise OutcomeUnknown(f"an answer of {self.kind} about {project.path} was lost", revision) from error
                raise
            try:
                if landed():
                    return None
            except MetastoreError as error:
                raise OutcomeUnknown(f"an answer of {self.kind} about {project.path} was lost", revision) from error
        raise OutcomeUnknown(f"answers of {self.kind} about {project.path} were lost", revision) from lost


#: The statuses of a project that is no longer at its address.
_ELSEWHERE = (301, 302, 307, 404, 405)


def issue_of(facts: Fields, number: str, address: str) -> Issue:
    """Read an issue; `number` and `address` are the names of its members in the API."""
    return Issue(facts.number(number), facts.text("title"), facts.text("state"), facts.text(address))


def title_of(dataset_id: DatasetId) -> str:
    """Return the name of a dataset's project for people, which GitLab requires to be unique in its group."""
    return dataset_id.name if not dataset_id.is_own else f"{dataset_id.owner} {dataset_id.name}"
