"""A Git remote kept up to date: pushes with a lease, to a folder, over smart HTTP and SSH; others' work stays."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import metastore
from metastore.errors import InvalidInput, StorageUnavailable
from metastore.storage.local.mirror import MirrorReport, Remote, mirror
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from .conftest import ANN, real_descriptor, ticking
from .hosts.gitlab import GitLab
from .ssh_server import SSHD, SshServer
from .test_interop import git

CARS = DatasetId("physics", "cars")


class Mirrored(NamedTuple):
    """How `metastore mirror` ended."""

    code: int
    report: Any
    said: str


@pytest.fixture
def store(tmp_path: Path) -> Iterator[metastore.MetaStore]:
    with metastore.connect(tmp_path / "store", author=ANN, clock=ticking(), validation="off") as made:
        made.dataset_create(CARS, real_descriptor())
        made.dataset_patch(CARS, {"title": "Cars"})
        made.tag_create(CARS, "v1", description="First")
        yield made


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "remote/physics/cars.git"
    git("init", "-q", "--bare", "-b", "main", path)
    return path


@pytest.fixture
def remote(tmp_path: Path, bare: Path) -> Remote:
    return Remote(f"file://{tmp_path}/remote/{{owner}}/{{name}}.git")


def push(store: metastore.MetaStore, remote: Remote, **options: bool) -> MirrorReport:
    assert isinstance(store.storage, GitStorage)
    return mirror(store.storage, remote, store.dataset_list(deleted=None), **options)


def references(path: str | Path) -> str:
    return git("-C", path, "for-each-ref")


def ours(store: metastore.MetaStore) -> str:
    return references(store.storage.layout.path(CARS))  # type: ignore[attr-defined]


def test_a_mirror_has_the_same_branch_and_tags(store: metastore.MetaStore, remote: Remote, bare: Path) -> None:
    assert push(store, remote) == MirrorReport(1, 0, 2)
    assert references(bare) == ours(store)
    assert git("-C", bare, "fsck", "--strict", "--full") == ""
    assert push(store, remote) == MirrorReport(1, 1, 0)


def in_its_configuration(repository: Path, ran: Path) -> None:
    config = repository / "config"
    other = f'[url "ext::touch {ran} %S "]\n\tinsteadOf = file://\n[protocol "ext"]\n\tallow = always\n'
    config.write_text(config.read_text() + other)


def in_its_hooks(repository: Path, ran: Path) -> None:
    (repository / "hooks").mkdir()
    for name in ("pre-push", "reference-transaction", "post-index-change"):
        (repository / "hooks" / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (repository / "hooks" / name).chmod(0o755)


@pytest.mark.parametrize("name_program", [in_its_configuration, in_its_hooks])
def test_a_store_of_others_runs_no_program_and_names_no_other_address(
    name_program: Callable[[Path, Path], None], store: metastore.MetaStore, remote: Remote, bare: Path, tmp_path: Path
) -> None:
    name_program(Path(store.storage.layout.path(CARS)), found := tmp_path / "ran")  # type: ignore[attr-defined]
    assert push(store, remote) == MirrorReport(1, 0, 2)
    assert not found.exists()
    assert references(bare) == ours(store)


def with_objects_of_others(objects: Path, tmp_path: Path) -> None:
    """Let a branch name a commit of another repository of this machine, and Git find it there."""
    with metastore.connect(tmp_path / "private", author=ANN, clock=ticking(), validation="off") as private:
        secret = private.dataset_create(CARS, {"name": "secret"}).revision.id
    (objects / "info").mkdir()
    (objects / "info" / "alternates").write_text(f"{tmp_path}/private/{CARS}.git/objects\n")
    (objects.parent / "refs/heads/main").write_text(f"{secret}\n")


def with_a_pipe(objects: Path, tmp_path: Path) -> None:
    os.mkfifo(objects / "pack" / "pack-12.pack")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("change", "reason"),
    [(with_objects_of_others, "alternates"), (with_a_pipe, "pack-12.pack is not an ordinary file")],
)
def test_a_store_of_others_takes_nothing_from_elsewhere_and_keeps_nobody_waiting(
    change: Callable[[Path, Path], None],
    reason: str,
    store: metastore.MetaStore,
    remote: Remote,
    bare: Path,
    tmp_path: Path,
) -> None:
    change(Path(store.storage.layout.path(CARS)) / "objects", tmp_path)  # type: ignore[attr-defined]
    [left] = push(store, remote).not_pushed
    assert reason in left.reason
    assert references(bare) == ""


def test_a_machine_without_room_for_temporary_files_is_told_so(
    store: metastore.MetaStore, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(StorageUnavailable, match=r"^No usable temporary directory found in \['/nowhere'\]$"):
        push(store, remote)


def test_what_changed_here_changes_there(store: metastore.MetaStore, remote: Remote, bare: Path) -> None:
    store.tag_create(CARS, "old")
    push(store, remote)
    store.dataset_delete(CARS)
    store.tag_update(CARS, "v1", description="Better")
    store.tag_delete(CARS, "old")
    store.tag_create(CARS, "v2", "v1")
    assert push(store, remote) == MirrorReport(1, 0, 4)
    assert references(bare) == ours(store)


def test_a_rehearsal_pushes_nothing(store: metastore.MetaStore, remote: Remote, bare: Path) -> None:
    assert push(store, remote, dry_run=True) == MirrorReport(1, 0, 2)
    assert references(bare) == ""


def test_a_branch_that_somebody_else_changed_is_left_alone(
    store: metastore.MetaStore, remote: Remote, bare: Path, tmp_path: Path
) -> None:
    push(store, remote)
    git("clone", "-q", bare, tmp_path / "clone")
    git("-C", tmp_path / "clone", "commit", "-q", "--allow-empty", "-m", "Theirs")
    subprocess.run(["git", "-C", tmp_path / "clone", "push", "-q"], check=True, capture_output=True)
    before = references(bare)
    store.dataset_patch(CARS, {"title": "Ours"})
    report = push(store, remote)
    assert [str(each) for each in report.not_pushed] == [
        "physics/cars refs/heads/main: somebody else changed it there; it was left alone"
    ]
    assert references(bare) == before


def test_a_tag_that_somebody_else_made_or_moved_is_left_alone(
    store: metastore.MetaStore, remote: Remote, bare: Path
) -> None:
    push(store, remote)
    git("-C", bare, "update-ref", "refs/tags/theirs", "main")
    git("-C", bare, "update-ref", "refs/tags/v1", "main~1")
    before = git("-C", bare, "for-each-ref", "refs/tags")
    store.tag_update(CARS, "v1", description="Ours")
    store.tag_create(CARS, "v2")
    report = push(store, remote)
    assert [each.reference for each in report.not_pushed] == ["refs/tags/v1"]
    after = git("-C", bare, "for-each-ref", "refs/tags").splitlines()
    assert [line for line in after if not line.endswith("v2")] == before.splitlines()
    assert len(after) == len(before.splitlines()) + 1


def test_a_push_between_our_look_and_our_push_is_not_overwritten(
    store: metastore.MetaStore, remote: Remote, bare: Path, tmp_path: Path
) -> None:
    push(store, remote)
    store.dataset_patch(CARS, {"title": "Ours"})
    theirs = git("-C", bare, "commit-tree", "-p", "main", "-m", "Theirs", "main^{tree}")
    hook = bare / "hooks/pre-receive"  # it runs after the remote told what it has
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nunset GIT_QUARANTINE_PATH\nexec git update-ref refs/heads/main {theirs}\n")
    hook.chmod(0o755)
    (refused,) = push(store, remote).not_pushed
    assert refused.reference == "refs/heads/main"
    assert "refused" in refused.reason
    assert git("-C", bare, "rev-parse", "main") == theirs


def test_a_remote_that_is_not_there_is_reported_and_the_others_are_pushed(
    store: metastore.MetaStore, remote: Remote, bare: Path
) -> None:
    store.dataset_create("physics/boats", {"n": 1})
    report = push(store, remote)
    assert [(str(each.dataset), each.reference) for each in report.not_pushed] == [("physics/boats", None)]
    assert "does not appear to be a git repository" in report.not_pushed[0].reason
    assert (report.datasets, report.references) == (2, 2)


def test_a_dataset_that_is_not_there_is_said_to_be_so_and_nothing_is_pushed(
    store: metastore.MetaStore, remote: Remote, bare: Path, tmp_path: Path, programs: Path
) -> None:
    assert isinstance(store.storage, GitStorage)
    report = mirror(store.storage, remote, [DatasetId("physics", "boats")])
    assert [str(each) for each in report.not_pushed] == ["physics/boats: there is no dataset physics/boats"]
    template = remote.url(DatasetId("{owner}", "{name}"))
    command = [programs / "metastore", "mirror", template, "physics/cars", "physics/boats"]
    done = subprocess.run([*command, "--store", "store"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Error: there is no dataset physics/boats\n")
    assert references(bare) == ""


@pytest.mark.parametrize(
    ("template", "token"),
    [
        ("https://git.example.org/all.git", None),
        ("https://ann:secret@git.example.org/{name}.git", None),
        ("ssh://ann:secret@git.example.org/{name}.git", None),
        ("--upload-pack=touch /tmp/x {name}", None),
        ("ext::sh -c 'touch /tmp/x' {name}", None),
        ("http://git.example.org/{name}.git", "secret"),
        ("https://git.example.org/{name}.git", "sec\nret"),
    ],
)
def test_a_remote_that_cannot_be_meant_is_refused(template: str, token: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        Remote(template, token)
    assert "secret" not in str(caught.value)


def test_a_mirror_over_http_sends_its_token_and_shows_it_nowhere(
    store: metastore.MetaStore, tmp_path: Path, programs: Path
) -> None:
    with GitLab(tmp_path / "gitlab", "physics") as server:
        server.lag = 0  # somebody made the project long ago
        server.tokens["glpat-secret"] = "ann"
        server._create({"name": "cars", "namespace_id": 11, "lfs_enabled": False}, "ann")
        template = f"{server.url}/{{owner}}/{{name}}.git"
        environment = {**os.environ, "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"}
        command = [programs / "metastore", "mirror", template, "--store", "store", "--json"]
        refused = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        environment["METASTORE_MIRROR_TOKEN"] = "glpat-secret"
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["references"] == 2
        project = server.project("physics/cars")
        assert project
        assert references(project.folder) == ours(store)
        server.tokens.clear()
        wrong = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert wrong.returncode == 1
        assert "secret" not in "".join((wrong.stdout, wrong.stderr, repr(Remote(template, "glpat-secret"))))


# Over SSH


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshServer]:
    if SSHD is None:
        pytest.skip("sshd is not installed")
    if pwd.getpwuid(os.geteuid()).pw_shell.endswith(("/nologin", "/false")):
        pytest.skip("this user may not log in")
    with SshServer(tmp_path / "ssh") as server:
        yield server


@pytest.fixture
def over_ssh(
    store: metastore.MetaStore, ssh: SshServer, bare: Path, tmp_path: Path, programs: Path
) -> Callable[..., Mirrored]:
    """Return what runs `metastore mirror` towards `bare`, for somebody whose Git uses the keys of the tests."""
    (tmp_path / ".gitconfig").write_text(f"[core]\n\tsshCommand = {ssh.command}\n")
    template = f"ssh://{ssh.address}{tmp_path}/remote/{{owner}}/{{name}}.git"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_SSH")}

    def run(*arguments: str) -> Mirrored:
        command = [programs / "metastore", "mirror", template, *arguments, "--store", "store", "--json"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**environment, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        return Mirrored(done.returncode, json.loads(done.stdout or "null"), done.stderr)

    return run


def test_a_mirror_over_ssh_has_the_same_branch_and_tags(
    store: metastore.MetaStore, over_ssh: Callable[..., Mirrored], bare: Path
) -> None:
    assert over_ssh()[:2] == (0, {"datasets": 1, "unchanged": 0, "references": 2, "not_pushed": []})
    assert references(bare) == ours(store)
    store.dataset_patch(CARS, {"title": "Faster cars"})
    store.tag_delete(CARS, "v1")
    assert over_ssh()[:2] == (0, {"datasets": 1, "unchanged": 0, "references": 2, "not_pushed": []})
    assert references(bare) == ours(store)
    assert over_ssh().report["unchanged"] == 1


def test_a_refusal_over_ssh_is_told_and_what_is_there_stays(
    store: metastore.MetaStore, over_ssh: Callable[..., Mirrored], bare: Path
) -> None:
    over_ssh()
    theirs = git("-C", bare, "commit-tree", "-p", "main", "-m", "Theirs", "main^{tree}")
    git("-C", bare, "update-ref", "refs/heads/main", theirs)
    store.dataset_patch(CARS, {"title": "Ours"})
    code, report, _ = over_ssh()
    assert (code, report["not_pushed"][0]["reference"]) == (1, "refs/heads/main")
    assert git("-C", bare, "rev-parse", "main") == theirs


def test_why_ssh_fails_is_told(
    store: metastore.MetaStore, over_ssh: Callable[..., Mirrored], ssh: SshServer, bare: Path
) -> None:
    def reason() -> str:
        code, report, _ = over_ssh()
        assert code == 1
        return str(report["not_pushed"][0]["reason"])

    shutil.rmtree(bare)
    assert "does not appear to be a git repository" in reason()
    ssh.trust(ssh.key)
    assert "Host key verification failed" in reason()
    ssh.config.write_text("UserKnownHostsFile /dev/null\nStrictHostKeyChecking no\nIdentityFile /dev/null\n")
    assert "Permission denied (publickey)" in reason()
    ssh.close()
    assert "Connection refused" in reason()
