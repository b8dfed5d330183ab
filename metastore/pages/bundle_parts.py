"""Shared parts of the pages of bundles: rights with their reasons, the input of a form, and changes in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from flask import request

from metastore.auth.access import ALL_BUNDLES
from metastore.bundle.difference import diff
from metastore.bundle.policy import check_change, check_member
from metastore.bundle.port import Bundle, BundleDiff, LogEntry, Snapshot
from metastore.errors import BundleNotFound, InvalidInput, PermissionDenied, SnapshotNotFound
from metastore.pages.changed_devices import Names
from metastore.pages.devices import Pasted, read
from metastore.pages.formatting import message, yes_no
from metastore.pages.languages import gettext as _
from metastore.pages.languages import language, later, ngettext
from metastore.service.bundles import registry
from metastore.service.guard import identity

#: Attributes with their labels, in the order of the pages.
LABELS: Mapping[str, str] = {
    "event": later("Event"),
    "ifb_group": later("Group"),
    "storage": later("Storage"),
    "run": later("Running"),
    "udp": later("UDP messages"),
    "writable": later("Collectable"),
    "hosts": later("Hosts"),
}
_DONE = {
    "create": later("created"),
    "update": later("changed"),
    "delete": later("deleted"),
    "copy": later("copied"),
    "restore": later("restored"),
    "import": later("imported"),
}


def given(*keys: str) -> dict[str, str]:
    """Return the parameters of the URL that links keep. Others could have a meaning for `url_for`."""
    return {key: request.args[key] for key in keys if request.args.get(key)}


def why_not(*states: Bundle) -> str | None:
    """Return the reason why the caller may not make a change, in a sentence; None if they may.

    Args:
        *states: The bundle before and after the change, where it exists.
    """
    if identity().anonymous:
        return _not_signed_in()
    try:
        check_change(registry().groups, identity().user, states)
    except PermissionDenied as error:
        return message(error)
    return None


def _not_signed_in() -> str:
    return _("anyone may read bundles; to change one, say who you are")


def own_groups() -> tuple[str, ...]:
    """Return the groups in which the caller may create bundles. Raises PermissionDenied: there are none."""
    user, groups = identity().user, registry().groups
    if identity().anonymous:
        raise PermissionDenied(_not_signed_in())
    check_member(groups, user)
    own = groups.of(user)
    if not own and groups.limited_to(ALL_BUNDLES).of(user):
        raise PermissionDenied(_("the token that you signed in with does not allow changes to bundles"))
    if not own:
        raise PermissionDenied(
            _("%(user)s is not an admin of any group, and only a group’s admins can create bundles", user=user)
        )
    return own


def groups_to_choose(chosen: str) -> tuple[str, ...]:
    """Return the groups that a form offers: the caller's own; if they have none any more, the one that they chose."""
    try:
        return own_groups()
    except PermissionDenied:
        return (chosen,) if chosen else ()


def is_superuser() -> bool:
    """Tell whether the caller may make bundles collectable."""
    return identity().user in registry().groups.current().superusers


def label(pointer: str) -> str:
    """Return the label of the field that a JSON Pointer leads to."""
    field = pointer.split("/")[1] if "/" in pointer else ""
    labels = {"name": "Name", "devices": "Devices", "comment": "Why?", **LABELS}
    return _(labels.get(field, field))


def done(action: str) -> str:
    """Return an action as a past participle, such as `created`."""
    return _DONE.get(action, action)


def changed(line: LogEntry, names: Names | None = None) -> str:
    """Return the changes of an entry in words, such as `+2 −1 devices, hosts`; with `names`, which devices."""
    counts = " ".join(f"{sign}{n:,}" for sign, n in (("+", line.added), ("−", line.removed)) if n)
    changed = line.added + line.removed
    devices = [ngettext("%(counts)s device", "%(counts)s devices", changed, counts=counts)] if counts else []
    if names is not None and (words := names.words(line)):
        devices = [words]
    labels = (_(LABELS.get(attribute, attribute)) for attribute in line.attributes)
    keeps_capitals = language() == "de"
    return ", ".join(devices + [label if keeps_capitals or label[1:2].isupper() else label.lower() for label in labels])


def shown(value: Any) -> str:
    """Return the value of an attribute as a page shows it."""
    if isinstance(value, bool):
        return yes_no(value)
    return (", ".join(value) if isinstance(value, tuple) else str(value)) or "–"


def snapshot_number(text: str | None) -> int:
    """Return the number of a snapshot in a URL or a form. Raises SnapshotNotFound."""
    if not (text and text.isascii() and text.isdecimal() and len(text) < 20):
        raise SnapshotNotFound((text or "")[:20])
    return int(text)


def reason() -> str:
    """Return the reason for a deletion or restore. Raises InvalidInput: it is missing."""
    comment = request.form.get("comment", "").strip()
    if not comment:
        raise InvalidInput(_("give a reason: others will read it in the record"), pointer="/comment")
    return comment


@dataclass(frozen=True, slots=True)
class Typed:
    """The input of a bundle's form, unchanged.

    Attributes:
        expected: The snapshot that the form was drawn from; empty for a new bundle.
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
        """Read a form. Browsers send lines with CR LF, and omit a box that is not ticked."""
        flags: dict[str, Any] = {key: bool(form.get(key)) for key in ("run", "udp", "writable")}
        names = (field.name for field in fields(cls) if field.name not in flags)
        texts: dict[str, Any] = {name: form.get(name, "") for name in names}
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
        """The devices, parsed."""
        return read(self.devices)

    def values(self) -> dict[str, Any]:
        """Return the attributes for the registry, which checks them.

        Raises:
            InvalidInput: A word among the devices cannot be one; the problems name the lines.
        """
        pasted = self.pasted
        if pasted.refused:
            lines = (_("line %(line)s: %(word)s", line=line, word=word[:80]) for line, word in pasted.refused)
            problems = tuple(("/devices", line) for line in lines)
            rule = _(
                "some words in the list cannot be devices: a device has 3 to 255 characters, without quotation marks, "
                "< > \\ or `"
            )
            raise InvalidInput(rule, problems=problems)
        texts = {key: getattr(self, key).strip() for key in ("name", "event", "ifb_group", "storage")}
        flags = {key: getattr(self, key) for key in ("run", "udp", "writable")}
        return {**texts, **flags, "hosts": self.hosts.replace(",", " ").split(), "devices": pasted.devices}


def newest(name: str) -> Snapshot:
    """Return the newest snapshot of a live bundle. Raises BundleNotFound."""
    return registry().bundle_snapshot(registry().bundle_read(name).snapshot or 0)


def since(name: str, expected: int, newest: Snapshot) -> BundleDiff:
    """Return the changes since a snapshot of the bundle. Raises InvalidInput: the snapshot is of another one."""
    old = registry().bundle_snapshot(expected)
    if old.name != name:
        raise InvalidInput(
            _("snapshot %(number)s is of %(other)s, not of %(name)s", number=expected, other=old.name, name=name)
        )
    return diff(old, newest)


def newest_even_deleted(name: str) -> Snapshot:
    """Return the newest snapshot of a name, which may be its deletion. Raises BundleNotFound."""
    log = registry().bundle_log(name, limit=1)
    if not log:
        raise BundleNotFound(name)
    return registry().bundle_snapshot(log[0].id)
