"""Brings MetaStore to what CKAN says, dataset by dataset; the second time there is nothing to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple

from ckan import model
from ckanext.metastore import portal
from ckanext.metastore.authors import author_of
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


def reconcile(
    recorder: Recorder, found: Mapping[str, str], ids: Sequence[str], *, purge: bool = False
) -> Iterator[Step]:
    """Record every dataset as it is now, and withdraw those that CKAN has no more, yielding each step.

    What is in the way of another one is tried again: a renamed dataset whose new name is still taken.

    Args:
        recorder: Where to.
        found: What MetaStore has, as `known_ids` returns it.
        ids: All of CKAN's datasets; asked for after `found`, so that a dataset made meanwhile is not taken for gone.
        purge: Remove the history of those that CKAN has no more.
    """
    for uuid in found.keys() - set(ids):
        yield _attempt(found[uuid], lambda uuid=uuid: _withdraw(recorder, found[uuid], uuid, purge=purge))
    while ids:
        failed = []
        for uuid in ids:
            step = _attempt(uuid, lambda uuid=uuid: _record(recorder, uuid, found.get(uuid)))
            if step.problem:
                failed.append(step)
            else:
                yield step
        if len(failed) == len(ids):
            yield from failed
            return
        ids = [step.dataset for step in failed]


def import_activities(recorder: Recorder, uuid: str, *, emails: bool) -> int:
    """Turn CKAN's activities of one dataset into revisions with their dates and authors.

    Returns:
        How many revisions were made.

    Raises:
        metastore.MetastoreError: One of them could not be recorded; those before are there.
    """
    from ckanext.activity.model import Activity

    of_it = model.Session.query(Activity).filter(Activity.object_id == uuid, Activity.activity_type.in_(_DONE))
    known, count = None, 0
    for activity in of_it.order_by(Activity.timestamp).all():
        package = (activity.data or {}).get("package")
        if not package:
            continue
        if activity.activity_type == "deleted package":
            package = {**package, "state": "deleted"}
        user = model.User.get(activity.user_id)
        author = author_of(user, emails=emails) if user else metastore.Author("CKAN")
        at = activity.timestamp.replace(tzinfo=UTC)
        outcome = recorder.record(package, known, author=author, message=_DONE[activity.activity_type], at=at)
        known = str(outcome.dataset_id) if outcome.dataset_id else known
        count += outcome.action != "unchanged"
    return count


#: What CKAN calls its activities, and what a revision says then.
_DONE = {
    "new package": "Create dataset",
    "changed package": "Update dataset",
    "deleted package": "Delete dataset",
}


def _record(recorder: Recorder, uuid: str, known: str | None) -> Outcome:
    # The row is held, so that no change can come between what is read and what is written.
    package = portal.locked(uuid)
    why = {} if recorder.dry_run else {"message": "Catch up with CKAN", **portal.author_unless_signed("")}
    outcome = recorder.record(portal.shown(uuid), known or portal.known(package), **why)
    if not recorder.dry_run:
        portal.remember(package, outcome.dataset_id)
    return outcome


def _withdraw(recorder: Recorder, where: str, uuid: str, *, purge: bool) -> Outcome:
    if model.Session.query(model.Package.id).filter_by(id=uuid).first():  # committed since
        return Outcome("unchanged", None)
    why = {} if recorder.dry_run else {"message": "CKAN has it no more", **portal.author_unless_signed("")}
    return recorder.purge(where, uuid, **why) if purge else recorder.withdraw(where, uuid, **why)


def _attempt(dataset: str, call: Any) -> Step:
    try:
        step = Step(dataset, call())
        model.Session.commit()
    except metastore.MetastoreError as error:
        model.Session.rollback()
        return Step(dataset, None, f"{type(error).__name__}: {error}")
    return step
