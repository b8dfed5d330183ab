"""What the actions begin with: access, the versions that the caller may read, and how long MetaStore is waited for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import ckan.plugins.toolkit as tk
from ckan import model
from ckanext.metastore import outbox, portal, settings
from ckanext.metastore.auth import reader_of_private
from ckanext.metastore.authors import author
from ckanext.metastore.errors import speaking_ckan
from ckanext.metastore.patience import breaker
from ckanext.metastore.versions import Versions

T = TypeVar("T")

#: What PostgreSQL can be asked for. For anything else CKAN's own actions break.
_TEXT = re.compile(r"[^\0\ud800-\udfff]*")


@contextmanager
def allowed(action: str, context: Any, data_dict: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Check access to a dataset, and turn MetaStore's errors into CKAN's.

    Yields the call with the id of the dataset in place of its name. Otherwise the name could pass to another dataset
    between the check and what is read.

    Args:
        action: The action that is called.
        context: Its context.
        data_dict: What it is called with.
    """
    package = model.Package.get(text(data_dict, "id"))
    called = {**data_dict, "id": package.id} if package else data_dict
    tk.check_access(action, context, called)
    with speaking_ckan():
        yield called


def text(data_dict: dict[str, Any], name: str) -> str:
    """Return an id or a name from a call, or refuse the call."""
    value = tk.get_or_bust(data_dict, name)
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise tk.ValidationError({name: ["must be text, without NUL and halves of surrogate pairs"]})
    return value


def seen_now(context: Any, data_dict: dict[str, Any]) -> tuple[Versions, dict[str, Any]]:
    """Return the versions that the caller may see of a dataset, and the dataset as CKAN has it now."""
    return versions_of(context, data_dict["id"]), portal.shown(data_dict["id"])


def fresh(context: Any) -> Any:
    """Return the context for another action of the same caller."""
    kept = ("user", "auth_user_obj", "ignore_auth")
    return {**{name: context[name] for name in kept if name in context}, "model": model, "session": model.Session}


def versions_of(context: Any, package_id: str) -> Versions:
    """Return the versions of a dataset that a caller may see. What waits to be recorded is recorded before.

    Args:
        context: The context of the caller's action.
        package_id: The id or the name of the dataset.
    """
    package = model.Package.get(package_id)
    if package is None:
        raise tk.ObjectNotFound("Dataset not found")
    outbox.drain_before_reading(package.id)
    user = context.get("user") or ""
    recorder = settings.recorder(user, author(user, emails=settings.current().emails))
    return Versions(recorder.store, recorder.id_of(package.id), reader_of_private(context, package))


def answer(call: Callable[[], T]) -> T:
    """Return what the store answers, within the time that the settings give it."""
    found = settings.current()
    return breaker.call(found.url, found.patience, call)
