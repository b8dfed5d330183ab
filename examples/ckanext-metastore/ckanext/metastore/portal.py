"""CKAN's side: datasets as it has them, who changes them, and where MetaStore has them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model
from ckanext.metastore import settings
from ckanext.metastore.authors import author
from ckanext.metastore.errors import plainly
from ckanext.metastore.patience import within
from ckanext.metastore.sync import Outcome, Recorder

import metastore

log = logging.getLogger(__name__)

#: The field of a form or call that says what changed.
MESSAGE = "metastore_message"


def shown(package_id: str) -> dict[str, Any]:
    """Return a dataset as CKAN shows it, from the database as it is in this transaction."""
    context: Any = {"ignore_auth": True, "use_cache": False, "model": model, "session": model.Session, "user": ""}
    return tk.get_action("package_show")(context, {"id": package_id})


def why(context: Any, default: str) -> dict[str, Any]:
    """Return author and message of a revision. With a token per user, the service takes the author from that."""
    return {"message": str(context.get(MESSAGE) or default), **author_unless_signed(context.get("user"))}


def author_unless_signed(user: str | None) -> dict[str, Any]:
    """Return the author as an argument of a write, unless a token says who it is."""
    found = settings.current()
    return {} if found.signing_key else {"author": author(user, emails=found.emails)}


def record(package_id: str, context: Any, default: str, **changes: Any) -> None:
    """Record a dataset as it is now, in the middle of the transaction that changes it.

    Args:
        package_id: The dataset's id.
        context: The context of the action that changes it.
        default: The message of the revision, if the caller gave none.
        **changes: Members of the dataset that CKAN changes after its hook.

    Raises:
        tk.ValidationError: MetaStore could not record it, and the settings say that CKAN's change fails then.
    """

    def run(recorder: Recorder) -> Outcome:
        dataset = {**shown(locked(package_id).id), **changes}
        reasons = why(context, default)
        return within(settings.current().patience, lambda: recorder.record(dataset, **reasons))

    _attempt(context, package_id, run)


def purge(uuid: str, context: Any) -> None:
    """Remove a dataset's history, after CKAN has removed the dataset: what cannot be is left to `reconcile --purge`."""

    def run(recorder: Recorder) -> Outcome:
        reasons = why(context, "Purge")
        return within(settings.current().patience, lambda: recorder.purge(recorder.id_of(uuid), **reasons))

    _attempt(context, uuid, run, must_succeed=False)


def record_afterwards(package_id: str, context: Any, default: str) -> None:
    """Record a dataset after a change that CKAN has committed already, so that it cannot fail any more."""
    with suppress(tk.ValidationError):  # it is in the log
        record(package_id, context, default)
    model.Session.commit()  # frees the row


def locked(package_id: str) -> Any:
    """Hold a dataset's row until the transaction ends, so that revisions have the order of CKAN's changes."""
    model.Session.flush()
    package = model.Package.get(package_id, for_update=True)
    if package is None:
        raise tk.ObjectNotFound("Dataset not found")
    model.Session.expire_all()  # what waited for the row has read what was before
    return package


def _attempt(context: Any, what: str, run: Callable[[Recorder], Outcome], *, must_succeed: bool | None = None) -> None:
    try:
        found = settings.current()
        outcome = run(settings.recorder(context.get("user")))
    except metastore.MetastoreError as error:
        if must_succeed is None:
            must_succeed = tk.config.get("ckanext.metastore.on_failure") == "fail"
        log.error("MetaStore has not recorded %s: %s: %s", what, type(error).__name__, error)
        if must_succeed:
            model.Session.rollback()  # as CKAN's actions do when they refuse
            raise tk.ValidationError({"metastore": [f"The change could not be recorded: {plainly(error)}"]}) from error
    else:
        log.info("%s: %s in %s", outcome.dataset_id, outcome.action, found.url.rpartition("@")[2])
