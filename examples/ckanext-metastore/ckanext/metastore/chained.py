"""CKAN's own writing actions, chained to record what its hooks do not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model
from ckanext.metastore import files, portal
from ckanext.metastore.editing import SEEN, ChangedMeanwhile, refuse_if_changed
from ckanext.metastore.groups import recorded_group
from ckanext.metastore.portal import MESSAGE

import metastore
from metastore.parse import make_message

Action = Callable[[Any, dict[str, Any]], Any]


def _with_message(name: str) -> Action:
    """Take what the extension's fields of a form say out of a call, where CKAN would keep it as fields."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        return _call_with_message(original, context, data_dict, name=name)

    action.__name__ = name
    return tk.chained_action(action)


def _call_with_message(original: Action, context: Any, data_dict: dict[str, Any], *, name: str = "") -> Any:
    """Pass the message of a call to the hook, and refuse the form of somebody who has not seen the newest state."""
    message, digest, outer = data_dict.pop(MESSAGE, None), data_dict.pop(SEEN, None), context.get(MESSAGE)
    if message:
        context[MESSAGE] = _checked(message)
    try:
        if digest and name in _FORMS:
            refuse_if_changed(context, digest, data_dict, resource=name.startswith("resource"))
        return original(context, data_dict)
    except tk.ValidationError as error:
        if isinstance(error, ChangedMeanwhile):
            digest = error.now
        again = {MESSAGE: message, SEEN: digest}  # the form shows them again
        data_dict.update({field: value for field, value in again.items() if value})
        raise
    finally:
        context[MESSAGE] = outer  # the next call in this context is another change


def _checked(message: Any) -> str:
    try:
        return make_message(message)
    except metastore.InvalidInput as error:
        raise tk.ValidationError({MESSAGE: [str(error)]}) from error


@tk.chained_action
def resource_delete(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
    """Delete a resource. CKAN expects a refusal to be about resources, and breaks at one that is not."""
    try:
        return _call_with_message(original, context, data_dict)
    except KeyError as error:
        if isinstance(error.__context__, tk.ValidationError):
            raise error.__context__ from None
        raise


def _bulk(name: str, done: str) -> Action:
    """Record datasets that CKAN changes past its own hooks."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        with portal.recording(data_dict.get("datasets", []), context, done):
            return original(context, data_dict)

    action.__name__ = name
    return tk.chained_action(action)


@tk.chained_action
def dataset_purge(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
    package = model.Package.get(tk.get_or_bust(data_dict, "id"))
    if package is None:
        return original(context, data_dict)
    uuid = package.id
    tk.check_access("dataset_purge", {**context}, {"id": uuid})  # before the row is held
    portal.purge(uuid, context)
    try:
        result = original(context, data_dict)
    except Exception:
        model.Session.rollback()  # or else the history would be removed by the next commit
        raise
    files.forget(uuid)
    return result


@tk.chained_action
def package_owner_org_update(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
    """`package_create` and `package_update` call this too, before their own hook."""
    if context.get("defer_commit"):
        return original(context, data_dict)
    with portal.recording([data_dict.get("id")], context, "Change the organisation"):
        return original(context, data_dict)


def _members(name: str, done: str) -> Action:
    """Record a dataset that is put into a group, or taken out of it."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        if data_dict.get("object_type") != "package" or context.get("defer_commit"):
            return original(context, data_dict)
        with portal.recording([data_dict.get("object")], context, done):
            return original(context, data_dict)

    action.__name__ = name
    return tk.chained_action(action)


#: The actions that forms call with what they show.
_FORMS = ("package_update", "package_patch", "resource_update", "resource_patch")
_NAMES = (
    *_FORMS,
    "package_create",
    "package_revise",
    "package_resource_reorder",
    "resource_create",
)
CHAINED: dict[str, Any] = {
    **{name: _with_message(name) for name in _NAMES},
    "resource_delete": resource_delete,
    "bulk_update_private": _bulk("bulk_update_private", "Make private"),
    "bulk_update_public": _bulk("bulk_update_public", "Make public"),
    "bulk_update_delete": _bulk("bulk_update_delete", "Delete dataset"),
    "member_create": _members("member_create", "Put into a group"),
    "member_delete": _members("member_delete", "Take out of a group"),
    "organization_update": recorded_group("organization_update", "Change the organisation's name"),
    "organization_delete": recorded_group("organization_delete", "Remove the organisation"),
    "organization_purge": recorded_group("organization_purge", "Remove the organisation"),
    "group_update": recorded_group("group_update", "Change a group's name"),
    "group_delete": recorded_group("group_delete", "Remove a group"),
    "group_purge": recorded_group("group_purge", "Remove a group"),
    "dataset_purge": dataset_purge,
    "package_owner_org_update": package_owner_org_update,
}
