"""Settings from the environment; the only module that reads it.

| variable | means | otherwise |
|---|---|---|
| `METASTORE_URL` | the store | `./metastore-data` |
| `METASTORE_AUTHOR` | who writes, as `Name <email>` | Git's own configuration |
| `METASTORE_LFS_URL` | a Git LFS server, with `{owner}` and `{name}` in it | no files for Git LFS |
| `METASTORE_VALIDATION` | `off`, `warn` or `strict` | `warn` |
| `METASTORE_MAX_BYTES` | the largest descriptor, in bytes | 33554432 (32 MiB) |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metastore.errors import InvalidInput
from metastore.lfs import check_url
from metastore.parse import make_author


@dataclass(frozen=True, slots=True)
class Settings:
    """What a program needs to open the store.

    Attributes:
        url: The store, as `metastore.connect` takes it.
        options: What else `metastore.connect` is given.
    """

    url: str
    options: Mapping[str, Any]


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
    return Settings(environ.get("METASTORE_URL") or "./metastore-data", options)
