"""An emulator of Gitea and Forgejo: REST v1 and Git over HTTP, over real bare repositories.

Git is served by Git's own `git http-backend`, as both serve it by Git's own programs. Every answer is judged by the
descriptions that both publish (`gitea_judge.py`). With their traps, each with its source in Gitea's repository:

* A renamed repository is forwarded, API and Git alike, by 301 to its new name, for each method, until somebody
  takes the name or the repository is deleted (`services/context/repo.go`, `RedirectToRepo`). Versions about 1.21 answer
  307, which Git does not follow (issue 28460 of go-gitea/gitea): `moved_status`.
* Repositories are addressed by name: what is at a name may be another one than a moment ago.
* Pages have 50 entries at most (`MAX_RESPONSE_ITEMS`), are counted in `X-Total-Count`, and are cut out of the list as
  it is at that moment; `Link` names the host as it is configured, `external_url` (`services/context/api.go`).
* Who has an administrator's rights renames a repository; only an owner deletes it (`reqAdmin`, `reqOwner` in
  `routers/api/v1/api.go`; `CanUserDelete`).
* A token has scopes, and each call wants some of them (`tokenRequiresScopes`); Git wants those of repositories.
* A name that is taken is a 409 to making a repository, and a 422 to renaming one (`routers/api/v1/repo/repo.go`).
* Names that end in `.wiki`, `.git`, `.rss` or `.atom` are refused (`models/repo/repo.go`, `IsUsableRepoName`).
* A push to a repository that is not there is a 403, since it would make one, and reading it a 404; an archived one
  takes no push (`routers/web/repo/githttp.go`). Who may only read is refused by a hook (`hook_pre_receive.go`).
* Issues that are turned off are a 404.
* A repository that was just made answers 404 for a while (`lag`: so many requests to it), where several machines serve;
  and is missing in so many lists (`list_lag`), which nobody is known to have seen: both list from their database.
"""

from __future__ import annotations

import base64
import re
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from . import repositories
from .gitea_judge import judge
from .server import LAG, HostServer, Reply, Request, listed

TOKEN = "gitea-ann"
_NAME = re.compile(r"[-.\w]+")
_REFUSED = (".wiki", ".git", ".rss", ".atom")
_NOT_FOUND = Reply(404, {"message": "The target couldn't be found.", "url": "/api/swagger", "errors": []})
#: What a token may do, if it may do all that a store needs.
ALL_SCOPES = frozenset({"write:repository", "write:organization", "write:user", "read:issue"})


@dataclass
class Repository:
    id: int
    name: str
    facts: dict[str, Any]
    folder: Path
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    issues: list[dict[str, Any]] = field(default_factory=list)
    unknown_for: int = 0
    unlisted_for: int = 0


