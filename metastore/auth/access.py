"""Scopes as tokens carry them, and the one rule about what they allow.

```
ds[:id[:action,…]]                   ds:physics/cars:read,update
ds[:id[:subscope[:action,…]]]        ds:physics/cars:metadata:update
bundles:group:action,…               bundles:NOvA:write
```

`*`, an empty part and a missing part mean any; an id is `owner/name`, `name` (of the default owner), `owner/*`,
`owner/` or `*`. That is the grammar of CKAN's ckanext-authz-service (`authzzie.py`, `Scope`), which issues such tokens,
with what it leaves open read narrowly: an action list that is empty, more than four parts, and whatever is not known
grant nothing. The third of three parts is a list of actions, as there.

The scopes of bundles are ours, and have no short forms: a group or `*`, and `read`, `write` or both. Anyone reads
bundles, so `read` adds nothing. `write` lets the groups file decide; without it, the token changes no bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from metastore.errors import AuthenticationError, InvalidInput, PermissionDenied
from metastore.parse import make_author, parse_dataset_id
from metastore.types import Author, DatasetId

#: What can be asked of `allows`: `list` is whether a listing shows an id, `import` to write in another's name or time.
ACTIONS = ("read", "list", "create", "update", "delete", "purge", "import")
#: What a scope that names no action grants. Not `import`: CKAN's `ds:org/x` was never meant to let one sign for others.
_ANY = frozenset({"read", "list", "create", "update", "patch", "delete", "purge"})
_KNOWN = _ANY | {"import"}
_READING = ("read", "list")
_BUNDLES = re.compile(r"bundles:(\*|[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}):([a-z,]+)")
_OURS = ("", "*", "metadata")  # the subscopes that are about descriptors; `data` is about files, which others keep


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token grants on some datasets.

    Attributes:
        owner: The owner of the datasets; None for any.
        name: The name of the one dataset; None for all of the owner's.
        actions: What may be done, in the words of tokens: `patch` is there beside `update`.
    """

    owner: str | None
    name: str | None
    actions: frozenset[str]

    def covers(self, dataset_id: DatasetId) -> bool:
        """Tell whether it is about a dataset."""
        return self.owner in (None, dataset_id.owner) and self.name in (None, dataset_id.name)


@dataclass(frozen=True, slots=True)
class BundleGrant:
    """The groups whose bundles somebody may change, as far as the groups file lets their user.

    Attributes:
        groups: The groups that are granted.
        any_group: Whether every group is granted, `root` included.
    """

    groups: frozenset[str] = frozenset()
    any_group: bool = False

    def covers(self, group: str) -> bool:
        """Tell whether it grants changes of a group's bundles."""
        return self.any_group or group in self.groups


#: What a token without a scope of bundles grants: reading, which anyone may.
NO_BUNDLES = BundleGrant()
#: The grant of a person who came without a token: the groups file alone decides.
ALL_BUNDLES = BundleGrant(any_group=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, and what they were granted.

    Attributes:
        user: The token's subject. Without one nothing can be written.
        name: For people to read.
        email: An address, or None.
        scopes: What was granted on datasets; may be empty.
        bundles: What was granted on bundles.
        anonymous: Whether there was no token.
        expires: Until when the token counts, in seconds since 1970; None where there was none.
    """

    user: str | None = None
    name: str | None = None
    email: str | None = None
    scopes: tuple[Scope, ...] = ()
    bundles: BundleGrant = NO_BUNDLES
    anonymous: bool = False
    expires: float | None = field(default=None, compare=False)

    @property
    def author(self) -> Author:
        """The author of what this user writes, by their name, else by the user; with the email, if there is one.

        Raises:
            InvalidInput: There is nothing that Git would take for a name.
        """
        for name in (self.name, self.user):
            try:
                return make_author((name or "", self.email or ""))
            except InvalidInput:
                continue
        raise InvalidInput("the token names no user who could be a revision's author")


#: Who sent no token.
ANONYMOUS = Identity(anonymous=True)


def scope_texts(claim: object) -> tuple[str, ...]:
    """Return the scopes of a claim one by one; never raises, and ignores everything that is not text.

    Args:
        claim: Scopes in one text with spaces between, as CKAN writes them, or a list of them.
    """
    if isinstance(claim, str):
        return tuple(claim.split(" "))
    return tuple(text for text in claim if isinstance(text, str)) if isinstance(claim, (list, tuple)) else ()


def parse_scopes(claim: object, default_owner: str | None = None) -> tuple[Scope, ...]:
    """Read what a token grants on datasets; never raises, and ignores what it does not understand.

    Args:
        claim: As for `scope_texts`.
        default_owner: Whose dataset an id without owner is; without it, nobody's.
    """
    return tuple(scope for text in scope_texts(claim) for scope in _parse(text, default_owner))


def parse_bundle_scopes(claim: object) -> BundleGrant:
    """Read what a token grants on bundles; never raises, and ignores what it does not understand.

    Args:
        claim: As for `scope_texts`.
    """
    found = [match for text in scope_texts(claim) if (match := _BUNDLES.fullmatch(text))]
    groups = frozenset(match[1] for match in found if "write" in match[2].split(","))
    return BundleGrant(groups - {"*"}, "*" in groups)


def check_scopes(scopes: object, default_owner: str | None = None) -> tuple[str, ...]:
    """Check scopes that somebody wrote by hand, who would not notice that one of them is ignored.

    Args:
        scopes: One text with spaces between, or a list.
        default_owner: As for `parse_scopes`.

    Returns:
        The scopes one by one.

    Raises:
        InvalidInput: One of them grants nothing.
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
    """Return owner and name, None for any; or None for an id that is none."""
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
    """Tell whether somebody was granted an action on a dataset, be it there or not.

    `update` is granted by `patch` too. `create` is granted by scopes on all datasets of an owner alone, since CKAN
    grants it so; it never lets anyone change what is there: ask for `update` then. `list` is granted where `read` is,
    since what may not be read answers as if it were not there. `import` has to be named. Whoever has no user's name
    may only read. Owners that begin with `_` are the store's own, and no token reaches them.

    Args:
        identity: Who.
        action: One of `ACTIONS`.
        dataset_id: The dataset.
    """
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}")
    if dataset_id.owner.startswith("_") or (identity.user is None and action not in _READING):
        return False
    words = {"update": {"update", "patch"}, "list": {"read"}}.get(action, {action})
    return any(
        scope.covers(dataset_id) and not words.isdisjoint(scope.actions) and (action != "create" or scope.name is None)
        for scope in identity.scopes
    )


def scope_needed(action: str, dataset_id: DatasetId) -> str:
    """Return the narrowest scope that grants an action, as one asks an issuer for it."""
    if action == "create":
        return f"ds:{dataset_id.owner}/*:create"
    return f"ds:{dataset_id}:metadata:{'read' if action == 'list' else action}"


def require(identity: Identity, action: str, dataset_id: DatasetId) -> None:
    """Make sure that somebody was granted an action on a dataset.

    Raises:
        AuthenticationError: There was no token.
        PermissionDenied: The token does not grant it; `scope` is what would.
    """
    if allows(identity, action, dataset_id):
        return
    if identity.anonymous:
        raise AuthenticationError(f"to {action} {dataset_id}, send a token", missing=True)
    scope = scope_needed(action, dataset_id)
    if identity.user is None and action not in _READING:
        raise PermissionDenied("the token names no user, and nothing is written without one", scope=scope)
    raise PermissionDenied(f"the token does not grant {action} on {dataset_id}: it needs {scope}", scope=scope)
