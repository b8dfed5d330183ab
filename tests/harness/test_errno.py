"""Each system call of each write fails once: the error is one of ours, and says truly whether something changed."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from metastore.errors import MetastoreError, OutcomeUnknown, StorageUnavailable
from metastore.storage.local.storage import GitStorage
from metastore.store.adoption import adopt

from ..conftest import change
from ..processes import SOAK
from .faults import failing, state
from .test_disks import ALL, WRITES, fill

#: The calls that make a change, or come right after it; `test_system_calls` has the others.
CALLS = ("close", "fsync", "rename", "replace", "flock")
FEW = ("create", "append", "move", "purge", "tag", "rename tag", "remove tag")
ERRNOS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.ESTALE) if SOAK else (errno.EIO,)
_MOST = 400


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fill(tmp_path_factory.mktemp("template") / "store").layout.root


@pytest.mark.parametrize("write", WRITES if SOAK else FEW)
@pytest.mark.parametrize("call", CALLS)
def test_a_system_call_that_fails_gives_an_error_that_is_true(
    call: str, write: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(GitStorage(template), ALL)
    for code in ERRNOS:
        for number in range(_MOST):
            root = tmp_path / f"{code}-{number}"
            shutil.copytree(template, root)
            storage = GitStorage(root)
            error: MetastoreError | None = None
            with failing(monkeypatch, call, number, code) as struck:
                if call != "fsync":
                    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # the power stays on
                try:
                    WRITES[write](storage)
                except MetastoreError as caught:  # an OSError fails the test
                    error = caught
            if not isinstance(error, OutcomeUnknown):
                found = state(GitStorage(root), ALL)
                changes = write != "compact" and error is None
                assert (found != before) is changes, f"{call} number {number} {errno.errorcode[code]}: {error}"
            shutil.rmtree(root)
            if not struck:
                break
        else:
            pytest.fail(f"more than {_MOST} calls of {call}")


def test_a_folder_that_verify_cannot_list_is_named_as_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fill(tmp_path / "store")
    with failing(monkeypatch, "scandir", 0, errno.EIO) as struck, pytest.raises(StorageUnavailable, match="the disk"):
        list(storage.verify())
    assert struck


def test_a_folder_that_adopt_cannot_list_is_named_as_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fill(tmp_path / "store")
    with failing(monkeypatch, "listdir", 0, errno.EIO) as struck, pytest.raises(StorageUnavailable, match="the disk"):
        list(adopt(storage, change(), dry_run=True))
    assert struck
