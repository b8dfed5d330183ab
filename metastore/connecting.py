"""Open stores of datasets by URL: a storage with the calls on top of it, or a remote service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from metastore.errors import InvalidInput
from metastore.parse import make_author
from metastore.storage.connect import DATABASE_OPTIONS, STORAGE_OPTIONS, is_database, is_service, open_storage
from metastore.store.base import Store
from metastore.store.store import MetaStore
from metastore.types import Author


def connect(url: str | Path, **options: Any) -> Store:
    """See `metastore.connect`."""
    if is_service(url):
        return _open_service(os.fspath(url), options)
    storage_options = {name: options.pop(name) for name in STORAGE_OPTIONS if name in options}
    unknown = sorted(set(options) - _STORE_OPTIONS)
    if unknown:
        raise InvalidInput(f"connect has no option {unknown[0]!r}; it has {', '.join(sorted(_ALL_OPTIONS))}")
    return MetaStore(open_storage(url, **storage_options), fallback_author=git_author, **options)


_STORE_OPTIONS = {"author", "lfs_url", "validation", "profiles", "version_rule", "grades", "max_bytes", "clock"}
_ALL_OPTIONS = _STORE_OPTIONS | set(STORAGE_OPTIONS)


#: The options of a remote service; it decides the others itself.
_REMOTE_OPTIONS = {"author", "token", "timeout", "retries", "max_bytes"}


def fitting(url: str | Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the store at this URL takes: settings may name others too."""
    known = _REMOTE_OPTIONS if is_service(url) else _ALL_OPTIONS
    known = known if is_database(url) else known - set(DATABASE_OPTIONS)
    return {name: value for name, value in options.items() if name in known}


def _open_service(url: str, options: dict[str, Any]) -> Store:
    from metastore.client.store import RemoteStore

    if unknown := sorted(set(options) - _REMOTE_OPTIONS):
        raise InvalidInput(f"a service has no option {unknown[0]!r}; it has {', '.join(sorted(_REMOTE_OPTIONS))}")
    return RemoteStore(url, **options)


@cache
def git_author() -> Author | None:
    """Return the author that Git's own configuration names (git-config(1), user.name and user.email), or None."""
    import pygit2

    for find in (pygit2.Config.get_global_config, pygit2.Config.get_xdg_config, pygit2.Config.get_system_config):
        try:
            config = find()
            email = config["user.email"] if "user.email" in config else ""  # noqa: SIM401 - it has no get()
            return make_author((str(config["user.name"]), str(email)))
        except (OSError, KeyError, InvalidInput):
            continue
    return None
