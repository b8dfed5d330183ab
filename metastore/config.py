"""Settings from the environment; the only module that reads it.

| variable | means | otherwise |
|---|---|---|
| `METASTORE_URL` | the store | `./metastore-data` |
| `METASTORE_AUTHOR` | who writes, as `Name <email>` | Git's own configuration |
| `METASTORE_LFS_URL` | a Git LFS server, with `{owner}` and `{name}` in it | no files for Git LFS |
| `METASTORE_VALIDATION` | `off`, `warn` or `strict` | `warn` |
| `METASTORE_MAX_BYTES` | the largest descriptor, in bytes | 33554432 (32 MiB) |
| `METASTORE_GITHUB_TOKEN` | a token for a store on GitHub | no access |
| `METASTORE_GITLAB_TOKEN` | a token for a store on GitLab | no access |
| `METASTORE_BUNDLES_URL` | where bundles are kept | in the store |
| `METASTORE_GROUPS_FILE` | who may change which bundles | bundles can only be read |
| `METASTORE_MIRROR_TOKEN` | the password at the remote of `metastore mirror` | Git's credential helpers |
| `METASTORE_USER` | who changes bundles on the command line | the login name |
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metastore.errors import InvalidInput
from metastore.lfs import check_url
from metastore.parse import make_author

#: Where the token for each kind of Git host is.
_TOKENS = {"github": "METASTORE_GITHUB_TOKEN", "gitlab": "METASTORE_GITLAB_TOKEN"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a program needs to open the store.

    Attributes:
        url: The store, as `metastore.connect` takes it.
        options: What else `metastore.connect` is given.
        bundles_url: The registry of bundles, as `metastore.bundle.connect` takes it; None for the store's own.
        groups_file: The path of the groups file.
        mirror_token: The password at the remote of a mirror.
        user: Who changes bundles on the command line.
    """

    url: str
    options: Mapping[str, Any] = field(repr=False)  # may hold a token
    bundles_url: str | None = None
    groups_file: str | None = None
    user: str | None = None
    mirror_token: str | None = field(default=None, repr=False)


def load(environ: Mapping[str, str] | None = None, *, url: str | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: Read these variables; otherwise the process's.
        url: The store, where it is named otherwise.

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
    if url is None:
        url = environ.get("METASTORE_URL") or "./metastore-data"
    return Settings(
        url,
        options | host_options(url, environ),
        environ.get("METASTORE_BUNDLES_URL") or None,
        environ.get("METASTORE_GROUPS_FILE") or None,
        environ.get("METASTORE_USER") or _login_name(),
        environ.get("METASTORE_MIRROR_TOKEN") or None,
    )


def host_options(url: str, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options that a store on a Git host needs, from the environment; none for other stores."""
    environ = os.environ if environ is None else environ
    token = environ.get(_TOKENS.get(url.partition(":")[0].lower(), ""))
    return {"token": token} if token else {}


def _login_name() -> str | None:
    """Return whose process this is, from the system and not from what the environment claims."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
