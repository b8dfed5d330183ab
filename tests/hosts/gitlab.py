"""An emulator of GitLab: REST v4 (docs.gitlab.com/ee/api/) and Git over HTTP, over real bare repositories.

Git is served by Git's own `git http-backend`. With GitLab's traps, each with its source:

* A moved project answers GETs by a redirect to its number and anything else by 405, but Git goes on at its old address
  (`lib/api/helpers.rb`, `redirect!`; docs/user/project/repository/_index.md, "Repository path changes").
* A deletion is accepted, and carried out when `finish_deletions` is called. Until then a project is marked, and has
  another name and path, to which the old ones lead; it is still listed, and Git still serves it (`delayed`; since 18.0
  everywhere, https://docs.gitlab.com/user/project/working_with_projects/#delete-a-project,
  https://handbook.gitlab.com/handbook/engineering/architecture/design-documents/group_and_project_deletions). Without
  `delayed`, as before, it is not shown and keeps its path.
* Pushes with pointers are refused while Git LFS is on (`lib/gitlab/checks/lfs_check.rb`).
* Pages are found by `Link` alone, which names the host as it is configured: `external_url`, which need not be what we
  call it (https://docs.gitlab.com/omnibus/settings/configuration/#configure-the-external-url-for-gitlab).
* A Maintainer renames a project and may not delete it; a Developer pushes where the branch is not protected, and makes
  and renames none (`app/policies/project_policy.rb`, https://docs.gitlab.com/user/permissions/).
* A project that was just made answers 404 for a while (`lag`: so many requests to it), as behind database replicas.
* `list_lag`: it is missing in so many lists, which nobody is known to have seen: GitLab lists from its database, and
  keeps to the primary one after a write of the same user.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

from . import repositories
from .server import LAG, HostServer, Reply, Request, listed

_PATH = re.compile(r"[a-zA-Z0-9]+(?:[._-][a-zA-Z0-9]+)*")
RESERVED = {"badges", "blame", "blob", "builds", "commits", "create", "files", "new", "raw", "refs", "tree", "wikis"}
_HOOK = """#!/bin/sh
while read old new name; do
  git rev-list --objects "$new" --not --all | cut -d' ' -f1 | git cat-file --batch 2>/dev/null |
    grep -q '^version https://git-lfs.github.com/spec/v1' &&
    { echo 'GitLab: LFS objects are missing. Ensure LFS is properly set up.' >&2; exit 1; }
