"""The emulated GitHub's GraphQL: the real schema, executed by graphql-core over the bare repositories."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pygit2
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from .server import Reply, Request

if TYPE_CHECKING:
    from .github import GitHub, Repository

_DATA = Path(__file__).parent / "data"
_ZERO = "0" * 40
_TEXT_LIMIT = 512_000


class NotThere(Exception):
    """The object of a query is not there."""


class _Failed(GraphQLError):
    """An error with a `type`, as GitHub gives it."""

    def __init__(self, kind: str | None, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@cache
def schema() -> GraphQLSchema:
    made = build_schema((_DATA / "graphql-pruned.graphql").read_text())
    for kind, fields in _RESOLVERS.items():
        found = made.type_map[kind]
        assert isinstance(found, GraphQLObjectType)
        for name, resolve in fields.items():
            found.fields[name].resolve = resolve
    for name, decide in (("GitObject", _kind), ("RepositoryOwner", _kind), ("Node", _kind)):
        made.type_map[name].resolve_type = decide  # type: ignore[attr-defined]
    return made


@cache
def _parsed(question: str) -> DocumentNode:
    """Return a question that GitHub's schema has nothing against."""
    made = parse(question)
    errors = validate(schema(), made)
    assert not errors, f"{errors} in {question}"
    return made


def answer(hub: GitHub, request: Request) -> Reply:
    body = request.json()
    context = {"hub": hub, "token": request.headers["authorization"].partition(" ")[2]}
    question = _parsed(body["query"])
    result = execute_sync(schema(), question, variable_values=body.get("variables"), context_value=context)
    value: dict[str, Any] = {"data": result.data}
    if result.errors:
        value["errors"] = [_error(error) for error in result.errors]
    return Reply(200, value)


def _error(error: GraphQLError) -> dict[str, Any]:
    found: dict[str, Any] = {"message": error.message}
    kind = getattr(error.original_error, "kind", None)
    if kind:
        found["type"] = kind
    if error.path:
        found["path"] = error.path
    if error.original_error is None:  # the question itself is wrong: a fault of ours
        raise AssertionError(error.message)
    return found


class _Thing:
    """An object of the schema: its type, what it is of, and the Git object."""

    def __init__(self, kind: str, repository: Repository | None, value: Any = None) -> None:
        self.kind, self.repository, self.value = kind, repository, value


def _kind(thing: _Thing, info: Any, kind: Any) -> str:
    return thing.kind


def _thing(repository: Repository, oid: Any) -> _Thing:
    made = repository.git[oid]
    return _Thing(type(made).__name__, repository, made)


def _page(items: list[Any], first: int | None, after: str | None) -> dict[str, Any]:
    start = int(after) if after else 0
    end = start + (first or 100)
    return {"nodes": items[start:end], "pageInfo": {"hasNextPage": end < len(items), "endCursor": str(end)}}


# Query


def _repository(_: Any, info: Any, owner: str, name: str, followRenames: bool = True) -> Any:  # noqa: N803
    hub = info.context["hub"]
    found = hub.find(owner, name)
    if found is None and followRenames:
        found = hub.repositories.get(hub.redirects.get((owner.lower(), name.lower())))
    if found is None or hub.lags(found):
        raise _Failed("NOT_FOUND", f"Could not resolve to a Repository with the name '{owner}/{name}'.")
    return _Thing("Repository", found)


def _owner(_: Any, info: Any, login: str) -> Any:
    hub = info.context["hub"]
    found = next((each for each in hub.accounts if each.lower() == login.lower()), None)
    return found and _Thing(hub.accounts[found], None, found)


def _repositories(thing: _Thing, info: Any, first: int | None = None, after: str | None = None, **options: Any) -> Any:
    found = info.context["hub"].listed(thing.value)
    # an order that is not ours: by letters first, as databases do
    found.sort(key=lambda each: ("".join(filter(str.isalnum, each.name.lower())), each.name))
    return _page([_Thing("Repository", each) for each in found], first, after)


# Repository


def _resolve(thing: _Thing, info: Any, oid: str | None = None, expression: str | None = None) -> Any:
    assert thing.repository
    try:
        if oid is not None:
            return _thing(thing.repository, thing.repository.git[oid].id)
        return _thing(thing.repository, thing.repository.git.revparse_single(expression or "").id)
    except (KeyError, ValueError, pygit2.InvalidSpecError):
        return None


def _reference(repository: Repository, name: str) -> dict[str, Any] | None:
    target = repository.target(name)
    if target is None:
        return None
    prefix = "/".join(name.split("/")[:2]) + "/"
    return {"id": name, "name": name.removeprefix(prefix), "prefix": prefix, "target": _thing(repository, target)}


def _references(thing: _Thing, info: Any, refPrefix: str, first: int | None = None, after: str | None = None) -> Any:  # noqa: N803
    assert thing.repository
    names = sorted(name for name in thing.repository.git.references if name.startswith(refPrefix))
    return _page([_reference(thing.repository, name) for name in names], first, after)


def _default(thing: _Thing, info: Any) -> Any:
    assert thing.repository
    return _reference(thing.repository, f"refs/heads/{thing.repository.branch}")


def _issues(thing: _Thing, info: Any, states: Any = None, first: int | None = None, after: str | None = None) -> Any:
    assert thing.repository
    if info.context["hub"].lacks(info.context["token"], "issues", "read"):
        raise _Failed("FORBIDDEN", "Resource not accessible by personal access token")
    return _page([each for each in thing.repository.issues if each["state"] in states], first, after)


# Objects


