"""Bring back an older version of a dataset, with its uploaded files as far as they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckanext.metastore import files
from ckanext.metastore.reading import answer
from ckanext.metastore.record import is_same_file, restored, uploads
from ckanext.metastore.versions import Versions
from werkzeug.datastructures import FileStorage

Resources = dict[str, dict[str, Any]]


def brought_back(versions: Versions, descriptor: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dictionary for `package_update` that brings back an older version, with the files that were kept.

    Args:
        versions: The versions of the dataset.
        descriptor: The older one.
        now: The dataset as CKAN shows it now.
    """
    newest = _newest_states(versions, descriptor, now)
    package = restored(now, descriptor, _gone(descriptor, now, newest))
    for resource in package["resources"]:
        state = newest.get(resource.get("id"))
        if state and not is_same_file(resource, state) and (kept := files.kept_file(now["id"], resource)):
            resource["upload"] = FileStorage(kept.open("rb"), resource["url"].rpartition("/")[2])
        if files.is_taken(now["id"], resource.get("id")):
            del resource["id"]  # CKAN gives it a new one
    return package


def gone_files(versions: Versions, descriptor: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the ids of those resources whose uploaded files are gone. Arguments as for `brought_back`."""
    return list(_gone(descriptor, now, _newest_states(versions, descriptor, now)))


def _gone(descriptor: Mapping[str, Any], now: Mapping[str, Any], newest: Resources) -> Resources:
    """Return the newest states of the resources whose uploaded files are gone, by id."""
    states = [(each, newest[each["id"]]) for each in uploads(descriptor) if each.get("id") in newest]
    return {state["id"]: state for each, state in states if files.is_gone(now["id"], each, state)}


def _newest_states(versions: Versions, descriptor: Mapping[str, Any], now: Mapping[str, Any]) -> Resources:
    """Return the newest states of resources: as CKAN shows them, or as the last version that has them."""
    there = {each["id"]: each for each in now["resources"]}
    gone = [each["id"] for each in uploads(descriptor) if each.get("id") and each["id"] not in there]
    return {**there, **(answer(lambda: versions.newest_states(gone)) if gone else {})}
