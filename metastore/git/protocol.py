"""A client of Git's smart HTTP protocol, without a clone: a repository's references, objects by id, and pushes.

It reads with protocol version 2 (gitprotocol-v2(5)), which gives any object by its id. It pushes with version 0
(gitprotocol-pack(5)), where the server compares each reference with its old value under its own lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from metastore.errors import StorageCorrupt, StorageUnavailable, TooLarge
from metastore.git.objects import GitObject
from metastore.git.pack import FETCH_LESS, PUSH_LESS, from_pack, to_pack
from metastore.git.pkt_lines import DELIMITER, FLUSH, NONE, pkt_line
from metastore.http.client import Host
from metastore.http.responses import Missing, Redirected, ResponseLost


class NoRepository(Missing):
    """There is no repository at a path (any more, or yet). A storage decides what that means.

    Attributes:
        moved_to: The address that the server redirects to, or None.
    """

    def __init__(self, path: str, moved_to: str | None = None) -> None:
        super().__init__(path)
        self.moved_to = moved_to and moved_to.partition("/git-upload-pack")[0].partition("/info/refs")[0]


_VERSION_2 = {"Git-Protocol": "version=2"}
_AGENT = "agent=metastore"
_NO_GIT = "the server does not answer as a Git server does"
#: The most bytes of the objects, as a multiple of those of the response, and the most objects.
_UNPACKED, _MOST_OBJECTS = 8, 1_000_000


class References(NamedTuple):
    """The references of a repository. `branch` is the one that HEAD names, or None in an empty repository."""

    branch: str | None
    targets: Mapping[str, str]


class SmartHttp:
    """A server of Git repositories.

    Args:
        host: The host; paths are below its address.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._side_band: bool | None = None
        self._filters: bool | None = None

    def references(self, path: str) -> References:
        """Return the branches and tags of a repository. As in the other calls, `NoRepository` if there is none.

        Raises:
            StorageError: See `Host.call`.
        """
        body = _request("ls-refs", ["symrefs", "ref-prefix HEAD", "ref-prefix refs/heads/", "ref-prefix refs/tags/"])
        branch, targets = None, {}
        content = self._ask(path, "upload-pack", body, _VERSION_2)
        if not content.endswith(FLUSH):  # an older version, which ignores the command
            raise StorageUnavailable("the server does not answer in version 2 of Git's protocol")
        for line in _lines(content):
            target, _, rest = line.partition(" ")
            name, *attributes = rest.split(" ")
            if not re.fullmatch("[0-9a-f]{40}", target):
                raise StorageUnavailable(_NO_GIT)
            if name != "HEAD":
                targets[name] = target
            for each in attributes:
                if name == "HEAD" and each.startswith("symref-target:refs/heads/"):
                    branch = each.removeprefix("symref-target:refs/heads/")
        return References(branch, targets)

    def fetch(
        self,
        path: str,
        wants: Sequence[str],
        *,
        haves: Sequence[str] = (),
        depth: int | None = None,
        filter_spec: str | None = None,
    ) -> dict[str, GitObject]:
        """Return objects, and the objects that they need, by id.

        Args:
            path: The repository.
            wants: Ids of objects of any kind.
            haves: Ids of commits that we have, with all objects that they need.
            depth: The number of commits of a history, beginning with the wanted ones; None for all.
            filter_spec: The objects to leave out, such as `tree:0` or `blob:none`, if the server supports it.

        Raises:
            KeyError: The repository lacks a wanted object.
            TooLarge: The server does not send so much at once.
            StorageCorrupt: The pack that the server sent cannot be read.
        """
        arguments = [f"want {each}" for each in wants] + [f"have {each}" for each in haves]
        arguments += ["no-progress", "ofs-delta"]
        if depth:
            arguments.append(f"deepen {depth}")
        if filter_spec and self._can_filter(path):
            arguments.append(f"filter {filter_spec}")
        body = _request("fetch", [*arguments, "done"])
        content = self._ask(path, "upload-pack", body, _VERSION_2)
        try:
            return from_pack(_packfile(content), longest=_UNPACKED * self._host.longest, most=_MOST_OBJECTS)
        except StorageUnavailable as error:
            if missing := [each for each in wants if each in str(error)]:  # "not our ref", with the id
                raise KeyError(missing[0]) from None
            if FETCH_LESS in str(error):
                raise TooLarge(str(error)) from None
            raise
        except ValueError as error:
            raise StorageCorrupt(f"the host sent a pack that cannot be read: {error}") from None

    def push(self, path: str, updates: Mapping[str, tuple[str, str]], objects: Mapping[str, GitObject]) -> str | None:
        """Move references from an old value to a new one, all or none; `NONE` stands for an absent reference.

        Returns:
            None if the server confirms each reference, otherwise its reason for refusing. If no answer came,
            `ResponseLost` leaves it to the caller to find out.

        Raises:
            TooLarge: The server does not take so much at once.
        """
        side_band = self._expect_atomic(path)
        capabilities = f"\0report-status atomic {'side-band-64k ' if side_band else ''}{_AGENT}"
        lines = []
        for name, (old, new) in updates.items():
            lines.append(pkt_line(f"{old} {new} {name}{capabilities}"))
            capabilities = ""
        deletes_only = all(new == NONE for _, new in updates.values())
        body = b"".join(lines) + FLUSH + (b"" if deletes_only else to_pack(objects))
        content = self._ask(path, "receive-pack", body, {}, repeatable=False)
        try:
            report, words = _bands(content) if side_band else (content, "")
            refusal = _refusal(report, words, updates)
        except StorageUnavailable as error:  # the push was sent, and the response is not a report
            raise ResponseLost(path, f"gave no usable answer: {error}") from None
        if refusal and PUSH_LESS in refusal:
            raise TooLarge(f"the server does not take so much at once: {refusal}")
        return refusal

    def _ask(
        self, path: str, service: str, body: bytes, headers: Mapping[str, str], *, repeatable: bool = True
    ) -> bytes:
        kind = {"Content-Type": f"application/x-git-{service}-request"}
        try:
            answer = self._host.call(
                "POST",
                f"{path}/git-{service}",
                body=body,
                headers={**headers, **kind},
                repeatable=repeatable,
                handled=(404, 413),
            )
        except Redirected as moved:
            raise _elsewhere(path, f"/git-{service}", moved) from None
        if answer.status == 404:
            raise NoRepository(path)
        if answer.status == 413:
            raise TooLarge(f"the server does not take so much at once: {answer.message() or 413}")
        if answer.headers.get("content-type", "").split(";")[0] != f"application/x-git-{service}-result":
            raise StorageUnavailable(_NO_GIT)
        return answer.content

    def _can_filter(self, path: str) -> bool:
        if self._filters is None:
            fetch = [line for line in self._advertised(path, "upload-pack", _VERSION_2) if line.startswith("fetch=")]
            self._filters = any("filter" in line.removeprefix("fetch=").split() for line in fetch)
        return self._filters

    def _expect_atomic(self, path: str) -> bool:
        """Check that the server can move several references atomically. A server that cannot ignores the request.

        Returns:
            Whether the server can also give its reason for refusing.
        """
        if self._side_band is None:
            words = [
                word for line in self._advertised(path, "receive-pack", {}) for word in line.split("\0")[-1].split()
            ]
            if "atomic" not in words:
                raise StorageUnavailable("the server cannot move several references at once (atomic)")
            self._side_band = "side-band-64k" in words
        return self._side_band

    def _advertised(self, path: str, service: str, headers: Mapping[str, str]) -> list[str]:
        try:
            answer = self._host.call(
                "GET", f"{path}/info/refs", query={"service": f"git-{service}"}, headers=headers, handled=(404,)
            )
        except Redirected as moved:
            raise _elsewhere(path, "/info/refs", moved) from None
        if answer.status == 404:
            raise NoRepository(path)
        return list(_lines(answer.content))