def _actor(who: pygit2.Signature | None) -> Any:
    from datetime import UTC, datetime

    if who is None:
        return None
    date = datetime.fromtimestamp(who.time, UTC).isoformat()
    return {"name": who.name, "email": who.email, "date": date.replace("+00:00", "Z")}


def _parents(thing: _Thing, info: Any, first: int | None = None) -> Any:
    assert thing.repository
    return _page([_thing(thing.repository, each) for each in thing.value.parent_ids], first, None)


def _history(thing: _Thing, info: Any, first: int | None = None, after: str | None = None) -> Any:
    assert thing.repository
    walk = thing.repository.git.walk(thing.value.id, pygit2.enums.SortMode.TOPOLOGICAL)
    return _page([_thing(thing.repository, each.id) for each, _ in zip(walk, range(1000), strict=False)], first, after)


def _entries(thing: _Thing, info: Any) -> Any:
    assert thing.repository
    return [
        {
            "name": each.name,
            "nameRaw": b64encode(each.raw_name).decode(),
            "mode": int(each.filemode),
            "oid": str(each.id),
            "type": each.type_str,
            "object": _thing(thing.repository, each.id) if each.type_str != "commit" else None,
        }
        for each in thing.value
    ]


def _text(thing: _Thing, info: Any) -> str | None:
    if thing.value.is_binary:
        return None
    return str(thing.value.data[:_TEXT_LIMIT].decode(errors="replace"))


# Mutation


def _update(_: Any, info: Any, input: dict[str, Any]) -> Any:
    hub = info.context["hub"]
    found = next((each for each in hub.repositories.values() if each.node_id == input["repositoryId"]), None)
    if found is None or hub.lags(found):
        raise _Failed("NOT_FOUND", f"Could not resolve to a node with the global id of '{input['repositoryId']}'")
    if info.context["token"] in hub.read_only or hub.lacks(info.context["token"], "contents", "write"):
        raise _Failed("FORBIDDEN", "Resource not accessible by personal access token")
    if found.archived:
        raise _Failed("UNPROCESSABLE", "Repository was archived so is read-only.")
    if hub.rules and any(update["name"].startswith("refs/heads/") for update in input["refUpdates"]):
        raise _Failed("UNPROCESSABLE", f"Repository rule violations found\n\n{hub.rules}")
    for update in input["refUpdates"]:
        _check(found, update)
    for update in input["refUpdates"]:
        _set(found, update["name"], update["afterOid"])
    found.touch()
    return {"clientMutationId": None}


def _check(found: Repository, update: dict[str, Any]) -> None:
    now, after = found.target(update["name"]), update["afterOid"]
    before = update.get("beforeOid")
    if before is not None and (now or _ZERO) != before:
        raise _Failed("UNPROCESSABLE", f"{update['name']}: reference is not at the expected object")
    if after == _ZERO:
        if update["name"] == f"refs/heads/{found.branch}":
            raise _Failed("UNPROCESSABLE", "Cannot delete the default branch")
        return
    if after not in found.git:
        raise _Failed("UNPROCESSABLE", f"{after} is not an object of this repository")
    forward = not now or now == after
    if not forward and update["name"].startswith("refs/heads/"):
        forward = found.git.descendant_of(after, now)
    if not forward and not update.get("force"):
        raise _Failed("UNPROCESSABLE", f"{update['name']}: not a fast-forward")


def _set(found: Repository, name: str, after: str) -> None:
    if after == _ZERO:
        found.git.references.delete(name)
    else:
        found.git.references.create(name, after, force=True)


_RESOLVERS: dict[str, dict[str, Any]] = {
    "Query": {"repository": _repository, "repositoryOwner": _owner},
    "Mutation": {"updateRefs": _update},
    "Organization": {"login": lambda thing, info: thing.value, "repositories": _repositories},
    "User": {"login": lambda thing, info: thing.value, "repositories": _repositories},
    "Repository": {
        "id": lambda thing, info: thing.repository.node_id,
        "name": lambda thing, info: thing.repository.name,
        "nameWithOwner": lambda thing, info: thing.repository.full_name,
        "isEmpty": lambda thing, info: thing.repository.empty,
        "createdAt": lambda thing, info: thing.repository.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "pushedAt": lambda thing, info: thing.repository.pushed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "updatedAt": lambda thing, info: thing.repository.updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "defaultBranchRef": _default,
        "object": _resolve,
        "ref": lambda thing, info, **names: _reference(thing.repository, names["qualifiedName"]),
        "refs": _references,
        "issues": _issues,
        "repositoryTopics": lambda thing, info, first=None: _page(
            [{"topic": {"name": each}} for each in thing.repository.topics], first, None
        ),
    },
    "Commit": {
        "oid": lambda thing, info: str(thing.value.id),
        "message": lambda thing, info: thing.value.message,
        "author": lambda thing, info: _actor(thing.value.author),
        "committer": lambda thing, info: _actor(thing.value.committer),
        "tree": lambda thing, info: _thing(thing.repository, thing.value.tree_id),
        "parents": _parents,
        "history": _history,
    },
    "Tree": {"oid": lambda thing, info: str(thing.value.id), "entries": _entries},
    "Blob": {
        "oid": lambda thing, info: str(thing.value.id),
        "text": _text,
        "isBinary": lambda thing, info: thing.value.is_binary,
        "isTruncated": lambda thing, info: thing.value.size > _TEXT_LIMIT,
        "byteSize": lambda thing, info: thing.value.size,
    },
    "Tag": {
        "oid": lambda thing, info: str(thing.value.id),
        "name": lambda thing, info: thing.value.name,
        "message": lambda thing, info: thing.value.message,
        "tagger": lambda thing, info: _actor(thing.value.tagger),
        "target": lambda thing, info: _thing(thing.repository, thing.value.target),
    },
}
