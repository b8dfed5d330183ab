"""Authorize the actions on versions.

Those who may see a dataset may see its versions, and those who may change it may restore and tag them. Versions of
a time when the dataset was private are for those who could see it then: in another organisation, that means others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import authz, model
from ckan.lib.plugins import get_permission_labels


@tk.auth_allow_anonymous_access
def see(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    tk.check_access("package_show", context, {"id": data_dict["id"]})
    return {"success": True}


def change(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    tk.check_access("package_update", context, {"id": data_dict["id"]})
    return {"success": True}


def search(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    return {"success": True}  # to everybody who is signed in: CKAN asks for anonymous readers itself


class _AsPrivate:
    """A dataset as it would be if it were private and in an organisation, given by its id."""

    private = True

    def __init__(self, package: Any, owner_org: str) -> None:
        self._package, self.owner_org = package, owner_org

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package, name)


def reader_of_private(context: Any, package: Any) -> Callable[[str], bool] | None:
    """Return whether the caller could see a dataset if it were private, by the id of its organisation.

    Args:
        context: The context of an action.
        package: The row of the dataset.

    Returns:
        A function that takes the id, which is empty for a dataset without an organisation; None if the caller may see
        every dataset.
    """
    user = context.get("user")
    if context.get("ignore_auth") or authz.is_sysadmin(user):
        return None
    labels = get_permission_labels()
    own = {*labels.get_user_dataset_labels(model.User.get(user) if user else None)}
    return cache(lambda owner_org: not own.isdisjoint(labels.get_dataset_labels(_AsPrivate(package, owner_org))))


FUNCTIONS = {
    "dataset_version_search": search,
    **dict.fromkeys(
        (
            "dataset_revision_list",
            "dataset_revision_show",
            "dataset_revision_diff",
            "dataset_tag_list",
            "dataset_tag_show",
        ),
        see,
    ),
    **dict.fromkeys(
        ("dataset_revert", "dataset_undo", "dataset_tag_create", "dataset_tag_update", "dataset_tag_delete"), change
    ),
}
