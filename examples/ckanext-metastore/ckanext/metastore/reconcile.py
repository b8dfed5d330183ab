"""Brings MetaStore to what CKAN says, dataset by dataset; the second time there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import NamedTuple

import ckan.plugins.toolkit as tk
from ckan import model
from ckanext.metastore import outbox, portal
from ckanext.metastore.authors import PORTAL, author_of
from ckanext.metastore.sync import Outcome, Recorder

import metastore


class Step(NamedTuple):
    """What was done about a dataset, or why nothing could be done."""

    dataset: str
    outcome: Outcome | None
    problem: str = ""


def dataset_ids() -> list[str]:
    """Return the ids of all datasets that CKAN has, deleted ones too, oldest first."""
    rows = model.Session.query(model.Package.id).order_by(model.Package.metadata_created).all()
    return [row[0] for row in rows]


def public_ids() -> set[str]:
    """Return the ids of the datasets that everybody can see now."""
    return {row[0] for row in model.Session.query(model.Package.id).filter_by(state="active", private=False).all()}


def reconcile(
    recorder: Callable[[], Recorder], gone: Sequence[metastore.DatasetId], ids: Sequence[str], *, purge: bool = False
) -> Iterator[Step]:
    """Record every dataset as it is now, and withdraw those that CKAN no longer has; yield each step.

    Args:
        recorder: Opens the store; called for each dataset, since a token lives for minutes and a run may take hours.
        gone: Datasets of the store that CKAN does not have, as `Recorder.gone` returns them.
        ids: The datasets of CKAN to record.
        purge: Whether to remove the history of those that CKAN no longer has.
    """
    for dataset_id in gone:
        yield _attempt(str(dataset_id), lambda dataset_id=dataset_id: _withdraw(recorder(), dataset_id, purge=purge))
    for uuid in ids:
        yield _attempt(uuid, lambda uuid=uuid: _record(recorder(), uuid))


def import_activities(recorder: Recorder, uuid: str, *, emails: bool) -> int:
    """Turn CKAN's activities of one dataset into revisions with their dates and authors.

    Returns:
        How many revisions were made.

    Raises:
        metastore.MetastoreError: One of them could not be recorded; those before are there.
    """
    from ckanext.activity.model import Activity

    of_it = model.Session.query(Activity).filter(Activity.object_id == uuid, Activity.activity_type.in_(_DONE))
    count = 0
    for activity in of_it.order_by(Activity.timestamp).all():
        package = (activity.data or {}).get("package")
        if not package:
            continue
        if activity.activity_type == "deleted package":
            package = {**package, "state": "deleted"}
        user = model.User.get(activity.user_id)
        author = author_of(user, emails=emails) if user else PORTAL
        at = activity.timestamp.replace(tzinfo=UTC)
        outcome = recorder.record(package, author=author, message=_DONE[activity.activity_type], at=at)
        count += outcome.action != "unchanged"
    return count


#: What CKAN calls its activities, and what a revision says then.
_DONE = {
    "new package": "Create dataset",
    "changed package": "Update dataset",
    "deleted package": "Delete dataset",
}


def _record(recorder: Recorder, uuid: str) -> Outcome:
    if not recorder.dry_run and outbox.is_ready():
        outbox.drain(uuid)
    try:
        # The row is held, so no change can come between what is read and what is written.
        portal.locked(uuid)
    except tk.ObjectNotFound:  # purged meanwhile
        return Outcome("unchanged", recorder.id_of(uuid))
    if not recorder.dry_run and outbox.waits(uuid):
        raise metastore.StorageBusy("the dataset was changed meanwhile: run the command again")
    outcome = recorder.record(portal.shown(uuid), author=PORTAL, message="Catch up with CKAN")
    if not recorder.dry_run and outbox.is_ready():
        outbox.forget_refused(uuid)
    return outcome


def _withdraw(recorder: Recorder, dataset_id: metastore.DatasetId, *, purge: bool) -> Outcome:
    end = recorder.purge if purge else recorder.withdraw
    return end(dataset_id, author=PORTAL, message="CKAN has it no more")


def _attempt(dataset: str, call: Callable[[], Outcome]) -> Step:
    try:
        step = Step(dataset, call())
        model.Session.commit()
    except metastore.MetastoreError as error:
        model.Session.rollback()
        return Step(dataset, None, f"{type(error).__name__}: {error}")
    return step
