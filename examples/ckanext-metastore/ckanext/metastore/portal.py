"""CKAN's side of a change: which dataset, by whom and why, and whether it may be made while MetaStore is away."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from ckanext.metastore import outbox, settings
from ckanext.metastore.authors import author
from ckanext.metastore.committing import before_commits
from ckanext.metastore.errors import plainly
from ckanext.metastore.patience import breaker
from ckanext.metastore.record import kept
from ckanext.metastore.sync import Change
from flask import has_request_context, session

import metastore

log = logging.getLogger(__name__)

#: The member of a form or call that says what changed.
MESSAGE = "metastore_message"


def shown(package_id: str) -> dict[str, Any]:
    """Return a dataset as CKAN shows it, from the database as it is in this transaction."""
    context: Any = {"ignore_auth": True, "use_cache": False, "model": model, "session": model.Session, "user": ""}
    return tk.get_action("package_show")(context, {"id": package_id})


def locked(package_id: str) -> Any:
    """Hold a dataset's row until the transaction ends, so that changes wait in the order in which CKAN makes them."""
    model.Session.flush()
    package = model.Package.get(package_id, for_update=True)
    if package is None:
        raise tk.ObjectNotFound("Dataset not found")
    model.Session.expire_all()  # a transaction that waited for the row has read older values
    return package


def record(package_id: str, context: Any, default: str, **changes: Any) -> None:
    """Let the state of a dataset be recorded once CKAN has committed the transaction that changes it.

    Args:
        package_id: The dataset's id or name.
        context: The context of the action that changes it.
        default: The message of the revision, if the caller gave none.
        **changes: Members of the dataset that CKAN changes after its hook.

    Raises:
        tk.ValidationError: MetaStore is away, and the settings want the change to be refused then.
    """
    if _is_recording(context):
        package = {**shown(locked(package_id).id), **changes}
        if package["state"] == "draft":
            _keep_for_later(package["id"], context.get(MESSAGE))
        _add(package["id"], kept(package, private_too=settings.current().private_too), context, default)


@contextmanager
def recording(package_ids: Iterable[str], context: Any, default: str) -> Iterator[None]:
    """Record datasets that CKAN changes in the block without calling its hooks, in the same transactions.

    Args:
        package_ids: The ids or names of the datasets. Those that do not change are passed over.
        context: The context of the action that changes them.
        default: The message of the revisions, if the caller gave none.
    """
    seen = _states(package_ids)

    def record_changed() -> None:
        model.Session.flush()  # CKAN's sessions do not flush before they read
        now = {uuid: state for uuid, state in _states(seen).items() if uuid in seen}
        changed = [uuid for uuid, state in now.items() if state != seen[uuid]]
        seen.update(now)
        for uuid in changed:
            record(uuid, {**context, _DONE: True}, default)

    with before_commits(record_changed):
        yield


def _states(package_ids: Iterable[str]) -> dict[str, Any]:
    """Return by id what such actions change of datasets: their visibility, state, organisation and groups."""
    package, member, named = model.Package, model.Member, [*package_ids]
    groups = sa.func.array_agg(sa.distinct(member.group_id)).filter(member.state == "active")
    joined = sa.and_(member.table_id == package.id, member.table_name == "package")
    query = (
        sa.select(package.id, package.private, package.state, package.owner_org, groups)
        .outerjoin(member, joined)
        .where(sa.or_(package.id.in_(named), package.name.in_(named)))
        .group_by(package.id)
        .order_by(package.id)
    )
    return {uuid: state for uuid, *state in model.Session.execute(query)}


def record_group(group: dict[str, Any], package_ids: Sequence[str], context: Any, default: str) -> None:
    """Let a new name of a group be recorded for its datasets once CKAN has committed the transaction that changes it.

    Args:
        group: The group or organisation, as `Change` has it.
        package_ids: The ids of its datasets.
        context: The context of the action that changes the group.
        default: The message of the revisions.
    """
    if _is_recording({**context, _DONE: True}):
        change = _change("", None, context, default, group=group)
        outbox.add_to_all(package_ids, change, context.get("user") or "", private_too=settings.current().private_too)


def purge(uuid: str, context: Any) -> None:
    """Let the history of a dataset be removed once CKAN has removed the dataset."""
    if _is_recording({**context, _DONE: True}):
        locked(uuid)  # otherwise a change that CKAN has committed could be queued behind the purge
        _add(uuid, None, context, "Purge")


#: Marks the context of a change that cannot be refused any more.
_DONE = "metastore_done"


def _add(uuid: str, package: Any, context: Any, default: str) -> None:
    outbox.add(_change(uuid, package, context, default), context.get("user") or "")


def _change(uuid: str, package: Any, context: Any, default: str, **said: Any) -> Change:
    who = author(context.get("user"), emails=settings.current().emails)
    message = context.get(MESSAGE) or _kept_until_now(uuid, package) or default
    return Change(uuid, package, who, message, datetime.now(UTC), **said)


# The forms for a new dataset make a draft first, which has no versions. Its message is that of the first version.


def _keep_for_later(uuid: str, message: str | None) -> None:
    if message and has_request_context():
        session[MESSAGE] = {**session.get(MESSAGE, {}), uuid: message}


def _kept_until_now(uuid: str, package: Any) -> str | None:
    if not has_request_context() or uuid not in session.get(MESSAGE, {}) or not package or package["state"] != "active":
        return None
    messages = dict(session[MESSAGE])
    message = messages.pop(uuid)
    session[MESSAGE] = messages
    return str(message)


def _is_recording(context: Any) -> bool:
    """Return whether changes are recorded, as the settings are; refuse one that must not be made without MetaStore."""
    try:
        found = settings.current()
        if found.must_succeed and _DONE not in context:
            breaker.call(found.url, found.patience, settings.recorder().check)
        return outbox.is_ready()
    except metastore.MetastoreError as error:
        if tk.config.get("ckanext.metastore.on_failure") == "fail" and _DONE not in context:
            model.Session.rollback()  # as CKAN's actions do when they refuse
            told = tk._("The change could not be recorded: {reason}").format(reason=plainly(error))
            raise tk.ValidationError({"metastore": [told]}) from error
        log.error("datasets are not recorded: %s: %s", type(error).__name__, error)
        return False
