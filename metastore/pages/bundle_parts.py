"""What the pages of bundles share: who may do what and why not, what was typed, and changes in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from flask import request

from metastore.auth.access import ALL_BUNDLES
from metastore.bundle.difference import diff
from metastore.bundle.policy import check_change, check_member
from metastore.bundle.port import CHANGEABLE, Bundle, BundleDiff, LogEntry, Snapshot
from metastore.errors import BundleNotFound, InvalidInput, PermissionDenied, SnapshotNotFound
from metastore.pages.devices import Pasted, read
from metastore.service.bundles import registry
from metastore.service.guard import identity

#: Attributes as people call them, in the order in which they are shown.
LABELS: Mapping[str, str] = {
    "event": "Event",
    "ifb_group": "Group",
    "storage": "Storage",
    "run": "Running",
    "udp": "UDP messages",
    "writable": "Collectable",
    "hosts": "Hosts",
}
_DONE = {
    "create": "created",
    "update": "changed",
    "delete": "deleted",
    "copy": "copied",
    "restore": "restored",
    "import": "imported",
}


def given(*keys: str) -> dict[str, str]:
    """Return those parameters of the URL that links go on with; others could mean something to `url_for`."""
    return {key: request.args[key] for key in keys if request.args.get(key)}


def why_not(*states: Bundle) -> str | None:
    """Return why the caller may not make a change, in a sentence; None if they may.

    Args:
        *states: The bundle before and after, as far as there are any.
    """
    try:
        check_change(registry().groups, identity().user, states)
    except PermissionDenied as error:
        return str(error)
    return None


def own_groups() -> tuple[str, ...]:
    """Return the groups in which the caller may make bundles. Raises PermissionDenied: there are none."""
    user, groups = identity().user, registry().groups
    check_member(groups, user)
    found = groups.of(user)
    if not found and groups.limited_to(ALL_BUNDLES).of(user):
        raise PermissionDenied("the token that you signed in with does not grant changes of bundles")
    if not found:
        raise PermissionDenied(f"{user} is not an admin of any group, and only a group's admins create bundles")
    return found


def groups_to_choose(chosen: str) -> tuple[str, ...]:
    """Return the groups that a form offers: the caller's; if they have none any more, the one that they chose."""
    try:
        return own_groups()
    except PermissionDenied:
        return (chosen,) if chosen else ()


def is_superuser() -> bool:
    """Tell whether the caller may make bundles collectable."""
    return identity().user in registry().groups.current().superusers


def label(pointer: str) -> str:
    """Return what the field of a form is called that a JSON Pointer leads to."""
    field = pointer.split("/")[1] if "/" in pointer else ""
    return {"name": "Name", "devices": "Devices", "comment": "Why?", **LABELS}.get(field, field)


def done(action: str) -> str:
    """Return what somebody did, in a word."""
    return _DONE.get(action, action)


def changed(line: LogEntry) -> str:
    """Return what a line of the record says: `+2 −1 devices, hosts`."""
    counts = " ".join(f"{sign}{n:,}" for sign, n in (("+", line.added), ("−", line.removed)) if n)
    said = [f"{counts} device{'s' * (line.added + line.removed != 1)}"] if counts else []
    labels = (LABELS.get(each, each) for each in line.attributes)
    return ", ".join(said + [label if label[1:2].isupper() else label.lower() for label in labels])


