"""Who may do what: whoever may see a dataset may see its versions, whoever may change it may restore and tag them."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk


@tk.auth_allow_anonymous_access
def see(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    tk.check_access("package_show", context, {"id": data_dict["id"]})
    return {"success": True}


def change(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    tk.check_access("package_update", context, {"id": data_dict["id"]})
    return {"success": True}


FUNCTIONS = {
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
    **dict.fromkeys(("dataset_revert", "dataset_tag_create", "dataset_tag_update", "dataset_tag_delete"), change),
}
