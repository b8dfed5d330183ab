"""Search the datasets of the portal as they were at a moment. Docstrings are CKAN's help texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ckan.plugins.toolkit as tk
from ckanext.metastore import settings
from ckanext.metastore.errors import speaking_ckan
from ckanext.metastore.reading import answer, versions_of

import metastore
from metastore.search.values import Hit

#: How many datasets one call returns at most.
_MOST = 50


@tk.side_effect_free
def dataset_version_search(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Search the datasets as they were at a given time. Users must be signed in, since a search reads many versions.

    :param at: the time, such as 2026-11-01
    :param q: words that the dataset must all contain (optional, default: all datasets)
    :param after: `following` of the previous page (optional)
    :rtype: dictionary with results (dictionaries with id, name, title, revision, created) and following. Datasets that
        the user may not see are left out, so a page can have fewer results than others, or none
    """
    tk.check_access("dataset_version_search", context, data_dict)
    at = tk.get_or_bust(data_dict, "at")
    with speaking_ckan():
        recorder = settings.recorder()
        found = answer(
            lambda: recorder.store.dataset_search(
                data_dict.get("q") or "",
                owner=recorder.owner,
                at=at,
                order="id",
                after=data_dict.get("after") or None,
                limit=_MOST,
            )
        )
        results = [each for hit in found.hits for each in _visible(context, recorder.store, hit)]
    return {"results": results, "following": found.following}


def _visible(context: Any, store: metastore.Store, hit: Hit) -> Iterator[dict[str, Any]]:
    """Yield what the caller may know of a dataset that was found, if anything."""
    descriptor = answer(lambda: store.dataset_read(hit.id, hit.revision)).descriptor
    try:
        tk.check_access("package_show", {**context}, {"id": descriptor["id"]})
        versions = versions_of(context, descriptor["id"])
        answer(lambda: versions.read(hit.revision))
    except (tk.ObjectNotFound, tk.NotAuthorized, metastore.NotFound, metastore.StorageUnavailable):
        return
    yield {
        "id": descriptor["id"],
        "name": descriptor.get("name"),
        "title": hit.title,
        "revision": hit.revision,
        "created": hit.changed.isoformat(),
    }