def shown(value: Any) -> str:
    """Return the value of an attribute as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) if isinstance(value, tuple) else str(value)) or "–"


def snapshot_number(text: str | None) -> int:
    """Return the number of a snapshot in a URL or a form. Raises SnapshotNotFound."""
    if not (text and text.isascii() and text.isdecimal() and len(text) < 20):
        raise SnapshotNotFound((text or "")[:20])
    return int(text)


def reason() -> str:
    """Return why somebody deletes or restores. Raises InvalidInput: they do not say."""
    said = request.form.get("comment", "").strip()
    if not said:
        raise InvalidInput("say why: others will read it in the record", pointer="/comment")
    return said


@dataclass(frozen=True, slots=True)
class Typed:
    """What stands in the form of a bundle, just as it was typed.

    Attributes:
        expected: The snapshot from which the form was drawn; empty for a new bundle.
    """

    name: str = ""
    event: str = ""
    ifb_group: str = ""
    storage: str = "short"
    hosts: str = ""
    devices: str = ""
    comment: str = ""
    expected: str = ""
    run: bool = False
    udp: bool = False
    writable: bool = False

    @classmethod
    def of_form(cls, form: Mapping[str, str]) -> Typed:
        """Take what was sent; browsers send lines with CR LF, and nothing for what is not ticked."""
        flags: dict[str, Any] = {key: bool(form.get(key)) for key in ("run", "udp", "writable")}
        texts: dict[str, Any] = {each.name: form.get(each.name, "") for each in fields(cls) if each.name not in flags}
        return cls(**{**texts, "devices": texts["devices"].replace("\r\n", "\n")}, **flags)

    @classmethod
    def of_bundle(cls, bundle: Bundle, comment: str = "", more: Iterable[str] = ()) -> Typed:
        """Draw a form from a bundle, perhaps with more devices."""
        lines = [*sorted(bundle.devices), *sorted(set(more) - bundle.devices)]
        texts: dict[str, Any] = {"hosts": " ".join(bundle.hosts), "devices": "\n".join(lines)}
        rest: dict[str, Any] = {
            key: getattr(bundle, key) for key in ("name", "event", "ifb_group", "storage", "run", "udp", "writable")
        }
        return cls(**rest, **texts, comment=comment, expected=str(bundle.snapshot or ""))

    @property
    def pasted(self) -> Pasted:
        """What there is among the devices."""
        return read(self.devices)

    def values(self) -> dict[str, Any]:
        """Return the attributes as the registry takes them; it says what is wrong with them.

        Raises:
            InvalidInput: Something among the devices cannot be one; says on which lines.
        """
        pasted = self.pasted
        if pasted.refused:
            problems = tuple(("/devices", f"line {line}: {word[:80]}") for line, word in pasted.refused)
            what = "a device has 3 to 255 characters, without quotation marks, < > \\ or `"
            raise InvalidInput(f"not everything among the devices can be one: {what}", problems=problems)
        texts = {key: getattr(self, key).strip() for key in ("name", "event", "ifb_group", "storage")}
        flags = {key: getattr(self, key) for key in ("run", "udp", "writable")}
        return {**texts, **flags, "hosts": self.hosts.replace(",", " ").split(), "devices": pasted.devices}


def merged(mine: Bundle, base: Bundle, theirs: Bundle) -> Bundle:
    """Return what two people made of a bundle at the same time: where both changed an attribute, mine counts."""
    taken = {key: getattr(theirs, key) for key in CHANGEABLE if getattr(mine, key) == getattr(base, key)}
    gone, come = base.devices - theirs.devices, theirs.devices - base.devices
    return replace(mine, **taken, devices=(mine.devices - gone) | come, snapshot=theirs.snapshot)


def newest(name: str) -> Snapshot:
    """Return the newest snapshot of a live bundle. Raises BundleNotFound."""
    return registry().bundle_snapshot(registry().bundle_read(name).snapshot or 0)


def since(name: str, expected: int, newest: Snapshot) -> BundleDiff:
    """Return what changed since a snapshot of the same bundle. Raises InvalidInput: it is of another one."""
    old = registry().bundle_snapshot(expected)
    if old.name != name:
        raise InvalidInput(f"snapshot {expected} is of {old.name}, not of {name}")
    return diff(old, newest)


def newest_even_deleted(name: str) -> Snapshot:
    """Return the newest snapshot of a name, which may be its deletion. Raises BundleNotFound."""
    log = registry().bundle_log(name, limit=1)
    if not log:
        raise BundleNotFound(name)
    return registry().bundle_snapshot(log[0].id)
