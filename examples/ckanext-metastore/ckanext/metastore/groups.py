"""Records the datasets of a group or an organisation that is renamed or removed: their records name it.

What is recorded is the new name alone, for all datasets by one statement and in the transaction that changes the group.
To read each dataset, as for other changes, would take seconds for an organisation of some hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from ckanext.metastore import portal
from ckanext.metastore.committing import before_commits

Action = Callable[[Any, dict[str, Any]], Any]
Group = dict[str, Any]


@dataclass
class _Watched:
    """A group that an action may change.

    Attributes:
        group: What datasets show of it, as far as it is recorded.
        datasets: The ids of its datasets, before they are taken out of it.
        context: The context of the action.
        done: The message of the revisions.
    """

    group: Group
    datasets: list[str]
    context: Any
    done: str

    def record(self) -> None:
        """Let the datasets be recorded if the group has changed since the last call."""
        model.Session.flush()  # CKAN's sessions do not flush before they read
        if (now := _shown(self.group["id"])) != self.group:
            self.group = now
            portal.record_group(now, self.datasets, self.context, self.done)


def recorded_group(name: str, done: str) -> Action:
    """Chain an action that changes a group or an organisation."""

    def action(original: Action, context: Any, data_dict: dict[str, Any]) -> Any:
        group = model.Group.get(data_dict.get("id"))
        datasets = _datasets(group.id) if group else []
        if not datasets:
            return original(context, data_dict)
        watched = _Watched(_shown(group.id), datasets, context, done)
        with before_commits(watched.record):
            result = original(context, data_dict)
        watched.record()  # if the transaction goes on
        return result

    action.__name__ = name
    return tk.chained_action(action)


def _shown(group_id: str) -> Group:
    """Return what datasets show of a group: its id alone if they do not show it."""
    group = model.Group
    query = sa.select(group.name, group.title, group.state).where(group.id == group_id)
    row = model.Session.execute(query).first()
    if row is None or row.state != "active":
        return {"id": group_id}
    return {"id": group_id, "name": row.name, "title": row.title}


def _datasets(group_id: str) -> list[str]:
    """Return the datasets of an organisation or a group."""
    owned = sa.select(model.Package.id).where(model.Package.owner_org == group_id)
    members = sa.select(model.Member.table_id).where(
        model.Member.group_id == group_id, model.Member.table_name == "package", model.Member.state == "active"
    )
    return sorted(model.Session.execute(owned.union(members)).scalars())
