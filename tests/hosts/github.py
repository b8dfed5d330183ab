"""An emulated GitHub over real bare repositories: what MetaStore asks of it, and what PyGithub and others ask too.

Behaviour as GitHub documents it: a repository without commits answers 409; renamed ones redirect until somebody takes
the old name; `updateRefs` compares and sets all or nothing. REST is also served below `/api/v3`, as Enterprise does.

Reported, each a switch:

* `lag`: a repository that was just made answers 404 to so many requests, and NOT_FOUND to GraphQL
  (https://github.com/PyGithub/PyGithub/issues/2457, https://github.com/PrairieLearn/PrairieLearn/pull/14604).
* `list_lag`: a repository that was just made is missing in so many lists of its owner's; GitHub's staff call it a small
  delay, users saw 40 seconds (https://github.com/octokit/octokit.rb/issues/728).
* `undeletable`: its deletion answers 403 so many times, while something else goes on with it (the first of these).
* `deletion_shown`: to a token that may not delete, 403, or (False) 404 as for what is not to be seen
  (https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api, "404 Not Found").
* `longest_tree`: a tree with more entries comes as `truncated` (https://docs.github.com/rest/git/trees: 100,000).
* `permissions` of a fine-grained token, by endpoint: 403 with the header that says what is missing
  (https://docs.github.com/rest/authentication/permissions-required-for-fine-grained-personal-access-tokens).
* `archived` repositories and `rules` of the owner refuse what changes a branch
  (https://docs.github.com/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets).
* A tree of more than 200 lines, or 2.5 MB, is too much for one request
  (https://github.com/codesandbox/codesandbox-client/issues/8614, https://github.com/ir-engine/ir-engine/pull/647).
* Names that end in `.git` lose that ending, and `.wiki` is refused (https://github.com/github/docs/issues/44518).
"""

from __future__ import annotations

import hashlib
import re
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pygit2

from . import github_graphql, github_json
from .repositories import run_backend
from .server import LAG, LIST_LAG, HostServer, Reply, Request, listed

TOKEN = "ghp_emulated"


@dataclass
class Repository:
    """A repository, and what the API says of it."""

    number: int
    owner: str
    name: str
    git: pygit2.Repository
    private: bool = False
    description: str | None = None
    topics: list[str] = field(default_factory=list)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    pushed: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    issues: list[dict[str, Any]] = field(default_factory=list)
    unknown_for: int = 0
    unlisted_for: int = 0
    archived: bool = False

    @property
    def node_id(self) -> str:
        return f"R_{self.number}"

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def branch(self) -> str:
        return str(self.git.lookup_reference("HEAD").target).removeprefix("refs/heads/")

    @property
    def empty(self) -> bool:
        return not any(name.startswith("refs/heads/") for name in self.git.references)

    def target(self, reference: str) -> str | None:
        found = self.git.references.get(reference)
        return str(found.target) if found else None

    def touch(self) -> None:
        self.pushed = self.updated = datetime.now(UTC)


class Refused(Exception):
    """An answer that ends a request early."""

    def __init__(self, status: int, message: str, /, **more: Any) -> None:
        super().__init__(message)
        self.reply = Reply(status, {"message": message, "documentation_url": github_json.DOCS, **more})