def _elsewhere(path: str, below: str, moved: Redirected) -> Redirected:
    """Return the error for a redirect. Only one to the same place below another repository is a move.

    Args:
        path: The repository.
        below: The requested path below it.
        moved: The redirect, which may also lead to a page to sign in.
    """
    is_move = urlsplit(moved.location).path.endswith(below)
    return NoRepository(path, moved.location) if is_move else moved


def _request(command: str, arguments: Iterable[str]) -> bytes:
    head = pkt_line(f"command={command}") + pkt_line(_AGENT) + pkt_line("object-format=sha1")
    return head + DELIMITER + b"".join(map(pkt_line, arguments)) + FLUSH


def _packets(content: bytes) -> Iterator[bytes | None]:
    """Yield the packets of a response, None for a separator. Raises StorageUnavailable."""
    position = 0
    while position < len(content):
        try:
            size = int(content[position : position + 4], 16)
        except ValueError:
            raise StorageUnavailable(_NO_GIT) from None
        if size < 4:
            yield None
            position += 4
            continue
        packet = content[position + 4 : position + size]
        if len(packet) != size - 4:
            raise StorageUnavailable("the server's answer was cut short")
        if packet.startswith(b"ERR "):
            raise _failure(packet[4:])
        yield packet
        position += size


def _failure(words: bytes) -> StorageUnavailable:
    return StorageUnavailable(f"the server failed: {words.decode(errors='replace').strip()[:200]}")


def _lines(content: bytes) -> Iterator[str]:
    for packet in _packets(content):
        if packet is not None:
            yield packet.decode(errors="replace").rstrip("\n")


def _packfile(content: bytes) -> bytes:
    """Return the pack in the response to a fetch: the first band of its last section."""
    packets = _packets(content)
    for packet in packets:
        if packet == b"packfile\n":
            break
    else:
        raise StorageUnavailable("the server sent no pack")
    parts = []
    for packet in packets:
        if packet and packet[0] == 1:
            parts.append(packet[1:])
        elif packet and packet[0] == 3:
            raise _failure(packet[1:])
    return b"".join(parts)


def _bands(content: bytes) -> tuple[bytes, str]:
    """Return the report in the response to a push, and the server's message to the user (gitprotocol-pack(5))."""
    report, words = b"", b""
    for packet in _packets(content):
        band = packet[:1] if packet else b""
        if packet and band == b"\1":
            report += packet[1:]
        elif packet and band == b"\2":
            words += packet[1:]
        elif packet:
            raise _failure(packet[1:])
    lines = [line.strip() for line in words.decode(errors="replace").splitlines()]
    return report, " ".join(line for line in lines if re.search(r"\w", line))[:500]


def _refusal(report: bytes, words: str, updates: Mapping[str, object]) -> str | None:
    """Return the reason why references were not moved, or None if the server confirms each of them.

    Raises:
        StorageUnavailable: The server does not report on each of them.
    """
    lines = list(_lines(report))
    refused = [line.removeprefix("ng ") for line in lines if line.startswith("ng ")]
    if lines and lines[0].startswith("unpack ") and lines[0] != "unpack ok":
        refused = lines[:1]
    if refused and not any(line.startswith("ok ") for line in lines):  # Git moves the others if one is hidden
        return "; ".join(filter(None, ["; ".join(refused)[:200], words]))
    if not lines or not {f"ok {name}" for name in updates}.issubset(lines):
        raise StorageUnavailable("it does not say of each reference that it was moved")
    return None
