"""The REST API of the emulated GitHub: every field that GitHub's own description requires."""

from __future__ import annotations

import re
from base64 import encodebytes
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pygit2

if TYPE_CHECKING:
    from .github import GitHub, Repository

DOCS = "https://docs.github.com/rest"
_ACCOUNT_URLS = re.findall(
    r"\w+", "followers gists organizations received_events repos starred subscriptions events following"
)
_REPOSITORY_URLS = re.findall(
    r"\w+",
    """
    archive assignees blobs branches collaborators comments commits compare contents contributors deployments
    downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels
    languages merges milestones notifications pulls releases stargazers statuses subscribers subscription tags
    teams trees
    """,
)


def _number(text: str) -> int:
    return sum(text.encode()) + len(text) * 1000


def simple(url: str, login: str, kind: str) -> dict[str, Any]:
    urls = {f"{each}_url": f"{url}/users/{login}/{each}" for each in _ACCOUNT_URLS}
    return {
        "login": login,
        "id": _number(login),
        "node_id": f"U_{login}",
        "avatar_url": f"{url}/avatars/{login}",
        "gravatar_id": "",
        "url": f"{url}/users/{login}",
        "html_url": f"{url}/{login}",
        **urls,
        "type": kind,
        "site_admin": False,
    }


def account(url: str, login: str, kind: str, *, private: bool = False) -> dict[str, Any]:
    made = simple(url, login, kind) | {
        "name": login,
        "company": None,
        "blog": "",
        "location": None,
        "email": None,
        "hireable": None,
        "bio": None,
        "twitter_username": None,
        "public_repos": 1,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
    }
    if private:
        counts = ("private_gists", "total_private_repos", "owned_private_repos", "disk_usage", "collaborators")
        plan = {"name": "free", "space": 1, "collaborators": 0, "private_repos": 1}
        made |= dict.fromkeys(counts, 0) | {"two_factor_authentication": True, "plan": plan}
    return made


def organisation(url: str, login: str) -> dict[str, Any]:
    below = ("repos", "events", "hooks", "issues")
    return {
        "login": login,
        "id": _number(login),
        "node_id": f"O_{login}",
        "url": f"{url}/orgs/{login}",
        **{f"{each}_url": f"{url}/orgs/{login}/{each}" for each in below},
        "members_url": f"{url}/orgs/{login}/members{{/member}}",
        "public_members_url": f"{url}/orgs/{login}/public_members{{/member}}",
        "avatar_url": f"{url}/avatars/{login}",
        "description": "",
        "is_verified": False,
        "has_organization_projects": True,
        "has_repository_projects": True,
        "public_repos": 1,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "html_url": f"{url}/{login}",
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "archived_at": None,
        "type": "Organization",
        "total_private_repos": 0,
        "owned_private_repos": 0,
        "private_gists": 0,
        "disk_usage": 0,
        "collaborators": 0,
        "billing_email": "billing@example.org",
        "default_repository_permission": "read",
        "members_can_create_repositories": True,
        "two_factor_requirement_enabled": False,
        "plan": {"name": "free", "space": 1, "private_repos": 1},
    }


def repository(hub: GitHub, found: Repository, *, full: bool = False) -> dict[str, Any]:
    url = f"{hub.url}/repos/{found.full_name}"
    owner = simple(hub.url, found.owner, hub.accounts.get(found.owner, "User"))
    made = {
        "id": found.number,
        "node_id": found.node_id,
        "name": found.name,
        "full_name": found.full_name,
        "private": found.private,
        "owner": owner,
        "html_url": f"{hub.url}/{found.full_name}",
        "description": found.description,
        "fork": False,
        "url": url,
        **{f"{each}_url": f"{url}/{each.replace('_', '/')}" for each in _REPOSITORY_URLS},
        "created_at": _time(found.created),
        "updated_at": _time(found.updated),
        "pushed_at": _time(found.pushed),
        **{f"{each}_url": f"{hub.url}/{found.full_name}.git" for each in ("git", "ssh", "clone", "svn")},
        "homepage": None,
        "size": 0,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": None,
        "has_issues": True,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": True,
        "has_pages": False,
        "has_discussions": False,
        "forks_count": 0,
        "mirror_url": None,
        "archived": False,
        "disabled": False,
        "open_issues_count": len(found.issues),
        "license": None,
        "topics": found.topics,
        "forks": 0,
        "open_issues": len(found.issues),
        "watchers": 0,
        "default_branch": found.branch,
        "permissions": {"admin": True, "push": True, "pull": True},
    }
    if full:
        merges = {f"allow_{each}_merge": True for each in ("squash", "rebase")}
        made |= merges | {"allow_merge_commit": True, "delete_branch_on_merge": False}
        made |= {"organization": owner, "network_count": 0, "subscribers_count": 0, "temp_clone_token": ""}
    return made


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tree(hub: GitHub, found: Repository, root: pygit2.Tree, *, recursive: bool) -> dict[str, Any]:
    url = f"{hub.url}/repos/{found.full_name}/git"
    return {
        "sha": str(root.id),
        "url": f"{url}/trees/{root.id}",
        "tree": list(_lines(url, root, "", recursive=recursive)),
        "truncated": False,
    }


