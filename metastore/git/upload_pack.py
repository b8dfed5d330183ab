"""The server's half of Git's smart HTTP protocol, for `git clone` and `git fetch`: references, and packs of objects.

Protocol version 2 (gitprotocol-v2(5)), which Git speaks since 2.18, with shallow and partial clones. A request contains
all that its answer depends on, so any process can answer the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from metastore.errors import InvalidInput, TooLarge
from metastore.git.objects import GitObject
from metastore.git.pack import FETCH_LESS, pack_parts
from metastore.git.partial import ALL, Filter, selected, unreachable
from metastore.git.pkt_lines import DELIMITER, FLUSH, pkt_line, read_request
from metastore.git.reachable import boundary, peeled
from metastore.git.repository import Repository, object_at

#: The capabilities of the server, which answer the first request of a clone.
CAPABILITIES = (
    b"".join(map(pkt_line, ("version 2", "agent=metastore", "ls-refs", "fetch=shallow filter", "object-format=sha1")))
    + FLUSH
)
#: The answer to a client that does not announce version 2.
TOO_OLD = b"".join(
    [
        pkt_line("# service=git-upload-pack"),
        FLUSH,
        pkt_line("ERR this server speaks version 2 of Git's protocol: git -c protocol.version=2 clone …"),
    ]
)
#: The bytes of a pack in one packet, which has 65,520 bytes with its length and band (gitprotocol-common(5)).
_BAND = 65515
#: zlib's level for packs: the default takes three times as long, for packs that are a sixth smaller.
_FASTEST = 1
#: The prefixes of `ls-refs` with which each reference is compared.
_MOST_PREFIXES = 1000
_ID = re.compile("[0-9a-f]{40}")


def refusal(reason: str) -> bytes:
    """Return an answer that Git shows to its user as a `remote error`."""
    return pkt_line(f"ERR {reason}")


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client.

    Attributes:
        command: `ls-refs` or `fetch`.
        arguments: The lines of the command.
    """

    command: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, body: bytes) -> Request:
        """Read a request.

        Raises:
            InvalidInput: It is not a request of version 2, or not for SHA-1 ids.
        """
        sections, _ = read_request(body)
        lines = sections[0]
        if not lines or not lines[0].startswith("command=") or len(sections) > 2:
            raise InvalidInput("this is not a request of version 2 of Git's protocol")
        if any(line.startswith("object-format=") and line != "object-format=sha1" for line in lines):
            raise InvalidInput("the ids of this repository are SHA-1")
        return cls(lines[0].removeprefix("command="), tuple(sections[1] if len(sections) == 2 else ()))

    def values(self, name: str) -> list[str]:
        """Return the values of an argument that can occur several times."""
        return [line.removeprefix(f"{name} ") for line in self.arguments if line.startswith(f"{name} ")]


def references(repository: Repository, request: Request) -> Iterator[bytes]:
    """Answer `ls-refs`: the branch that `HEAD` names, and the tags.

    Raises:
        StorageCorrupt: A reference cannot be read.
    """
    prefixes, head = tuple(request.values("ref-prefix")), repository.head()
    if len(prefixes) > _MOST_PREFIXES:  # Git does the same: prefixes only spare what is sent
        prefixes = ()
    branch = f"refs/heads/{repository.branch}"
    symref = f" symref-target:{branch}" if "symrefs" in request.arguments else ""
    lines = [f"{head} HEAD{symref}", f"{head} {branch}"]
    for name, target in sorted(repository.tag_targets().items()):
        commit = peeled(repository, target) if "peel" in request.arguments else None
        lines.append(f"{target} refs/tags/{name}" + (f" peeled:{commit}" if commit not in (None, target) else ""))
    for line in lines:
        if not prefixes or line.split(" ")[1].startswith(prefixes):
            yield pkt_line(line)
    yield FLUSH


@dataclass(slots=True)
class Fetch:
    """An answer to `fetch`: the sections before the pack, and the objects in it.

    Attributes:
        head: The sections before the pack.
        ids: The objects to send; None if the client has to negotiate further.
    """

    head: list[bytes] = field(default_factory=list)
    ids: dict[str, None] | None = None


