"""URLs to storages: the one place that names the backends, each imported on use."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from metastore.errors import InvalidInput
from metastore.parse import make_author
from metastore.storage.base import Storage
from metastore.store import MetaStore
from metastore.types import Author

if TYPE_CHECKING:
    from metastore.bundle.base import BundleRecord
    from metastore.bundle.policy import Groups
    from metastore.bundle.registry import BundleRegistry


def connect(url: str | Path, **options: Any) -> MetaStore:
    """See `metastore.connect`."""
    if is_service(url):
        return _open_service(os.fspath(url), options)
    storage_options = {name: options.pop(name) for name in _STORAGE_OPTIONS if name in options}
    unknown = sorted(set(options) - _STORE_OPTIONS)
    if unknown:
        raise InvalidInput(f"connect has no option {unknown[0]!r}; it has {', '.join(sorted(_ALL_OPTIONS))}")
    return MetaStore(open_storage(url, **storage_options), fallback_author=git_author, **options)


#: What only a store on a Git host takes.
_HOST_OPTIONS = (
    *("token", "app_id", "private_key", "installation", "api_url", "timeout", "patience", "longest"),
    *("private", "description", "topic"),
)
_STORAGE_OPTIONS = ("create", "sync", "cache_bytes", "auto_pack", *_HOST_OPTIONS)
_STORE_OPTIONS = {"author", "lfs_url", "validation", "max_bytes", "clock"}
_ALL_OPTIONS = _STORE_OPTIONS | set(_STORAGE_OPTIONS)


#: What a service decides itself, or what only a local store has.
_REMOTE_OPTIONS = {"author", "token", "timeout", "retries", "max_bytes"}


def is_service(url: str | Path) -> bool:
    """Tell whether a URL names a service somewhere else."""
    return isinstance(url, str) and url.partition("://")[0].lower() in ("http", "https")


def fitting(url: str | Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that the store at this URL has: settings are there for any store."""
    known = _REMOTE_OPTIONS if is_service(url) else _ALL_OPTIONS
    return {name: value for name, value in options.items() if name in known}


def _open_service(url: str, options: dict[str, Any]) -> MetaStore:
    from metastore.client.store import RemoteStore

    if unknown := sorted(set(options) - _REMOTE_OPTIONS):
        raise InvalidInput(f"a service has no option {unknown[0]!r}; it has {', '.join(sorted(_REMOTE_OPTIONS))}")
    return cast("MetaStore", RemoteStore(url, **options))  # it has the same calls, and no storage


def open_storage(url: str | Path, **options: Any) -> Storage:
    """Open the storage that a URL or path names.

    Raises:
        InvalidInput: The URL is of no known kind.
        StorageUnavailable: It cannot be opened.
    """
    if not isinstance(url, (str, Path)):
        raise InvalidInput(f"a store is named by a path or URL, not {type(url).__name__}")
    text = os.fspath(url)
    if is_service(text):
        raise InvalidInput("this is a service: bundles, backups and checks need the store that it serves")
    scheme = _scheme(text)
    given = [name for name in _HOST_OPTIONS if name in options]
    if given and scheme not in _HOSTS:
        raise InvalidInput(f"only a store on a Git host has the option {given[0]!r}")
    return _BACKENDS[scheme](text, options)


def private_file(url: str | Path, name: str) -> str | None:
    """Return where a local store keeps a file that is no part of it, and in no backup; a store is made if need be.

    Returns:
        The path, or None for a store that is no folder.

    Raises:
        InvalidInput: The URL is none.
        StorageUnavailable: The folder is somebody else's, or no store can be made.
    """
    from metastore.storage.files import storage_errors
    from metastore.storage.layout import Layout

    text = os.fspath(url)
    if _scheme(text) not in ("", "file"):
        return None
    if not text:
        raise InvalidInput("an empty path names no store")
    layout = Layout(os.path.abspath(os.path.expanduser(_path_of(text) if _scheme(text) else text)), sync=True)
    with storage_errors():
        layout.prepare(create=True)
    return layout.private(name)


