"""Which versions a caller of an action may read, and for how long MetaStore is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import ckan.plugins.toolkit as tk
from ckan import model
from ckanext.metastore import outbox, settings
from ckanext.metastore.auth import may_see_private
from ckanext.metastore.authors import author
from ckanext.metastore.patience import breaker
from ckanext.metastore.versions import Versions

T = TypeVar("T")


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
    return Versions(recorder.store, recorder.id_of(package.id), may_see_private(context, package))


def answer(call: Callable[[], T]) -> T:
    """Return what the store answers, within the time that the settings give it."""
    found = settings.current()
    return breaker.call(found.url, found.patience, call)