class Gitea(HostServer):
    """Holds the repositories of the organisation `owner`, or of Ann, if that is the owner's name.

    Members of the organisation own it, but for those in `admins`, `writers`, `readers` and `outsiders`.
    """

    def __init__(self, root: Path, owner: str = "physics", *, in_process: bool = False) -> None:
        self.root, self.owner, self.in_process = root, owner, in_process
        self.repositories: dict[int, Repository] = {}
        #: Former names of repositories, by number.
        self.redirects: dict[str, int] = {}
        self.admins: set[str] = set()
        self.writers: set[str] = set()
        self.readers: set[str] = set()
        self.outsiders: set[str] = set()
        self.scopes = set(ALL_SCOPES)
        self.external_url = "https://git.example.org"
        self.most_entries = 50
        self.moved_status = 301
        self.lag, self.list_lag = LAG, 0
        root.mkdir(parents=True, exist_ok=True)
        super().__init__()
        self.judges.append(judge)
        self.tokens[TOKEN] = "ann"

    def take(self, other: Gitea) -> None:
        self.redirects = dict(other.redirects)
        for each in other.repositories.values():
            folder = self.root / each.folder.name
            shutil.copytree(each.folder, folder)
            self.repositories[each.id] = replace(each, folder=folder, facts=dict(each.facts))

    def repository(self, name: str) -> Repository | None:
        return next((each for each in self.repositories.values() if each.name.lower() == name.lower()), None)

    # Answers

    def who(self, request: Request) -> str | None:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        return self.tokens.get(value)

    def answer(self, request: Request) -> Reply:
        if not request.raw_path.startswith("/api/v1/"):
            return self._git(request)
        user = self.who(request)
        if user is None:
            return Reply(401, {"message": "invalid username, password or token", "url": "/api/swagger"})
        parts = [unquote(part) for part in request.raw_path.removeprefix("/api/v1/").split("/")]
        match request.method, parts:
            case "GET", ["orgs", name]:
                return self._scoped("read:organization") or self._organisation(name, user)
            case "GET", ["user"]:
                return self._scoped("read:user") or Reply(200, _user(1, user))
            case "POST", ["orgs", name, "repos"]:
                return self._scoped("write:organization") or self._create(name, request.json(), user)
            case "POST", ["user", "repos"]:
                return self._scoped("write:user", "write:repository") or self._create(user, request.json(), user)
            case "GET", ["repos", "search"]:
                return self._scoped("read:repository") or self._search(request, user)
            case "GET", ["repositories", number]:
                found = self.repositories.get(int(number))
                hidden = found is None or user in self.outsiders or self._lags(found)
                return self._scoped("read:repository") or (_NOT_FOUND if hidden else Reply(200, self._shown(found)))
            case _, ["repos", owner, name, *below]:
                return self._repository(request, owner, name, below, user)
        raise AssertionError(f"nobody expected {request.method} {request.path}")

    def _scoped(self, *wanted: str) -> Reply | None:
        """Return a refusal unless the token has the scopes; who may write may read."""
        for each in wanted:
            if not self.scopes & {each, each.replace("read:", "write:")}:
                told = f"token does not have at least one of required scope(s), required=[{each}]"
                return Reply(403, {"message": told, "url": "/api/swagger"})
        return None

    def _organisation(self, name: str, user: str) -> Reply:
        if name.lower() != self.owner or user in self.outsiders or self.owner == user:
            return _NOT_FOUND
        return Reply(
            200, {"id": 7, "name": self.owner, "username": self.owner, "full_name": "", "visibility": "public"}
        )

    def _create(self, owner: str, asked: dict[str, Any], user: str) -> Reply:
        if owner.lower() != self.owner or user in self.outsiders:
            return _NOT_FOUND
        if user in self.readers | self.writers | self.admins:
            return Reply(403, {"message": "Given user is not allowed to create repository in organization."})
        name = asked["name"]
        if not _NAME.fullmatch(name) or ".." in name or name.endswith(_REFUSED):
            return Reply(422, {"message": f"name pattern is not allowed [pattern: {name}]", "url": "/api/swagger"})
        if self.repository(name):
            return Reply(409, {"message": "The repository with the same name already exists.", "url": "/api/swagger"})
        number = max(self.repositories, default=100) + 1
        folder = self.root / f"{number}.git"
        repositories.make(self.root, folder)
        facts = {"private": asked["private"], "description": asked["description"], "archived": False, "topics": []}
        made = Repository(number, name, {**facts, "has_issues": True}, folder)
        made.unknown_for, made.unlisted_for = self.lag, self.list_lag
        self.repositories[number] = made
        self.redirects.pop(name.lower(), None)
        return Reply(201, self._shown(made))

    def _search(self, request: Request, user: str) -> Reply:
        query = request.query
        assert query["uid"] == ("1" if self.owner == user else "7")
        assert (query["exclusive"], query["sort"], query["order"]) == ("true", "id", "asc")
        there = [] if user in self.outsiders else sorted(self.repositories.values(), key=lambda each: each.id)
        found = listed(there)
        size, page = min(int(query["limit"]), self.most_entries), int(query["page"])
        headers = {"X-Total-Count": str(len(found))}
        if page < ceil(len(found) / size):
            following = urlencode({**query, "page": page + 1})
            headers["Link"] = f'<{self.external_url}/api/v1/repos/search?{following}>; rel="next"'
        rows = [self._shown(each) for each in found[(page - 1) * size : page * size]]
        return Reply(200, {"ok": True, "data": rows}, headers)

    def _repository(self, request: Request, owner: str, name: str, below: list[str], user: str) -> Reply:
        reads = request.method == "GET"
        scope = "read:issue" if below == ["issues"] else "read:repository" if reads else "write:repository"
        if refused := self._scoped(scope):
            return refused
        if owner.lower() != self.owner or user in self.outsiders:
            return _NOT_FOUND
        found = self.repository(name)
        if found is None and name.lower() in self.redirects:
            there = self.repositories[self.redirects[name.lower()]]
            return self._moved("/".join(["/api/v1/repos", self.owner, there.name, *below]), request)
        if found is None or self._lags(found):
            return _NOT_FOUND
        if below:
            return self._below(request, found, below)
        if request.method == "GET":
            return Reply(200, self._shown(found))
        if user in self.readers | self.writers | (self.admins if request.method == "DELETE" else set()):
            return Reply(403, {"message": "user should be the owner of the repo", "url": "/api/swagger"})
        return self._delete(found) if request.method == "DELETE" else self._rename(found, request.json()["name"])

    def _below(self, request: Request, found: Repository, below: list[str]) -> Reply:
        if below == ["topics"]:
            found.facts["topics"] = request.json()["topics"]
            return Reply(204)
        assert below == ["issues"]
        if not found.facts["has_issues"]:
            return _NOT_FOUND
        wanted = request.query.get("state", "open")
        return Reply(200, [each for each in found.issues if wanted in ("all", each["state"])])

    def _rename(self, found: Repository, name: str) -> Reply:
        taken = self.repository(name)
        if taken and taken is not found:
            return Reply(422, {"message": f"repository already exists [uname: {self.owner}, name: {name}]"})
        if not _NAME.fullmatch(name) or name.endswith(_REFUSED):
            return Reply(422, {"message": f"name pattern is not allowed [pattern: {name}]", "url": "/api/swagger"})
        self.redirects[found.name.lower()] = found.id
        self.redirects.pop(name.lower(), None)
        found.name = name
        return Reply(200, self._shown(found))

    def _delete(self, found: Repository) -> Reply:
        shutil.rmtree(found.folder)
        del self.repositories[found.id]
        self.redirects = {name: number for name, number in self.redirects.items() if number != found.id}
        return Reply(204)

    def _shown(self, found: Repository) -> dict[str, Any]:
        return {
            "id": found.id,
            "owner": _user(7, self.owner),
            "name": found.name,
            "full_name": f"{self.owner}/{found.name}",
            "empty": repositories.is_empty(found.folder),
            "default_branch": "main",
            "updated_at": found.updated.isoformat(timespec="seconds"),
            "clone_url": f"{self.external_url}/{self.owner}/{found.name}.git",
            "html_url": f"{self.external_url}/{self.owner}/{found.name}",
            **found.facts,
        }

    def _lags(self, found: Repository) -> bool:
        found.unknown_for -= 1
        return found.unknown_for >= 0

    def _moved(self, path: str, request: Request) -> Reply:
        query = f"?{urlencode(request.query)}" if request.query else ""
        return Reply(self.moved_status, b"", {"Location": f"{path}{query}"})

    # Git over HTTP

    def _git(self, request: Request) -> Reply:
        found = re.fullmatch(r"/([^/]+)/([^/]+)\.git(/info/refs|/git-upload-pack|/git-receive-pack)", request.path)
        assert found
        owner, name, below = found.groups()
        pushes = "receive-pack" in below + request.query.get("service", "")
        user = self.who(request)
        if user is None:
            return Reply(401, b"Unauthorized\n", {"WWW-Authenticate": 'Basic realm="Gitea"'})
        repository = self.repository(name)
        if repository is None and name.lower() in self.redirects:
            there = self.repositories[self.redirects[name.lower()]]
            return self._moved(f"/{self.owner}/{there.name}.git{below}", request)
        if repository is None and pushes:
            return _text(403, "Push to create is not enabled for organizations.")
        if repository is None or user in self.outsiders or owner.lower() != self.owner or self._lags(repository):
            return _text(404, "Repository not found")
        if pushes and repository.facts["archived"]:
            return _text(403, "This repo is archived. You can view files and clone it, but cannot push.")
        if refused := self._scoped("write:repository" if pushes else "read:repository"):
            return refused
        refuses = pushes and user in self.readers
        hook = repository.folder / "hooks/pre-receive"
        if refuses:
            hook.write_text("#!/bin/sh\necho 'Gitea: User permission denied for writing.' >&2; exit 1\n")
            hook.chmod(0o755)
        if below == "/git-receive-pack":
            repository.updated = datetime.now(UTC)
        quick = self.in_process and not refuses
        reply = repositories.answer(self.root, repository.folder, below, request, quick=quick, refuses_pointers=False)
        hook.unlink(missing_ok=True)
        return reply


def _text(status: int, words: str) -> Reply:
    return Reply(status, f"{words}\n".encode(), {"Content-Type": "text/plain;charset=utf-8"})


def _user(number: int, login: str) -> dict[str, Any]:
    return {"id": number, "login": login, "full_name": "", "visibility": "public"}
