"""A Git remote kept up to date from a local store: a repository for each dataset, on any host, by Git itself.

Git's own program pushes, so that whatever a person can push to is a remote: HTTPS with credential helpers, SSH with
keys and agents, a folder. Each reference is pushed with a lease: only if the remote still holds what we have just read
there, and only if that is ours. What is ours can be told without keeping a state: a branch that our history goes on
from, a tag object of that name that the store has or had. Anything else was made by somebody else; it is reported, and
stays.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from metastore import git
from metastore.errors import DatasetNotFound, InvalidInput, StorageCorrupt, StorageUnavailable
from metastore.git.history import Repository, ancestry
from metastore.http.credentials import Token, is_loopback
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

_HEADS, _TAGS = "refs/heads/", "refs/tags/"
#: A remote that sends less than a kilobyte a second for a minute is given up.
_OPTIONS = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "safe.directory=*", "core.hooksPath=/dev/null")


@dataclass(frozen=True, slots=True)
class NotPushed:
    """Something that the remote does not say as the store does.

    Attributes:
        dataset: Its id.
        reference: The branch or tag that was left alone, such as `refs/tags/v1`; None for the whole repository.
        reason: A sentence.
    """

    dataset: DatasetId
    reference: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset}{f' {self.reference}' if self.reference else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What a mirroring did, or (as a rehearsal) would do.

    Attributes:
        datasets: How many there were.
        unchanged: How many of them the remote had already.
        references: How many branches and tags were set or removed.
        not_pushed: What was left alone.
    """

    datasets: int
    unchanged: int
    references: int
    not_pushed: tuple[NotPushed, ...] = ()


class _Update(NamedTuple):
    """A reference to change: from what the remote holds to what the store says; None for not there."""

    name: str
    old: str | None
    new: str | None


class _Refused(Exception):
    """Why a remote cannot be read or pushed to."""


class Remote:
    """Where the repositories are.

    Args:
        template: An address as Git takes it, with `{owner}` and `{name}` in it.
        token: Sent as a password over HTTPS; without one, Git's credential helpers are asked.

    Raises:
        InvalidInput: The address would lead all datasets to one place, holds a password, or would send the token
            unencrypted.
    """

    def __init__(self, template: str, token: str | None = None) -> None:
        parts = urlsplit(template)
        if template.startswith("-") or "::" in template:
            raise InvalidInput("a remote is a folder or an https, ssh or file address")
        if "{name}" not in template:
            raise InvalidInput(
                "a remote has {owner} and {name} in its address: https://git.example.org/{owner}/{name}.git"
            )
        if parts.password is not None or (parts.scheme in ("http", "https") and "@" in parts.netloc):
            raise InvalidInput(
                "a remote's address holds no password: set METASTORE_MIRROR_TOKEN, or let Git ask for it"
            )
        if token and parts.scheme == "http" and not is_loopback(template):
            raise InvalidInput(f"a token is not sent to {parts.hostname} unencrypted: use https")
        self._template = template
        self._header = None
        if token and parts.scheme in ("http", "https"):
            Token(token)  # refuses what is none
            basic = base64.b64encode(f"oauth2:{token}".encode()).decode()
            self._header = f"Authorization: Basic {basic}"

    def url(self, dataset_id: DatasetId) -> str:
        """Return the address of a dataset's repository."""
        return self._template.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)

    @contextmanager
    def git(self) -> Iterator[Callable[..., str]]:
        """Yield what runs Git and returns what it prints. The token is in a file that only we can read."""
        options = [part for each in _OPTIONS for part in ("-c", each)]
        with tempfile.NamedTemporaryFile("w", suffix=".gitconfig") as file:
            if self._header:
                file.write(f'[http]\n\textraHeader = "{self._header}"\n\tfollowRedirects = false\n')
                file.flush()
                options += ["-c", f"include.path={file.name}"]
            yield lambda *arguments: _run(["git", *options, *arguments])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StorageUnavailable("a mirror needs Git's own program, git, which is not installed") from None
    if done.returncode and not done.stdout:
        raise _Refused(_reason(done.stderr))
    return done.stdout


