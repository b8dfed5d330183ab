"""The caller of a request, and the rights that a route checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from itertools import chain, takewhile
from typing import Any, TypeVar

from flask import Response, g, request

from metastore.auth.access import ANONYMOUS, BundleGrant, Identity, allows, require
from metastore.errors import AuthenticationError, DatasetNotFound, InvalidInput, StorageUnavailable
from metastore.parse import AnyId, is_full_id, looks_like_revision, parse_dataset_id
from metastore.phrase import Phrase
from metastore.search.values import Readable
from metastore.service.context import service
from metastore.service.watch import USER
from metastore.types import DatasetId

_Item = TypeVar("_Item")


def identity() -> Identity:
    """Return the caller: the user of the token, or `ANONYMOUS`.

    Raises:
        AuthenticationError: The token is refused.
    """
    caller: Identity | None = g.get("identity")
    if caller is None:
        token = _token()
        caller = know(ANONYMOUS if token is None else service().verifier.identify(token))
    return caller


def know(caller: Identity) -> Identity:
    """Set and return the caller of this request; the access log names their user."""
    g.identity = caller
    request.environ[USER] = caller.user
    return caller


def know_from_token(response: Response) -> Response:
    """Know who sent a token after all, where the route did not ask, as for bundles: the access log names them."""
    if "identity" not in g and "Authorization" in request.headers and response.status_code != HTTPStatus.UNAUTHORIZED:
        with suppress(AuthenticationError, StorageUnavailable):
            identity()
    return response


def bundle_grant() -> BundleGrant:
    """Return the caller's grant on bundles. It is empty until `identity` is called, as reading needs no token."""
    caller: Identity = g.get("identity", ANONYMOUS)
    return caller.bundles


def _token() -> str | None:
    """Return the token of the request: as Bearer (RFC 6750), or as the password of `_jwt`, which Git clients send."""
    header = request.headers.get("Authorization")
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    basic = request.authorization
    if basic is not None and basic.type == "basic" and basic.username == "_jwt" and basic.password:
        return basic.password
    raise AuthenticationError("give a token as 'Authorization: Bearer …'")


def may_read(dataset_id: DatasetId) -> bool:
    """Tell whether the caller may read a dataset, and so may know that it exists."""
    return _may_read(identity(), dataset_id)


def _may_read(who: Identity, dataset_id: DatasetId) -> bool:
    is_own = dataset_id.is_own  # the store's own, such as the journal and the record of bundles
    return not is_own and (service().settings.public_read or allows(who, "read", dataset_id))


def sees() -> Readable | None:
    """Return the datasets that a search may show the caller; None if it may show all."""
    scopes = [scope for scope in identity().scopes if "read" in scope.actions]
    if service().settings.public_read or any(scope.owner is None for scope in scopes):
        return None
    owners = {scope.owner for scope in scopes if scope.owner and scope.name is None}
    ids = {DatasetId(scope.owner, scope.name) for scope in scopes if scope.owner and scope.name}
    return Readable(frozenset(owners), frozenset(ids))


def require_read(dataset_id: DatasetId) -> None:
    """Check that the caller may read a dataset. To others, it does not exist.

    Raises:
        AuthenticationError: A token is needed.
        DatasetNotFound: The token does not allow it.
    """
    if not _may_read(require_reader(), dataset_id):
        raise DatasetNotFound(dataset_id)


@contextmanager
def hiding_stored_values(dataset_id: DatasetId, pointer: str | None = None) -> Iterator[None]:
    """Keep an error that may quote a stored descriptor from callers who may not read it.

    Args:
        dataset_id: The dataset.
        pointer: The only place at which an error may quote; None if any error may.

    Raises:
        InvalidInput: The change does not fit.
    """
    try:
        yield
    except InvalidInput as error:
        if may_read(dataset_id) or pointer not in (None, error.pointer):
            raise
        raise InvalidInput("the change does not fit the stored descriptor, which the token may not read") from None


