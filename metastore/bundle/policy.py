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

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metastore.auth.access import ALL_BUNDLES, BundleGrant
from metastore.bundle.checks import check_user
from metastore.bundle.port import Bundle, Snapshot
from metastore.errors import InvalidInput, PermissionDenied
from metastore.files.reading import WatchedFile
from metastore.phrase import Phrase

#: The group of the superusers, who alone may change its bundles.
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Membership:
    """The content of a groups file.

    Attributes:
        groups: The groups in the order of the file, without `root`.
        admins: Each group and its admins.
        superusers: The users listed under `root`.
        unreadable: Whether the file is missing or broken. Then there are no groups, and nobody changes a bundle.
    """

    groups: tuple[str, ...]
    admins: Mapping[str, frozenset[str]]
    superusers: frozenset[str]
    unreadable: bool = False


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
    """The groups and their members, from a file that is read again when it changes. Safe to share between threads.

    While the file is missing or broken, nobody changes a bundle. The last good content would not do: two processes may
    have read different ones, and somebody who left the file in between could still change bundles in one of them.

    Attributes:
        grant: Narrows what the file allows to what a token grants.
    """

    def __init__(self, source: _Text | _File, grant: BundleGrant = ALL_BUNDLES) -> None:
        self._source = source
        self.grant = grant

    @classmethod
    def load(cls, path: str | Path) -> Groups:
        """Read a groups file.

        Raises:
            InvalidInput: The file cannot be read or parsed.
        """
        return cls(_File(Path(path)))

    @classmethod
    def parse(cls, text: str) -> Groups:
        """Use a text as the groups file.

        Raises:
            InvalidInput: The text cannot be parsed.
        """
        return cls(_Text(parse_groups(text)))

    def limited_to(self, grant: BundleGrant) -> Groups:
        """Return the same groups for a caller who may change only the bundles that a token grants."""
        return Groups(self._source, grant)

    def current(self) -> Membership:
        """Return the content of the file now."""
        return self._source.read()

    def of(self, user: str | None) -> tuple[str, ...]:
        """Return the groups whose bundles a user may change; for a superuser all groups, with `root` last."""
        members = self.current()
        is_superuser = user is not None and user in members.superusers
        groups = (*members.groups, ROOT) if is_superuser else members.groups
        return tuple(
            group for group in groups if self.grant.covers(group) and (is_superuser or user in members.admins[group])
        )


@dataclass(frozen=True, slots=True)
class _Text:
    membership: Membership

    def read(self) -> Membership:
        return self.membership


class _File:
    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "groups file", parse_groups, "nobody can change bundles")

    def read(self) -> Membership:
        try:
            return self._file.read()
        except InvalidInput:
            return Membership((), {}, frozenset(), unreadable=True)


def check_change(groups: Groups, user: str | None, states: Iterable[Bundle]) -> None:
    """Check that a user may make a change.

    Args:
        groups: The groups and their members.
        user: The user; None if unknown.
        states: The bundle before the change (for a deleted name, its last state) and after it, if they exist. The
            rule holds for both, so that nobody makes a bundle collectable that they cannot change afterwards.

    Raises:
        PermissionDenied: The user may not make the change; the message says why, and `scope` which scope is missing.
    """
    states = tuple(states)
    members = check_member(groups, user)
    check_user(user)
    for group in dict.fromkeys(state.ifb_group for state in states):
        if not groups.grant.covers(group):
            scope = f"bundles:{group}:write"
            raise PermissionDenied(
                Phrase(
                    "the token does not grant changes of %(group)s's bundles: it needs %(scope)s",
                    group=group,
                    scope=scope,
                ),
                scope=scope,
            )
    if user in members.superusers:
        return
    for state in states:
        if state.ifb_group == ROOT:
            raise PermissionDenied(
                Phrase("%(name)s belongs to root: only superusers may change its bundles", name=state.name)
            )
        if user not in members.admins.get(state.ifb_group, ()):
            values = {"user": user, "group": state.ifb_group, "name": state.name}
            raise PermissionDenied(Phrase("%(user)s is not an admin of %(group)s, which owns %(name)s", **values))
        if state.writable:
            raise PermissionDenied(
                Phrase("%(name)s is collectable: only superusers create or change such bundles", name=state.name)
            )


def check_member(groups: Groups, user: str | None) -> Membership:
    """Return the content of the groups file for a user who wants to change something.

    Raises:
        PermissionDenied: The user is unknown, or the file cannot be read now.
    """
    if user is None or user == "":
        raise PermissionDenied(Phrase("anyone may read bundles; to change one, say who you are"))
    members = groups.current()
    if members.unreadable:
        raise PermissionDenied(
            Phrase("the groups file cannot be read now, and nobody can change bundles until it is mended")
        )
    return members


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
    check_change(groups, user, [after])
    members = groups.current()
    of_another = newest is not None and newest.bundle.ifb_group != after.ifb_group
    if newest and of_another and user not in members.superusers:
        values = {"name": after.name, "group": newest.bundle.ifb_group}
        raise PermissionDenied(Phrase("the name %(name)s belonged to %(group)s and can return only there", **values))
    if newest:
        check_change(groups, user, [newest.bundle])
    if newest and not of_another:
        return
    if after.ifb_group not in (*members.groups, ROOT):
        detail = Phrase("the groups file has no group %(group)r", group=after.ifb_group)
        raise InvalidInput(detail, pointer="/ifb_group")
