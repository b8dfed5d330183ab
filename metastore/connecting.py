"""Opens stores of datasets by URL: a storage with the calls on top of it, or a remote service."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Any

from metastore.errors import InvalidInput
from metastore.parse import make_author
from metastore.storage.connect import (
    DATABASE_OPTIONS,
    STORAGE_OPTIONS,
    folder_name,
    is_database,
    is_folder,
    is_service,
    open_storage,
    options_of,
)
from metastore.store.base import Store
from metastore.store.store import MetaStore
from metastore.types import Author


def connect(url: str | Path, **options: Any) -> Store:
    """See `metastore.connect`."""
    if is_service(url):
        return _open_service(os.fspath(url), options)
    _check(options, _ALL_OPTIONS, "connect", lambda: {*_STORE_OPTIONS, *options_of(url)})
    if (cache := options.pop("cache", None)) is not None:
        options["cache"] = _cache_of(os.fspath(url), os.fspath(cache), options.get("api_url"))
    storage_options = {name: options.pop(name) for name in STORAGE_OPTIONS if name in options}
    storage = open_storage(url, **storage_options)
    return MetaStore(storage, fallback_author=git_author, url=shown(os.fspath(url)), **options)


def _cache_of(url: str, cache: str, api_url: str | None) -> str | None:
    """Return the folder of one store in a user's cache; None for a store in a folder of its own, or in memory."""
    if is_folder(url) or url.startswith(("memory:", ":memory:")):
        return None
    place, _, query = url.partition("?")
    further = sorted(part for part in query.split("&") if re.match(r"(host|hostaddr|port|dbname|service)=", part))
    return os.path.join(cache, folder_name("/".join(filter(None, (place, *further, api_url)))))


def shown(url: str) -> str:
    """Return a URL without the secrets that it can hold: user, password and query."""
    scheme, colon, rest = url.partition("://")
    if not colon:
        return "" if "=" in url else url  # a path, or libpq's key=value …
    place, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def _check(options: Mapping[str, Any], known: Set[str], who: str, listed: Callable[[], Set[str]] | None = None) -> None:
    """Refuse an option that is not known; the message names a similar one, or lists those that fit the store."""
    for name in sorted(set(options) - known):
        from difflib import get_close_matches

        near = get_close_matches(name, sorted(known), 1)
        advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(listed() if listed else known))}"
        raise InvalidInput(f"{who} has no option {name!r}: {advice}")


_STORE_OPTIONS = {
    *("author", "cache", "lfs_url", "validation", "profiles", "version_rule", "grades", "max_bytes", "clock"),
}
_ALL_OPTIONS = _STORE_OPTIONS | set(STORAGE_OPTIONS)


#: The options of a remote service; it decides the others itself.
_REMOTE_OPTIONS = {"author", "token", "timeout", "retries", "max_bytes"}


def fitting(url: str | Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the store at this URL accepts. Settings may contain others too."""
    known = _REMOTE_OPTIONS if is_service(url) else _ALL_OPTIONS
    known = known if is_database(url) else known - set(DATABASE_OPTIONS)
    return {name: value for name, value in options.items() if name in known}


def _open_service(url: str, options: dict[str, Any]) -> Store:
    from metastore.client.store import RemoteStore

    _check(options, _REMOTE_OPTIONS, "a service")
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
