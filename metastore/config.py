"""Settings from the environment; the only module that reads it.

| variable | means | otherwise |
|---|---|---|
| `METASTORE_URL` | the store | `./metastore-data` |
| `METASTORE_AUTHOR` | who writes, as `Name <email>` | Git's own configuration |
| `METASTORE_LFS_URL` | a Git LFS server, with `{owner}` and `{name}` in it | no files for Git LFS |
| `METASTORE_VALIDATION` | `off`, `warn` or `strict` | `warn` |
| `METASTORE_MAX_BYTES` | the largest descriptor, in bytes | 33554432 (32 MiB) |
| `METASTORE_BUNDLES_URL` | where bundles are kept | in the store |
| `METASTORE_GROUPS_FILE` | who may change which bundles | bundles can only be read |
| `METASTORE_USER` | who changes bundles on the command line | the login name |
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from metastore.errors import InvalidInput
from metastore.lfs import check_url
from metastore.parse import make_author

if TYPE_CHECKING:
    from metastore.bundle.registry import BundleRegistry
    from metastore.store import MetaStore
    from metastore.tokens import Verifier


#: Prometheus' own name, and read by its library.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What a service needs beside the store.

    Attributes:
        public_read: Whether datasets can be read without a token.
        require_if_match: Whether a write has to say which revision it was made for.
        cors_origins: The origins whose pages may call the service; `*` for any.
        default_owner: Whose dataset an id without owner is, in a scope.
    """

    public_read: bool = True
    require_if_match: bool = False
    cors_origins: tuple[str, ...] = ()
    default_owner: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a program needs to open the store.

    Attributes:
        url: The store, as `metastore.connect` takes it.
        options: What else `metastore.connect` is given.
        bundles_url: The registry of bundles, as `metastore.bundle.connect` takes it; None for the store's own.
        groups_file: The path of the groups file.
        user: Who changes bundles on the command line.
        service: What a service needs beside.
    """

    url: str
    options: Mapping[str, Any]
    bundles_url: str | None = None
    groups_file: str | None = None
    user: str | None = None
    service: ServiceSettings = field(default_factory=ServiceSettings)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: Read these variables; otherwise the process's.

    Raises:
        InvalidInput: One of them makes no sense; the message names it.
    """
    environ = os.environ if environ is None else environ
    names = {"author": "METASTORE_AUTHOR", "lfs_url": "METASTORE_LFS_URL", "validation": "METASTORE_VALIDATION"}
    options: dict[str, Any] = {name: environ[variable] for name, variable in names.items() if environ.get(variable)}
    for name, parse in (("author", make_author), ("lfs_url", check_url)):
        try:
            if name in options:
                parse(options[name])
        except InvalidInput as error:
            raise InvalidInput(f"{names[name]}: {error}") from None
    if options.get("validation", "warn") not in ("off", "warn", "strict"):
        raise InvalidInput(f"METASTORE_VALIDATION is off, warn or strict, not {options['validation']!r}")
    if size := environ.get("METASTORE_MAX_BYTES"):
        if not size.isdecimal() or not int(size):
            raise InvalidInput(f"METASTORE_MAX_BYTES is a number of bytes, not {size!r}")
        options["max_bytes"] = int(size)
    return Settings(
        environ.get("METASTORE_URL") or "./metastore-data",
        options,
        environ.get("METASTORE_BUNDLES_URL") or None,
        environ.get("METASTORE_GROUPS_FILE") or None,
        environ.get("METASTORE_USER") or _login_name(),
    )


def verifier(settings: Settings) -> Verifier:
    """Make what says who sent a token, with the keys that the settings name, else with the service's own.

    Raises:
        InvalidInput: A key cannot be used; the message names the setting.
        StorageUnavailable: The service's own key cannot be made or read.
    """
    from metastore.tokens import Verifier

    return Verifier((), default_owner=settings.service.default_owner)


def open_store(settings: Settings, **options: Any) -> MetaStore:
    """Open the store that the settings name; `options` go before theirs. Raises what `metastore.connect` raises."""
    from metastore.backends import connect

    return connect(settings.url, **{**settings.options, **options})


def open_bundles(settings: Settings, **options: Any) -> BundleRegistry:
    """Open the registry of bundles that the settings name; without a groups file nobody may change them.

    Raises what `metastore.bundle.connect` raises.
    """
    from metastore.backends import connect_bundles
    from metastore.bundle.policy import Groups

    groups = Groups.load(settings.groups_file) if settings.groups_file else Groups.parse("groups =")
    return connect_bundles(settings.bundles_url or settings.url, groups, **options)


def metrics_folder() -> str | None:
    """Return the folder in which the processes of a server share what they count, or None for a single process."""
    return os.environ.get(_METRICS_FOLDER) or None


def share_metrics(folder: str) -> None:
    """Let this process and its children count together; before anything is counted."""
    os.environ[_METRICS_FOLDER] = folder


def _login_name() -> str | None:
    """Return whose process this is, from the system and not from what the environment claims."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