def _scheme(text: str) -> str:
    scheme = text.partition(":")[0].lower() if "://" in text or text.startswith("memory:") else ""
    if scheme not in _BACKENDS:
        known = ", ".join(f"{name}:" for name in sorted(_BACKENDS) if name)
        raise InvalidInput(f"no storage is called {scheme!r}: give a path, or one of {known}")
    return scheme


def _open_path(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.git import GitStorage

    if not text:
        raise InvalidInput("an empty path names no store")
    return GitStorage(os.path.expanduser(text), **options)


def _open_file(text: str, options: dict[str, Any]) -> Storage:
    return _open_path(_path_of(text), options)


def _path_of(text: str) -> str:
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InvalidInput(f"a file URL has three slashes and an absolute path: file:///var/lib/metastore, not {text}")
    return unquote(parts.path)


def _open_memory(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.memory import MemoryStorage

    return MemoryStorage()


def _open_github(text: str, options: dict[str, Any]) -> Storage:
    with _extra("github"):
        import httpx  # noqa: F401 - says early what is missing

        from metastore.storage.github_connect import open_github
    return open_github(text, **{name: options[name] for name in ("cache_bytes", *_HOST_OPTIONS) if name in options})


def _open_gitlab(text: str, options: dict[str, Any]) -> Storage:
    with _extra("gitlab"):
        import httpx  # noqa: F401 - says early what is missing

        from metastore.storage.gitlab_connect import open_gitlab
    for name in ("app_id", "private_key", "installation"):
        if name in options:
            raise InvalidInput(f"a store on GitLab has no option {name!r}: it takes a token")
    return open_gitlab(text, **{name: options[name] for name in ("cache_bytes", *_HOST_OPTIONS) if name in options})


_HOSTS = {"github", "gitlab"}
_BACKENDS: dict[str, Callable[[str, dict[str, Any]], Storage]] = {
    "": _open_path,
    "file": _open_file,
    "memory": _open_memory,
    "github": _open_github,
    "gitlab": _open_gitlab,
}


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


def connect_bundles(url: str | Path, groups: Groups, **options: Any) -> BundleRegistry:
    """See `metastore.bundle.connect`."""
    from metastore.bundle.registry import BundleRegistry
    from metastore.bundle.versioned import VersionedRecord
    from metastore.storage.git import GitStorage

    clock = {"clock": options.pop("clock")} if "clock" in options else {}
    if re.match(r"(host|hostaddr|port|dbname|user|service)\s*=", os.fspath(url)):
        raise InvalidInput("write a database as a URL: postgresql://user@host/dbname")
    if os.fspath(url).startswith(("postgresql://", "postgres://")):
        return BundleRegistry(_open_postgres(os.fspath(url), options), groups, **clock)
    if unknown := sorted(set(options) - set(_STORAGE_OPTIONS)):
        raise InvalidInput(f"connect has no option {unknown[0]!r}; it has {', '.join(('clock', *_STORAGE_OPTIONS))}")
    storage = open_storage(url, **options)
    # Beside the repository; it is no part of the record.
    index = storage.layout.private("bundles.sqlite") if isinstance(storage, GitStorage) else None
    return BundleRegistry(VersionedRecord(storage, index), groups, **clock)


def migrate_bundles(dsn: str, role: str | None) -> tuple[str, ...]:
    """See `metastore.bundle.migrate.migrate`."""
    with _extra("postgres"):
        from metastore.bundle.migrate import migrate
    return migrate(dsn, role=role)


def _open_postgres(url: str, options: dict[str, Any]) -> BundleRecord:
    options.pop("create", None)  # a database is made by migrating it
    if unknown := sorted(set(options) - {"pool_size", "patience"}):
        raise InvalidInput(f"a database has no option {unknown[0]!r}; it has patience and pool_size")
    with _extra("postgres"):
        from metastore.bundle.postgres import PostgresRecord
    record = PostgresRecord(url, **options)
    record.check()
    return record


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra brings a package that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(f"there is no {error.name}: install MetaStore with its extra [{name}]") from None
