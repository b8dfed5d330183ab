"""Who may do what with datasets: scopes as tokens carry them, and one rule.

```
ds[:id[:action,…]]                   ds:physics/cars:read,update
ds[:id[:subscope[:action,…]]]        ds:physics/cars:metadata:update
```

`*`, an empty part and a missing part mean any; an id is `owner/name`, `name` (of the default owner), `owner/*`,
`owner/` or `*`. That is the grammar of CKAN's ckanext-authz-service (`authzzie.py`, `Scope`), which issues such tokens,
with what it leaves open read narrowly: an action list that is empty, more than four parts, and whatever is not known
grant nothing. The third of three parts is a list of actions, as there.
"""

from __future__ import annotations

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
class Identity:
    """Who is asking, and what they were granted.

    Attributes:
        user: The token's subject. Without one nothing can be written.
        name: For people to read.
        email: An address, or None.
        scopes: What was granted; may be empty.
        anonymous: Whether there was no token.
        expires: Until when the token counts, in seconds since 1970; None where there was none.
    """

    user: str | None = None
    name: str | None = None
    email: str | None = None
    scopes: tuple[Scope, ...] = ()
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


def parse_scopes(claim: object, default_owner: str | None = None) -> tuple[Scope, ...]:
    """Read what a token grants; never raises, and ignores what it does not understand.

    Args:
        claim: Scopes in one text with spaces between, as CKAN writes them, or a list of them.
        default_owner: Whose dataset an id without owner is; without it, nobody's.
    """
    if isinstance(claim, str):
        texts: list[object] = list(claim.split(" "))
    else:
        texts = list(claim) if isinstance(claim, (list, tuple)) else []
    return tuple(scope for text in texts if isinstance(text, str) for scope in _parse(text, default_owner))


def check_scopes(scopes: object, default_owner: str | None = None) -> tuple[Scope, ...]:
    """Parse scopes that somebody wrote by hand, who would not notice that one of them is ignored.

    Args:
        scopes: One text with spaces between, or a list.
        default_owner: As for `parse_scopes`.

    Raises:
        InvalidInput: One of them grants nothing.
    """
    texts = scopes.split() if isinstance(scopes, str) else scopes
    if not isinstance(texts, (list, tuple)) or not texts:
        raise InvalidInput("a scope is a text such as 'ds:physics/*:create,read,update'")
    for text in texts:
        if not parse_scopes([text], default_owner):
            raise InvalidInput(
                f"the scope {text!r} grants nothing: write one such as 'ds:physics/*:create,read,update'"
            )
    return parse_scopes(texts, default_owner)


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
