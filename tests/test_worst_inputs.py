"""The cost of one call: each transformation of its worst input costs seconds and memory that are bounded.

Each case runs in a process of its own, which the system ends if it takes more processor time or memory than the limits
here. They are generous, since machines differ: the aim is two seconds and 200 MB.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from metastore.bundle.exchange import read_rows, write_rows
from metastore.bundle.port import Bundle
from metastore.ckan import to_descriptor, to_package
from metastore.descriptor.difference import changes, json_patch
from metastore.descriptor.file_changes import prepare
from metastore.descriptor.merge import merge
from metastore.descriptor.patch import patched
from metastore.descriptor.profiles import findings
from metastore.errors import InvalidInput
from metastore.excerpts import contrast
from metastore.git.objects import COMMIT, FOLDER, TREE, Entry, GitObject, commit_content, object_id, tree_content
from metastore.git.received import Received
from metastore.git.repository import no_inspection
from metastore.git.verify import verify
from metastore.pages.json_lines import mark
from metastore.pages.markdown import render
from metastore.search.documents import document
from metastore.types import Author, Change, DatasetId

#: In seconds of the processor, and in bytes beyond what the process has when it starts.
SECONDS, MEMORY = 10, 1 << 30
MANY = 100_000
FORK = multiprocessing.get_context("fork")


def package(**more: Any) -> dict[str, Any]:
    return {"name": "cars", "resources": [{"name": "cars", "path": "cars.csv"}], **more}


def things(prefix: str, count: int = MANY) -> list[dict[str, str]]:
    return [{"name": f"{prefix}{n}", "path": f"{prefix}{n}.csv", "title": str(n)} for n in range(count)]


def compare(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert len(changes(old, new)) <= 10_000
    assert len(json_patch(old, new)) <= 10_000


def refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        call()


def clash() -> None:
    base, mine, theirs = (package(**{f"k{n}": n * sign for n in range(MANY)}) for sign in (1, 2, 3))
    assert len(merge(base, mine, theirs)[1]) == 1_000


def shift(operations: list[dict[str, Any]], count: int) -> None:
    refused(
        lambda: patched(package(x=list(range(count))), operations), "shifts too many items|at most 50000 operations"
    )


def deeper(count: int) -> None:
    """Put lists within lists, ever deeper: each is small, and its place is not."""
    nested: Any = 0
    for _ in range(98):
        nested = [nested]
    operations = [{"op": "replace", "path": "/x" + "/0" * 98 * n, "value": nested} for n in range(count)]
    refused(lambda: patched(package(x=0), operations), "steps")


def deep_moves(count: int) -> None:
    """Move a value that is deep to and fro: each move looks its place up several times."""
    nested: Any = [0]
    for _ in range(96):
        nested = [nested]
    deep = "/x" + "/0" * 96
    moves = [{"op": "move", "from": f"{deep}/0", "path": f"{deep}/-"}] * count
    refused(lambda: patched(package(x=nested), moves), "steps")


def many_parents() -> None:
    """Verify a commit of 400,000 parents: some kilobytes in a pack. A push of it is refused before it is read."""
    who = "A <a@example.org> 1700000000 +0000"
    lines = [f"tree {'1' * 40}", *[f"parent {'3' * 40}"] * (4 * MANY), f"author {who}", f"committer {who}", "", ""]
    commit = GitObject(COMMIT, "\n".join(lines).encode())
    pushed = Received({"2" * 40: commit}, None, "main", "refs/heads/main", "2" * 40)
    refused(lambda: pushed.check(DatasetId("physics", "cars"), no_inspection), "one too many")
    assert "is missing" in next(verify(pushed, DatasetId("physics", "cars"), no_inspection)).detail


def trees_within_trees(levels: int, wide: int, words: str) -> None:
    """Push ten trees, each of which names the one before it ten times; or a thousand, one inside the other."""
    objects: dict[str, GitObject] = {}

    def add(kind: str, content: bytes) -> str:
        identity = object_id(kind, content)
        objects[identity] = GitObject(kind, content)
        return identity

    inner = add(TREE, b"")  # folders count, too: Git takes empty ones
    for _ in range(levels):
        inner = add(TREE, tree_content({f"d{n}": Entry(FOLDER, inner) for n in range(wide)}))
    change = Change(Author("A", "a@example.org"), "Mine", datetime(2026, 1, 1, tzinfo=UTC))
    commit = add(COMMIT, commit_content(inner, None, change))
    pushed = Received(objects, None, "main", "refs/heads/main", commit)
    refused(lambda: pushed.check(DatasetId("physics", "cars"), no_inspection), words)


def deep_path() -> None:
    """Store a descriptor with a path of 100,000 folders, whose file would get a pointer."""
    resource = {"name": "x", "path": "a/" * MANY + "b", "sha256": "0" * 64, "bytes": 1}
    refused(lambda: prepare({"resources": [resource]}, "off", None), "more than 128 parts")


def many_rows() -> None:
    rows = "".join(f"n{n},e,G,E:T{n}\n" for n in range(MANY))
    assert len(read_rows(f"name,event,ifb_group,devices\n{rows}", "csv")) == MANY


def many_bundles() -> None:
    long = Bundle("n", "e,a9", "G", updated=datetime(2026, 1, 1, tzinfo=UTC), devices=("=E:TOR860D",) * 1_000)
    length = 0
    for piece in write_rows((long for _ in range(1_000)), "csv"):
        length += len(piece)
    assert length > 10_000_000


def ckan() -> None:
    package_of_ckan = to_package(package(resources=things("r", 20_000), **{f"k{n}": [n] for n in range(20_000)}))
    assert len(to_descriptor(package_of_ckan)["resources"]) == 20_000


def texts() -> None:
    words = [f"w{n % 9_973}" for n in range(1_000_000)]
    excerpts, _ = contrast(" ".join(words), " ".join(reversed(words)))
    assert sum(len(excerpt.old) + len(excerpt.new) for excerpt in excerpts) < 10_000


def found() -> None:
    words = [f"k{n}" for n in range(3 * MANY)]
    document(DatasetId("physics", "cars"), json.dumps(package(keywords=words, description=" ".join(words))).encode())


def marked() -> None:
    text = '{"a": [' + "1,\n" * (30 * MANY) + "1]}"
    assert len(mark(text, InvalidInput("wrong", pointer=f"/a/{20 * MANY}"))) == 1


FRONT = {"op": "add", "path": "/x/0", "value": 1}
CASES: dict[str, Callable[[], object]] = {
    "a list changed throughout": lambda: compare(
        package(x=[{"v": n} for n in range(MANY)]), package(x=[{"v": -n} for n in range(MANY)])
    ),
    "things in the opposite order": lambda: compare(
        package(resources=things("r")), package(resources=things("r")[::-1])
    ),
    "all things renamed": lambda: compare(package(resources=things("r")), package(resources=things("q"))),
    "one giant text": lambda: compare(package(x="ab " * 5_000_000), package(x="ba " * 5_000_000)),
    "many members": lambda: compare(
        package(**{f"k{n}": n for n in range(3 * MANY)}), package(**{f"k{n}": -n for n in range(3 * MANY)})
    ),
    "a merge that clashes throughout": clash,
    "a patch that shifts a long list": lambda: shift([FRONT] * 50_000, 10 * MANY),
    "a patch that turns a long list around": lambda: shift(
        [{"op": "move", "from": "/x/0", "path": "/x/-"}] * 50_000, MANY
    ),
    "a patch whose places are ever deeper": lambda: deeper(150),
    "a patch that moves what is deep": lambda: deep_moves(6_000),
    "a patch of too many operations": lambda: shift([{"op": "test", "path": "/x", "value": 1}] * 500_000, 1),
    "a commit of many parents": many_parents,
    "trees that name each other many times": lambda: trees_within_trees(10, 10, "more than 250000 files and folders"),
    "trees one inside the other": lambda: trees_within_trees(3_000, 1, "more than 128 parts"),
    "a path of many folders": deep_path,
    "wrong keywords": lambda: findings(package(keywords=list(range(5 * MANY)))),
    "resources that are wrong": lambda: findings(package(resources=[{}] * (5 * MANY))),
    "open brackets": lambda: render("[" * MANY),
    "open emphasis": lambda: render("**a *a " * 30_000),
    "quotations within quotations": lambda: render((">" * 5_000 + "a\n") * 20),
    "a wide table": lambda: render("|" + "a|" * 1_000 + "\n|" + "-|" * 1_000 + "\n" + "|a\n" * MANY),
    "rows of bundles": many_rows,
    "long bundles as a table": many_bundles,
    "a package of CKAN, there and back": ckan,
    "two long texts beside each other": texts,
    "what a search finds of a descriptor": found,
    "a mistake far down in a form": marked,
}

#: Cases that take seconds, and so are left to the long tests.
_LONG = (
    "a list changed throughout",
    "things in the opposite order",
    "all things renamed",
    "many members",
    "a merge that clashes throughout",
    "open brackets",
    "a patch that shifts a long list",
    "long bundles as a table",
    "a package of CKAN, there and back",
    "two long texts beside each other",
    "what a search finds of a descriptor",
    "a mistake far down in a form",
)


def _within_limits(case: str) -> None:
    with open("/proc/self/statm") as sizes:
        size = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    CASES[case]()


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.soak if case in _LONG else ()) for case in CASES]
)
def test_a_worst_case_is_answered_or_refused_within_bounds(case: str) -> None:
    process = FORK.Process(target=_within_limits, args=(case,))
    process.start()
    process.join()
    assert process.exitcode == 0
