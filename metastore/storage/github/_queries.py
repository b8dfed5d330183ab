"""GitHub's GraphQL: our questions, and what the answers say as Git objects.

Fields and types: GitHub's public schema (https://docs.github.com/public/fpt/schema.docs.graphql). One question brings
all that a call needs: the head, its whole tree (three levels), and the texts that nearly every call reads.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from metastore import git
from metastore.descriptor.document import DESCRIPTOR
from metastore.descriptor.lfs import ATTRIBUTES, CONFIG
from metastore.git.objects import Entry, GitObject, object_id
from metastore.types import Author, Change

#: What nearly every call reads, also of the store's own datasets; brought along with a commit.
READ_ALONG = (DESCRIPTOR, CONFIG, ATTRIBUTES, "registry.json", "entry.json")
PAGE = 100
_EPOCH = "1970-01-01T00:00:00Z"

_COMMIT = f"""
fragment OneCommit on Commit {{ oid message author {{ name email date }} tree {{ oid }}
  parents(first: {PAGE}) {{ nodes {{ oid }} }} }}
"""
_LEVEL = "nameRaw mode oid"
_TREE = f"""
fragment WholeTree on Tree {{
  oid entries {{ {_LEVEL} object {{ ... on Tree {{
    oid entries {{ {_LEVEL} object {{ ... on Tree {{ oid entries {{ {_LEVEL} }} }} }} }} }} }} }}
}}
"""
_TAG = """
fragment OneTag on Tag { oid name said: message tagger { name email date } target { __typename oid } }
"""


_TEXTS = " ".join(
    f"text{number}: object(expression: $path{number}) {{ ... on Blob {{ oid text }} }}"
    for number in range(len(READ_ALONG))
)
_PATHS = ", ".join(f"$path{number}: String!" for number in range(len(READ_ALONG)))


def read_along(start: str) -> dict[str, str]:
    """Return the variables that name what is to be read along, at a commit or `HEAD`."""
    return {f"path{number}": f"{start}:{path}" for number, path in enumerate(READ_ALONG)}


LOOK = f"""
query Look($owner: String!, $name: String!, {_PATHS}) {{
  repository(owner: $owner, name: $name) {{
    id nameWithOwner
    defaultBranchRef {{ name target {{ oid ... on Commit {{ ...OneCommit tree {{ ...WholeTree }} }} }} }}
    {_TEXTS}
  }}
}}
{_COMMIT}{_TREE}"""

REFERENCES = f"""
query References($owner: String!, $name: String!, $after: String) {{
  repository(owner: $owner, name: $name) {{
    refs(refPrefix: "refs/tags/", first: {PAGE}, after: $after) {{
      nodes {{ name target {{ __typename oid ...OneTag ...OneCommit }} }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}
{_TAG}{_COMMIT}"""

REFERENCE = f"""
query Reference($owner: String!, $name: String!, $reference: String!) {{
  repository(owner: $owner, name: $name) {{
    id nameWithOwner ref(qualifiedName: $reference) {{ target {{ __typename oid ...OneTag ...OneCommit }} }}
  }}
}}
{_TAG}{_COMMIT}"""

ISSUES = f"""
query Issues($owner: String!, $name: String!, $after: String) {{
  repository(owner: $owner, name: $name) {{
    issues(states: [OPEN], first: {PAGE}, after: $after) {{
      nodes {{ number title state url }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}"""

OBJECT = f"""
query Object($owner: String!, $name: String!, $oid: GitObjectID!, {_PATHS}) {{
  repository(owner: $owner, name: $name) {{
    id
    object(oid: $oid) {{
      __typename oid
      ... on Commit {{ ...OneCommit tree {{ ...WholeTree }} history(first: {PAGE}) {{ nodes {{ ...OneCommit }} }} }}
      ... on Tree {{ ...WholeTree }}
      ... on Blob {{ text }}
      ... on Tag {{ ...OneTag }}
    }}
    {_TEXTS}
  }}
}}
{_COMMIT}{_TREE}{_TAG}"""

UPDATE = "mutation Update($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }"


def listing(*, topics: bool) -> str:
    """Return the question for a page of an owner's repositories."""
    also = f"repositoryTopics(first: {PAGE}) {{ nodes {{ topic {{ name }} }} }}" if topics else ""
    return f"""
query List($owner: String!, $after: String) {{
  repositoryOwner(login: $owner) {{
    repositories(first: {PAGE}, after: $after, ownerAffiliations: [OWNER],
                 orderBy: {{ field: NAME, direction: ASC }}) {{
      nodes {{
        name createdAt pushedAt updatedAt {also}
        defaultBranchRef {{ target {{ ... on Commit {{ tree {{ oid }} }} }} }}
      }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}"""


def current_question(count: int) -> str:
    """Return the question for what some references name just now."""
    names = ", ".join(f"$name{number}: String!" for number in range(count))
    fields = "\n".join(
        f"ref{number}: ref(qualifiedName: $name{number}) {{ target {{ oid }} }}" for number in range(count)
    )
    return f"""
query Current($owner: String!, $name: String!, {names}) {{
  repository(owner: $owner, name: $name) {{ id {fields} }}
}}"""


def objects_in(repository: Mapping[str, Any]) -> Iterator[tuple[str, GitObject]]:
    """Yield the objects that an answer about a repository holds.

    Trees and blobs are those that have their ids; a commit or tag of somebody else's making may say less than the real
    one (no signature, no committer), but what it says is true of that id.
    """
    branch = repository.get("defaultBranchRef") or {}
    for node in (branch.get("target"), repository.get("object")):
        if node:
            yield from _objects_of(node)
    for number in range(len(READ_ALONG)):
        node = repository.get(f"text{number}")
        if node and node.get("text") is not None:
            yield from _blob(node)


def _objects_of(node: Mapping[str, Any]) -> Iterator[tuple[str, GitObject]]:
    if "tree" in node:
        yield commit_in(node)
        yield from _trees(node["tree"])
        for older in (node.get("history") or {}).get("nodes", ()):
            yield commit_in(older)
    elif "entries" in node:
        yield from _trees(node)
    elif node.get("text") is not None:
        yield from _blob(node)
    elif "tagger" in node:
        yield tag_in(node)


def _blob(node: Mapping[str, Any]) -> Iterator[tuple[str, GitObject]]:
    content = node["text"].encode(errors="surrogatepass")
    if object_id(git.BLOB, content) == node["oid"]:  # not so where it was cut short, or is no UTF-8
        yield node["oid"], GitObject(git.BLOB, content)


def _trees(node: Mapping[str, Any]) -> Iterator[tuple[str, GitObject]]:
    """Yield a tree and those below it, as far as the answer goes."""
    if "entries" not in node:
        return
    entries = {}
    for line in node["entries"] or ():
        name = b64decode(line["nameRaw"]).decode(errors="surrogateescape")
        entries[name] = Entry(f"{line['mode']:o}", line["oid"])
        if line.get("object"):
            yield from _trees(line["object"])
    content = git.tree_content(entries)
    if object_id(git.TREE, content) == node["oid"]:
        yield node["oid"], GitObject(git.TREE, content)


def commit_in(node: Mapping[str, Any]) -> tuple[str, GitObject]:
    """Return a commit and its id."""
    first, *merged = [parent["oid"] for parent in node["parents"]["nodes"]] or [None]
    change = _change(node["author"], node["message"])
    content = git.commit_content(node["tree"]["oid"], first, change, merged)
    return node["oid"], GitObject(git.COMMIT, content)


def tag_in(node: Mapping[str, Any]) -> tuple[str, GitObject]:
    """Return an annotated tag and its id."""
    change = _change(node["tagger"], node["said"] or "")
    kind = node["target"]["__typename"].lower()
    head = f"object {node['target']['oid']}\ntype {kind}\ntag {node['name']}\n"
    tagger = f"tagger {change.author.name} <{change.author.email}> {int(change.at.timestamp())} +0000\n\n"
    return node["oid"], GitObject(git.TAG, f"{head}{tagger}{change.message}\n".encode(errors="replace"))


def _change(who: Mapping[str, Any] | None, message: str) -> Change:
    who = who or {}
    at = datetime.fromisoformat(who.get("date") or _EPOCH).astimezone(UTC)
    author = Author(_one_line(who.get("name")) or "unknown", _one_line(who.get("email")))
    return Change(author, message.rstrip("\n"), at)


def _one_line(text: str | None) -> str:
    return (text or "").replace("\n", " ").replace("<", "").replace(">", "")
