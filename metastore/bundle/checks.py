"""The checks of a bundle: unsafe values are refused, unusual ones get a warning.

The rules accept every name, event and device that is known to be in use; what is outside the grammars of ACNET (DRF2)
and of dip and timber is merely unusual.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from metastore.bundle.listing import ORDERS, Listing
from metastore.bundle.port import STATE, Bundle, Filter, LogFilter
from metastore.errors import InvalidInput
from metastore.parse import encodable
from metastore.phrase import Phrase, joined
from metastore.types import Finding
from metastore.wording import shortened

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_EVENT = re.compile(r"[A-Za-z](,[^\s,\"'`;<>\\\x00-\x1f\x7f-\x9f]+)*")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.\-]{0,252})")
#: The form that every device must have, and the one that most have. The pages pass both on to scripts.
DEVICE = re.compile(r"[^\s,;\"'<>\\`\x00-\x1f\x7f-\x9f]{3,255}")
USUAL_DEVICE = re.compile(
    r"[A-Za-z][:_?|&~@$!^#-][A-Za-z0-9_:]{1,62}(\[[0-9:]*\]|\{[0-9:]*\})?(\.[A-Za-z_]+(\[[0-9:]*\]|\{[0-9:]*\})?)*(@\S+)?"
    r"|(dip|timber)/[A-Za-z0-9_./\-]+(:[A-Za-z0-9_.\-]+(\[[0-9:]*\])?)?"
)
_MOST_DEVICES = 100_000
_MOST_HOSTS = 1_000
_LONGEST_COMMENT = 65_536

#: The largest number of a snapshot that databases can store.
LARGEST = 2**63 - 1
_Filter = TypeVar("_Filter", Filter, LogFilter, Listing)
_FILTERS: dict[str, Any] = {
    **dict.fromkeys(("group", "device", "event", "host", "prefix", "after", "name", "user", "text", "order"), str),
    **dict.fromkeys(("limit", "before"), int),
    **dict.fromkeys(("since", "until"), datetime),
    **dict.fromkeys(("run", "deleted", "descending"), bool),
    "after_key": object,
}
_KINDS = {str: "text", int: "number", bool: "true or false"}


def make_bundle(bundle: Bundle | Mapping[str, Any]) -> Bundle:
    """Check a bundle from outside. Attributes that the registry sets (`updated`, `snapshot`) are dropped.

    Raises:
        InvalidInput: An attribute is missing, unknown or unsafe; `problems` lists all of them.
    """
    values = {name: getattr(bundle, name) for name in STATE} if isinstance(bundle, Bundle) else bundle
    if not isinstance(values, Mapping):
        raise InvalidInput("a bundle is an object with a name, an event, a group and devices")
    problems: list[tuple[str, str]] = [
        (f"/{key}", Phrase("is not an attribute of a bundle"))
        for key in values
        if key not in (*STATE, "updated", "snapshot")
    ]
    problems += [(f"/{key}", Phrase("is missing")) for key in ("name", "event", "ifb_group") if key not in values]
    checked: dict[str, Any] = {}
    for key in STATE:
        if key in values:
            try:
                checked[key] = _CHECKS[key](values[key])
            except InvalidInput as error:
                problems += [(f"/{key}{pointer}", detail) for pointer, detail in error.problems]
    if checked.get("run") and not checked.get("writable"):
        problems.append(("/run", Phrase("only a collectable (writable) bundle can run")))
    if problems:
        pointer, detail = problems[0]
        message = joined(" ", [pointer[1:], detail]) if detail.startswith("is ") else detail
        raise InvalidInput(message, pointer=pointer, problems=tuple(problems))
    return Bundle(**checked)


def apply_changes(bundle: Bundle, changes: Mapping[str, Any]) -> Bundle:
    """Return a bundle with the changes applied.

    Args:
        bundle: The present bundle.
        changes: Attribute -> new value; also, or instead of `devices`, `add_devices` and `remove_devices`.

    Raises:
        InvalidInput: An attribute is unknown, unsafe or never changes, or a device to remove is missing.
    """
    if not isinstance(changes, Mapping):
        raise InvalidInput("changes are an object with the attributes to change")
    values = dict(changes)
    for fixed in ("name", "ifb_group"):
        if values.pop(fixed, getattr(bundle, fixed)) != getattr(bundle, fixed):
            detail = Phrase("the %(name)s of a bundle never changes: copy it as a new one", name=fixed)
            raise InvalidInput(detail, pointer=f"/{fixed}")
    added = check_devices(values.pop("add_devices", ()), "/add_devices")
    removed = check_devices(values.pop("remove_devices", ()), "/remove_devices")
    state = {name: getattr(bundle, name) for name in STATE}
    devices = check_devices(values.pop("devices", state["devices"]), "/devices")
    if absent := removed - devices:
        detail = Phrase("%(device)s is not among its devices", device=min(absent))
        raise InvalidInput(detail, pointer="/remove_devices")
    return make_bundle({**state, **values, "devices": (devices | added) - removed})


def warnings(bundle: Bundle) -> tuple[Finding, ...]:
    """Return findings about unusual values."""
    return tuple(
        Finding(
            "/devices",
            Phrase("%(device)s is in none of the usual forms, such as E:TOR860 or dip/acc/x:y", device=device),
        )
        for device in sorted(bundle.devices)
        if not USUAL_DEVICE.fullmatch(device)
    )


def check_devices(devices: Any, pointer: str = "") -> frozenset[str]:
    """Return a set of devices. Duplicates are allowed.

    Raises:
        InvalidInput: It is not a list of device names.
    """
    if isinstance(devices, (str, bytes, Mapping)) or not isinstance(devices, Iterable):
        raise InvalidInput("devices are a list of names", pointer=pointer)
    found = list(devices)
    if len(found) > _MOST_DEVICES:
        raise InvalidInput(Phrase("a bundle has at most %(number)s devices", number=_MOST_DEVICES), pointer=pointer)
    for index, device in enumerate(found):
        if not isinstance(device, str) or not DEVICE.fullmatch(device):
            detail = Phrase(
                "%(device)s is not a device: 3 to 255 characters without space , ; \" ' < > \\ `",
                device=shortened(device),
            )
            raise InvalidInput(detail, problems=((f"{pointer}/{index}", detail),))
        encodable(device, "a device")
    return frozenset(found)


def check_user(user: Any) -> str:
    """Check the name of a user.

    Raises:
        InvalidInput: It is not a text of 1 to 255 printable characters.
    """
    if not isinstance(user, str) or not user.strip() or len(user) > 255 or not user.isprintable():
        raise InvalidInput("a user is text of 1 to 255 printable characters")
    return user


def check_comment(comment: Any) -> str:
    """Check the comment of a change; None is the empty comment.

    Raises:
        InvalidInput: It is not a text, too long, or contains NUL.
    """
    if comment is None:
        return ""
    if not isinstance(comment, str) or len(comment) > _LONGEST_COMMENT or "\0" in comment:
        raise InvalidInput(
            Phrase("a comment is text of at most %(number)s characters without NUL", number=_LONGEST_COMMENT)
        )
    encodable(comment, "a comment")
    return comment.strip()


def check_name(name: Any) -> str:
    """Check the name of a bundle.

    Raises:
        InvalidInput: It is not a valid name.
    """
    return _name(name)


def check_filter(wanted: _Filter) -> _Filter:
    """Check a filter. Numbers beyond all snapshots are reduced to 63 bits.

    Raises:
        InvalidInput: A text, number or time is invalid; the message names it.
    """
    clamped: dict[str, int] = {}
    for each in fields(wanted):
        value: Any = getattr(wanted, each.name)
        kind = _FILTERS[each.name]
        if value is None:
            continue
        if kind is datetime:
            check_time(value)
        elif not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise InvalidInput(f"{each.name}={shortened(value)} is no {_KINDS[kind]}")
        elif kind is str:
            encodable(value, each.name)
            if "\0" in value:
                raise InvalidInput(f"{each.name}={shortened(value)} has a NUL")
        elif kind is int:
            if each.name == "limit" and value < 0:
                raise InvalidInput(f"a limit is a number from 0 on, not {shortened(value)}")
            clamped[each.name] = min(max(value, 0), LARGEST)
    return replace(wanted, **clamped)  # type: ignore[arg-type]


def check_listing(wanted: Listing) -> Listing:
    """Check the parameters of a list.

    Raises:
        InvalidInput: The order is unknown, or the key of the page has the wrong type; or as `check_filter`.
    """
    checked = check_filter(replace(wanted, after_key=None))
    if wanted.order not in ORDERS:
        values = {"orders": ", ".join(ORDERS), "order": shortened(str(wanted.order))}
        raise InvalidInput(Phrase("bundles are listed by %(orders)s, not by %(order)s", **values))
    key, kind = wanted.after_key, ORDERS[wanted.order]
    if (wanted.after is None) != (key is None) or (key is not None and type(key) is not kind):
        raise InvalidInput(f"a page by {wanted.order} begins behind a name and what its bundle has there")
    if isinstance(key, datetime):
        check_time(key)
    elif isinstance(key, int) and not -LARGEST <= key <= LARGEST:
        raise InvalidInput(f"{shortened(str(key))} is not a number of devices")
    elif isinstance(key, str):
        check_filter(Filter(event=key))
    return replace(checked, after_key=key)


def check_time(at: Any) -> datetime:
    """Check a time.

    Raises:
        InvalidInput: It has no time zone, or its year in UTC is not between 1 and 9999.
    """
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InvalidInput(
            Phrase(
                "a time needs a time zone, such as 2024-05-01T12:00:00+00:00, not %(value)s", value=shortened(str(at))
            )
        )
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{at} is a time beyond all calendars") from None


def _matching(pattern: re.Pattern[str], problem: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > 255 or not pattern.fullmatch(value):
            raise InvalidInput(joined(" ", [shortened(value), problem]))
        encodable(value, "it")
        return value

    return check


_name = _matching(
    _NAME, Phrase("is not a name: up to 64 of the characters A-Z a-z 0-9 _ . -, the first a letter or digit")
)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(Phrase("%(value)s is neither true nor false", value=shortened(value)))
    return value


def _storage(value: Any) -> str:
    if value not in ("long", "short"):
        raise InvalidInput(Phrase("%(value)s is neither long nor short", value=shortened(value)))
    return str(value)


def _hosts(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidInput("hosts are a list of names")
    check = _matching(_HOST, Phrase("is not a host name"))
    hosts = tuple(dict.fromkeys(check(host) for host in value))
    if len(hosts) > _MOST_HOSTS:
        raise InvalidInput(Phrase("a bundle has at most %(number)s hosts", number=_MOST_HOSTS))
    return hosts


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": check_name,
    "event": _matching(_EVENT, Phrase("is not an event: a letter, then parts behind commas, such as e,a9")),
    "ifb_group": _matching(_GROUP, Phrase("is not a group name")),
    "storage": _storage,
    "run": _flag,
    "udp": _flag,
    "writable": _flag,
    "hosts": _hosts,
    "devices": check_devices,
}