def _reason(said: str) -> str:
    """Return why Git failed: its last words, and those before them, which may be of SSH or of the remote.

    After an empty line comes advice. In any language: what people have set for Git is left to them.
    """
    paragraph = said.strip().split("\n\n")[0]
    lines = [line for line in paragraph.splitlines() if not line.startswith("hint:")]
    words = [line for line in lines if re.search(r"\w", line.removeprefix("remote:"))]
    return "; ".join(words[-2:] or ["Git failed"])[:300]


def mirror(
    storage: GitStorage,
    remote: Remote,
    ids: Iterable[DatasetId],
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> MirrorReport:
    """Push branches and tags of datasets to a remote. The repositories have to be there already.

    Args:
        storage: A local store; others may write to it.
        remote: Where to.
        ids: Which datasets.
        dry_run: Whether to find out only what would be pushed.
        progress: Called after each dataset with how many are done.

    Raises:
        StorageUnavailable: Git is not installed.
    """
    datasets = unchanged = references = 0
    not_pushed: list[NotPushed] = []
    with remote.git() as git:
        for dataset_id in ids:
            pushed, left_alone = _mirror_one(storage, remote.url(dataset_id), dataset_id, git, dry_run=dry_run)
            datasets += 1
            references += pushed
            unchanged += not pushed and not left_alone
            not_pushed += left_alone
            progress(datasets)
    return MirrorReport(datasets, unchanged, references, tuple(not_pushed))


def _mirror_one(
    storage: GitStorage, url: str, dataset_id: DatasetId, git: Callable[..., str], *, dry_run: bool
) -> tuple[int, list[NotPushed]]:
    try:
        with storage.objects(dataset_id) as repository:  # a dataset that is not there is not asked for
            updates, foreign = _compare(repository, _references(git("ls-remote", "--", url)))
        left_alone = [
            NotPushed(dataset_id, name, "somebody else changed it there; it was left alone") for name in foreign
        ]
        failed: dict[str, str] = {}
        if updates and not dry_run:
            failed = _failures(git("--git-dir", storage.layout.path(dataset_id), *_push(url, updates)))
    except (_Refused, StorageCorrupt, DatasetNotFound) as error:
        return 0, [NotPushed(dataset_id, None, str(error))]
    left_alone += [NotPushed(dataset_id, name, f"the remote refused it: {reason}") for name, reason in failed.items()]
    return len(updates) - len(failed), left_alone


def _references(output: str) -> dict[str, str]:
    rows = [line.split("\t", 1) for line in output.splitlines()]
    return {name: target for target, name in rows if name.startswith((_HEADS, _TAGS)) and not name.endswith("^{}")}


def _compare(repository: Repository, there: Mapping[str, str]) -> tuple[list[_Update], list[str]]:
    """Return what to change at the remote, and what there is not ours to change."""
    branch = _HEADS + repository.branch
    wanted: dict[str, str | None] = {branch: repository.head()}
    wanted |= {_TAGS + name: repository.tag_target(name) for name in repository.tag_names()}
    gone = [
        name
        for name in there
        if name.startswith(_TAGS) and name not in wanted and _is_ours(repository, name, there[name])
    ]
    updates, foreign = [], []
    for name, new in {**wanted, **dict.fromkeys(gone)}.items():
        old = there.get(name)
        if old == new:
            continue
        if old is None or _is_ours(repository, name, old):
            updates.append(_Update(name, old, new))
        else:
            foreign.append(name)
    return updates, foreign


def _is_ours(repository: Repository, name: str, target: str) -> bool:
    """Tell whether a reference of the remote holds what the store has, or had, under this name."""
    if name.startswith(_HEADS):
        return any(commit_id == target for commit_id, _ in ancestry(repository, repository.head()))
    try:
        found = repository.get(target)
        if found.kind == git.TAG:
            return git.parse_tag(found.content).name == name.removeprefix(_TAGS)
    except (KeyError, ValueError):
        pass
    return False


def _push(url: str, updates: list[_Update]) -> list[str]:
    leases = [f"--force-with-lease={each.name}:{each.old or ''}" for each in updates]
    specs = [f"{each.new or ''}:{each.name}" for each in updates]
    return ["push", "--porcelain", "--no-verify", "--no-follow-tags", *leases, "--", url, *specs]


def _failures(output: str) -> dict[str, str]:
    """Return the references that were refused, and why; see the section "Output" of git-push(1)."""
    rows = [line.split("\t") for line in output.splitlines() if line.startswith("!")]
    return {row[1].rpartition(":")[2]: row[2] for row in rows if len(row) > 2}
