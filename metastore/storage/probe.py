"""Finding out whether a Git host behaves as a store needs it, with a private dataset that exists for the check alone.

A storage in memory goes through the same life. What the host stores has to have the same ids, which differ if a single
byte does.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metastore.descriptor.document import DESCRIPTOR
from metastore.descriptor.lfs import ATTRIBUTES, CONFIG
from metastore.errors import AlreadyExists, DatasetNotFound, InvalidInput, MetastoreError, RevisionConflict
from metastore.storage.local.mirror import Remote
from metastore.storage.memory import MemoryStorage
from metastore.storage.plain_git import PlainGitStorage
from metastore.storage.port import Storage
from metastore.types import DELETED, DELETED_CONTENT, Author, Change, DatasetId, Revision, TagSpec

#: More requests than this are not sent, apart from those that clean up.
MOST_REQUESTS = 150
_ANN = Author("Änn O'Check", "check@example.org")
_AT = datetime(2024, 2, 29, 12, 30, 1, tzinfo=UTC)
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n"
_LFS = {
    CONFIG: b"[lfs]\n\turl = https://lfs.example.org/check\n\tlocksverify = false\n",
    ATTRIBUTES: b"/data.csv filter=lfs diff=lfs merge=lfs -text\n",
    "data.csv": _POINTER,
}


@dataclass(frozen=True, slots=True)
class Checked:
    """One step of a check.

    Attributes:
        step: What was tried.
        ok: Whether the host did it; None if it was not tried.
        detail: What was seen; of a failure, the reason.
        requests: How many requests it took.
    """

    step: str
    ok: bool | None
    detail: str
    requests: int

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "-"}[self.ok]
        return f"{self.step:<22} {word:<6} {self.requests:>3}  {self.detail}"


class _Differs(Exception):
    """The host did something else than the storage in memory."""


def check(storage: Storage, *, dataset_id: DatasetId | None = None, dry_run: bool = False) -> Iterator[Checked]:
    """Try a storage on a Git host, and yield each step when it is done.

    The dataset is called `metastore-check-` and a random number. It is purged in the end, also if a step fails.
    A server that speaks Git alone makes and removes no repository: there the dataset is one whose repository somebody
    has made, and which is empty; it is marked as deleted in the end.

    Args:
        storage: A storage on GitHub, GitLab, Gitea or Forgejo, which makes private repositories; or on a Git server.
        dataset_id: The dataset, on a server that speaks Git alone; None on the others.
        dry_run: Whether to ask only if the host is there, and to name the other steps.

    Raises:
        InvalidInput: The storage is not on a Git host, or is one that needs a dataset's id, or takes none.
    """
    if not hasattr(storage, "clone_template"):
        raise InvalidInput(
            "only a store on a Git host can be checked: github://OWNER, gitlab://GROUP, gitea://HOST/OWNER or "
            "git+https://HOST/{owner}/{name}.git"
        )
    if isinstance(storage, PlainGitStorage) != (dataset_id is not None):
        raise InvalidInput(
            "Git alone makes no repository: name a dataset (--dataset OWNER/NAME) whose repository is there and empty"
            if dataset_id is None
            else "this host makes a repository for the check: name no dataset"
        )
    run = _Run(storage) if dataset_id is None else _PushesAlone(storage, dataset_id)
    for number, (name, step) in enumerate(run.steps()):
        if dry_run and number:
            yield Checked(name, None, "", 0)
        elif not run.goes_on:
            yield Checked(name, None, "not tried", 0)
        else:
            yield run.take(name, step)
    if not dry_run:
        yield run.take("clean up", run.clean_up)


class _Run:
    """One check, with the same dataset in memory."""

    def __init__(self, storage: Any, dataset_id: DatasetId | None = None) -> None:
        self._there: Any = storage
        self._here = MemoryStorage()
        self._id = dataset_id or DatasetId(storage.naming.owner, f"metastore-check-{secrets.token_hex(5)}")
        self._moved = DatasetId(self._id.owner, f"{self._id.name}-moved")
        self._at = self._id
        self.goes_on = True

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Return the steps in order, by name; each returns what was seen."""
        return [
            ("reach the host", self._reach),
            ("create", self._create),
            ("read", self._read),
            ("create again", self._create_again),
            ("update", self._update),
            ("lose a race", self._lose_a_race),
            ("author without address", self._without_address),
            ("Git LFS pointer", self._pointer),
            ("tag", self._tag),
            ("rename a tag", self._rename_tag),
            ("remove a tag", self._remove_tag),
            ("list", self._list),
            ("delete", self._delete),
            ("undelete", self._undelete),
            ("move", self._move),
            ("history and tags", self._compare),
            ("clone", self._clone),
            ("purge", self._purge),
        ]

    def take(self, name: str, step: Callable[[], str]) -> Checked:
        """Take one step. What fails before there is a dataset, or with too many requests, is the last one."""
        before = self._requests()
        try:
            detail, ok = step(), True
        except (MetastoreError, _Differs) as error:
            detail, ok = str(error), False
            self.goes_on = self.goes_on and name not in ("reach the host", "create")
        self.goes_on = self.goes_on and self._requests() < MOST_REQUESTS
        return Checked(name, ok, detail, self._requests() - before)

    def _requests(self) -> int:
        return sum(host.requests for host in self._there.hosts)

    def _both(self, call: Callable[[Storage], Any], what: str) -> Any:
        """Make the same call here and there; raise unless the results are equal."""
        there, here = call(self._there), call(self._here)
        if there != here:
            raise _Differs(f"{what}: the host has {there}, which should be {here}")
        return here

    def _head(self) -> Revision:
        return self._here.resolve(self._at, None)

    def _append(self, changes: dict[str, Any], change: Change) -> str:
        parent = self._head().id
        made = self._both(lambda storage: storage.append(self._at, changes, change, parent=parent), "the revision")
        return f"revision {made.id}"

    # Steps

    def _reach(self) -> str:
        self._there.ping()
        return str(self._there.hosts[0].base)

    def _create(self) -> str:
        files = {DESCRIPTOR: '{"title": "Größe ☃"}\n'.encode(), "d/e/f.txt": b"a\r\nb\n", "binary": bytes(range(256))}
        made = self._both(
            lambda storage: storage.create(self._id, files, Change(_ANN, "Say what\n\nand why: ☃", _AT)), "the revision"
        )
        return f"{self._id}, revision {made.id}"

    def _read(self) -> str:
        head = self._head().id
        paths = self._both(lambda storage: dict(storage.paths(self._id, head)), "the files")
        with self._there.objects(self._id) as repository:
            for path, blob in paths.items():  # what was just written would be read from memory
                if repository.read_uncached(blob).content != self._here.read(self._id, head, path):
                    raise _Differs(f"{path} has another content")
        return f"{len(paths)} files, byte for byte"

    def _create_again(self) -> str:
        try:
            self._there.create(self._id, {DESCRIPTOR: b"{}"}, Change(_ANN, "", _AT))
        except AlreadyExists:
            return "refused: it exists already"
        raise _Differs("a dataset was made where one was")

    def _update(self) -> str:
        return self._append({DESCRIPTOR: b'{"title": "Changed"}\n', "binary": None}, Change(_ANN, "Change it", _AT))

    def _lose_a_race(self) -> str:
        stale = self._here.resolve(self._at, None).parent
        assert stale
        try:
            self._there.append(self._at, {DESCRIPTOR: b"{}"}, Change(_ANN, "Late", _AT), parent=stale)
        except RevisionConflict:
            self._both(lambda storage: storage.resolve(self._at, None), "the newest revision")
            return "refused: somebody was faster"
        raise _Differs("a revision was written over another one")

    def _without_address(self) -> str:
        return self._append({DESCRIPTOR: b"{}\n"}, Change(Author("Nobody"), "", _AT))

    def _pointer(self) -> str:
        return self._append(dict(_LFS), Change(_ANN, "Point to data that is elsewhere", _AT))

    def _tag(self) -> str:
        spec = TagSpec("v1", self._head().id, "The first\n\nof all", _ANN, _AT)
        return f"tag object {self._both(lambda storage: storage.tag_create(self._at, spec), 'the tag').id}"

    def _rename_tag(self) -> str:
        expected = self._here.tag(self._at, "v1").id
        spec = TagSpec("v2", self._head().id, "", _ANN, _AT)
        made = self._both(lambda storage: storage.tag_update(self._at, "v1", spec, expected=expected), "the tag")
        return f"tag object {made.id}"

    def _remove_tag(self) -> str:
        spec = TagSpec("v3", self._head().id, "", _ANN, _AT)
        made = self._both(lambda storage: storage.tag_create(self._at, spec), "the tag")
        self._both(lambda storage: storage.tag_delete(self._at, "v3", expected=made.id), "the tag")
        return "gone"

    def _list(self) -> str:
        found = self._both(lambda storage: list(storage.ids(prefix=str(self._id))), "the list")
        return f"{len(found)} of that name"

    def _delete(self) -> str:
        gone = dict.fromkeys(self._here.paths(self._at, self._head().id))
        return self._append({**gone, DELETED: DELETED_CONTENT}, Change(_ANN, "Delete", _AT))

    def _undelete(self) -> str:
        return self._append({DESCRIPTOR: b"{}\n", **_LFS, DELETED: None}, Change(_ANN, "Undelete", _AT))

    def _move(self) -> str:
        parent = self._head().id
        for storage in (self._there, self._here):
            storage.rename(self._id, self._moved, parent=parent)
        self._at = self._moved
        try:
            self._there.resolve(self._id, None)
        except DatasetNotFound as error:
            return str(error)
        raise _Differs("it is still at its former id")

    def _compare(self) -> str:
        head = self._both(lambda storage: storage.resolve(self._at, None), "the newest revision")
        revisions = self._both(lambda storage: list(storage.history(self._at, head.id)), "the history")
        tags = self._both(lambda storage: list(storage.tags(self._at)), "the tags")
        return f"{len(revisions)} revisions and {len(tags)} tags with the right ids"

    def _clone(self) -> str:
        remote, address = self._remote()
        with tempfile.TemporaryDirectory() as folder, remote.git() as git:
            clone = str(Path(folder, "clone"))
            commands = [
                ("clone", "--quiet", "--bare", "--", address, clone),
                ("--git-dir", clone, "fsck", "--strict", "--full"),
                ("--git-dir", clone, "rev-parse", "HEAD"),
            ]
            for command in commands:
                done = git(*command)
                if done.code:
                    raise _Differs(done.reason)
        if done.output.strip() != self._head().id:
            raise _Differs(f"the clone is at {done.output.strip()}, not at {self._head().id}")
        return f"{address}, right by git fsck"

    def _remote(self) -> tuple[Remote, str]:
        """Return how Git reaches the host, and the address of the repository."""
        remote, naming = Remote(self._there.clone_template, self._there.hosts[0].token()), self._there.naming
        return remote, remote.url(DatasetId(naming.owner, naming.repository(self._at)))

    def _purge(self) -> str:
        self._there.purge(self._at, parent=self._head().id)
        for each in (self._id, self._moved):
            try:
                self._there.resolve(each, None)
            except DatasetNotFound:
                continue
            raise _Differs(f"{each} is still there")
        return "gone"

    def clean_up(self) -> str:
        """Purge what is still there, in any state."""
        purged = []
        for each in (self._id, self._moved):
            try:
                self._there.purge(each, parent=self._there.resolve(each, None).id)
                purged.append(str(each))
            except DatasetNotFound:
                continue
        return f"purged {', '.join(purged)}" if purged else "nothing was left"


class _PushesAlone(_Run):
    """A check of what Git alone can say, in a repository that stays."""

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        return [step for step in super().steps() if step[0] not in ("list", "move", "purge")]

    def _remote(self) -> tuple[Remote, str]:
        user, token = self._there.account
        remote = Remote(self._there.clone_template, token, user)
        return remote, remote.url(self._at)

    def clean_up(self) -> str:
        """Mark the dataset as deleted if the check made it."""
        try:
            self._here.resolve(self._at, None)
        except DatasetNotFound:
            return "nothing was left"
        self._delete()
        return f"{self._at} is deleted; its repository is yours to remove"