def negotiate(repository: Repository, request: Request, most: int) -> Fetch:
    """Find the objects that a client lacks, at most `most`.

    The answer contains only objects, and acknowledges only commits, that the branch or a tag leads to. A partial clone
    later names trees and blobs that it lacks.

    Raises:
        InvalidInput: A wanted object is not available, the objects are too many, or the request is malformed.
        StorageCorrupt: An object is missing, or cannot be read.
    """
    branch = _branch(repository)
    targets = set(repository.tag_targets().values())
    wants, haves = _ids(request, "want"), [have for have in _ids(request, "have") if have in branch or have in targets]
    others = [want for want in wants if want not in branch and want not in targets]
    if others and (missing := unreachable(repository, others, branch, most)):
        raise InvalidInput(f"upload-pack: not our ref {missing}")
    found = Fetch()
    if "done" not in request.arguments:
        found.head.append(pkt_line("acknowledgments"))
        found.head += map(pkt_line, [f"ACK {have}" for have in haves] or ["NAK"])
        if not haves:
            found.head.append(FLUSH)
            return found
        found.head += [pkt_line("ready"), DELIMITER]
    client_shallow, shallow, known = _ids(request, "shallow"), set[str](), haves
    if depth := _depth(request):
        seen, shallow = boundary(repository, wants, depth)
        found.head.append(pkt_line("shallow-info"))
        found.head += map(pkt_line, (f"shallow {commit}" for commit in sorted(shallow - set(client_shallow))))
        whole = seen - shallow
        found.head += map(pkt_line, (f"unshallow {commit}" for commit in client_shallow if commit in whole))
        found.head.append(DELIMITER)
        known = []  # the client may lack their ancestors
    newest = min((branch[have] for have in known if have in branch), default=len(branch))
    behind = set() if client_shallow else {commit for commit, position in branch.items() if position > newest}
    commits = [have for have in known if branch.get(have) == newest or (client_shallow and have in branch)]
    behind |= set(known) & targets
    found.ids = selected(repository, wants, commits, chosen=_filter(request), behind=behind, shallow=shallow, most=most)
    if "include-tag" in request.arguments:
        found.ids |= {tag: None for tag in targets if peeled(repository, tag) in found.ids}
    return found


def pack_of(repository: Repository, ids: dict[str, None], most: int) -> Iterator[bytes]:
    """Yield the parts of a pack of objects.

    Raises:
        TooLarge: They have more than `most` bytes in total.
        StorageCorrupt: An object is missing, or cannot be read.
    """
    return pack_parts(len(ids), _bounded((object_at(repository, identity) for identity in ids), most), _FASTEST)


def packed(fetch: Fetch, pack: IO[bytes]) -> Iterator[bytes]:
    """Yield an answer with its pack."""
    yield from fetch.head
    yield pkt_line("packfile")
    while part := pack.read(_BAND):
        yield b"%04x\1" % (len(part) + 5) + part
    yield FLUSH


def _bounded(objects: Iterable[GitObject], most: int) -> Iterator[GitObject]:
    left = most
    for found in objects:
        left -= len(found.content)
        if left < 0:
            raise TooLarge(f"the history has more than {most} bytes: {FETCH_LESS}")
        yield found


def _branch(repository: Repository) -> dict[str, int]:
    """Return the commits of the branch -> their positions, newest first."""
    return {commit: position for position, commit in enumerate(repository.on_the_branch())}


def _ids(request: Request, name: str) -> list[str]:
    found = list(dict.fromkeys(request.values(name)))
    if wrong := [each for each in found if not _ID.fullmatch(each)]:
        raise InvalidInput(f"{name} is followed by an id of 40 lower-case hex digits, not by {wrong[0][:60]!r}")
    return found


def _depth(request: Request) -> int:
    """Return the depth of a clone in commits; 0 for all."""
    if unknown := [line for line in request.arguments if line.startswith("deepen-")]:
        raise InvalidInput(f"the server does not support {unknown[0][:60]!r}; it supports --depth")
    depth = (request.values("deepen") or ["0"])[-1]
    if not re.fullmatch("[0-9]{1,10}", depth):
        raise InvalidInput(f"deepen is followed by a number, not by {depth[:60]!r}")
    return int(depth)


def _filter(request: Request) -> Filter:
    """Return what a partial clone takes."""
    specs = request.values("filter")
    if len(specs) > 1:
        raise InvalidInput("the server supports one filter at a time")
    return Filter.parse(specs[0]) if specs else ALL
