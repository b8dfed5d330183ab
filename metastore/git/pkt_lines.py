"""The pkt-lines of Git's protocol (gitprotocol-common(5)), which the client and both halves of the server write."""

from __future__ import annotations

import re

from metastore.errors import InvalidInput

#: Stands for an absent reference.
NONE = "0" * 40
FLUSH, DELIMITER = b"0000", b"0001"
#: The lines and sections of a request. Each takes memory, however short it is; 8 MiB of ids are 170,000 lines.
_MOST_LINES = 250_000


def pkt_line(text: str) -> bytes:
    """Return a text as a pkt-line (gitprotocol-common(5))."""
    content = text.encode() + b"\n"
    return b"%04x%s" % (len(content) + 4, content)


def read_request(body: bytes) -> tuple[list[list[str]], bytes]:
    """Read the pkt-lines of a client's request up to the first flush packet.

    Returns:
        The lines of each section, and what follows the flush packet, such as the pack of a push.

    Raises:
        InvalidInput: The request is not made of pkt-lines, or of too many.
    """
    position, sections = 0, [list[str]()]
    left = _MOST_LINES
    while (head := body[position : position + 4]) != FLUSH:
        if not (left := left - 1):
            raise InvalidInput(f"the request has more than {_MOST_LINES} of Git's packets")
        if head == DELIMITER:
            sections.append([])
            position += 4
            continue
        size = int(head, 16) if re.fullmatch(b"[0-9a-f]{4}", head) else 0
        if size <= 4 or position + size > len(body):
            raise InvalidInput("the request is not made of Git's packets")
        sections[-1].append(body[position + 4 : position + size].decode(errors="replace").removesuffix("\n"))
        position += size
    return sections, body[position + 4 :]
