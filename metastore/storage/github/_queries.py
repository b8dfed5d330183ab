"""GitHub's GraphQL: our questions, and what the answers say as Git objects.

Fields and types: GitHub's public schema (https://docs.github.com/public/fpt/schema.docs.graphql). One question brings
all that a call needs: the head, its whole tree (three levels), and the texts that nearly every call reads.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime

from metastore.descriptor.document import DESCRIPTOR
from metastore.descriptor.lfs import ATTRIBUTES, CONFIG
from metastore.git.objects import BLOB, COMMIT, TAG, TREE, Entry, GitObject, commit_content, object_id, tree_content
from metastore.http.fields import Fields, Unexpected
from metastore.types import Author, Change

#: What nearly every call reads, also of the store's own datasets; brought along with a commit.
READ_ALONG = (DESCRIPTOR, CONFIG, ATTRIBUTES, "registry.json", "entry.json")
PAGE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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


def objects_in(repository: Fields) -> Iterator[tuple[str, GitObject]]:
    """Yield the objects that an answer about a repository holds.

    Trees and blobs are those that have their ids. A commit or tag that somebody else made may say less than the real
    one (no signature, no committer), but what it says is true of that id.
    """
    if "defaultBranchRef" in repository and (branch := repository.optional("defaultBranchRef")):
        yield from _commit_and_more(branch.below("target"))
    if "object" in repository and (node := repository.optional("object")):
        yield from _objects_of(node)
    for number in range(len(READ_ALONG)):
        node = repository.optional(f"text{number}")
        if node and "text" in node:  # not so if it is a folder
            yield from _blob(node)


def _objects_of(node: Fields) -> Iterator[tuple[str, GitObject]]:
    kind = node.text("__typename")
    if kind == "Commit":
        yield from _commit_and_more(node)
        for older in node.below("history").rows("nodes"):
            yield commit_in(older)
    elif kind == "Tree":
        yield from _trees(node)
    elif kind == "Blob":
        yield from _blob(node)
    elif kind == "Tag":
        yield tag_in(node)


def _commit_and_more(node: Fields) -> Iterator[tuple[str, GitObject]]:
    yield commit_in(node)
    yield from _trees(node.below("tree"))


def _blob(node: Fields) -> Iterator[tuple[str, GitObject]]:
    content = (node.optional_text("text") or "").encode(errors="surrogatepass")
    oid = node.oid("oid")
    if object_id(BLOB, content) == oid:  # not so where it was cut short, or is no UTF-8
        yield oid, GitObject(BLOB, content)


def _trees(node: Fields) -> Iterator[tuple[str, GitObject]]:
    """Yield a tree and those below it, as far as the answer goes. One that was cut short has another id."""
    if "entries" not in node:
        return
    entries = {}
    for line in node.rows("entries"):
        name = _bytes(line.text("nameRaw")).decode(errors="surrogateescape")
        entries[name] = Entry(f"{line.number('mode'):o}", line.oid("oid"))
        if "object" in line and (below := line.optional("object")):
            yield from _trees(below)
    content = tree_content(entries)
    oid = node.oid("oid")
    if object_id(TREE, content) == oid:
        yield oid, GitObject(TREE, content)


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text)
    except ValueError:
        raise Unexpected("the host's answer has a name that is not in base64") from None


def commit_in(node: Fields) -> tuple[str, GitObject]:
    """Return a commit and its id."""
    parents = [parent.oid("oid") for parent in node.below("parents").rows("nodes")]
    first, merged = (parents[0], parents[1:]) if parents else (None, [])
    change = _change(node.optional("author"), node.text("message"))
    content = commit_content(node.below("tree").oid("oid"), first, change, merged)
    return node.oid("oid"), GitObject(COMMIT, content)


def tag_in(node: Fields) -> tuple[str, GitObject]:
    """Return an annotated tag and its id."""
    change = _change(node.optional("tagger"), node.optional_text("said") or "")
    target = node.below("target")
    head = f"object {target.oid('oid')}\ntype {target.text('__typename').lower()}\ntag {node.text('name')}\n"
    tagger = f"tagger {change.author.name} <{change.author.email}> {int(change.at.timestamp())} +0000\n\n"
    return node.oid("oid"), GitObject(TAG, f"{head}{tagger}{change.message}\n".encode(errors="replace"))


def _change(who: Fields | None, message: str) -> Change:
    if who is None:
        return Change(Author("unknown", ""), message.rstrip("\n"), _EPOCH)
    at = who.moment("date") if who.optional_text("date") else _EPOCH
    author = Author(_one_line(who.optional_text("name")) or "unknown", _one_line(who.optional_text("email")))
    return Change(author, message.rstrip("\n"), at)


def _one_line(text: str | None) -> str:
    return (text or "").replace("\n", " ").replace("<", "").replace(">", "")