def _lines(url: str, level: pygit2.Tree, prefix: str, *, recursive: bool) -> Any:
    for entry in level:
        kind = entry.type_str
        line = {
            "path": prefix + entry.name,
            "mode": f"{int(entry.filemode):06o}",
            "type": kind,
            "sha": str(entry.id),
            "url": f"{url}/{kind}s/{entry.id}",
        }
        yield line | ({"size": entry.size} if isinstance(entry, pygit2.Blob) else {})
        if recursive and isinstance(entry, pygit2.Tree):
            yield from _lines(url, entry, f"{prefix}{entry.name}/", recursive=True)


def _who(who: pygit2.Signature) -> dict[str, str]:
    return {"name": who.name, "email": who.email, "date": _time(datetime.fromtimestamp(who.time, UTC))}


_UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


def git_commit(hub: GitHub, found: Repository, made: pygit2.Commit) -> dict[str, Any]:
    url, page = f"{hub.url}/repos/{found.full_name}/git", f"{hub.url}/{found.full_name}"
    return {
        "sha": str(made.id),
        "node_id": f"C_{made.id}",
        "url": f"{url}/commits/{made.id}",
        "html_url": f"{page}/commit/{made.id}",
        "author": _who(made.author),
        "committer": _who(made.committer),
        "tree": {"sha": str(made.tree_id), "url": f"{url}/trees/{made.tree_id}"},
        "message": made.message,
        "parents": [
            {"sha": str(each), "url": f"{url}/commits/{each}", "html_url": f"{page}/commit/{each}"}
            for each in made.parent_ids
        ],
        "verification": _UNSIGNED,
    }


def commit(hub: GitHub, found: Repository, made: pygit2.Commit) -> dict[str, Any]:
    inner = git_commit(hub, found, made)
    url = f"{hub.url}/repos/{found.full_name}/commits/{made.id}"
    return {
        "sha": str(made.id),
        "node_id": f"C_{made.id}",
        "commit": {
            "author": inner["author"],
            "committer": inner["committer"],
            "message": made.message,
            "tree": inner["tree"],
            "url": inner["url"],
            "comment_count": 0,
            "verification": _UNSIGNED,
        },
        "url": url,
        "html_url": inner["html_url"],
        "comments_url": f"{url}/comments",
        "author": simple(hub.url, "ann", "User"),
        "committer": simple(hub.url, "ann", "User"),
        "parents": [{**each, "url": each["url"].replace("/git/", "/")} for each in inner["parents"]],
    }


def git_tag(hub: GitHub, found: Repository, made: pygit2.Tag) -> dict[str, Any]:
    url = f"{hub.url}/repos/{found.full_name}/git"
    return {
        "node_id": f"T_{made.id}",
        "sha": str(made.id),
        "url": f"{url}/tags/{made.id}",
        "tagger": _who(made.tagger),
        "object": {"sha": str(made.target), "type": "commit", "url": f"{url}/commits/{made.target}"},
        "tag": made.name,
        "message": made.message,
        "verification": _UNSIGNED,
    }


def reference(hub: GitHub, found: Repository, name: str) -> dict[str, Any]:
    url = f"{hub.url}/repos/{found.full_name}/git"
    target = found.git[found.target(name)]
    kind = target.type_str
    return {
        "ref": name,
        "node_id": f"REF_{found.number}_{name}",
        "url": f"{url}/{name}",
        "object": {"sha": str(target.id), "type": kind, "url": f"{url}/{kind}s/{target.id}"},
    }


def branch(hub: GitHub, found: Repository, name: str, made: pygit2.Commit) -> dict[str, Any]:
    url = f"{hub.url}/repos/{found.full_name}/branches/{name}"
    return {
        "name": name,
        "commit": commit(hub, found, made),
        "_links": {"self": url, "html": f"{hub.url}/{found.full_name}/tree/{name}"},
        "protected": False,
        "protection": {
            "enabled": False,
            "required_status_checks": {"enforcement_level": "off", "contexts": [], "checks": []},
        },
        "protection_url": f"{url}/protection",
    }


def content(hub: GitHub, found: Repository, path: str, blob: pygit2.Blob, ref: str) -> dict[str, Any]:
    url = f"{hub.url}/repos/{found.full_name}/contents/{path}?ref={ref}"
    git_url = f"{hub.url}/repos/{found.full_name}/git/blobs/{blob.id}"
    html_url = f"{hub.url}/{found.full_name}/blob/{ref}/{path}"
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": str(blob.id),
        "size": blob.size,
        "url": url,
        "html_url": html_url,
        "git_url": git_url,
        "download_url": f"{hub.url}/raw/{found.full_name}/{ref}/{path}",
        "type": "file",
        "content": encodebytes(blob.data).decode(),
        "encoding": "base64",
        "_links": {"self": url, "git": git_url, "html": html_url},
    }
