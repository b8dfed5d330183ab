"""Who may do what with bundles: the groups file, and one rule.

```
groups = Minerva NOvA, MINOS
Minerva = ann
NOvA = ann bo
root = carol
```

`groups` names the groups, a line for each names its admins, `root` names the superusers. There are no sections; names
are separated by spaces and commas, and their case counts. A group may have no line.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metastore.bundle.checks import check_user
from metastore.bundle.port import Bundle
from metastore.errors import InvalidInput, PermissionDenied

#: The group of the superusers; its bundles are theirs alone.
ROOT = "root"
_log = logging.getLogger("metastore.bundle")


@dataclass(frozen=True, slots=True)
class Membership:
    """What a groups file says.

    Attributes:
        groups: The groups, in the file's order, without `root`.
        admins: Group to its admins.
        superusers: Those listed under `root`.
    """

    groups: tuple[str, ...]
    admins: Mapping[str, frozenset[str]]
    superusers: frozenset[str]


def parse_groups(text: str) -> Membership:
    """Read the text of a groups file.

    Raises:
        InvalidInput: A line is no `name = names`, a name occurs twice, or there is no `groups`; says the line.
    """
    lines: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, names = line.partition("=")
        if not equals or not key.strip() or re.search(r"[\s,]", key.strip()):
            raise InvalidInput(f"line {number} of the groups file is not 'name = names': {line.strip()[:60]!r}")
        if key.strip() in lines:
            raise InvalidInput(f"line {number} of the groups file names {key.strip()!r} again")
        lines[key.strip()] = [name for name in re.split(r"[\s,]+", names) if name]
    if "groups" not in lines:
        raise InvalidInput("the groups file has no line 'groups = …'")
    groups = tuple(dict.fromkeys(name for name in lines["groups"] if name != ROOT))
    return Membership(
        groups,
        {group: frozenset(lines.get(group, ())) for group in groups},
        frozenset(lines.get(ROOT, ())),
    )


class Groups:
    """A groups file that is read again when it changes; a broken one is warned of, and the last good one counts.

    Safe to share between threads.
    """

    def __init__(self, membership: Membership, path: Path | None = None, seen: object = None) -> None:
        self._membership = membership
        self._path = path
        self._seen = seen
        self._mutex = threading.Lock()

    @classmethod
    def load(cls, path: str | Path) -> Groups:
        """Read a groups file.

        Raises:
            InvalidInput: It cannot be read, or says what no groups file says.
        """
        file = Path(path)
        seen = _state(file)  # before reading: a change meanwhile is noticed then
        return cls(_read(file), file, seen)

    @classmethod
    def parse(cls, text: str) -> Groups:
        """Take a text as groups file.

        Raises:
            InvalidInput: It says what no groups file says.
        """
        return cls(parse_groups(text))

    def current(self) -> Membership:
        """Return what the file says now."""
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
        """Return the groups whose bundles a user may have to do with: of a superuser all, `root` last."""
        now = self.current()
        if user is not None and user in now.superusers:
            return (*now.groups, ROOT)
        return tuple(group for group in now.groups if user in now.admins[group])


def check_change(groups: Groups, user: str | None, states: Iterable[Bundle]) -> None:
    """Make sure that a user may make a change.

    Args:
        groups: Who is in which group.
        user: Who; None for nobody.
        states: The bundle before (of a deleted name: its last state) and after, as far as there are any: the rule
            holds for each, so that nobody makes a bundle collectable who may not change it afterwards.

    Raises:
        PermissionDenied: They may not; the message says why.
    """
    now = groups.current()
    if user is None or user == "":
        raise PermissionDenied("anyone may read bundles; to change one, say who you are")
    check_user(user)
    if user in now.superusers:
        return
    for state in states:
        if state.ifb_group == ROOT:
            raise PermissionDenied(f"bundles of root, such as {state.name}, are the superusers' alone")
        if user not in now.admins.get(state.ifb_group, ()):
            raise PermissionDenied(f"{user} is no admin of {state.ifb_group}, which owns {state.name}")
        if state.writable:
            raise PermissionDenied(f"{state.name} is collectable: only superusers change such bundles, or make them")


def _read(path: Path) -> Membership:
    try:
        return parse_groups(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"the groups file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"the groups file {path} cannot be read: it is no text in UTF-8") from None


def _state(path: Path) -> object:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
