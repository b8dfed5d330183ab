"""Finds out whether a change of unknown outcome was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from metastore.descriptor.document import decode, encode, same
from metastore.descriptor.patch import patched
from metastore.errors import (
    AlreadyExists,
    Conflict,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MetastoreError,
    NotFound,
    OutcomeUnknown,
    RevisionConflict,
    RevisionNotFound,
    TagNotFound,
)
from metastore.storage.port import Storage
from metastore.store.base import Store
from metastore.types import ChangeRequest, DatasetId, JournalEntry, Outcome, Revision, Tag

#: The newest revisions, or lines of the journal, among which a change is looked for.
_RECENT = 1000
#: How often a dataset may have moved: a hostile service can say so for ever.
_MOST_MOVES = 100
#: The result of a look: the product of the change, True if it has none with an id, or None if nothing has changed.
Found = Revision | Tag | bool | None


class CannotTell(Exception):
    """Too much happened since the change to tell whether it was made."""


def settle(store: Store, error: OutcomeUnknown, storage: Storage | None = None) -> Outcome:
    """See `Store.settle`.

    Args:
        store: The store that the change was for.
        error: The error of the call.
        storage: The storage of the store; None if only the service knows it. Then a lost request may still be
            carried out, so that only a state that excludes the change proves that it was not made.
    """
    if error.change is None:
        raise InvalidInput("this error names no call on a dataset, so it cannot be settled")
    may_arrive_late = storage is None or storage.may_arrive_late
    try:
        if storage and (landed := storage.was_made(error)) is not None:
            return Outcome.LANDED if landed else Outcome.NOT_LANDED
        found = look(store, error.change, error.before, error.wanted)
    except Conflict:
        return Outcome.NOT_LANDED
    except (MetastoreError, CannotTell):
        return Outcome.UNKNOWN
    if found is None:
        return Outcome.UNKNOWN if may_arrive_late else Outcome.NOT_LANDED
    return Outcome.LANDED


def look(store: Store, change: ChangeRequest, before: str | None, wanted: str | None) -> Found:
    """Look for a change; None if nothing has changed. Raises `CannotTell` if too much has happened since.

    Args:
        store: The store to look in.
        change: The change.
        before: The id of the revision or tag before it; None if there was none.
        wanted: The id of the revision or tag that it makes, if known.

    Raises:
        Conflict: Somebody else was faster: the change was not made, and can no longer be made.
    """
    if change.action == "purge":
        return purged(store, change, str(before))
    if change.action == "move":
        return moved(store, change, str(before))
    if change.action == "tag_create":
        return _tag_created(store, change, wanted)
    if change.action == "tag_update":
        return _tag_updated(store, change, str(before), wanted)
    if change.action == "tag_delete":
        return _tag_deleted(store, change, str(before))
    return _revised(store, change, before, wanted)


def fits(change: ChangeRequest, value: Any, message: str) -> bool:
    """Tell whether a revision, tag or line of the journal can be the result of the change."""
    return change.author in (None, value.author) and change.at in (None, value.created) and message == change.message


def added(
    store: Store,
    dataset_id: DatasetId,
    parent: str | None,
    is_ours: Callable[[Revision], bool],
    wanted: str | None = None,
) -> Revision | None:
    """Look at the revision right after another one, or at the first: only that can be ours.

    Raises:
        RevisionConflict: It is somebody else's, so ours was not made and can no longer be made.
    """
    newest: Revision | None = None
    for revision in store.revision_list(dataset_id, limit=_RECENT):
        newest = newest or revision
        if revision.id == wanted:
            return revision
        if revision.id == parent:
            return None
        if revision.parent == parent:
            if wanted is None and is_ours(revision):
                return revision
            raise RevisionConflict(dataset_id, expected=parent, actual=newest.id)
    raise CannotTell(f"{dataset_id} has another history now")


def _revised(store: Store, change: ChangeRequest, before: str | None, wanted: str | None) -> Found:
    def is_ours(revision: Revision) -> bool:
        return _is_ours(store, change, before, revision)

    try:
        return added(store, change.dataset_id, before, is_ours, wanted)
    except DatasetMoved as error:  # somebody has moved it since
        return added(store, error.new_id, before, is_ours, wanted)
    except DatasetNotFound:
        if before is None and not any(line.action == "purge" for line in _lines(store, change)):
            return None
        raise


def _is_ours(store: Store, change: ChangeRequest, before: str | None, revision: Revision) -> bool:
    """Tell whether a revision is the result of a change whose id is unknown, because the service completed it."""
    if not fits(change, revision, revision.message) or revision.deleted != deletes(store, change):
        return False
    if revision.deleted:
        return True
    content = store.dataset_json(change.dataset_id, revision.id)[1]
    if change.action == "revert":
        return same(content, store.dataset_json(change.dataset_id, change.revision)[1])
    if change.content is None:
        raise CannotTell(f"what {change.action} makes is not known here")
    if change.action != "patch":
        return same(content, change.content)
    base, patch = store.dataset_json(change.dataset_id, before)[1], change.content
    return same(content, encode(patched(decode(base), decode(patch))))


def deletes(store: Store, change: ChangeRequest) -> bool:
    """Tell whether a change of a dataset deletes it, as the undo of its creation does."""
    if change.action != "undo":
        return change.action == "delete"
    return change.since is None or store.revision_read(change.dataset_id, change.since).deleted


def purged(store: Store, change: ChangeRequest, head: str) -> bool | None:
    """Tell whether a dataset was purged as requested; None while it is unchanged.

    Raises:
        RevisionConflict: Somebody else moved, purged or changed it.
    """
    return _gone(store, change, head, {"revision": head})


def moved(store: Store, change: ChangeRequest, head: str) -> bool | None:
    """Tell whether a dataset was moved as requested; None while it is unchanged.

    Raises:
        RevisionConflict: Somebody else moved, purged or changed it.
    """
    assert change.new_id is not None
    found = _gone(store, change, head, {"revision": head, "new_id": str(change.new_id)})
    if found and not _has(store, change.new_id, head):
        raise CannotTell(f"{change.new_id} is gone too")
    return found


def _gone(store: Store, change: ChangeRequest, head: str, details: Mapping[str, Any]) -> bool | None:
    """A line alone is no proof, since it is written first: the dataset must also be gone from its id."""
    try:
        if store.revision_read(change.dataset_id).id == head:
            return None
        is_there = _has(store, change.dataset_id, head)
    except DatasetMoved as error:
        is_there = error.new_id != change.new_id and _has(store, error.new_id, head) and not _passed(store, change)
    except DatasetNotFound:
        is_there = False
    ours = [line for line in _lines(store, change) if _is_line_of(line, change, details)]
    if is_there or not ours:
        raise RevisionConflict(change.dataset_id, expected=head, actual=None)
    return True


def _passed(store: Store, change: ChangeRequest) -> bool:
    """Tell whether a dataset was at the target of a move, and has moved on from there."""
    if change.new_id is None:
        return False
    try:
        store.revision_read(change.new_id)
    except DatasetMoved:
        return True
    except NotFound:
        pass
    return False


def _has(store: Store, dataset_id: DatasetId, revision: str) -> bool:
    """Tell whether a dataset has a revision, even if it has moved on."""
    for _ in range(_MOST_MOVES):
        try:
            return store.revision_read(dataset_id, revision).id == revision
        except DatasetMoved as error:
            dataset_id = error.new_id
        except (DatasetNotFound, RevisionNotFound):
            return False
    raise CannotTell("moves lead in a circle")


def _lines(store: Store, change: ChangeRequest) -> list[JournalEntry]:
    """Return the recent lines of this store about a dataset that were not withdrawn, newest first."""
    own = (line for line in store.journal(change.dataset_id) if line.copied is None)
    lines = list(islice(own, _RECENT))
    withdrawn = {line.details.get("entry") for line in lines if line.action == "withdrawn"}
    return [line for line in lines if line.action != "withdrawn" and line.id not in withdrawn]


def _is_line_of(line: JournalEntry, change: ChangeRequest, details: Mapping[str, Any]) -> bool:
    return line.action == change.action and details.items() <= line.details.items() and fits(change, line, line.message)


def _tag(store: Store, change: ChangeRequest, name: str | None) -> Tag | None:
    with suppress(TagNotFound):
        return store.tag_read(change.dataset_id, str(name))
    return None


def _was_replaced(store: Store, change: ChangeRequest, tag_id: str | None) -> bool:
    """Tell whether a tag with this id existed, and was changed or removed since."""
    return tag_id is not None and any(line.details.get("tag_id") == tag_id for line in _lines(store, change))


def _tag_created(store: Store, change: ChangeRequest, wanted: str | None) -> Found:
    tag = _tag(store, change, change.tag)
    if tag is not None and (
        tag.id == wanted or (wanted is None and tag.revision == change.revision and fits(change, tag, tag.description))
    ):
        return tag
    if _was_replaced(store, change, wanted):
        return True
    if tag is not None:
        raise AlreadyExists(f"tag {change.tag} of {change.dataset_id}")
    return None


def _tag_updated(store: Store, change: ChangeRequest, before: str, wanted: str | None) -> Found:
    current, new = _tag(store, change, change.tag), _tag(store, change, change.new_name)
    if current is not None and current.id == before:
        return None
    if new is not None and (
        new.id == wanted
        or (wanted is None and (new.revision, new.description) == (change.revision, change.description))
    ):
        return new
    if _was_replaced(store, change, wanted):
        return True
    raise CannotTell("somebody else changed the tag too")


def _tag_deleted(store: Store, change: ChangeRequest, before: str) -> Found:
    current = _tag(store, change, change.tag)
    if current is not None and current.id == before:
        return None
    others = [line for line in _lines(store, change) if line.details.get("tag_id") == before]
    if any(line.action == "tag_update" for line in others) or (current is not None and not others):
        raise CannotTell("somebody else changed the tag too")
    return True
