"""The command line while a host limits us: a bar on a terminal, otherwise a sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metastore
from metastore.cli.bars import _left, wait_for_host

from ..conftest import ANN
from ..terminal import on_terminal, screens
from .gitlab import GitLab
from .server import Reply

WORK = """
from metastore.cli.bars import Bar, wait_for_host
with Bar("Copying") as bar:
    bar.show(1, 2)
    wait_for_host(2.5, sleep=lambda seconds: None)
    bar.show(2, 2)
print("Copied")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitLab]:
    with GitLab(tmp_path / "gitlab", "physics") as made:
        made.tokens["glpat-ann"] = "ann"
        yield made


def command(server: GitLab, *arguments: str) -> tuple[list[str], dict[str, str]]:
    address = f"gitlab://{server.url.removeprefix('http://')}/physics"
    environment = {**os.environ, "METASTORE_GITLAB_TOKEN": "glpat-ann"}
    return [sys.executable, "-m", "metastore", *arguments, address], environment


def test_without_a_terminal_a_wait_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    slept: list[float] = []
    wait_for_host(2.5, sleep=slept.append)
    assert slept == [2.5]
    assert capsys.readouterr() == ("", "The host limits requests: waiting 3 seconds.\n")


def test_on_a_terminal_a_bar_fills_below_the_one_of_the_work_and_goes(tmp_path: Path) -> None:
    code, written = on_terminal([sys.executable, "-c", WORK], cwd=tmp_path)
    seen = list(screens(written))
    half = f"Copying  [{'#' * 18}{'-' * 18}]   50%"
    bars = [
        f"The host limits us: waiting  [{'#' * done}{'-' * (20 - done)}]  {left} s left"
        for done, left in ((0, 3), (6, 2), (13, 1), (20, 0))
    ]
    assert code == 0
    assert [lines[1] for lines in seen if lines[0] == half and len(lines) > 1] == bars
    assert seen[-1] == (f"Copying  [{'#' * 36}]  100%", "Copied")


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s left"), (119, "119 s left"), (150, "2 min left"), (5000, "1 h 23 min left")]
)
def test_a_wait_is_told_in_hours_and_minutes(seconds: int, text: str) -> None:
    assert _left(seconds) == text


def test_the_bar_takes_as_long_as_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for seconds in (0.2, 1.0, 2.5, 90.0):
        slept: list[float] = []
        wait_for_host(seconds, sleep=slept.append)
        assert sum(slept) == pytest.approx(seconds)
        assert max(slept) <= 1


def test_a_wait_that_is_broken_off_leaves_the_terminal_in_order(tmp_path: Path) -> None:
    code = WORK.replace("lambda seconds: None", "[].pop")  # as Ctrl-C does, it raises in the middle of a wait
    ended, written = on_terminal([sys.executable, "-c", code], cwd=tmp_path)
    assert ended == 1
    *_, last = screens(written)
    assert not any("waiting" in line and "#" in line for line in last)


def test_a_copy_to_a_host_that_limits_us_shows_the_wait_and_goes_on(server: GitLab, tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author=ANN, validation="off") as store:
        store.dataset_create("physics/cars", {"name": "cars"})
    limit = server.fault(Reply(429, b"Retry later\n", {"Retry-After": "1"}), path="git-receive-pack")
    copy, environment = command(server, "copy", "store")
    code, written = on_terminal(copy, cwd=tmp_path, env=environment)
    seen = list(screens(written))
    assert (code, limit.struck) == (0, 1)
    assert any("The host limits us: waiting  [" in line for lines in seen for line in lines)
    assert seen[-1] == (
        f"Copying  [{'#' * 36}]  100%",
        "1 dataset, 0 of them there already; 1 revision and 0 tags copied",
    )
