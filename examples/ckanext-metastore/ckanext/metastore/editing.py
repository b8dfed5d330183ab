"""Two people who edit a dataset at once: the second one is told what the first one has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model
from ckanext.metastore import portal, seen
from ckanext.metastore.errors import speaking_ckan
from ckanext.metastore.labels import in_words, label, labels_of, on_one_line
from ckanext.metastore.reading import answer, versions_of
from ckanext.metastore.record import recorded

import metastore

#: The member of a form that has the digest of what the form showed.
SEEN = "metastore_seen"
#: How many versions back the state is looked for that a form showed.
_FARTHEST = 50


class ChangedMeanwhile(tk.ValidationError):
    """Somebody else has changed what a form shows.

    Attributes:
        now: The digest for the form that is shown again: saved as it is, it replaces what the other one wrote.
    """

    def __init__(self, now: str, by: Sequence[str], changes: Mapping[str, str]) -> None:
        who = ", ".join(by) or tk._("Somebody")
        told = tk._(
            "{who} saved a change after you opened this form. Your input is kept: save again to replace theirs."
        )
        text = told.format(who=who)
        summary = {tk._("Changed meanwhile"): text, **changes}
        super().__init__({SEEN: [text, *(f"{field}: {values}" for field, values in changes.items())]}, summary)
        self.now = now


def shown_in_form(data: Mapping[str, Any]) -> str:
    """Return the digest that a form carries: of the state that it was opened with.

    Args:
        data: The dataset or resource that the form shows; its input, if it is shown again.
    """
    if data.get(SEEN):
        return str(data[SEEN])
    resource_id = data["id"] if "package_id" in data else ""
    package = portal.shown(data["package_id"] if resource_id else data["id"])
    return seen.digest(recorded(package), resource_id)


def refuse_if_changed(context: Any, digest: str, data_dict: Mapping[str, Any], *, resource: bool) -> None:
    """Hold the dataset, and refuse a form that was opened before somebody else changed what it shows.

    Args:
        context: The context of the action that the form calls.
        digest: What the form carries.
        data_dict: What the action is called with.
        resource: Whether the form is that of a resource.

    Raises:
        ChangedMeanwhile: It was.
    """
    resource_id = (data_dict.get("id") or "") if resource else ""
    row = model.Resource.get(resource_id) if resource_id else None
    package_id = row.package_id if row else data_dict.get("id") or data_dict.get("name")
    if not package_id or (resource and row is None):
        return  # the action says what is wrong
    tk.check_access("package_update", {**context}, {"id": package_id})
    package = portal.shown(portal.locked(package_id).id)
    now = seen.digest(recorded(package), resource_id)
    if now != digest:
        by, changes = _told(context, digest, package, resource_id)
        model.Session.rollback()  # as CKAN's actions do when they refuse
        raise ChangedMeanwhile(now, by, changes)


def _told(context: Any, digest: str, package: Mapping[str, Any], resource_id: str) -> tuple[list[str], dict[str, str]]:
    """Return who has changed what, as far as MetaStore knows."""
    try:
        with speaking_ckan():
            versions = versions_of(context, package["id"])
            newer, opened = answer(lambda: versions.after(digest, resource_id, limit=_FARTHEST))
    except (tk.ValidationError, tk.ObjectNotFound, tk.NotAuthorized, metastore.MetastoreError):
        return [], {}
    names = labels_of(package["type"])
    changes = [asdict(change) for change in seen.changes(opened, package, resource_id)]
    said = tk._("now {new}, {old} when you opened the form")
    told = {}
    for change in changes:
        values = {side: on_one_line(in_words(change, side, names)) for side in ("new", "old")}
        told[label(change, names)] = said.format(**values)
    return list(dict.fromkeys(revision.author.name for revision in reversed(newer))), told
