"""Keeps a Git remote up to date with a local store: a repository for each dataset, on any host, pushed by Git itself.

Git's own program pushes, so any address that a person can push to is a remote: HTTPS with credential helpers, SSH with
keys and agents, a folder. Each reference is pushed with a lease: only if the remote still holds what we have just read
there, and only if that is ours. No state is kept to tell what is ours: a branch that our history goes on from, a tag
object of that name that the store has or had. Anything else was made by somebody else; it is reported, and stays.

A reference counts as pushed only if Git says so for that reference, or if the remote holds it afterwards.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from metastore.errors import DatasetNotFound, InvalidInput, StorageCorrupt
from metastore.files.durable import write_file
from metastore.git.objects import TAG, parse_tag
from metastore.git.repository import HEADS, TAGS, Repository
from metastore.http.credentials import Token, refuse_unencrypted
from metastore.os_errors import naming, storage_errors
from metastore.parse import split_url
from metastore.storage.local._git_program import Done, Git, run
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

#: A user name that GitLab takes with any token, and GitHub takes as it takes every other.
ANY_USER = "oauth2"
_REDIRECTS = re.compile(r"\b30[12378]\b")
_LOCATION = re.compile(r"(?i)<= recv header: location: (\S+?)(?:/info/refs\S*)?\s")
#: With a token, Git asks nobody else for one: it has no helper, and a prompt that `true` answers with nothing.
_ASKING_NOBODY = "[http]\n\tfollowRedirects = false\n[credential]\n\thelper =\n[core]\n\taskPass = true\n"
#: A remote that sends less than a kilobyte a second for a minute is given up.
_OPTIONS = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "safe.directory=*", "core.hooksPath=/dev/null")


@dataclass(frozen=True, slots=True)
class NotPushed:
    """A reference, or a repository, that differs at the remote.

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
    """The result of mirroring, or of a dry run.

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
    """A reference to change, from the remote's value to the store's; None means absent."""

    name: str
    old: str | None
    new: str | None


class _Refused(Exception):
    """The reason why a remote cannot be read."""


class Remote:
    """The address of the repositories.

    Args:
        template: An address as Git takes it, with `{owner}` and `{name}` in it.
        token: Sent as a password over HTTPS; without one, Git's credential helpers are asked.
        user: The user name that goes with the token. GitHub and GitLab take any.

    Raises:
        InvalidInput: The address would lead all datasets to one place, holds a password, or would send the token
            unencrypted; or the user name is not one.
    """

    def __init__(self, template: str, token: str | None = None, user: str | None = None) -> None:
        parts = split_url(template)
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
        if token:
            refuse_unencrypted(template)
        if user is not None and (not user.isprintable() or ":" in user):
            raise InvalidInput("a user name at a remote is printable text without a colon")
        self._template = template
        self._header = None
        if token and parts.scheme in ("http", "https"):
            Token(token)  # refuses a token that cannot be in a header
            basic = base64.b64encode(f"{user or ANY_USER}:{token}".encode()).decode()
            self._header = f"Authorization: Basic {basic}"

    def url(self, dataset_id: DatasetId) -> str:
        """Return the address of a dataset's repository."""
        return self._template.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)

    @contextmanager
    def git(self) -> Iterator[Git]:
        """Yield a function that runs Git. The token is in a file that only we can read.

        Git runs in an empty repository. The configuration of a dataset's own, which may come from somebody else, could
        name programs to run, and other addresses.
        """
        options = [part for each in _OPTIONS for part in ("-c", each)]
        with (
            storage_errors(),
            tempfile.NamedTemporaryFile("w", suffix=".gitconfig") as file,
            tempfile.TemporaryDirectory() as empty,
        ):
            for folder in ("objects", "refs"):
                os.mkdir(f"{empty}/{folder}")
            write_file(f"{empty}/HEAD", b"ref: refs/heads/main\n", sync=False)
            options += ["--git-dir", empty]
            if self._header:
                with naming(file.name):
                    file.write(f'{_ASKING_NOBODY}[http]\n\textraHeader = "{self._header}"\n')
                    file.flush()
                options += ["-c", f"include.path={file.name}"]
            yield lambda *arguments, before=(): run([*before, "git", *options, *arguments])


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
    storage: GitStorage, url: str, dataset_id: DatasetId, git: Git, *, dry_run: bool
) -> tuple[int, list[NotPushed]]:
    try:
        with storage.objects(dataset_id) as repository:  # a dataset that is not there is not asked for
            updates, foreign = _compare(repository, _there(git, url))
        left_alone = [
            NotPushed(dataset_id, name, "somebody else changed it there; it was left alone") for name in foreign
        ]
        failed: dict[str, str] = {}
        if updates and not dry_run:
            objects = os.path.abspath(f"{storage.layout.path(dataset_id)}/objects")
            _expect_own_objects(objects)
            reading = ("env", f"GIT_OBJECT_DIRECTORY={objects}")
            failed = _failures(git(*_push(url, updates), before=reading), updates)
        if failed:
            failed = _still_missing(git, url, updates, failed)
    except (_Refused, StorageCorrupt, DatasetNotFound) as error:
        return 0, [NotPushed(dataset_id, None, str(error))]
    left_alone += [NotPushed(dataset_id, name, f"the remote refused it: {reason}") for name, reason in failed.items()]
    return len(updates) - len(failed), left_alone


