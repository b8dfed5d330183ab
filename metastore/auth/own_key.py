"""The key of a service that has no other: a shared secret in a file, which signs and checks its own tokens."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from metastore.auth.keys import secret_key
from metastore.errors import InvalidInput
from metastore.files.durable import make_folders, sync_directory
from metastore.os_errors import naming, storage_errors

_TOO_OPEN = 0o077
#: A file was copied if its status changed so many seconds after its content, or more.
_LATER = 60


def own_key(path: str) -> str:
    """Return the key in a file, and make the file if it is missing. Two processes that make it at once get one key.

    Raises:
        InvalidInput: Others can read the file, or it holds no key.
        StorageUnavailable: The file cannot be read or made.
    """
    with storage_errors():
        if (key := _read(path)) is None:
            _make(path)
            key = _read(path)
    if key is None:
        raise InvalidInput(f"the key file {path} was removed while it was being made")
    return key


def seems_copied(path: str) -> bool:
    """Tell whether a key may have been made elsewhere: its file was copied, or had another owner or mode at first.

    Copies of whole stores keep the time of the content, and nobody chooses the time of the status. `touch` makes the
    two equal.
    """
    try:
        status = os.stat(path)
    except OSError:
        return False
    return status.st_ctime - status.st_mtime >= _LATER


def _read(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & _TOO_OPEN:
            raise InvalidInput(f"the key file {path} is open to others: chmod 600 {path}")
        content = file.read(4096)
    try:
        key = content.decode("ascii").strip()
        secret_key(key)
    except ValueError as error:
        reason = str(error) if isinstance(error, InvalidInput) else "it is not text"
        raise InvalidInput(f"the key file {path} holds no key: {reason}; remove it, and a new one is made") from None
    return key


def _make(path: str) -> None:
    """Put a new key in place, durable and whole, unless another process was faster."""
    folder = os.path.dirname(os.path.abspath(path))
    make_folders(folder, sync=True)
    aside = f"{path}.{secrets.token_hex(8)}.new"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with naming(path), open(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.unlink(aside)
    sync_directory(folder)
