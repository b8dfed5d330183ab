"""A mirror on a real Git server (`git http-backend`, nginx): only what the server took counts as pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import metastore
from metastore import config
from metastore.storage.local.mirror import MirrorReport, Remote, mirror
from metastore.storage.local.storage import GitStorage

from .conftest import ANN, real_descriptor, ticking
from .hosts.git_server import NGINX, GitServer, nginx
from .hosts.server import Reply
from .test_interop import git
from .test_mirror import CARS, ours, references


@pytest.fixture
def store(tmp_path: Path) -> Iterator[metastore.MetaStore]:
    with metastore.connect(tmp_path / "store", author=ANN, clock=ticking(), validation="off") as made:
        made.dataset_create(CARS, real_descriptor())
        made.tag_create(CARS, "v1", description="First")
        yield made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "hub") as made:
        made.make("physics/cars.git")
        yield made


@pytest.fixture
def there(server: GitServer) -> Path:
    return server.root / "physics/cars.git"


@pytest.fixture
def push(
    store: metastore.MetaStore, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., MirrorReport]:
    """Return a function that mirrors to the server, for somebody whose home is the test's folder."""
    for name, value in {"HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)

    def run(base: str | None = None, *, token: str | None = "secret", user: str | None = None) -> MirrorReport:
        assert isinstance(store.storage, GitStorage)
        remote = Remote(f"{base or server.url}/{{owner}}/{{name}}.git", token, user)
        report = mirror(store.storage, remote, [CARS])
        assert "secret" not in f"{report} {remote!r}"
        return report

    return run


def reasons(report: MirrorReport) -> list[str]:
    return [each.reason for each in report.not_pushed]


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("knows_protocol", [True, False])
def test_a_mirror_arrives_over_each_protocol(
    store: metastore.MetaStore,
    server: GitServer,
    push: Callable[..., MirrorReport],
    tmp_path: Path,
    there: Path,
    version: int,
    knows_protocol: bool,
) -> None:
    server.knows_protocol = knows_protocol
    (tmp_path / ".gitconfig").write_text(f"[protocol]\n\tversion = {version}\n")
    assert push() == MirrorReport(1, 0, 2)
    assert references(there) == ours(store)
    assert push() == MirrorReport(1, 1, 0)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_push_beyond_the_largest_body_of_a_proxy_is_not_done(
    server: GitServer, push: Callable[..., MirrorReport], tmp_path: Path, there: Path
) -> None:
    with nginx(tmp_path / "nginx", server.url, "client_max_body_size 300;") as address:
        report = push(address)
    assert (report.references, references(there)) == (0, "")
    assert [each.reference for each in report.not_pushed] == ["refs/heads/main", "refs/tags/v1"]
    assert all("413" in reason for reason in reasons(report))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Reply(503, b"Later", {"Content-Type": "text/plain"}), "503"),
        (Reply(500, b"<html>Oops</html>", {"Content-Type": "text/html"}), "500"),
        (Reply(403, b"You may not", {"Content-Type": "text/plain"}), "403"),
        (Reply(200, b"<html>Sign in</html>", {"Content-Type": "text/html"}), "expected"),
        (Reply(200, b"", {"Content-Type": "application/x-git-receive-pack-result"}), "hung up"),
    ],
)
def test_a_push_that_the_server_answers_otherwise_is_not_done(
    server: GitServer, push: Callable[..., MirrorReport], there: Path, kind: Reply, words: str
) -> None:
    server.fault(kind, method="POST", path="receive-pack", times=9)
    report = push()
    assert (report.references, references(there)) == (0, "")
    assert [words in reason for reason in reasons(report)] == [True, True], report


@pytest.mark.parametrize("kind", ["cut-during", "cut-after", "bad-gateway-after"])
def test_a_push_that_arrived_while_its_answer_was_lost_is_done(
    store: metastore.MetaStore, server: GitServer, push: Callable[..., MirrorReport], there: Path, kind: str
) -> None:
    fault = server.fault(kind, method="POST", path="receive-pack")
    assert push() == MirrorReport(1, 0, 2)
    assert fault.struck == 1
    assert references(there) == ours(store)


def test_a_server_that_is_gone_after_a_push_leaves_it_untold(
    server: GitServer, push: Callable[..., MirrorReport]
) -> None:
    server.fault("cut-during", method="POST", path="receive-pack")
    server.fault(Reply(503), path="upload-pack", skip=1, times=9)
    server.fault(Reply(503), path="info/refs", skip=2, times=9)
    report = push()
    assert (report.references, len(report.not_pushed)) == (0, 2)


def test_a_hook_that_refuses_is_told_with_its_words(
    server: GitServer, push: Callable[..., MirrorReport], there: Path
) -> None:
    server.hook("physics/cars.git", 'echo >&2; echo "GitLab: Committer ann@example.org is not verified" >&2; exit 1')
    report = push()
    assert (report.references, len(report.not_pushed), references(there)) == (0, 2, "")
    for reason in reasons(report):
        assert "pre-receive hook declined" in reason
        assert "GitLab: Committer ann@example.org is not verified" in reason


def test_references_that_a_server_hides_are_refused_and_the_others_are_pushed(
    push: Callable[..., MirrorReport], there: Path
) -> None:
    git("-C", there, "config", "transfer.hideRefs", "refs/tags")
    report = push()
    assert report.references == 1
    (refused,) = report.not_pushed
    assert refused.reference == "refs/tags/v1"
    assert "hidden ref" in refused.reason
    assert references(there).split("\t")[-1] == "refs/heads/main"


def test_a_wrong_token_and_one_that_may_not_write_are_told_apart(
    server: GitServer, push: Callable[..., MirrorReport], there: Path
) -> None:
    wrong = push(token="another-one")
    assert wrong.references == 0
    assert "Authentication failed" in reasons(wrong)[0]
    server.readers.add("ann")
    reader = push()
    assert reader.references == 0
    assert "403" in reasons(reader)[0]
    assert references(there) == ""


def test_a_token_asks_no_credential_helper(push: Callable[..., MirrorReport], tmp_path: Path) -> None:
    helper = "!f() { touch asked; echo username=ann; echo password=secret; }; f"
    (tmp_path / ".gitconfig").write_text(f'[credential]\n\thelper = "{helper}"\n')
    assert push(token="another-one").not_pushed
    assert not (tmp_path / "asked").exists()


def test_a_credential_helper_is_asked_without_a_token(
    store: metastore.MetaStore, push: Callable[..., MirrorReport], tmp_path: Path, there: Path
) -> None:
    helper = "!f() { echo username=ann; echo password=secret; }; f"
    (tmp_path / ".gitconfig").write_text(f'[credential]\n\thelper = "{helper}"\n')
    assert not push(token=None).not_pushed
    assert references(there) == ours(store)


def test_the_user_that_goes_with_a_token_is_a_setting(server: GitServer, push: Callable[..., MirrorReport]) -> None:
    server.users["secret"] = "x-token-auth"
    assert "Authentication failed" in reasons(push())[0]
    assert not push(user="x-token-auth").not_pushed
    assert config.load({"METASTORE_MIRROR_USER": "x-token-auth"}).mirror_user == "x-token-auth"


def test_a_repository_that_went_elsewhere_is_told_with_its_address(
    server: GitServer, push: Callable[..., MirrorReport]
) -> None:
    server.moved["physics/cars.git"] = "labs/cars.git"
    (reason,) = reasons(push())
    assert "301" in reason
    assert f"it is at {server.url}/labs/cars.git now" in reason
