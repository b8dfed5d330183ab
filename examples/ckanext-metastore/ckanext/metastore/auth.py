"""Authorize the actions on versions.

Those who may see a dataset may see its versions, and those who may change it may restore and tag them. Versions of
the time when the dataset was private are for those who could see it then.
"""

from __future__ import annotations

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
    """A dataset as it would be if it were private."""

    private = True

    def __init__(self, package: Any) -> None:
        self._package = package

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package, name)


def may_see_private(context: Any, package: Any) -> bool:
    """Return whether the caller could see a dataset if it were private.

    Args:
        context: The context of an action.
        package: The row of the dataset.
    """
    user = context.get("user")
    if context.get("ignore_auth") or authz.is_sysadmin(user):
        return True
    labels = get_permission_labels()
    reader = model.User.get(user) if user else None
    return not {*labels.get_user_dataset_labels(reader)}.isdisjoint(labels.get_dataset_labels(_AsPrivate(package)))


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
