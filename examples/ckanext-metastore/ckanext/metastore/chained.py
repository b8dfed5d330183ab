"""CKAN's own writing actions, and what becomes of the record besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model
from ckanext.metastore import portal
from ckanext.metastore.portal import MESSAGE

Action = Callable[[Any, dict[str, Any]], Any]


def _with_message(name: str) -> Action:
    """Take what changed out of the call, where CKAN would keep it as a field, and hand it to the hook."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        message = data_dict.pop(MESSAGE, None)
        if message:
            context[MESSAGE] = message
        try:
            return original(context, data_dict)
        except tk.ValidationError:
            if message:
                data_dict[MESSAGE] = message  # the form shows it again
            raise

    action.__name__ = name
    return tk.chained_action(action)


def _bulk(name: str, done: str) -> Action:
    """Record datasets that CKAN changes past its own hooks."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        result = original(context, data_dict)
        for package_id in data_dict.get("datasets", []):
            portal.record_afterwards(package_id, context, done)
        return result

    action.__name__ = name
    return tk.chained_action(action)


@tk.chained_action
def dataset_purge(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
    package = model.Package.get(tk.get_or_bust(data_dict, "id"))
    if package is None:
        return original(context, data_dict)
    uuid = package.id
    result = original(context, data_dict)
    portal.purge(uuid, context)
    return result


@tk.chained_action
def package_owner_org_update(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
    """`package_create` and `package_update` call this too, before their own hook."""
    result = original(context, data_dict)
    if not context.get("defer_commit"):
        portal.record_afterwards(data_dict["id"], context, "Change the organisation")
    return result


def _members(name: str, done: str) -> Action:
    """Record a dataset that is put into a group, or taken out of it."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        result = original(context, data_dict)
        if data_dict.get("object_type") == "package" and not context.get("defer_commit"):
            portal.record_afterwards(data_dict["object"], context, done)
        return result

    action.__name__ = name
    return tk.chained_action(action)


def _organization(name: str) -> Action:
    """Let the datasets of a renamed organisation follow it."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        before = _called(data_dict.get("id"))
        result = original(context, data_dict)
        if before and _called(before[0]) != before:
            of_it = model.Session.query(model.Package.id).filter_by(owner_org=before[0], state="active")
            for (package_id,) in of_it.all():
                portal.record_afterwards(package_id, context, "Change the organisation's name")
        return result

    action.__name__ = name
    return tk.chained_action(action)


def _called(group_id: Any) -> tuple[str, str, str] | None:
    group = model.Group.get(group_id) if group_id else None
    return (group.id, group.name, group.title) if group else None


_NAMES = ("package_create", "package_update", "resource_create", "resource_update")
CHAINED: dict[str, Any] = {
    **{name: _with_message(name) for name in _NAMES},
    "bulk_update_private": _bulk("bulk_update_private", "Make private"),
    "bulk_update_public": _bulk("bulk_update_public", "Make public"),
    "bulk_update_delete": _bulk("bulk_update_delete", "Delete dataset"),
    "member_create": _members("member_create", "Put into a group"),
    "member_delete": _members("member_delete", "Take out of a group"),
    "organization_update": _organization("organization_update"),
    "organization_patch": _organization("organization_patch"),
    "dataset_purge": dataset_purge,
    "package_owner_org_update": package_owner_org_update,
}
