"""The file that makes a folder a store. It names the format, and the identity that a store shares with its backups."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from metastore.errors import StorageCorrupt, StorageUnavailable
from metastore.files.reading import read_file

#: The folder of what is the store's own, beside those of owners.
PRIVATE = "_metastore"
#: The content of the mark while the folder is being restored.
UNFINISHED = b'{"format": "unfinished (a restore that did not come to its end)"}\n'
_NAME = "metastore.json"
_FORMAT = 1
_WAY_TO_A_MARK = "copy it from a backup of this store, or from the store if this is the backup"


class Mark:
    """The mark of one store.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self.path = f"{root}/{_NAME}"

    def check(self, *, create: bool) -> bool:
        """Tell whether there is a mark; if not, the folder holds an older store without one, or may become a store.

        Args:
            create: Whether a folder that is empty or missing may become one.

        Raises:
            StorageUnavailable: There is no store and `create` is false, the folder holds other files, or a store lost
                its mark: a new one would be another store's.
            StorageCorrupt: The mark cannot be read.
        """
        # Listed before the mark is read: a process that creates the store meanwhile writes the mark first.
        present = self._present()
        was_a_store = os.path.exists(f"{self._root}/{PRIVATE}/feed") and not is_unused(self._root)
        mark = read_file(self.path)
        if mark is not None:
            self._check_format(mark)
            return True
        if was_a_store:
            raise StorageUnavailable(f"{self._root} has lost its {_NAME}: {_WAY_TO_A_MARK}")
        if present and not self._is_older_store(present):
            raise StorageUnavailable(f"{self._root} is not a store: it has other files, and no {_NAME}")
        if not present and not create:
            raise StorageUnavailable(f"there is no store at {self._root}")
        return False

    def expect(self) -> None:
        """Check that the store is still there, so that what is missing in it has not gone with it.

        Raises:
            StorageUnavailable: It is gone, for example because its disk is not mounted.
        """
        if not os.path.exists(self.path):
            raise StorageUnavailable(f"the store at {self._root} is gone: is its disk mounted?")

    def identity(self) -> str | None:
        """Return the store's identity, which its backups share; None for a store of an old version."""
        try:
            identity = json.loads(read_file(self.path) or b"{}").get("store")
        except (ValueError, AttributeError):
            raise self._unreadable_mark() from None
        return identity if isinstance(identity, str) else None

    def expect_no_unfinished(self) -> None:
        """Raise StorageUnavailable if the folder is what an interrupted restore left, with a mark or before it."""
        mark = read_file(self.path)
        if mark == UNFINISHED or is_unused(self._root):
            raise self._unfinished()

    def _present(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._root) if name != PRIVATE]
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise StorageUnavailable(f"{self._root} is a file, not the folder of a store") from None

    def _check_format(self, mark: bytes) -> None:
        try:
            version = json.loads(mark)["format"]
        except (ValueError, KeyError, TypeError):
            raise self._unreadable_mark() from None
        if mark == UNFINISHED:
            raise self._unfinished()
        if version != _FORMAT:
            raise StorageUnavailable(f"{self._root} has format {version}; this version of MetaStore reads {_FORMAT}")

    def _unfinished(self) -> StorageUnavailable:
        return StorageUnavailable(f"{self._root} holds an unfinished restore: remove it, and restore again")

    def _unreadable_mark(self) -> StorageCorrupt:
        return StorageCorrupt(f"{self.path} cannot be read: {_WAY_TO_A_MARK}")

    def _is_older_store(self, present: list[str]) -> bool:
        """Tell whether a folder holds only `<owner>/<name>.git`, as a predecessor or a person left them."""
        with suppress(PermissionError):  # a folder that cannot be read is not a store
            return self._has_only_repositories(present)
        return False

    def _has_only_repositories(self, present: list[str]) -> bool:
        return all(
            os.path.isdir(folder := f"{self._root}/{owner}")
            and (names := os.listdir(folder))
            and all(name.endswith(".git") and os.path.isfile(f"{folder}/{name}/HEAD") for name in names)
            for owner in present
        )


def content(identity: str) -> bytes:
    """Return the content of a mark with this identity."""
    mark = {"format": _FORMAT, "about": "A store of MetaStore: see metastore --help", "store": identity}
    return json.dumps(mark).encode() + b"\n"


def is_unused(root: str) -> bool:
    """Tell whether a folder is missing or empty, or has no more than what an interrupted creation of a store left."""
    if not os.path.isdir(root):
        return not os.path.exists(root)
    names, own = os.listdir(root), f"{root}/{PRIVATE}"
    if names == [PRIVATE] and os.path.isdir(own):
        return not any(name.endswith(".git") for name in os.listdir(own))
    return not names
