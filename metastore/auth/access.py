"""Scopes as tokens carry them, and the one rule about what they allow.

```
ds[:id[:action,…]]                   ds:physics/cars:read,update
ds[:id[:subscope[:action,…]]]        ds:physics/cars:metadata:update
bundles:group:action,…               bundles:NOvA:write
```

`*`, an empty part and a missing part mean any. An id is `owner/name`, `name` (of the default owner), `owner/*`,
`owner/` or `*`. This is the grammar of CKAN's ckanext-authz-service (`authzzie.py`, `Scope`), which issues such tokens:
there, too, the third of three parts is a list of actions. Cases that it leaves open are read narrowly: an empty list of
actions, a scope of more than four parts and an unknown word grant nothing.

The scopes of bundles are our own and have no short forms: a group or `*`, then `read`, `write` or both. Anyone may read
bundles, so `read` adds nothing. With `write`, the groups file decides; without it, the token changes no bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from metastore.errors import AuthenticationError, InvalidInput, PermissionDenied
from metastore.parse import make_author, parse_dataset_id
from metastore.phrase import Phrase
from metastore.types import Author, DatasetId

#: The actions that `allows` knows. `list` shows an id in listings; `import` writes under another author or time.
ACTIONS = ("read", "list", "create", "update", "delete", "purge", "import")
#: The actions of a scope that names none. Not `import`: CKAN's `ds:org/x` was never meant to sign for others.
_ANY = frozenset({"read", "list", "create", "update", "patch", "delete", "purge"})
_KNOWN = _ANY | {"import"}
_READING = ("read", "list")
_BUNDLES = re.compile(r"bundles:(\*|[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}):([a-z,]+)")
_OURS = ("", "*", "metadata")  # the subscopes of descriptors; `data` is about files, which are kept elsewhere


@dataclass(frozen=True, slots=True)
class Scope:
    """The actions that a token grants on some datasets.

    Attributes:
        owner: The owner of the datasets; None for any.
        name: The name of one dataset; None for all datasets of the owner.
        actions: The granted actions, as tokens name them: both `patch` and `update` occur.
    """

    owner: str | None
    name: str | None
    actions: frozenset[str]

    def covers(self, dataset_id: DatasetId) -> bool:
        """Tell whether the scope includes a dataset."""
        return self.owner in (None, dataset_id.owner) and self.name in (None, dataset_id.name)


@dataclass(frozen=True, slots=True)
class BundleGrant:
    """The groups whose bundles a user may change, within what the groups file allows.

    Attributes:
        groups: The groups that are granted.
        any_group: Whether every group is granted, `root` included.
    """

    groups: frozenset[str] = frozenset()
    any_group: bool = False

    def covers(self, group: str) -> bool:
        """Tell whether the bundles of a group may be changed."""
        return self.any_group or group in self.groups


#: The grant of a token without a scope of bundles: to read, as anyone may.
NO_BUNDLES = BundleGrant()
#: The grant of a person who signed in without a token: the groups file alone decides.
ALL_BUNDLES = BundleGrant(any_group=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, with the scopes that they were granted.

    Attributes:
        user: The token's subject; None for a token that may only read.
        name: The user's name for people, or None.
        email: The user's address, or None.
        scopes: The scopes on datasets; may be empty.
        bundles: The grant on bundles.
        anonymous: Whether the request had no token.
        expires: The time at which the token expires, in seconds since 1970; None without a token.
        key: The fingerprint of the key that signed the token; None without a token.
    """

    user: str | None = None
    name: str | None = None
    email: str | None = None
    scopes: tuple[Scope, ...] = ()
    bundles: BundleGrant = NO_BUNDLES
    anonymous: bool = False
    expires: float | None = field(default=None, compare=False)
    key: str | None = field(default=None, compare=False)

    @property
    def author(self) -> Author:
        """The author that this user's revisions name. It is the name, else the user, with the email if there is one.

        Raises:
            InvalidInput: Git would accept neither as a name.
        """
        for name in (self.name, self.user):
            try:
                return make_author((name or "", self.email or ""))
            except InvalidInput:
                continue
        raise InvalidInput("the token names no user who could be a revision's author")


#: A caller without a token.
ANONYMOUS = Identity(anonymous=True)


def scope_texts(claim: object) -> tuple[str, ...]:
    """Return the scopes of a claim one by one. Never raises; ignores values that are not strings.

    Args:
        claim: Scopes as one string, separated by spaces, as CKAN writes them; or a list of strings.
    """
    if isinstance(claim, str):
        return tuple(claim.split(" "))
    return tuple(text for text in claim if isinstance(text, str)) if isinstance(claim, (list, tuple)) else ()


def parse_scopes(claim: object, default_owner: str | None = None) -> tuple[Scope, ...]:
    """Parse a token's scopes on datasets. Never raises; ignores scopes that it does not understand.

    Args:
        claim: As for `scope_texts`.
        default_owner: The owner of an id that names none; without it, such an id grants nothing.
    """
    return tuple(scope for text in scope_texts(claim) for scope in _parse(text, default_owner))


