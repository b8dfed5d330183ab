"""Git's HTTP server in this process, for MetaStore's own client: starting Git takes tens of milliseconds a request.

It speaks as much of the protocol as `metastore.git.protocol` uses; test_smart_server.py compares it with Git's server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

import pygit2

from metastore.git.objects import GitObject, links
from metastore.git.pack import from_pack, to_pack

_NONE = "0" * 40
_FLUSH, _DELIMITER = b"0000", b"0001"
_LFS = b"version https://git-lfs.github.com/spec/v1"
_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def serve(folder: str, below: str, query: str, body: bytes, *, refuses_pointers: bool) -> tuple[str, bytes]:
    """Answer one request to the repository in a folder; return the content's type and the content."""
    repository = pygit2.Repository(folder)
    if below == "/info/refs":
        service = parse_qs(query)["service"][0]
        content = _upload_capabilities() if service == "git-upload-pack" else _receive_references(repository)
        return f"application/x-{service}-advertisement", content
    if below == "/git-upload-pack":
        return "application/x-git-upload-pack-result", _upload(repository, body)
    return "application/x-git-receive-pack-result", _receive(repository, body, refuses_pointers)


def _packet(text: str) -> bytes:
    return b"%04x%s" % (len(text.encode()) + 5, text.encode() + b"\n")


def _packets(content: bytes) -> Iterator[tuple[str, int]]:
    """Yield each line before the first flush, and where the next one begins."""
    position = 0
    while (size := int(content[position : position + 4], 16)) != 0:
        if size > 4:
            yield content[position + 4 : position + size].decode().rstrip("\n"), position + size
        position += max(size, 4)


def _references(repository: pygit2.Repository) -> dict[str, str]:
    return {name: str(repository.lookup_reference(name).target) for name in sorted(repository.references)}


def _upload_capabilities() -> bytes:
    lines = ["version 2", "agent=git/emulated", "ls-refs=unborn", "fetch=shallow filter", "object-format=sha1"]
    return b"".join(map(_packet, lines)) + _FLUSH


def _receive_references(repository: pygit2.Repository) -> bytes:
    capabilities = "\0report-status delete-refs atomic ofs-delta object-format=sha1 agent=git/emulated"
    targets = _references(repository) or {"capabilities^{}": _NONE}
    lines = [f"{target} {name}" for name, target in targets.items()]
    lines[0] += capabilities
    return _packet("# service=git-receive-pack") + _FLUSH + b"".join(map(_packet, lines)) + _FLUSH


def _upload(repository: pygit2.Repository, body: bytes) -> bytes:
    lines = [line for line, _ in _packets(body)]
    if "command=ls-refs" in lines:
        return _listed(repository, [line[11:] for line in lines if line.startswith("ref-prefix ")])
    wants = [line[5:] for line in lines if line.startswith("want ")]
    if missing := [each for each in wants if each not in repository]:
        return _packet(f"ERR upload-pack: not our ref {missing[0]}")
    depth = next((int(line[7:]) for line in lines if line.startswith("deepen ")), None)
    left_out = next((line[7:] for line in lines if line.startswith("filter ")), "")
    haves = [line[5:] for line in lines if line.startswith("have ") and line[5:] in repository]
    known = _needed(repository, haves, set(), None, "")
    pack = to_pack(_needed(repository, wants, set(known), depth, left_out))
    shallow = _packet("shallow-info") + _DELIMITER if depth else b""
    chunks = (pack[start : start + 65_515] for start in range(0, len(pack), 65_515))
    return shallow + _packet("packfile") + b"".join(b"%04x\1%s" % (len(part) + 5, part) for part in chunks) + _FLUSH


def _listed(repository: pygit2.Repository, prefixes: list[str]) -> bytes:
    targets = _references(repository)
    head = str(repository.lookup_reference("HEAD").target)
    lines = [f"{targets[head]} HEAD symref-target:{head}"] if head in targets else []
    lines += [f"{target} {name}" for name, target in targets.items() if name.startswith(tuple(prefixes))]
    return b"".join(map(_packet, lines)) + _FLUSH


def _needed(
    repository: pygit2.Repository, wants: Iterable[str], known: set[str], depth: int | None, left_out: str
) -> dict[str, GitObject]:
    """Return wanted objects with all that they need, but for what is known or is left out by a filter."""
    found: dict[str, GitObject] = {}
    queue = [(each, depth) for each in wants]
    wanted = {each for each, _ in queue}
    for identity, commits in queue:
        if identity in known:
            continue
        number, content = repository.odb.read(identity)
        kind = _KINDS[int(number)]
        if identity not in wanted and left_out in {"tree": ("tree:0",), "blob": ("tree:0", "blob:none")}.get(kind, ()):
            continue
        known.add(identity)
        found[identity] = GitObject(kind, content)
        parents = {str(each) for each in repository[identity].parent_ids} if kind == "commit" else set()
        for linked in links(found[identity]):
            if linked not in parents:
                queue.append((linked, commits))
            elif commits != 1:
                queue.append((linked, commits and commits - 1))
    return found


def _receive(repository: pygit2.Repository, body: bytes, refuses_pointers: bool) -> bytes:
    """Move references all or none, as `atomic` has it; report each."""
    updates, end = [], 0
    for line, end in _packets(body):  # noqa: B007
        updates.append(line.partition("\0")[0].split(" "))
    pack = body[end + 4 :]
    objects = from_pack(pack, longest=100_000_000) if pack else {}
    reason = _refusal(repository, updates, objects, refuses_pointers)
    if not reason:
        for each in objects.values():
            repository.odb.write(_NUMBERS[each.kind], each.content)
        for _, new, name in updates:
            if new == _NONE:
                repository.references.delete(name)
            else:
                repository.references.create(name, new, force=True)
    told = [f"ng {name} {reason}" if reason else f"ok {name}" for _, _, name in updates]
    return b"".join(map(_packet, ["unpack ok", *told])) + _FLUSH


def _refusal(
    repository: pygit2.Repository, updates: list[list[str]], objects: dict[str, GitObject], refuses_pointers: bool
) -> str:
    if refuses_pointers and any(each.content.startswith(_LFS) for each in objects.values()):
        return "pre-receive hook declined"
    targets = _references(repository)
    for old, new, name in updates:
        if targets.get(name, _NONE) != old:
            return "reference already exists" if old == _NONE else "failed to update ref"
        if new != _NONE and new not in objects and new not in repository:
            return "missing necessary objects"
    return ""
