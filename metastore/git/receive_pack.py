"""The server's half of `git push`: the references that a client wants to move, and the report on each.

Version 0 of Git's protocol (gitprotocol-pack(5)), the only one that has pushes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from metastore.errors import InvalidInput
from metastore.git.pkt_lines import FLUSH, NONE, pkt_line, read_request

#: `no-thin`: the client sends whole objects, or deltas to objects in the same pack.
_CAPABILITIES = "report-status atomic ofs-delta no-thin object-format=sha1 agent=metastore"
_UPDATE = re.compile(r"([0-9a-f]{40}) ([0-9a-f]{40}) (refs/[^\0\s]+)")


@dataclass(frozen=True, slots=True)
class Update:
    """A reference that a client wants to move.

    Attributes:
        name: The full name, such as `refs/heads/main` or `refs/tags/v1`.
        old: The id that the client saw there; None if it saw no reference.
        new: The new id; None to remove the reference.
    """

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Push:
    """A request of `git push`.

    Attributes:
        updates: The references to move.
        atomic: Whether to move either all of them or none.
        pack: The objects that the server may lack; empty if none are sent.
    """

    updates: tuple[Update, ...]
    atomic: bool
    pack: bytes

    @classmethod
    def parse(cls, body: bytes) -> Push:
        """Read a request.

        Raises:
            InvalidInput: It is not such a request, is signed, or comes from a shallow clone.
        """
        (lines, *others), pack = read_request(body)
        if others:
            raise InvalidInput("the request is not made of Git's packets")
        first, _, capabilities = (lines or [""])[0].partition("\0")
        updates = [_update(line) for line in (first, *lines[1:]) if line]
        if len({update.name for update in updates}) < len(updates):
            raise InvalidInput("the request names a reference twice")
        return cls(tuple(updates), "atomic" in capabilities.split(), pack)


def _update(line: str) -> Update:
    match = _UPDATE.fullmatch(line)
    if match is None:
        raise InvalidInput(f"this server takes no signed pushes, and none of shallow clones: {line[:60]!r}")
    old, new, name = match.groups()
    return Update(name, None if old == NONE else old, None if new == NONE else new)


def advertisement(references: Mapping[str, str]) -> bytes:
    """Return the answer to the first request of a push: the references and their targets, and the capabilities."""
    lines = [f"{target} {name}" for name, target in sorted(references.items())] or [f"{NONE} capabilities^{{}}"]
    lines[0] += f"\0{_CAPABILITIES}"
    return b"".join([pkt_line("# service=git-receive-pack"), FLUSH, *map(pkt_line, lines), FLUSH])


def report(refusals: Mapping[str, str | None]) -> bytes:
    """Return the report on a push: for each reference why it did not move, or None if it did."""
    lines = [f"ok {name}" if reason is None else f"ng {name} {reason}" for name, reason in refusals.items()]
    return b"".join(map(pkt_line, ("unpack ok", *lines))) + FLUSH
