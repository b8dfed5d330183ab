"""Open storages by URL. Only this module names the storages; each is imported on use."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from metastore.errors import InvalidInput, needs_extra
from metastore.parse import split_url
from metastore.storage.port import Storage

_PLAIN_OPTIONS = ("token", "timeout", "patience", "longest")
_APP_OPTIONS = ("app_id", "private_key", "installation")
#: The options of a store on a Git host.
HOST_OPTIONS = (
    *("token", *_APP_OPTIONS, "api_url", "timeout", "patience", "longest"),
    *("private", "description", "topic"),
)
_TOKEN_OPTIONS = tuple(name for name in HOST_OPTIONS if name not in _APP_OPTIONS)
#: The options of a store in a database.
DATABASE_OPTIONS = ("pool_size", "durable", "replicas")
STORAGE_OPTIONS = ("create", "sync", "cache_bytes", "auto_pack", *DATABASE_OPTIONS, *HOST_OPTIONS)


def is_service(url: str | Path) -> bool:
    """Return whether a URL names a remote service."""
    return isinstance(url, str) and url.partition("://")[0].lower() in ("http", "https")


def open_storage(url: str | Path, **options: Any) -> Storage:
    """Open the storage that a URL or path names.

    Raises:
        InvalidInput: The URL or an option is invalid.
        StorageUnavailable: The storage cannot be opened.
    """
    if not isinstance(url, (str, Path)):
        raise InvalidInput(f"a store is named by a path or URL, not {type(url).__name__}")
    text = os.fspath(url)
    if is_service(text):
        raise InvalidInput("this is a service: bundles, backups and checks need the store that it serves")
    if re.match(r"(host|hostaddr|port|dbname|user|service)\s*=", text):
        raise InvalidInput("give the database as a URL: postgresql://user@host/dbname")
    scheme = _scheme(text)
    of_databases = [name for name in DATABASE_OPTIONS if name in options]
    if of_databases and scheme not in _DATABASES:
        raise InvalidInput(f"only a store in a PostgreSQL database has the option {of_databases[0]!r}")
    of_hosts = [name for name in HOST_OPTIONS if name in options and not (name == "patience" and scheme in _DATABASES)]
    if scheme in _HOSTS:
        return _open_on_host(_HOSTS[scheme], _BACKENDS[scheme], text, options)
    if of_hosts:
        raise InvalidInput(f"only a store on a Git host has the option {of_hosts[0]!r}")
    return _BACKENDS[scheme](text, options)


def _open_on_host(host: _Host, opened: _Open, text: str, options: dict[str, Any]) -> Storage:
    for name in HOST_OPTIONS:
        if name in options and name not in host.options:
            advice = ": it takes a token" if name in _APP_OPTIONS else ""
            raise InvalidInput(f"a store on {host.name} has no option {name!r}{advice}")
    with needs_extra(host.extra):
        import httpx  # noqa: F401 - names a missing extra early

        return opened(text, {name: options[name] for name in ("cache_bytes", *host.options) if name in options})


def options_of(url: str | Path) -> tuple[str, ...]:
    """Return the options that the storage at a URL has. Raises InvalidInput: there is no such storage."""
    scheme = _scheme(os.fspath(url))
    if scheme in _DATABASES:
        return ("cache_bytes", "patience", *DATABASE_OPTIONS)
    if scheme in _HOSTS:
        return ("cache_bytes", *_HOSTS[scheme].options)
    return () if scheme == "memory" else ("create", "sync", "cache_bytes", "auto_pack")


def is_database(url: str | Path) -> bool:
    """Return whether a URL names a PostgreSQL database."""
    return isinstance(url, str) and url.partition("://")[0].lower() in _DATABASES


def is_new(url: str | Path) -> bool:
    """Return whether opening a URL makes a new store: its folder is missing or empty, or its creation was cut off."""
    if is_service(url) or _scheme(text := os.fspath(url)) not in ("", "file"):
        return False
    from metastore.storage.local.mark import is_unused

    return is_unused(os.path.expanduser(_path_of(text) if _scheme(text) else text))


def is_same(one: str | Path, other: str | Path) -> bool:
    """Return whether two URLs name one store as far as their text and the file system tell."""
    place = _place(os.fspath(one))
    return place == _place(os.fspath(other)) and not place.startswith(("memory:", ":memory:"))


def _place(url: str) -> str:
    """Return the real path of a folder, or the URL of another store."""
    if is_service(url) or _scheme(url) not in ("", "file"):
        return url.rstrip("/")
    return os.path.realpath(os.path.expanduser(_path_of(url) if _scheme(url) else url))


def folder_name(url: str) -> str:
    """Return the name of a folder for what a program keeps about a store that is in no folder itself.

    The name is the same for each user and password of the store, and another one for another store.
    """
    import hashlib

    scheme, _, rest = url.partition(":")
    place = rest.partition("?")[0].removeprefix("//").rpartition("@")[2]
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", f"{scheme.replace('postgresql', 'postgres')}-{place}").strip("-.")
    return f"{readable[:60]}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def is_folder(url: str | Path) -> bool:
    """Return whether the store at a URL is a folder. Raises InvalidInput: the URL is invalid."""
    return not is_service(url) and _scheme(os.fspath(url)) in ("", "file")


def private_file(url: str | Path, name: str) -> str | None:
    """Return the path of a store's private file, which backups leave out. Create the store if there is none.

    Returns:
        The path, or None if the store is not a folder.

    Raises:
        InvalidInput: The URL is invalid.
        StorageUnavailable: The folder is not a store, or cannot become one.
    """
    from metastore.os_errors import storage_errors
    from metastore.storage.local.layout import Layout

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
    if text == ":memory:":  # as sqlite3 spells it
        return "memory"
    scheme = text.partition(":")[0].lower() if "://" in text or text.startswith("memory:") else ""
    if scheme not in _BACKENDS:
        known = ", ".join(f"{name}:" for name in sorted((*filter(None, _BACKENDS), "https")))
        raise InvalidInput(
            f"no storage is called {scheme!r}: give a path, or an address that begins with one of {known}"
        )
    return scheme


def _open_path(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.local.storage import GitStorage

    if not text:
        raise InvalidInput("an empty path names no store")
    return GitStorage(os.path.expanduser(text), **options)


def _open_file(text: str, options: dict[str, Any]) -> Storage:
    return _open_path(_path_of(text), options)


def _path_of(text: str) -> str:
    parts = split_url(text)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InvalidInput(f"a file URL has three slashes and an absolute path: file:///var/lib/metastore, not {text}")
    return unquote(parts.path)


def _open_memory(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.memory import MemoryStorage

    return MemoryStorage()


def _open_github(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.github.connect import open_github

    return open_github(text, **options)


def _open_gitlab(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.gitlab.storage import open_gitlab

    return open_gitlab(text, **options)


def _open_gitea(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.gitea.storage import open_gitea

    return open_gitea(text, **options)


def _open_plain_git(text: str, options: dict[str, Any]) -> Storage:
    from metastore.storage.plain_git import open_plain_git

    return open_plain_git(text, **options)


def _open_postgres(text: str, options: dict[str, Any]) -> Storage:
    with needs_extra("postgres"):
        from metastore.storage.postgres.storage import PostgresStorage
    names = "cache_bytes", "pool_size", "patience", "replicas"
    storage = PostgresStorage(text, **{name: options[name] for name in names if name in options})
    if (durable := options.get("durable", "warn")) is not None:  # None: it was checked a moment ago
        storage.check(durable)
    return storage


class _Host(NamedTuple):
    """A kind of Git host: its name, the extra that brings what it needs, and the options of a store there."""

    name: str
    extra: str
    options: tuple[str, ...]


_DATABASES = {"postgresql", "postgres"}
_PLAIN = _Host("a plain Git server", "gitlab", _PLAIN_OPTIONS)  # that extra is the HTTP client, and nothing else
_HOSTS = {
    "github": _Host("GitHub", "github", HOST_OPTIONS),
    "gitlab": _Host("GitLab", "gitlab", _TOKEN_OPTIONS),
    "gitea": _Host("Gitea", "gitea", _TOKEN_OPTIONS),
    "git+https": _PLAIN,
    "git+http": _PLAIN,
}
_Open = Callable[[str, dict[str, Any]], Storage]
_BACKENDS: dict[str, _Open] = {
    "": _open_path,
    "file": _open_file,
    "memory": _open_memory,
    "github": _open_github,
    "gitlab": _open_gitlab,
    "gitea": _open_gitea,
    "git+https": _open_plain_git,
    "git+http": _open_plain_git,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}
