"""Brings MetaStore to what CKAN says, dataset by dataset; the second time there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from datetime import UTC
from typing import Any, NamedTuple

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from ckanext.metastore import outbox, portal
from ckanext.metastore.authors import PORTAL, author_of
from ckanext.metastore.sync import Outcome, Recorder

import metastore

#: How many datasets are read from CKAN's database at a time.
PAGE = 200


class Step(NamedTuple):
    """What was done about a dataset, or why nothing could be done."""

    dataset: str
    outcome: Outcome | None
    problem: str = ""


def dataset_ids() -> list[str]:
    """Return the ids of all datasets that CKAN has, deleted ones too, oldest first."""
    rows = model.Session.query(model.Package.id).order_by(model.Package.metadata_created).all()
    return [row[0] for row in rows]


def pages(after: str = "") -> Iterator[list[str]]:
    """Yield the ids of all datasets that CKAN has, deleted ones too, by id and a page at a time.

    Args:
        after: Only ids behind this one.
    """
    while page := _page(after):
        yield page
        after = page[-1]


def _page(after: str) -> list[str]:
    query = sa.select(model.Package.id).where(model.Package.id > after).order_by(model.Package.id).limit(PAGE)
    with model.meta.engine.connect() as connection:
        return list(connection.execute(query).scalars())


def public_ids() -> set[str]:
    """Return the ids of the datasets that everybody can see now."""
    return {row[0] for row in model.Session.query(model.Package.id).filter_by(state="active", private=False).all()}


def withdraw(recorder: Recorder, gone: Iterable[metastore.DatasetId], *, purge: bool) -> Iterator[Step]:
    """Withdraw datasets that CKAN no longer has, or remove their histories; yield each step."""
    end = recorder.purge if purge else recorder.withdraw
    for dataset_id in gone:
        why: dict[str, Any] = {"author": PORTAL, "message": "No longer in CKAN"}
        yield _attempt(str(dataset_id), lambda dataset_id=dataset_id, why=why: end(dataset_id, **why))


def reconcile(recorder: Callable[[], Recorder], ids: Iterable[Sequence[str]], *, jobs: int = 1) -> Iterator[Step]:
    """Record datasets as they are now; yield each step, in the order of the ids.

    Args:
        recorder: Opens the store; called for each dataset, since a token lives for minutes and a run may take hours.
        ids: Pages of datasets of CKAN.
        jobs: How many datasets of a page to record at a time.
    """

    def one(uuid: str, context: Context) -> Step:
        return context.run(_attempt, uuid, lambda: _record(recorder(), uuid))

    with ThreadPoolExecutor(jobs) as pool:
        for page in ids:
            # CKAN's settings and application are in the context; no two threads can be in the same one.
            yield from pool.map(one, page, [copy_context() for _ in page])


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


def _attempt(dataset: str, call: Callable[[], Outcome]) -> Step:
    """Return the outcome for one dataset. A failure does not end the run of the others."""
    try:
        step = Step(dataset, call())
        model.Session.commit()
    except Exception as error:
        model.Session.rollback()
        return Step(dataset, None, f"{type(error).__name__}: {error}")
    finally:
        model.Session.remove()
    return step
