"""`git push` to the service, for histories that were made elsewhere; `metastore copy` sends them this way too.

Revisions name authors and times of their own, so a push needs the right to import, beside the rights for what it does.
A push can only add revisions to the branch of a dataset, and tags; it removes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from metastore.auth.access import Identity, require
from metastore.errors import Conflict, DatasetMoved, DatasetNotFound, InvalidInput, NotFound, PermissionDenied, TooLarge
from metastore.git.objects import GitObject
from metastore.git.pack import PUSH_LESS, PackTooLarge, from_pack
from metastore.git.receive_pack import Push, Update, advertisement, report
from metastore.git.repository import HEADS, TAGS
from metastore.parse import make_time
from metastore.service.context import service
from metastore.service.guard import identity, named
from metastore.store.receiving import Receiver
from metastore.types import Change, DatasetId, Revision

SERVICE = "git-receive-pack"
#: How many bytes a push may have, how many its objects may have in all, and how many there may be.
_LONGEST, _UNPACKED, _OBJECTS = 16 * 1024 * 1024, 64 * 1024 * 1024, 20_000
#: The seconds after which no further reference of a push is processed.
_LONG = 1.0
#: Whether a dataset was deleted, and whether it is so after a revision -> the right to add that.
_RIGHTS = {(False, False): "update", (False, True): "delete", (True, False): "create", (True, True): "update"}
#: What Git sends first where the body is long, to learn whether the token counts.
_PROBE = b"0000"


def capabilities(dataset_id: DatasetId) -> bytes:
    """Return the answer to the first request of a push: the references, and what the server can do.

    Raises:
        AuthenticationError: There is no token, or it names no user.
        PermissionDenied: The token does not grant `import`.
        DatasetMoved: The dataset has another id now.
    """
    _importer(dataset_id)
    try:
        with _receiver().storage.objects(dataset_id) as repository:
            return advertisement(repository.reference_targets())
    except DatasetMoved:
        raise
    except DatasetNotFound:
        return advertisement({})


def receive(dataset_id: DatasetId) -> bytes:
    """Take what was pushed, and return the report.

    Raises:
        AuthenticationError: There is no token, or it names no user.
        PermissionDenied: The token does not grant `import`.
        InvalidInput: The request was not made by Git, or its pack cannot be read.
        TooLarge: Its pack holds too much.
        RequestEntityTooLarge: The request is too large.
    """
    who = _importer(dataset_id)
    receiver, body = _receiver(), _body()
    if body == _PROBE:
        return b""
    push = Push.parse(body)
    del body  # the memory is needed
    try:
        objects = from_pack(push.pack, longest=_UNPACKED, most=_OBJECTS) if push.pack else {}
    except PackTooLarge as error:
        raise TooLarge(f"the pack is too large: {error}; {PUSH_LESS}") from None
    except ValueError as error:
        raise InvalidInput(f"the pack cannot be read: {error}") from None
    if push.atomic and len(push.updates) > 1:
        reason = "push one reference at a time, or without --atomic"
        return report({update.name: reason for update in push.updates})
    ordered = sorted(push.updates, key=lambda update: not update.name.startswith(HEADS))
    until = time.monotonic() + _LONG
    return report({update.name: _refusal(receiver, dataset_id, update, objects, who, until) for update in ordered})


def _refusal(
    receiver: Receiver,
    dataset_id: DatasetId,
    update: Update,
    objects: Mapping[str, GitObject],
    who: Identity,
    until: float,
) -> str | None:
    """Carry an update out and return None, or return why not."""
    if time.monotonic() > until:
        return "the references before it took long: push it again"
    try:
        _carry_out(receiver, dataset_id, update, objects, who)
    except (Conflict, InvalidInput, NotFound, PermissionDenied) as error:
        return " ".join(str(error).split())[:900]
    return None


def _carry_out(
    receiver: Receiver, dataset_id: DatasetId, update: Update, objects: Mapping[str, GitObject], who: Identity
) -> None:
    change = Change(who.author, f"Receive {update.name}", make_time(datetime.now(UTC)))

    def allow(before: Revision | None, deletions: Sequence[bool]) -> None:
        for action in _actions(before, deletions):
            require(who, action, dataset_id)

    if update.new is None:
        raise InvalidInput("a push removes nothing")
    if update.name.startswith(TAGS):
        require(who, "update", dataset_id)
        receiver.tag(dataset_id, update, objects, change)
    elif update.name.startswith(HEADS):
        receiver.revisions(dataset_id, update, objects, change, allow)
    else:
        raise InvalidInput("a push brings the branch of a dataset, and tags")


def _actions(before: Revision | None, deletions: Sequence[bool]) -> Iterable[str]:
    """Return the rights that a push needs beside `import`.

    A new dataset is created as it comes, whatever happened to it elsewhere; it is deleted if it ends so. To an existing
    one, each revision is a change.

    Args:
        before: The newest revision before the push; None for a new dataset.
        deletions: Of each revision that is added, the oldest first, whether it is a deletion.
    """
    if before is None:
        return ("create", "delete") if deletions[-1] else ("create",)
    states = (before.deleted, *deletions)
    return dict.fromkeys(_RIGHTS[pair] for pair in pairwise(states)) or ("update",)


def _importer(dataset_id: DatasetId) -> Identity:
    who = named(identity())
    require(who, "import", dataset_id)
    return who


def _receiver() -> Receiver:
    return Receiver.of(service().store)


def _body() -> bytes:
    if request.mimetype != f"application/x-{SERVICE}-request":  # which no page of another site can send
        raise UnsupportedMediaType(f"Git sends application/x-{SERVICE}-request")
    if request.content_encoding:
        raise UnsupportedMediaType("a push is not compressed beyond its pack")
    request.max_content_length = _LONGEST
    content = request.get_data(cache=False)
    if request.content_length is None and len(content) >= _LONGEST:
        raise RequestEntityTooLarge  # chunks are cut off at the limit
    return content
