"""Changes that wait to be recorded: a table in CKAN's database.

A change is written there in the transaction that makes it, so it waits if and only if CKAN has committed it. Right
after the commit it is recorded and removed. If MetaStore is away, it waits for the next change or reader of the
dataset, for the background job, or for `ckan metastore reconcile`. A dataset's changes are recorded in their order.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from ckan.lib import jobs
from ckanext.metastore import settings
from ckanext.metastore.patience import breaker
from ckanext.metastore.sync import Change
from sqlalchemy.exc import OperationalError

import metastore

log = logging.getLogger(__name__)

TABLE = sa.Table(
    "metastore_outbox",
    sa.MetaData(),  # not CKAN's, which would create the table without its migrations
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("dataset", sa.Text),
    sa.Column("package", sa.Text),
    sa.Column("user_name", sa.Text),
    sa.Column("author_name", sa.Text),
    sa.Column("author_email", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("problem", sa.Text),
)
#: How many datasets are recorded right after a commit; the job records the others.
AT_ONCE = 3
#: The key of the changes of a transaction in `Session.info`: the numbers of their rows, by dataset.
_ADDED = "metastore_added"
#: The first key of PostgreSQL's advisory locks of datasets; the second is a hash of the id.
_LOCK = 5_000_014
#: The only member of a row's package if a group of the dataset has a new name.
_GROUP = "metastore_group"
_JOB = "Record changes in MetaStore"
_WAITS = TABLE.c.problem.is_(None)


def is_ready() -> bool:
    """Return whether the table is there. Without it nothing can be recorded, and the log says how to make it."""
    if _ready or sa.inspect(model.meta.engine).has_table(TABLE.name):
        _ready.add(True)
        return True
    log.error("datasets are not recorded: run `ckan db upgrade -p metastore`")
    return False


_ready: set[bool] = set()


def add(change: Change, user: str) -> None:
    """Let a change wait, as a part of CKAN's transaction. A later one of the same transaction takes its place.

    Args:
        change: The change.
        user: The name of the user who makes it, for tokens; empty for the portal.
    """
    row = {"dataset": change.uuid, **_row(change, user)}
    added = model.Session.info.setdefault(_ADDED, {})
    if number := added.get(change.uuid):
        replaced = sa.update(TABLE).where(TABLE.c.number == number).values(row)
        if model.Session.execute(replaced).rowcount:
            return
    inserted = model.Session.execute(sa.insert(TABLE).values(row).returning(TABLE.c.number))
    added[change.uuid] = inserted.scalar_one()


def add_to_all(uuids: Sequence[str], change: Change, user: str, *, private_too: bool) -> None:
    """Let one change of many datasets wait, as a part of CKAN's transaction, which holds their rows from then on.

    Args:
        uuids: The datasets. Those that have no versions are passed over.
        change: The change of each; its `uuid` is not used.
        user: As for `add`.
        private_too: Whether private datasets have versions.
    """
    package, row = model.Package, _row(change, user)
    of_them = sa.select(package.id).where(package.id.in_(uuids), package.state == "active")
    of_them = of_them if private_too else of_them.where(package.private.is_(False))
    # In one order, so that no two of such transactions wait for each other.
    held = of_them.order_by(package.id).with_for_update().subquery()
    rows = sa.select(held.c.id, *(sa.literal(value, TABLE.c[column].type) for column, value in row.items()))
    inserted = sa.insert(TABLE).from_select(["dataset", *row], rows).returning(TABLE.c.dataset, TABLE.c.number)
    added = model.Session.info.setdefault(_ADDED, {})
    for uuid, number in model.Session.execute(inserted):
        added.setdefault(uuid, number)


def _row(change: Change, user: str) -> dict[str, Any]:
    """Return what the table has of a change, but for the dataset."""
    said = change.package if change.group is None else {_GROUP: change.group}
    return {
        "package": None if said is None else json.dumps(said),
        "user_name": user,
        "author_name": change.author.name,
        "author_email": change.author.email,
        "message": change.message,
        "at": change.at,
    }


def waiting() -> list[str]:
    """Return the datasets with changes that wait, the one that waits longest first."""
    if not is_ready():
        return []
    query = sa.select(TABLE.c.dataset).where(_WAITS).group_by(TABLE.c.dataset).order_by(sa.func.min(TABLE.c.number))
    with model.meta.engine.connect() as connection:
        return list(connection.execute(query).scalars())


def waiting_purges() -> list[str]:
    """Return the datasets that CKAN has purged, and whose histories are still to be removed."""
    if not is_ready():
        return []
    query = sa.select(TABLE.c.dataset).where(_WAITS, TABLE.c.package.is_(None)).order_by(TABLE.c.number)
    with model.meta.engine.connect() as connection:
        return list(connection.execute(query).scalars())


def waits(uuid: str) -> bool:
    """Return whether changes of a dataset wait."""
    query = sa.select(TABLE.c.number).where(TABLE.c.dataset == uuid, _WAITS)
    return is_ready() and model.Session.execute(query.limit(1)).first() is not None


def refused() -> list[tuple[str, str]]:
    """Return the changes that MetaStore refused: the datasets, and why."""
    if not is_ready():
        return []
    query = sa.select(TABLE.c.dataset, TABLE.c.problem).where(~_WAITS).order_by(TABLE.c.number)
    with model.meta.engine.connect() as connection:
        return [(row.dataset, row.problem) for row in connection.execute(query)]


def forget_refused(uuid: str) -> None:
    """Remove the changes of a dataset that MetaStore refused, once the dataset is in step again."""
    model.Session.execute(sa.delete(TABLE).where(TABLE.c.dataset == uuid, ~_WAITS))


def drain(uuid: str) -> None:
    """Record the changes of a dataset that wait.

    Raises:
        metastore.MetastoreError: One of them cannot be recorded now. It waits, and so do those after it.
    """
    try:
        while _record_next(uuid):
            pass
    except OperationalError as error:  # the lock is held for longer than we wait
        raise metastore.StorageBusy(f"another process records the changes of {uuid}") from error


def drain_all() -> int:
    """Record all changes that wait, and return how many datasets still have some. The background job."""
    left = 0
    for uuid in waiting():
        try:
            drain(uuid)
        except metastore.MetastoreError as error:
            left += 1
            log.error("MetaStore has not recorded %s: %s: %s", uuid, type(error).__name__, error)
    return left


def drain_before_reading(uuid: str) -> None:
    """Record the changes of a dataset that wait, so that its reader sees them.

    Raises:
        metastore.StorageUnavailable: A purge waits: the record belongs to a dataset that is gone.
    """
    if not is_ready():
        return
    query = sa.select(TABLE.c.package.is_(None)).where(TABLE.c.dataset == uuid, _WAITS)
    if purges := list(model.Session.execute(query).scalars()):
        try:
            drain(uuid)
        except metastore.MetastoreError as error:
            log.error("MetaStore has not recorded %s: %s: %s", uuid, type(error).__name__, error)
            if any(purges):
                raise metastore.StorageUnavailable("the history of a purged dataset is not removed yet") from error


def _record_next(uuid: str) -> bool:
    """Record the oldest change of a dataset that waits; return whether there was one."""
    query = sa.select(TABLE).where(TABLE.c.dataset == uuid, _WAITS).order_by(TABLE.c.number).limit(1)
    with model.meta.engine.begin() as connection:
        patience = settings.current().patience
        connection.execute(sa.select(sa.func.set_config("lock_timeout", f"{patience}s", True)))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, sa.func.hashtext(uuid))))
        row = connection.execute(query).first()
        if row is None:
            return False
        mine = TABLE.c.number == row.number
        if problem := _carry_out(row, patience):
            connection.execute(sa.update(TABLE).where(mine).values(problem=problem))
        else:
            connection.execute(sa.delete(TABLE).where(mine))
    return True


def _carry_out(row: Any, patience: float) -> str:
    """Record the change in a row; return why MetaStore refuses it for good, if it does."""
    author = metastore.Author(row.author_name, row.author_email)
    package = None if row.package is None else json.loads(row.package)
    group = package.pop(_GROUP, None) if package else None
    change = Change(row.dataset, None if group else package, author, row.message, row.at, group)
    recorder = settings.recorder(row.user_name, author)
    try:
        outcome = breaker.call(settings.current().url, patience, lambda: recorder.carry_out(change))
    except metastore.InvalidInput as error:
        log.error("MetaStore refuses a change of %s: %s", row.dataset, error)
        return str(error)
    log.info("%s: %s", outcome.dataset_id, outcome.action)
    return ""


# After CKAN's transactions


def listen() -> None:
    """Record changes right after the transactions that make them."""
    if not sa.event.contains(model.Session, "after_commit", _committed):
        sa.event.listen(model.Session, "after_commit", _committed)
        sa.event.listen(model.Session, "after_rollback", _rolled_back)


def _committed(session: Any) -> None:
    if not session.in_nested_transaction():  # a savepoint is no commit
        record_soon(session.info.pop(_ADDED, {}))


def _rolled_back(session: Any) -> None:
    if not session.in_nested_transaction():
        session.info.pop(_ADDED, None)


def record_soon(uuids: Iterable[str]) -> None:
    """Record the changes of a few datasets now. The job records the others, what fails, and what waited before."""
    first, others = list(uuids)[:AT_ONCE], list(uuids)[AT_ONCE:]
    try:
        for uuid in first:
            drain(uuid)
        if first:
            others = waiting()
    except Exception as error:  # CKAN has committed: no failure may reach its user
        log.error("MetaStore has not recorded %s: %s: %s", first, type(error).__name__, error)
        others = first
    if others:
        _enqueue()


def _enqueue() -> None:
    try:
        if all(job.meta.get("title") != _JOB for job in jobs.get_queue().get_jobs(length=50)):
            tk.enqueue_job(drain_all, title=_JOB)
    except Exception as error:  # Redis is away; the changes wait for another occasion
        log.error("the job that records changes cannot be queued: %s", error)