def _expect_own_objects(objects: str) -> None:
    """Refuse objects that Git would take from elsewhere, or would wait for: somebody may have sent the store.

    Raises _Refused if there is a list of other repositories (`info/alternates`), or a pipe or device.
    """
    for folder, _, files in os.walk(objects):
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith("alternates") and folder == f"{objects}/info":
                raise _Refused("objects/info/alternates names objects of other repositories, which are not pushed")
            if not os.path.isfile(path):
                raise _Refused(f"{os.path.relpath(path, os.path.dirname(objects))} is not an ordinary file")


def _there(git: Git, url: str) -> dict[str, str]:
    """Return the branches and tags of a remote. Raises _Refused."""
    done = git("ls-remote", "--", url)
    if done.code:
        raise _Refused(done.reason + _where_it_went(git, url, done.errors))
    return _references(done.output)


def _where_it_went(git: Git, url: str, errors: str) -> str:
    """Return where a redirect leads: a token is sent nowhere but to its address, and Git does not say where else."""
    if not _REDIRECTS.search(errors):
        return ""
    found = _LOCATION.search(git("ls-remote", "--", url, before=("env", "GIT_TRACE_CURL=1")).errors)
    return f"; it is at {found[1]} now: give that address" if found else ""


def _references(output: str) -> dict[str, str]:
    rows = [line.split("\t", 1) for line in output.splitlines()]
    return {name: target for target, name in rows if name.startswith((HEADS, TAGS)) and not name.endswith("^{}")}


def _compare(repository: Repository, there: Mapping[str, str]) -> tuple[list[_Update], list[str]]:
    """Return what to change at the remote, and what there is not ours to change."""
    branch = HEADS + repository.branch
    wanted: dict[str, str | None] = {branch: repository.head()}
    wanted |= {TAGS + name: repository.tag_target(name) for name in repository.tag_names()}
    gone = [
        name
        for name in there
        if name.startswith(TAGS) and name not in wanted and _is_ours(repository, name, there[name])
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
    if name.startswith(HEADS):
        return repository.leads_to(target)
    try:
        found = repository.get(target)
        if found.kind == TAG:
            return parse_tag(found.content).name == name.removeprefix(TAGS)
    except (KeyError, ValueError):
        pass
    return False


def _push(url: str, updates: list[_Update]) -> list[str]:
    leases = [f"--force-with-lease={each.name}:{each.old or ''}" for each in updates]
    specs = [f"{each.new or ''}:{each.name}" for each in updates]
    return ["push", "--porcelain", "--no-verify", "--no-follow-tags", *leases, "--", url, *specs]


def _failures(done: Done, updates: list[_Update]) -> dict[str, str]:
    """Return the references that were not pushed, and why; see the section "Output" of git-push(1)."""
    rows = [line.split("\t") for line in done.output.splitlines() if "\t" in line]
    outcomes = {name.rpartition(":")[2]: (flag, " ".join(more)) for flag, name, *more in rows}
    reason = done.reason
    failed = {}
    for name, _, _ in updates:
        flag, summary = outcomes.get(name, ("!", reason))
        if flag == "!":
            failed[name] = "; ".join(filter(None, (summary, done.words))) if name in outcomes else reason
    return failed


def _still_missing(git: Git, url: str, updates: list[_Update], failed: dict[str, str]) -> dict[str, str]:
    """Return the references that failed and are not as they should be: the answer to a push that was done may be lost.

    A remote that cannot be read now is taken at its word.
    """
    try:
        there = _there(git, url)
    except _Refused:
        return failed
    return {name: failed[name] for name, _, new in updates if name in failed and there.get(name) != new}
