"""Search the datasets of the portal as they were at a moment. Docstrings are CKAN's help texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import ckan.plugins.toolkit as tk
from ckanext.metastore import settings
from ckanext.metastore.errors import speaking_ckan
from ckanext.metastore.reading import answer, versions_of
from ckanext.metastore.sync import Recorder

import metastore
from metastore.search.values import Hit, Results

#: How many datasets one call returns at most, and how long it looks for them, in seconds.
_MOST, _PATIENCE = 50, 10.0


@tk.side_effect_free
def dataset_version_search(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Search the datasets as they were at a given time. Users must be signed in, since a search reads many versions.

    :param at: the time, such as 2026-11-01
    :param q: words that the dataset must all contain (optional, default: all datasets)
    :param after: `following` of the previous page (optional)
    :rtype: dictionary with results (at most 50 dictionaries with id, name, title, revision, created) and following,
        which is null on the last page. Datasets that the user may not see are left out
    """
    tk.check_access("dataset_version_search", context, data_dict)
    at, after = tk.get_or_bust(data_dict, "at"), data_dict.get("after") or None
    if not isinstance(after, str | None):
        raise tk.ValidationError({"after": ["must be text"]})
    with speaking_ckan():
        recorder = settings.recorder()

        def page(after: str | None, limit: int) -> Results:
            asked: dict[str, Any] = {"owner": recorder.owner, "at": at, "order": "id", "after": after, "limit": limit}
            return answer(lambda: recorder.store.dataset_search(data_dict.get("q") or "", **asked))

        visible = _all_visible(context, recorder, page, after)
        found = list(islice(visible, _MOST + 1))
        # It names the last one shown, not the next one found, which the user may not be allowed to see.
        following = page(*found[_MOST - 1][1:]).following if len(found) > _MOST else None
    return {"results": [each for each, _, _ in found[:_MOST]], "following": following}


def _all_visible(
    context: Any, recorder: Recorder, page: Callable[[str | None, int], Results], after: str | None
) -> Iterator[tuple[dict[str, Any], str | None, int]]:
    """Yield what the caller may know of each dataset found, the `after` of its page, and its number there, from 1."""
    end = time.monotonic() + _PATIENCE
    while True:
        found = page(after, _MOST)
        for number, hit in enumerate(found.hits, 1):
            for each in _visible(context, recorder, hit):
                yield each, after, number
        if found.following is None:
            return
        if time.monotonic() > end:
            raise tk.ValidationError({"q": [tk._("The search takes too long. Use more words")]})
        after = found.following


def _visible(context: Any, recorder: Recorder, hit: Hit) -> Iterator[dict[str, Any]]:
    """Yield what the caller may know of a dataset that was found, if anything."""
    try:
        descriptor = answer(lambda: recorder.store.dataset_read(hit.id, hit.revision)).descriptor
        uuid = descriptor.get("id")
        if not uuid or recorder.id_of(uuid) != hit.id:
            return  # CKAN has not written it
        tk.check_access("package_show", {**context}, {"id": uuid})
        versions = versions_of(context, uuid)
        answer(lambda: versions.read(hit.revision))
    except (tk.ObjectNotFound, tk.NotAuthorized, metastore.NotFound, metastore.StorageUnavailable):
        return
    yield {
        "id": uuid,
        "name": descriptor.get("name"),
        "title": hit.title,
        "revision": hit.revision,
        "created": hit.changed.isoformat(),
    }