done
exit 0
"""


@dataclass
class Project:
    id: int
    namespace: str
    path: str
    name: str
    facts: dict[str, Any]
    folder: Path
    #: GitLab notes later activity at most once an hour.
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    pending_delete: bool = False
    marked: str | None = None
    unknown_for: int = 0
    unlisted_for: int = 0
    issues: list[dict[str, Any]] = field(default_factory=list)

    @property
    def full_path(self) -> str:
        return f"{self.namespace}/{self.path}"


class GitLab(HostServer):
    """Holds the groups in `groups`; members of all of them are the owners of `tokens`, but for those in `readers`.

    Git is served by Git's own server, or, if `in_process`, to clients other than Git by a quick one in this process.
    """

    def __init__(self, root: Path, *groups: str, in_process: bool = False) -> None:
        self.root = root
        self.in_process = in_process
        self.groups = {name: number for number, name in enumerate(groups or ("labs/physics",), 11)}
        self.projects: dict[int, Project] = {}
        #: Former full paths of projects, by number.
        self.redirects: dict[str, int] = {}
        self.readers: set[str] = set()
        self.maintainers: set[str] = set()
        self.developers: set[str] = set()
        self.delayed = True
        self.external_url = "https://git.example.org"
        self.lag, self.list_lag = LAG, 0
        self.outsiders: set[str] = set()
        root.mkdir(parents=True, exist_ok=True)
        super().__init__()
        self.tokens["glpat-ann"] = "ann"

    def take(self, other: GitLab) -> None:
        self.redirects = dict(other.redirects)
        for each in other.projects.values():
            folder = self.root / each.folder.name
            shutil.copytree(each.folder, folder)
            self.projects[each.id] = replace(each, folder=folder, facts=dict(each.facts))

    # What tests look at

    def project(self, full_path: str) -> Project | None:
        return next((each for each in self.projects.values() if each.full_path == full_path), None)

    def finish_deletions(self) -> None:
        for each in [each for each in self.projects.values() if each.pending_delete or each.marked]:
            shutil.rmtree(each.folder)
            del self.projects[each.id]
            self.redirects = {path: number for path, number in self.redirects.items() if number != each.id}

    # Answers

    def who(self, request: Request) -> str | None:
        given = request.headers.get("authorization", "")
        if given.startswith("Basic "):
            given = " " + base64.b64decode(given[6:]).decode().partition(":")[2]
        return self.tokens.get(given.partition(" ")[2] or request.headers.get("private-token", ""))

    def answer(self, request: Request) -> Reply:
        if not request.raw_path.startswith("/api/v4/"):
            return self._git(request)
        user = self.who(request)
        if user is None:
            return Reply(401, {"message": "401 Unauthorized"})
        parts = [unquote(part) for part in request.raw_path.removeprefix("/api/v4/").split("/")]
        if parts[0] == "groups":
            return self._group(request, parts, user)
        if parts[0] == "projects":
            return self._projects(request, parts, user)
        if parts == ["user"]:
            return Reply(200, {"id": 1, "username": user})
        return Reply(404, {"error": "404 Not Found"})

    def _group(self, request: Request, parts: list[str], user: str) -> Reply:
        name = next((name for name, number in self.groups.items() if parts[1] in (name, str(number))), None)
        if name is None or user in self.outsiders:
            return Reply(404, {"message": "404 Group Not Found"})
        if len(parts) == 2:
            return Reply(200, {"id": self.groups[name], "full_path": name, "path": name.split("/")[-1]})
        after, size = int(request.query.get("id_after", 0)), int(request.query.get("per_page", 20))
        assert request.query.get("order_by") == "id", "keyset pages are ordered by id"
        there = [each for each in self.projects.values() if each.namespace == name and not each.pending_delete]
        found = listed(there)
        page = sorted((each for each in found if each.id > after), key=lambda each: each.id)
        link = {}
        if len(page) > size:
            query = urlencode({**request.query, "id_after": page[size - 1].id})
            link = {"Link": f'<{self.external_url}{request.raw_path}?{query}>; rel="next"'}
        return Reply(200, [self._shown(each) for each in page[:size]], link)

    def _projects(self, request: Request, parts: list[str], user: str) -> Reply:
        if len(parts) == 1:
            return self._create(request.json(), user)
        named = parts[1]
        project = self.projects.get(int(named)) if named.isdecimal() else self.project(named)
        if project is None and named in self.redirects and user not in self.outsiders:
            moved = self.projects[self.redirects[named]]
            if not moved.pending_delete:
                if request.method != "GET":
                    return Reply(405, {"message": "Non GET methods are not allowed for moved projects"})
                rest = "/".join(["/api/v4/projects", str(moved.id), *parts[2:]])
                return Reply(302, b"", {"Location": f"{self.external_url}{rest}"})
        if project is None or project.pending_delete or user in self.outsiders or self._lags(project):
            return Reply(404, {"message": "404 Project Not Found"})
        if len(parts) > 2:
            return self._below(request, project, parts[2:])
        if request.method == "GET":
            return Reply(200, self._shown(project))
        if user in self.readers | self.developers:
            return Reply(403, {"message": "403 Forbidden"})
        if request.method == "DELETE":
            return self._delete(project, user)
        return self._update(project, request.json())

    def _lags(self, project: Project) -> bool:
        project.unknown_for -= 1
        return project.unknown_for >= 0

    def _delete(self, project: Project, user: str) -> Reply:
        if user in self.maintainers:
            return Reply(403, {"message": "403 Forbidden"})
        if project.marked:
            return Reply(400, {"message": "Project has been already marked for deletion"})
        if not self.delayed:
            project.pending_delete = True
            return Reply(202, {"message": "202 Accepted"})
        project.marked = datetime.now(UTC).date().isoformat()
        self.redirects[project.full_path] = project.id
        project.path += f"-deletion_scheduled-{project.id}"
        project.name += f"-deletion_scheduled-{project.id}"
        return Reply(202, {"message": "202 Accepted"})

    def _create(self, asked: dict[str, Any], user: str) -> Reply:
        namespace = next((name for name, number in self.groups.items() if number == asked["namespace_id"]), None)
        if namespace is None or user in self.outsiders:
            return Reply(404, {"message": "404 Namespace Not Found"})
        if user in self.readers | self.developers:
            return Reply(403, {"message": "403 Forbidden"})
        path = asked.get("path") or asked["name"]
        if problem := self._problem(namespace, path):
            return problem
        number = max(self.projects, default=100) + 1
        folder = self.root / f"{number}.git"
        repositories.make(self.root, folder)
        facts = {"visibility": "private", "lfs_enabled": True, "description": None, "topics": []}
        made = Project(number, namespace, path, asked.get("name") or path, facts, folder)
        made.unknown_for, made.unlisted_for = self.lag, self.list_lag
        self.projects[number] = made
        self.redirects.pop(made.full_path, None)
        self._set(made, asked)
        return Reply(201, self._shown(made))

    def _problem(self, namespace: str, path: str) -> Reply | None:
        if not _PATH.fullmatch(path) or path in RESERVED or path.endswith((".git", ".atom")):
            told = "must not start or end with a special character and must not contain consecutive special characters."
            return Reply(400, {"message": {"path": [told]}})
        if self.project(f"{namespace}/{path}"):
            told = ["has already been taken"]
            return Reply(400, {"message": {"project_namespace.name": told, "name": told, "path": told}})
        return None

    def _update(self, project: Project, asked: dict[str, Any]) -> Reply:
        if "path" in asked and asked["path"] != project.path:
            if problem := self._problem(project.namespace, asked["path"]):
                return problem
            self.redirects[project.full_path] = project.id
            project.path = asked["path"]
            self.redirects.pop(project.full_path, None)
        self._set(project, asked)
        return Reply(200, self._shown(project))

    def _set(self, project: Project, asked: dict[str, Any]) -> None:
        project.facts.update({name: asked[name] for name in project.facts if name in asked})
        project.name = asked.get("name", project.name)
        hook = project.folder / "hooks/pre-receive"
        if project.facts["lfs_enabled"]:
            hook.write_text(_HOOK)
            hook.chmod(0o755)
        else:
            hook.unlink(missing_ok=True)

    def _shown(self, project: Project) -> dict[str, Any]:
        empty = repositories.is_empty(project.folder)
        return {
            "id": project.id,
            "name": project.name,
            "path": project.path,
            "path_with_namespace": project.full_path,
            "default_branch": None if empty else "main",
            "empty_repo": empty,
            "http_url_to_repo": f"{self.url}/{project.full_path}.git",
            "web_url": f"{self.url}/{project.full_path}",
            "last_activity_at": project.created,
            "marked_for_deletion_on": project.marked,
            **project.facts,
        }

    # What other clients read

    def _below(self, request: Request, project: Project, parts: list[str]) -> Reply:
        if parts == ["issues"]:
            wanted = request.query.get("state", "all")
            return Reply(200, [each for each in project.issues if wanted in ("all", each["state"])])
        if parts == ["repository", "commits"]:
            return Reply(200, list(self._commits(project, request.query.get("ref_name", "HEAD"))))
        if parts == ["repository", "tags"]:
            rows = self._run(
                project, "for-each-ref", "--format=%(refname:short)%00%(objectname)%00%(*objectname)", "refs/tags"
            )
            found = [row.split("\0") for row in rows.splitlines()]
            return Reply(200, [{"name": name, "target": at, "commit": {"id": of or at}} for name, at, of in found])
        if parts[:2] == ["repository", "files"] and parts[3:] == ["raw"]:
            done = self._git_run(project, "show", f"{request.query.get('ref', 'HEAD')}:{parts[2]}")
            if done.returncode:
                return Reply(404, {"message": "404 File Not Found"})
            return Reply(200, done.stdout, {"Content-Type": "text/plain"})
        return Reply(404, {"error": "404 Not Found"})

    def _commits(self, project: Project, revision: str) -> Iterator[dict[str, Any]]:
        rows = self._run(project, "log", "--format=%H%x00%P%x00%an%x00%ae%x00%aI%x00%B%x1e", revision).split("\x1e")
        for row in filter(None, (row.strip("\n") for row in rows)):
            identity, parents, name, email, at, message = row.split("\0")
            yield {
                "id": identity,
                "parent_ids": parents.split(),
                "author_name": name,
                "author_email": email,
                "authored_date": at,
                "message": message,
            }

    def _run(self, project: Project, *arguments: str) -> str:
        return self._git_run(project, *arguments).stdout.decode()

    def _git_run(self, project: Project, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["git", "-C", project.folder, *arguments], capture_output=True, check=False)

    # Git over HTTP

    def _git(self, request: Request) -> Reply:
        found = re.fullmatch(r"/(.+)\.git(/info/refs|/git-upload-pack|/git-receive-pack)", request.path)
        user = self.who(request)
        if user is None:
            return Reply(401, b"HTTP Basic: Access denied\n", {"WWW-Authenticate": 'Basic realm="GitLab"'})
        project = self.project(found[1]) if found else None
        if project is None and found and found[1] in self.redirects:
            project = self.projects[self.redirects[found[1]]]
        if found is None or project is None or project.pending_delete or user in self.outsiders or self._lags(project):
            return Reply(404, b"The project you were looking for could not be found.\n", {"Content-Type": "text/plain"})
        if user in self.readers and "receive-pack" in (found[2] + request.query.get("service", "")):
            return Reply(403, b"You are not allowed to push code to this project.\n", {"Content-Type": "text/plain"})
        refuses = bool(project.facts["lfs_enabled"])
        return repositories.answer(
            self.root, project.folder, found[2], request, quick=self.in_process, refuses_pointers=refuses
        )


def address(group: str) -> str:
    """Return a group's path as it stands in the path of a request."""
    return quote(group, safe="")
