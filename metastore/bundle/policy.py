"""Who may change which bundles: the groups file, and one rule.

```
groups = Minerva NOvA, MINOS
Minerva = ann
NOvA = ann bo
root = carol
```

`groups` lists the groups. A line per group lists its admins, and `root` lists the superusers. There are no sections.
Names are separated by spaces and commas and are case-sensitive. A group without a line has no admins.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metastore.bundle.checks import check_user
from metastore.bundle.port import Bundle, Snapshot
from metastore.errors import InvalidInput, PermissionDenied
from metastore.forks import ForkSafeLock

#: The group of the superusers, who alone may change its bundles.
ROOT = "root"
_log = logging.getLogger("metastore.bundle")


@dataclass(frozen=True, slots=True)
class Membership:
    """The content of a groups file.

    Attributes:
        groups: The groups in the order of the file, without `root`.
        admins: Each group and its admins.
        superusers: The users listed under `root`.
    """

    groups: tuple[str, ...]
    admins: Mapping[str, frozenset[str]]
    superusers: frozenset[str]


def parse_groups(text: str) -> Membership:
    """Parse the text of a groups file.

    Raises:
        InvalidInput: A line is not `name = names`, a name has two lines, or the line `groups` is missing; the message
            gives the line.
    """
    lines: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, names = line.partition("=")
        if not equals or not key.strip() or re.search(r"[\s,]", key.strip()):
            raise InvalidInput(f"line {number} of the groups file is not 'name = names': {line.strip()[:60]!r}")
        if key.strip() in lines:
            raise InvalidInput(f"line {number} of the groups file repeats {key.strip()!r}")
        lines[key.strip()] = [name for name in re.split(r"[\s,]+", names) if name]
    if "groups" not in lines:
        raise InvalidInput("the groups file lacks the line 'groups = …'")
    groups = tuple(dict.fromkeys(name for name in lines["groups"] if name != ROOT))
    return Membership(
        groups,
        {group: frozenset(lines.get(group, ())) for group in groups},
        frozenset(lines.get(ROOT, ())),
    )


class Groups:
    """A groups file that is read again when it changes. If it becomes unreadable, its last good content stays in force.

    Safe to share between threads.
    """

    def __init__(self, membership: Membership, path: Path | None = None, seen: object = None) -> None:
        self._membership = membership
        self._path = path
        self._seen = seen
        self._mutex = ForkSafeLock()

    @classmethod
    def load(cls, path: str | Path) -> Groups:
        """Read a groups file.

        Raises:
            InvalidInput: The file cannot be read or parsed.
        """
        file = Path(path)
        seen = _state(file)  # before reading, so that a change during the read is noticed later
        return cls(_read(file), file, seen)

    @classmethod
    def parse(cls, text: str) -> Groups:
        """Use a text as the groups file.

        Raises:
            InvalidInput: The text cannot be parsed.
        """
        return cls(parse_groups(text))

    def current(self) -> Membership:
        """Return the content of the file now."""
        if self._path is None:
            return self._membership
        with self._mutex:
            seen = _state(self._path)
            if seen != self._seen:
                self._seen = seen
                try:
                    self._membership = _read(self._path)
                except InvalidInput as error:
                    _log.warning("the groups file stays as it was: %s", error)
            return self._membership

    def of(self, user: str | None) -> tuple[str, ...]:
        """Return the groups whose bundles a user may change; for a superuser all groups, with `root` last."""
        members = self.current()
        if user is not None and user in members.superusers:
            return (*members.groups, ROOT)
        return tuple(group for group in members.groups if user in members.admins[group])


def check_change(groups: Groups, user: str | None, states: Iterable[Bundle]) -> None:
    """Check that a user may make a change.

    Args:
        groups: The groups and their members.
        user: The user; None if unknown.
        states: The bundle before the change (for a deleted name, its last state) and after it, if there are such. The
            rule holds for each, so that nobody makes a bundle collectable who could not change it afterwards.

    Raises:
        PermissionDenied: The user may not make the change; the message says why.
    """
    members = groups.current()
    if user is None or user == "":
        raise PermissionDenied("anyone may read bundles; to change one, say who you are")
    check_user(user)
    if user in members.superusers:
        return
    for state in states:
        if state.ifb_group == ROOT:
            raise PermissionDenied(f"{state.name} belongs to root: only superusers may change its bundles")
        if user not in members.admins.get(state.ifb_group, ()):
            raise PermissionDenied(f"{user} is not an admin of {state.ifb_group}, which owns {state.name}")
        if state.writable:
            raise PermissionDenied(f"{state.name} is collectable: only superusers create or change such bundles")


def check_name_use(groups: Groups, user: str | None, newest: Snapshot | None, after: Bundle) -> None:
    """Check a change that may create a bundle or bring one back. A name stays with its group, except for superusers.

    Args:
        groups: The groups and their members.
        user: The user; None if unknown.
        newest: The newest snapshot of the name, which may be a deletion; None if the name is new.
        after: The bundle after the change.

    Raises:
        PermissionDenied: The user may not make the change, or the name belonged to another group.
        InvalidInput: The group of the bundle does not exist.
    """
    check_change(groups, user, [*([newest.bundle] if newest else []), after])
    if newest and newest.bundle.ifb_group == after.ifb_group:
        return
    members = groups.current()
    if newest and user not in members.superusers:
        raise PermissionDenied(f"the name {after.name} belonged to {newest.bundle.ifb_group} and can return only there")
    if after.ifb_group not in (*members.groups, ROOT):
        raise InvalidInput(f"the groups file has no group {after.ifb_group!r}", pointer="/ifb_group")


def _read(path: Path) -> Membership:
    try:
        return parse_groups(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"the groups file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"the groups file {path} cannot be read: it is not UTF-8 text") from None


def _state(path: Path) -> object:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