class GitHub(HostServer):
    """The emulator.

    Args:
        folder: Where the repositories are.
        owner: An organisation that there is, or an account.
        account: Whether it is an account, whose token TOKEN then is.
    """

    def __init__(self, folder: Path, owner: str = "physics", *, account: bool = False) -> None:
        super().__init__()
        self.folder = folder / "hub"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.accounts = {"ann": "User", owner: "User" if account else "Organization"}
        self.tokens[TOKEN] = owner if account else "ann"
        #: Token -> what it may of `contents`, `administration` and `issues`: `read` or `write`. Others may all.
        self.permissions: dict[str, dict[str, str]] = {}
        #: Tokens that may read and not write, and those that may not delete.
        self.read_only: set[str] = set()
        self.no_delete: set[str] = set()
        self.deletion_shown = True
        #: What a ruleset says to a change of a branch; empty for none.
        self.rules = ""
        self.lag, self.list_lag, self.undeletable = LAG, LIST_LAG, 0
        self.longest_tree = 100_000
        self.default_branch = "main"
        self.repositories: dict[int, Repository] = {}
        #: Where names of old lead: (owner, name), both lower case, to a repository's number.
        self.redirects: dict[tuple[str, str], int] = {}
        self._number = 1000

    # Repositories, as tests see them

    def lags(self, repository: Repository) -> bool:
        """Tell whether the machine that is asked does not know of a repository yet."""
        repository.unknown_for -= 1
        return repository.unknown_for >= 0

    def listed(self, owner: str) -> list[Repository]:
        """Return those of an owner's repositories that a list has by now."""
        return listed(each for each in self.repositories.values() if each.owner.lower() == owner.lower())

    def find(self, owner: str, name: str) -> Repository | None:
        key = owner.lower(), name.lower()
        return next(
            (each for each in self.repositories.values() if (each.owner.lower(), each.name.lower()) == key), None
        )

    def make(self, owner: str, name: str, **more: Any) -> Repository:
        self._number += 1
        git = pygit2.init_repository(
            str(self.folder / f"{self._number}.git"), bare=True, initial_head=self.default_branch
        )
        made = Repository(self._number, owner, name, git, **more)
        self.repositories[made.number] = made
        self.redirects.pop((owner.lower(), name.lower()), None)
        return made

    def take(self, other: GitHub) -> None:
        self.redirects, self._number = dict(other.redirects), other._number
        for each in other.repositories.values():
            folder = self.folder / Path(each.git.path).name
            shutil.copytree(each.git.path, folder)
            git = pygit2.Repository(str(folder))
            self.repositories[each.number] = replace(each, git=git, topics=list(each.topics), issues=list(each.issues))

    # HTTP

    def answer(self, request: Request) -> Reply:
        git = re.fullmatch(r"/([^/]+)/([^/]+)\.git(/info/refs|/git-(?:upload|receive)-pack)", request.path)
        if git:
            return self._git(request, *git.groups())
        try:
            reply = self._route(request)
        except Refused as refused:
            reply = refused.reply
        except github_graphql.NotThere:
            reply = Reply(404, {"message": "Not Found", "documentation_url": github_json.DOCS, "status": "404"})
        headers = {
            "Date": format_datetime(datetime.now(UTC), usegmt=True),
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "4999",
            "X-RateLimit-Reset": "1999999999",
        }
        if request.method == "GET" and reply.status == 200:
            etag = f'W/"{hashlib.sha256(reply.content).hexdigest()}"'
            headers["ETag"] = etag
            if request.headers.get("if-none-match") == etag:
                reply = Reply(304)
        return Reply(reply.status, reply.body, {**headers, **reply.headers})

    def _git(self, request: Request, owner: str, name: str, below: str) -> Reply:
        """Serve Git, as github.com does beside api.github.com."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        password = b64decode(value).decode().partition(":")[2] if scheme == "Basic" else ""
        found = self.find(owner, name)
        if password not in self.tokens:
            return Reply(401, b"Who are you?\n", {"WWW-Authenticate": 'Basic realm="GitHub"'})
        if found is None or self.lags(found):
            return Reply(404, b"Repository not found.\n", {"Content-Type": "text/plain"})
        return run_backend(self.folder, f"/{Path(found.git.path).name}{below}", request)

    def _route(self, request: Request) -> Reply:
        path = request.raw_path.removeprefix("/api/v3")
        if self.who(request) is None and not path.startswith("/app/"):
            raise Refused(401, "Bad credentials", status="401")
        if request.path in ("/graphql", "/api/graphql"):
            return github_graphql.answer(self, request)
        token = request.headers["authorization"].partition(" ")[2]
        if request.method != "GET" and token in self.read_only:
            raise Refused(403, "Resource not accessible by personal access token", status="403")
        self.expect_permission(token, *_permission(request.method, path))
        for method, pattern, call in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == request.method:
                return call(self, request, **{name: unquote(each) for name, each in found.groupdict().items()})
        raise Refused(404, "Not Found", status="404")

    def lacks(self, token: str, kind: str, access: str) -> bool:
        """Tell whether a fine-grained token was not given a permission."""
        given = self.permissions.get(token)
        return given is not None and kind != "" and given.get(kind) not in (access, "write")

    def expect_permission(self, token: str, kind: str, access: str) -> None:
        if self.lacks(token, kind, access):
            refused = Refused(403, "Resource not accessible by personal access token", status="403")
            refused.reply.headers["X-Accepted-GitHub-Permissions"] = f"{kind}={access}"
            raise refused

    def repository(self, owner: str, name: str, request: Request) -> Repository:
        found = self.find(owner, name)
        if found and self.lags(found):
            raise Refused(404, "Not Found", status="404")
        if found:
            return self.writable(found, request)
        number = self.redirects.get((owner.lower(), name.lower()))
        if number in self.repositories:
            rest = request.raw_path.removeprefix("/api/v3").split("/", 4)[4:]
            url = "/".join([f"{self.url}/repositories/{number}", *rest])
            status = 301 if request.method == "GET" else 307
            raise_ = Refused(status, "Moved Permanently", url=url)
            raise_.reply.headers["Location"] = url
            raise raise_
        raise Refused(404, "Not Found", status="404")

    def writable(self, found: Repository, request: Request) -> Repository:
        if found.archived and request.method not in ("GET", "DELETE"):
            raise Refused(403, "Repository was archived so is read-only.", status="403")
        return found

    def filled(self, owner: str, name: str, request: Request) -> Repository:
        """Return a repository that has commits; one that has none answers 409."""
        found = self.repository(owner, name, request)
        if found.empty:
            raise Refused(409, "Git Repository is empty.", status="409")
        return found

    def may_delete(self, request: Request) -> bool:
        return request.headers["authorization"].partition(" ")[2] not in self.no_delete


def _permission(method: str, path: str) -> tuple[str, str]:
    """Return the permission that an endpoint needs, as GitHub lists them; metadata may be read by every token."""
    access = "read" if method == "GET" else "write"
    if re.fullmatch(r"/(orgs/[^/]+|user)/repos|/repos/[^/]+/[^/]+(/topics)?", path):
        return ("administration", access) if access == "write" else ("", access)
    return ("contents", access) if re.match(r"/repos/[^/]+/[^/]+/(git|contents|commits|branches)\b", path) else ("", "")


# Accounts


def _user(hub: GitHub, request: Request) -> Reply:
    return Reply(200, github_json.account(hub.url, str(hub.who(request)), "User", private=True))


def _account(hub: GitHub, request: Request, login: str) -> Reply:
    found = next((each for each in hub.accounts if each.lower() == login.lower()), None)
    if found is None:
        raise Refused(404, "Not Found", status="404")
    return Reply(200, github_json.account(hub.url, found, hub.accounts[found]))


def _organisation(hub: GitHub, request: Request, login: str) -> Reply:
    found = next((each for each in hub.accounts if each.lower() == login.lower()), None)
    if found is None or hub.accounts[found] != "Organization":
        raise Refused(404, "Not Found", status="404")
    return Reply(200, github_json.organisation(hub.url, found))


def _rate_limit(hub: GitHub, request: Request) -> Reply:
    rate = {"limit": 5000, "used": 1, "remaining": 4999, "reset": 1999999999}
    return Reply(200, {"resources": {"core": rate, "search": rate, "graphql": rate}, "rate": rate})


def _mint(hub: GitHub, request: Request, number: str) -> Reply:
    import jwt

    given = request.headers["authorization"].partition(" ")[2]
    try:
        claims = jwt.decode(given, APP_KEYS["public"], algorithms=["RS256"], options={"verify_aud": False})
    except jwt.exceptions.PyJWTError as error:
        raise Refused(401, f"A JSON web token could not be decoded: {error}") from None
    if claims["iss"] != "4711" or number != "42":
        raise Refused(404, "Not Found", status="404")
    token = f"ghs_{len(hub.tokens)}"
    hub.tokens[token] = "app[bot]"
    return Reply(201, {"token": token, "expires_at": "2999-01-01T00:00:00Z", "permissions": {"contents": "write"}})


#: The App's keys, made by the test that uses them.
APP_KEYS: dict[str, str] = {}


# Repositories


def _name(asked: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", asked).removesuffix(".git")
    if name.endswith(".wiki"):
        error = {"resource": "Repository", "code": "custom", "field": "name", "message": "name is reserved"}
        raise Refused(422, "Validation Failed", errors=[error])
    return name


def _create(hub: GitHub, request: Request, login: str | None = None) -> Reply:
    body = request.json()
    owner = login or str(hub.who(request))
    name = _name(body["name"])
    if hub.find(owner, name):
        error = {
            "resource": "Repository",
            "code": "custom",
            "field": "name",
            "message": "name already exists on this account",
        }
        raise Refused(422, "Repository creation failed.", errors=[error])
    made = hub.make(owner, name, private=body.get("private", False), description=body.get("description"))
    made.unknown_for, made.unlisted_for = hub.lag, hub.list_lag
    if body.get("auto_init"):
        tree = made.git.TreeBuilder()
        tree.insert("README.md", made.git.create_blob(f"# {name}\n".encode()), 0o100644)
        who = pygit2.Signature("GitHub", "noreply@github.com")
        made.git.create_commit(f"refs/heads/{hub.default_branch}", who, who, "Initial commit", tree.write(), [])
    return Reply(201, github_json.repository(hub, made, full=True), {"Location": f"{hub.url}/repos/{made.full_name}"})


def _get(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    return Reply(200, github_json.repository(hub, hub.repository(owner, name, request), full=True))


def _change(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found, body = hub.repository(owner, name, request), request.json()
    if new := body.get("name") and _name(body["name"]):
        other = hub.find(owner, new)
        if other and other is not found:
            error = {
                "resource": "Repository",
                "code": "custom",
                "field": "name",
                "message": "name already exists on this account",
            }
            raise Refused(422, "Validation Failed", errors=[error])
        hub.redirects[found.owner.lower(), found.name.lower()] = found.number
        hub.redirects.pop((owner.lower(), new.lower()), None)
        found.name = new
    if branch := body.get("default_branch"):
        if found.target(f"refs/heads/{branch}") is None:
            raise Refused(422, "Validation Failed", errors=[{"resource": "Repository", "code": "invalid"}])
        found.git.set_head(f"refs/heads/{branch}")
    found.updated = datetime.now(UTC)
    return Reply(200, github_json.repository(hub, found, full=True))


def _delete(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found = hub.repository(owner, name, request)
    hub.undeletable -= 1
    if hub.undeletable >= 0:
        raise Refused(403, "Repository is being created.")
    if not hub.may_delete(request):
        raise Refused(403, "Must have admin rights to Repository.") if hub.deletion_shown else Refused(404, "Not Found")
    del hub.repositories[found.number]
    return Reply(204)


def _topics(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found = hub.repository(owner, name, request)
    found.topics = request.json()["names"]
    return Reply(200, {"names": found.topics})


def _list(hub: GitHub, request: Request, login: str) -> Reply:
    return _page(hub, request, [github_json.repository(hub, each) for each in hub.listed(login)])


def _page(hub: GitHub, request: Request, items: list[Any]) -> Reply:
    size, page = min(int(request.query.get("per_page", 30)), 100), int(request.query.get("page", 1))
    rest = "&".join(f"{name}={quote(value)}" for name, value in request.query.items() if name != "page")
    url = f"{hub.url}{request.raw_path}?{rest}&page="
    more = {"Link": f'<{url}{page + 1}>; rel="next"'} if len(items) > page * size else {}
    return Reply(200, items[(page - 1) * size : page * size], more)


# Objects


def _object(found: Repository, sha: str, kind: type) -> Any:
    try:
        made = found.git[sha] if re.fullmatch("[0-9a-f]{40}", sha) else None
    except (KeyError, ValueError):
        made = None
    if not isinstance(made, kind):
        raise Refused(404, "Not Found", status="404")
    return made


def _get_blob(hub: GitHub, request: Request, owner: str, name: str, sha: str) -> Reply:
    found = hub.filled(owner, name, request)
    blob = _object(found, sha, pygit2.Blob)
    if "raw" in request.headers.get("accept", ""):
        return Reply(200, blob.data, {"Content-Type": "application/vnd.github.raw+json"})
    url = f"{hub.url}/repos/{found.full_name}/git/blobs/{sha}"
    body = {"sha": sha, "node_id": f"B_{sha}", "size": blob.size, "url": url, "encoding": "base64"}
    return Reply(200, {**body, "content": b64encode(blob.data).decode()})


def _put_blob(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found, body = hub.filled(owner, name, request), request.json()
    content = b64decode(body["content"]) if body.get("encoding") == "base64" else body["content"].encode()
    sha = str(found.git.create_blob(content))
    return Reply(201, {"sha": sha, "url": f"{hub.url}/repos/{found.full_name}/git/blobs/{sha}"})


def _get_tree(hub: GitHub, request: Request, owner: str, name: str, sha: str) -> Reply:
    found = hub.filled(owner, name, request)
    try:
        tree = found.git.revparse_single(sha).peel(pygit2.Tree)
    except (KeyError, ValueError, pygit2.InvalidSpecError):
        raise Refused(404, "Not Found", status="404") from None
    shown = github_json.tree(hub, found, tree, recursive="recursive" in request.query)
    if len(shown["tree"]) > hub.longest_tree:
        shown |= {"tree": shown["tree"][: hub.longest_tree], "truncated": True}
    return Reply(200, shown)


def _put_tree(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found, body = hub.filled(owner, name, request), request.json()
    if len(body["tree"]) > 200:
        raise Refused(422, "Sorry, your request timed out. It's likely that your input was too large to process.")
    if len(request.body) > 2_500_000:
        return Reply(502, b"<html>Server Error</html>", {"Content-Type": "text/html"})
    index = pygit2.Index()
    if base := body.get("base_tree"):
        index.read_tree(_object(found, base, pygit2.Object).peel(pygit2.Tree))
    for line in body["tree"]:
        _set(found, index, line)
    if not len(index):
        raise Refused(422, "Invalid tree info")
    tree = found.git[index.write_tree(found.git)]
    return Reply(201, github_json.tree(hub, found, tree, recursive=False))


def _set(found: Repository, index: pygit2.Index, line: Mapping[str, Any]) -> None:
    path, mode = line["path"], int(line["mode"], 8)
    if path.startswith("/") or ".." in path.split("/") or ".git" in path.split("/"):
        raise Refused(422, "tree.path contains a malformed path component")
    if "content" in line:
        index.add(pygit2.IndexEntry(path, found.git.create_blob(line["content"].encode()), mode))
    elif line["sha"] is None:
        try:
            index.remove(path)
        except OSError:
            raise Refused(422, "GitRPC::BadObjectState") from None
    elif line["sha"] not in found.git:
        raise Refused(422, f"tree.sha {line['sha']} is not a valid {line['type']}")
    elif mode == 0o40000:
        _add_folder(found, index, path, found.git[line["sha"]])
    else:
        index.add(pygit2.IndexEntry(path, pygit2.Oid(hex=line["sha"]), mode))


def _add_folder(found: Repository, index: pygit2.Index, path: str, tree: pygit2.Tree) -> None:
    for entry in tree:
        inner = f"{path}/{entry.name}"
        if isinstance(entry, pygit2.Tree):
            _add_folder(found, index, inner, entry)
        else:
            index.add(pygit2.IndexEntry(inner, entry.id, entry.filemode))


def _put_commit(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found, body = hub.filled(owner, name, request), request.json()
    for sha in [body["tree"], *body.get("parents", [])]:
        if sha not in found.git:
            raise Refused(422, "Tree SHA does not exist" if sha == body["tree"] else "Parent SHA does not exist")
    author = _signature(body.get("author"))
    committer = _signature(body.get("committer") or body.get("author"))
    lines = [f"tree {body['tree']}", *(f"parent {sha}" for sha in body.get("parents", []))]
    lines += [f"author {author}", f"committer {committer}", "", body["message"]]
    sha = str(found.git.odb.write(pygit2.enums.ObjectType.COMMIT, "\n".join(lines).encode()))
    return Reply(201, github_json.git_commit(hub, found, found.git[sha]))


def _get_commit(hub: GitHub, request: Request, owner: str, name: str, sha: str) -> Reply:
    found = hub.filled(owner, name, request)
    return Reply(200, github_json.git_commit(hub, found, _object(found, sha, pygit2.Commit)))


def _put_tag(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found, body = hub.filled(owner, name, request), request.json()
    if not re.fullmatch(r"[^\s~^:?*\[\\]+", body["tag"]):
        raise Refused(422, "Could not verify tag name")
    if body["object"] not in found.git:
        raise Refused(422, "Could not verify object")
    tagger = _signature(body.get("tagger"))
    lines = [f"object {body['object']}", f"type {body['type']}", f"tag {body['tag']}", f"tagger {tagger}", ""]
    content = "\n".join([*lines, body["message"]]).encode()
    sha = str(found.git.odb.write(pygit2.enums.ObjectType.TAG, content))
    return Reply(201, github_json.git_tag(hub, found, found.git[sha]))


def _get_tag(hub: GitHub, request: Request, owner: str, name: str, sha: str) -> Reply:
    found = hub.filled(owner, name, request)
    return Reply(200, github_json.git_tag(hub, found, _object(found, sha, pygit2.Tag)))


def _signature(who: Mapping[str, str] | None) -> str:
    who = who or {"name": "Ann", "email": "ann@example.org"}
    at = datetime.fromisoformat(who["date"]) if "date" in who else datetime.now(UTC)
    return f"{who['name']} <{who['email']}> {int(at.timestamp())} +0000"


# References, and what they lead to


def _get_ref(hub: GitHub, request: Request, owner: str, name: str, ref: str) -> Reply:
    found = hub.filled(owner, name, request)
    if found.target(f"refs/{ref}") is None:
        raise Refused(404, "Not Found", status="404")
    return Reply(200, github_json.reference(hub, found, f"refs/{ref}"))


def _matching(hub: GitHub, request: Request, owner: str, name: str, ref: str) -> Reply:
    found = hub.filled(owner, name, request)
    names = sorted(each for each in found.git.references if each.startswith(f"refs/{ref}"))
    return Reply(200, [github_json.reference(hub, found, each) for each in names])


def _put_ref(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found, body = hub.filled(owner, name, request), request.json()
    if body["sha"] not in found.git:
        raise Refused(422, "Object does not exist")
    if found.target(body["ref"]):
        raise Refused(422, "Reference already exists")
    found.git.references.create(body["ref"], body["sha"])
    found.touch()
    return Reply(201, github_json.reference(hub, found, body["ref"]))


def _move_ref(hub: GitHub, request: Request, owner: str, name: str, ref: str) -> Reply:
    found, body = hub.filled(owner, name, request), request.json()
    old = found.target(f"refs/{ref}")
    if old is None:
        raise Refused(422, "Reference does not exist")
    if ref.startswith("heads/") and not body.get("force") and not found.git.descendant_of(body["sha"], old):
        raise Refused(422, "Update is not a fast forward")
    found.git.references[f"refs/{ref}"].set_target(body["sha"])
    found.touch()
    return Reply(200, github_json.reference(hub, found, f"refs/{ref}"))


def _delete_ref(hub: GitHub, request: Request, owner: str, name: str, ref: str) -> Reply:
    found = hub.filled(owner, name, request)
    if found.target(f"refs/{ref}") is None:
        raise Refused(422, "Reference does not exist")
    found.git.references.delete(f"refs/{ref}")
    found.touch()
    return Reply(204)


def _branch(hub: GitHub, request: Request, owner: str, name: str, branch: str) -> Reply:
    found = hub.repository(owner, name, request)
    target = found.target(f"refs/heads/{branch}")
    if target is None:
        raise Refused(404, "Branch not found", status="404")
    return Reply(200, github_json.branch(hub, found, branch, found.git[target]))


def _commits(hub: GitHub, request: Request, owner: str, name: str) -> Reply:
    found = hub.filled(owner, name, request)
    path = request.query.get("path")
    try:
        start = found.git.revparse_single(request.query.get("sha", "HEAD")).peel(pygit2.Commit)
    except (KeyError, ValueError):
        raise Refused(404, "Not Found", status="404") from None
    walk = found.git.walk(start.id, pygit2.enums.SortMode.TOPOLOGICAL)
    items = [each for each in walk if path is None or _changes(each, path)]
    return _page(hub, request, [github_json.commit(hub, found, each) for each in items])


def _changes(commit: pygit2.Commit, path: str) -> bool:
    def at(one: pygit2.Commit | None) -> Any:
        try:
            return one.tree[path].id if one else None
        except KeyError:
            return None

    return at(commit) != at(commit.parents[0] if commit.parents else None)


def _contents(hub: GitHub, request: Request, owner: str, name: str, path: str) -> Reply:
    found = hub.filled(owner, name, request)
    try:
        start = found.git.revparse_single(request.query.get("ref", "HEAD")).peel(pygit2.Commit)
        blob = start.tree[path]
    except (KeyError, ValueError):
        raise Refused(404, "Not Found", status="404") from None
    if "raw" in request.headers.get("accept", ""):
        return Reply(200, blob.data, {"Content-Type": "application/vnd.github.raw+json"})
    return Reply(200, github_json.content(hub, found, path, blob, request.query.get("ref", found.branch)))


def _put_contents(hub: GitHub, request: Request, owner: str, name: str, path: str) -> Reply:
    found, body = hub.repository(owner, name, request), request.json()
    index = pygit2.Index()
    parent = None if found.empty else found.git[found.git.head.target]
    if parent:
        index.read_tree(parent.tree)
    blob = found.git.create_blob(b64decode(body["content"]))
    index.add(pygit2.IndexEntry(path, blob, pygit2.enums.FileMode.BLOB))
    who = pygit2.Signature("Ann", "ann@example.org")
    tree, parents = index.write_tree(found.git), [parent.id] if parent else []
    sha = found.git.create_commit(f"refs/heads/{found.branch}", who, who, body["message"], tree, parents)
    found.touch()
    made = github_json.content(hub, found, path, found.git[blob], found.branch)
    return Reply(201, {"content": made, "commit": github_json.git_commit(hub, found, found.git[sha])})


_R = r"/repos/(?P<owner>[^/]+)/(?P<name>[^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., Reply]]] = [
    ("GET", "/user", _user),
    ("GET", "/users/(?P<login>[^/]+)", _account),
    ("GET", "/orgs/(?P<login>[^/]+)", _organisation),
    ("GET", "/(?:orgs|users)/(?P<login>[^/]+)/repos", _list),
    ("GET", "/rate_limit", _rate_limit),
    ("POST", "/app/installations/(?P<number>[0-9]+)/access_tokens", _mint),
    ("POST", "/user/repos", _create),
    ("POST", "/orgs/(?P<login>[^/]+)/repos", _create),
    ("GET", _R, _get),
    ("PATCH", _R, _change),
    ("DELETE", _R, _delete),
    ("PUT", f"{_R}/topics", _topics),
    ("GET", f"{_R}/git/blobs/(?P<sha>[^/]+)", _get_blob),
    ("POST", f"{_R}/git/blobs", _put_blob),
    ("GET", f"{_R}/git/trees/(?P<sha>[^/]+)", _get_tree),
    ("POST", f"{_R}/git/trees", _put_tree),
    ("GET", f"{_R}/git/commits/(?P<sha>[^/]+)", _get_commit),
    ("POST", f"{_R}/git/commits", _put_commit),
    ("GET", f"{_R}/git/tags/(?P<sha>[^/]+)", _get_tag),
    ("POST", f"{_R}/git/tags", _put_tag),
    ("GET", f"{_R}/git/refs?/(?P<ref>.+)", _get_ref),
    ("GET", f"{_R}/git/matching-refs/(?P<ref>.*)", _matching),
    ("POST", f"{_R}/git/refs", _put_ref),
    ("PATCH", f"{_R}/git/refs/(?P<ref>.+)", _move_ref),
    ("DELETE", f"{_R}/git/refs/(?P<ref>.+)", _delete_ref),
    ("GET", f"{_R}/branches/(?P<branch>.+)", _branch),
    ("GET", f"{_R}/commits", _commits),
    ("GET", f"{_R}/contents/(?P<path>.+)", _contents),
    ("PUT", f"{_R}/contents/(?P<path>.+)", _put_contents),
]