def unabbreviated(dataset_id: DatasetId, name: str | None) -> str | None:
    """Return the name of a revision, or of a span of them.

    Raises:
        InvalidInput: It has an abbreviated id, and the caller may not read the dataset: whether an abbreviation fits
            would tell them the id, one digit after the other.
    """
    parts = [part.partition("~")[0] for part in (name or "").split("..")]
    if any(looks_like_revision(part) and not is_full_id(part) for part in parts) and not may_read(dataset_id):
        raise InvalidInput("give the full id of the revision: a token that may not read cannot abbreviate it")
    return name


def require_reader() -> Identity:
    """Return the caller. Raises AuthenticationError: reading needs a token, and there is none."""
    who = identity()
    if who.anonymous and not service().settings.public_read:
        raise AuthenticationError("reading needs a token here", missing=True)
    return who


def readable(items: Iterable[_Item], dataset_of: Callable[[_Item], DatasetId]) -> Iterator[_Item]:
    """Yield the items of a list whose datasets the caller may read.

    Raises:
        AuthenticationError: A token is needed.
    """
    require_reader()
    return (item for item in items if may_read(dataset_of(item)))


def listed(
    prefix: str = "", *, after: AnyId | None = None, deleted: bool | None = False, at: str | None = None
) -> Iterator[DatasetId]:
    """Yield the ids of `Store.dataset_list` that the caller may read. The time that it takes tells nothing of others.

    Raises:
        AuthenticationError: A token is needed.
        InvalidInput: An argument is malformed.
    """
    require_reader()
    shown = sees()
    select = partial(service().store.dataset_list, after=after, deleted=deleted, at=at)
    every = select(prefix)  # checks the arguments, and reads nothing yet
    ids = every if shown is None else chain.from_iterable(_parts(select, shown, prefix))
    return filter(may_read, ids)


def _parts(select: Callable[[str], Iterable[DatasetId]], shown: Readable, prefix: str) -> Iterator[Iterable[DatasetId]]:
    """Yield the parts of a list that show the ids of owners, and single ids, in order."""
    for key in sorted(shown.keys(), key=lambda key: key.partition("/")):
        if "/" in key:
            if key.startswith(prefix):
                yield takewhile(parse_dataset_id(key).__eq__, select(key))
        elif f"{key}/".startswith(prefix):
            yield select(f"{key}/")
        elif prefix.startswith(f"{key}/"):
            yield select(prefix)


def writer(dataset_id: DatasetId, *actions: str) -> Identity:
    """Return the caller, who must have a user and at least one of the rights on a dataset.

    With several actions, the state of the dataset decides which one the write is. `require` that one then.

    Raises:
        AuthenticationError: There is no token, or it names no user.
        PermissionDenied: The token allows none of the actions; the message names the first.
    """
    who = identity()
    if not any(allows(who, action, dataset_id) for action in actions):
        require(who, actions[0], dataset_id)
    return named(who)


def signed(who: Identity, dataset_id: DatasetId, change: dict[str, Any]) -> dict[str, Any]:
    """Return a change that its writer may sign. Another author, or a time, needs the right to import.

    Raises:
        PermissionDenied: The token does not grant `import`.
    """
    if "at" in change or change["author"] != who.author:
        require(who, "import", dataset_id)
    return change


def require_move(source: DatasetId, target: DatasetId) -> None:
    """Check that the caller may give a dataset another id.

    A move to another owner hands over the history as well as the descriptor, so it needs read, update and delete on the
    source and create on the target. Within an owner it needs update. Rights go by ids, so what the caller may do at the
    new id, they have to be allowed at the old one: else a move would let them read a dataset, or purge it.

    Raises:
        AuthenticationError: There is no token, or it names no user.
        PermissionDenied: The token does not grant one of the actions; the error names it.
    """
    leaves = source.owner != target.owner
    for action in ("delete", "update") if leaves else ("update",):
        writer(source, action)
    if leaves:
        writer(target, "create")
    who = identity()
    if not may_read(source) and (leaves or may_read(target)):
        require(who, "read", source)
    for action in ("delete", "purge", "import"):
        if allows(who, action, target):
            require(who, action, source)


def named(who: Identity) -> Identity:
    """Return the caller. Raises AuthenticationError: there is no token, or it names no user."""
    if who.anonymous:
        raise AuthenticationError(Phrase("writing needs a token"), missing=True)
    if who.user is None:
        raise AuthenticationError("the token names no user (it has no subject), so it may not write")
    return who