def parse_bundle_scopes(claim: object) -> BundleGrant:
    """Parse a token's scopes on bundles. Never raises; ignores scopes that it does not understand.

    Args:
        claim: As for `scope_texts`.
    """
    matches = [match for text in scope_texts(claim) if (match := _BUNDLES.fullmatch(text))]
    groups = frozenset(match[1] for match in matches if "write" in match[2].split(","))
    return BundleGrant(groups - {"*"}, "*" in groups)


def check_scopes(scopes: object, default_owner: str | None = None) -> tuple[str, ...]:
    """Check scopes that a person wrote, who would not notice that one is ignored.

    Args:
        scopes: One string, separated by spaces, or a list of strings.
        default_owner: As for `parse_scopes`.

    Returns:
        The scopes one by one.

    Raises:
        InvalidInput: A scope grants nothing.
    """
    texts = scopes.split() if isinstance(scopes, str) else scopes
    if not isinstance(texts, (list, tuple)) or not texts:
        raise InvalidInput("a scope is a text such as 'ds:physics/*:create,read,update' or 'bundles:NOvA:write'")
    for text in texts:
        if not (parse_scopes([text], default_owner) or _is_of_bundles(text)):
            raise InvalidInput(
                f"the scope {text!r} grants nothing: write one such as 'ds:physics/*:create,read,update' or "
                "'bundles:NOvA:write'"
            )
    return tuple(texts)


def _is_of_bundles(text: object) -> bool:
    match = _BUNDLES.fullmatch(text) if isinstance(text, str) else None
    return match is not None and {"read", "write"}.issuperset(match[2].split(","))


def _parse(text: str, default_owner: str | None) -> Iterator[Scope]:
    kind, *parts = text.split(":")
    if kind != "ds" or len(parts) > 3:
        return
    if len(parts) == 3 and parts.pop(1) not in _OURS:
        return
    target = _parse_target(parts[0] if parts else "*", default_owner)
    actions = _parse_actions(parts[1]) if len(parts) == 2 else _ANY
    if target and actions:
        yield Scope(*target, actions)


def _parse_actions(text: str) -> frozenset[str]:
    return _ANY if text == "*" else _KNOWN.intersection(text.split(","))


def _parse_target(text: str, default_owner: str | None) -> tuple[str | None, str | None] | None:
    """Return owner and name, each None for any; or None if the id is invalid."""
    if text in ("", "*"):
        return None, None
    owner, slash, name = text.partition("/")
    if not slash:
        owner, name = default_owner or "", text
    try:
        whole = parse_dataset_id((owner, "any" if slash and name in ("", "*") else name))
    except InvalidInput:
        return None
    return whole.owner, None if slash and name in ("", "*") else whole.name


def allows(identity: Identity, action: str, dataset_id: DatasetId) -> bool:
    """Tell whether a caller may do an action on a dataset, whether or not the dataset exists.

    `patch` grants `update`, too. Only a scope on all datasets of an owner grants `create`, as in CKAN; to change an
    existing dataset takes `update`. `read` grants `list`, since a dataset that may not be read is reported as missing.
    `import` has to be named. A token without a user may only read. Owners that begin with `_` are the store's own, and
    no token reaches them.

    Args:
        identity: The caller.
        action: One of `ACTIONS`.
        dataset_id: The dataset.
    """
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}")
    if dataset_id.is_own or (identity.user is None and action not in _READING):
        return False
    words = {"update": {"update", "patch"}, "list": {"read"}}.get(action, {action})
    return any(
        scope.covers(dataset_id) and not words.isdisjoint(scope.actions) and (action != "create" or scope.name is None)
        for scope in identity.scopes
    )


def scope_needed(action: str, dataset_id: DatasetId) -> str:
    """Return the narrowest scope that grants an action, in the words that an issuer understands."""
    if action == "create":
        return f"ds:{dataset_id.owner}/*:create"
    return f"ds:{dataset_id}:metadata:{'read' if action == 'list' else action}"


def require(identity: Identity, action: str, dataset_id: DatasetId) -> None:
    """Check that a caller may do an action on a dataset.

    Raises:
        AuthenticationError: The request had no token.
        PermissionDenied: The token does not grant the action; `scope` names the scope that would.
    """
    if allows(identity, action, dataset_id):
        return
    if identity.anonymous:
        raise AuthenticationError(
            Phrase("to %(action)s %(name)s, send a token", action=action, name=dataset_id), missing=True
        )
    scope = scope_needed(action, dataset_id)
    if identity.user is None and action not in _READING:
        raise PermissionDenied(Phrase("the token names no user, so it may only read"), scope=scope)
    values = {"action": action, "name": dataset_id, "scope": scope}
    raise PermissionDenied(
        Phrase("the token does not grant %(action)s on %(name)s: it needs %(scope)s", **values), scope=scope
    )
