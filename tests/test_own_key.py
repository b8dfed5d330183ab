"""The service's own key, and the tokens that it issues on the command line."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import metastore
from metastore import config, trust
from metastore.auth.access import BundleGrant, allows
from metastore.auth.own_key import _make, own_key
from metastore.errors import InvalidInput, StorageUnavailable
from metastore.storage.local.backup import backup
from metastore.types import DatasetId

from .conftest import ANN
from .test_cli import Run, run
from .test_tokens import SECRET, pem, private

__all__ = ["run"]  # a fixture
READ = ("token", "--user", "ann", "--scope", "ds:physics/*:create,read")


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token.key"
    key = own_key(str(path))
    assert len(key) == 64
    assert own_key(str(path)) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["token.key"]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(errno.ENOSPC))
    with pytest.raises(StorageUnavailable, match=f"^the disk is full: {tmp_path}/key$"):
        own_key(str(tmp_path / "key"))
    assert os.listdir(tmp_path) == []


def failing_with(number: int) -> Callable[[int], None]:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        own_key(str(tmp_path / "key"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_processes_that_start_at_once_end_with_the_same_key(tmp_path: Path) -> None:
    program = "import sys; from metastore.auth.own_key import own_key; sys.stdin.read(); print(own_key(sys.argv[1]))"
    made = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "keys" / "key")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for each in made:
        assert each.stdin
        each.stdin.close()  # all are loaded by now, or soon: go
        each.stdin = None
    keys = [each.communicate()[0] for each in made]
    assert len(set(keys)) == 1
    assert len(keys[0].strip()) == 64
    assert os.listdir(tmp_path / "keys") == ["key"]


def test_the_second_process_keeps_the_key_of_the_first(tmp_path: Path) -> None:
    key = own_key(str(tmp_path / "key"))
    _make(str(tmp_path / "key"))  # saw no key just before
    assert own_key(str(tmp_path / "key")) == key
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o666, 0o601])
def test_a_key_that_others_can_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    own_key(str(path))
    path.chmod(mode)
    with pytest.raises(InvalidInput, match=f"open to others: chmod 600 {path}"):
        own_key(str(path))


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40, b"-----BEGIN PRIVATE KEY-----" * 3, b"\0" * 10])
def test_a_file_that_holds_no_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match="holds no key"):
        own_key(str(path))
    assert path.read_bytes() == content


def test_a_key_that_somebody_chose_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    assert own_key(str(path)) == SECRET


def test_a_place_where_no_key_can_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageUnavailable, match="this is a folder, not a file"):
        own_key(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable):
        own_key(str(tmp_path / "file" / "key"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "key"))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        own_key(str(tmp_path / "key"))
    assert os.listdir(tmp_path) == ["file"]


# On the command line


def identity(token: str, **variables: str) -> object:
    return config.verifier(config.load({f"METASTORE_{name}": each for name, each in variables.items()})).identify(token)


def test_one_command_makes_a_token_that_the_service_takes(run: Run) -> None:
    done = run(*READ, "--name", "Ann Lee", "--email", "ann@example.org")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    sent = config.verifier(config.load({})).identify(done.out.strip())
    assert str(sent.author) == "Ann Lee <ann@example.org>"
    assert allows(sent, "create", DatasetId("physics", "cars"))
    assert not allows(sent, "update", DatasetId("physics", "cars"))


def test_a_token_as_json_says_until_when(run: Run) -> None:
    made = run(*READ, "--scope", "ds:a/b:read ds:a/c:read", "--expires", "4w", "--json").json
    assert made["scopes"] == ["ds:physics/*:create,read", "ds:a/b:read", "ds:a/c:read"]
    assert set(made) == {"token", "user", "scopes", "expires"}


@pytest.mark.parametrize(
    ("granted", "grant"),
    [
        ((), BundleGrant()),
        (("--bundles", "laser:write"), BundleGrant(frozenset({"laser"}))),
        (("--bundles", "laser:write", "--bundles", "optics:write"), BundleGrant(frozenset({"laser", "optics"}))),
        (("--bundles", "*:write"), BundleGrant(any_group=True)),
    ],
)
def test_a_token_changes_the_bundles_of_the_groups_that_it_names(
    run: Run, granted: tuple[str, ...], grant: BundleGrant
) -> None:
    who = config.verifier(config.load({})).identify(run(*READ, *granted).out.strip())
    assert who.bundles == grant
    if granted:  # then it needs no scope of datasets
        alone = config.verifier(config.load({})).identify(run("token", "--user", "ann", *granted).out.strip())
        assert (alone.bundles, alone.scopes) == (grant, ())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--bundles", "laser"), "grants nothing"),
        (("--bundles", "laser:"), "grants nothing"),
        (("--bundles", ":write"), "grants nothing"),
        (("--bundles", "laser:fly"), "grants nothing"),
        (("--bundles", "laser:write ds:*:*"), "grants nothing"),
        (("--scope", "ds:a/b:"), "grants nothing"),
        (("--scope", "fly"), "grants nothing"),
        (("--expires", "soon"), "not a duration such as 15m"),
        (("--expires", "0s"), "between a second and ten years"),
        (("--expires", "999999w"), "between a second and ten years"),
        (("--expires", "1d1h"), "not a duration such as 15m"),
        (("--expires", "-1d"), "not a duration such as 15m"),
        (("--email", "ann"), "not an address such as ann@example.org"),
        (("--email", ""), "not an address such as ann@example.org"),
        (("--email", "Ann <ann@example.org>"), "not an address such as ann@example.org"),
        (("--email", "ann@example.org,bo@example.org"), "not an address such as ann@example.org"),
        (("--email", "ann@example..org"), "not an address such as ann@example.org"),
        (("--email", "ann@example.org\n"), "not an address such as ann@example.org"),
        (("--email", f"{'a' * 300}@example.org"), "not an address such as ann@example.org"),
        (("--user", ""), "names a user"),
    ],
)
def test_a_token_that_would_not_count_is_not_issued(run: Run, arguments: tuple[str, ...], reason: str) -> None:
    done = run(*READ, *arguments)
    assert (done.code, done.out) == (2, "")
    assert reason in done.err


@pytest.mark.parametrize(
    "email", ["o'neil+x@ex-ample.org", "ann@localhost", "jürgen@müller.example", "a.b@c.d.example"]
)
def test_an_address_as_people_have_them_is_taken(run: Run, email: str) -> None:
    who = identity(run(*READ, "--email", email, "--store", "new").out.strip(), URL="new")
    assert getattr(who, "email", None) == email


def test_the_token_carries_what_the_settings_ask_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"JWT_ISSUER": "us", "JWT_AUDIENCE": "metastore", "USER_CLAIM": "uid", "KEY_FILE": "our.key"}
    for name, value in settings.items():
        monkeypatch.setenv(f"METASTORE_{name}", value)
    assert identity(run(*READ).out.strip(), **settings)


def test_where_others_issue_tokens_ours_is_refused_unless_it_has_a_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = {"JWT_KEY": pem(private("RS"))}
    monkeypatch.setenv("METASTORE_JWT_KEY", theirs["JWT_KEY"])
    done = run(*READ)
    assert (done.code, done.out) == (2, "")
    assert "others issue the tokens of this service" in done.err
    assert os.listdir(tmp_path) == ["stdin"]
    monkeypatch.setenv("METASTORE_KEY_FILE", "our.key")
    assert identity(run(*READ).out.strip(), **theirs, KEY_FILE="our.key")


def test_a_service_elsewhere_issues_its_own_tokens(run: Run) -> None:
    done = run(*READ, "--store", "https://metastore.example.org")
    assert done.code == 2
    assert "issues the tokens" in done.err


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "metastore"


def test_a_store_that_is_no_folder_has_its_key_in_the_users_folder_for_states(
    run: Run, tmp_path: Path, states: Path
) -> None:
    done = run(*READ, "--store", "memory:")
    assert (done.code, done.err) == (0, "")
    assert identity(done.out.strip(), URL="memory:")
    assert [path.name for path in states.glob("memory-*/*")] == ["token.key"]
    assert sorted(os.listdir(tmp_path)) == ["state", "stdin"]


@pytest.mark.parametrize("home", ["", "relative"])
def test_without_a_usable_folder_for_states_the_home_folder_has_one(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", home)
    trust.own_secret(config.load({"METASTORE_STORE": "memory:"}))
    assert len(list(tmp_path.glob(".local/state/metastore/memory-*/token.key"))) == 1


def secret_of(url: str) -> str:
    return trust.own_secret(config.load({"METASTORE_STORE": url}))


def test_each_database_has_a_key_of_its_own_for_every_user(states: Path) -> None:
    key = secret_of("postgresql://ann:hidden@db1,db2/catalogue?target_session_attrs=any")
    assert secret_of("postgres://bo@db1,db2/catalogue") == key
    assert secret_of("postgresql://ann@db1,db2/other") != key
    assert not [path for path in states.iterdir() if "hidden" in path.name or "ann" in path.name]


def test_services_that_share_a_key_file_share_sessions(states: Path, tmp_path: Path) -> None:
    named = {"METASTORE_STORE": "postgresql://db/catalogue", "METASTORE_KEY_FILE": str(tmp_path / "our.key")}
    session = trust.session_secret(config.load(named))
    assert os.listdir(tmp_path) == ["our.key"]
    assert trust.session_secret(config.load({**named, "METASTORE_STORE": "postgresql://db2/catalogue"})) == session
    (tmp_path / "our.key").unlink()
    assert trust.session_secret(config.load(named)) != session


@pytest.mark.parametrize("url", ["", "nowhere://x", "file://host/x"])
def test_a_url_of_no_store_gets_no_key(run: Run, tmp_path: Path, url: str) -> None:
    done = run(*READ, "--store", url)
    assert (done.code, done.out) == (2, "")
    assert os.listdir(tmp_path) == ["stdin"]


def test_somebody_elses_folder_gets_no_key(run: Run, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mum.txt").write_text("Dear")
    done = run(*READ, "--store", "letters")
    assert done.code == 5
    assert "is not a store" in done.err
    assert os.listdir(tmp_path / "letters") == ["mum.txt"]


@pytest.mark.parametrize("url", ["new", "file://{}/new"])
def test_the_key_can_be_there_before_the_store(run: Run, tmp_path: Path, url: str) -> None:
    token = run(*READ, "--store", url.format(tmp_path)).out.strip()
    with metastore.connect(tmp_path / "new", author=ANN) as store:
        store.dataset_create("physics/cars", {"name": "cars", "resources": []})
    assert identity(token, URL=str(tmp_path / "new"))


def test_a_backup_has_no_key(run: Run, tmp_path: Path) -> None:
    run(*READ, "--store", "live")
    with metastore.connect("live", author=ANN) as store:
        store.dataset_create("physics/cars", {"name": "cars", "resources": []})
        backup(store.storage, tmp_path / "copy")
    assert (tmp_path / "live" / "_metastore" / "token.key").exists()
    assert not list((tmp_path / "copy").rglob("*.key"))
    key = (tmp_path / "live" / "_metastore" / "token.key").read_bytes().strip()
    assert not any(key in path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())
