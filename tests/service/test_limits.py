"""The limits of the table in `security.md`: what is as large as is permitted is done, and one more is refused in words.

Where that takes long at the real size, the test permits less, and the size itself is compared with the table.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from metastore import MetaStore, TooLarge
from metastore.descriptor import difference, merge, patch
from metastore.descriptor.limits import MAX_BYTES, size_of
from metastore.descriptor.merge import take_out
from metastore.git import pkt_lines, upload_pack
from metastore.pages import files, refusals, typed
from metastore.pages.compare import _LINES, _LONGEST_LINE, _LONGEST_TEXT
from metastore.service import clones, part_history, pushes, revisions

from .conftest import CARS, Door

MIB = 1024 * 1024
JSON_PATCH = "application/json-patch+json"
CLONE = "/git/physics/cars.git/git-upload-pack"
SECURITY = Path(__file__).parents[2] / "docs" / "explanation" / "security.md"


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ("50,000 operations with pointers of 100,000 characters", (patch._MOST_OPERATIONS, patch._LONGEST_POINTER)),
        ("copies and compares 32 MiB, shifts 10^9 items", (MAX_BYTES, patch._MOST_SHIFTS)),
        ("10,000; then members are compared as wholes", (difference._MOST,)),
        ("quotes 32 Mi characters", (revisions._MOST_COMPARED,)),
        ("48 MiB of memory together; the first 1,000 clashes", (merge._MOST_BYTES, merge._MOST_CLASHES)),
        ("longer lists than 150,000 items", (merge._LONGEST,)),
        (
            "2,000 revisions, 50,000 values, 16 MiB",
            (part_history._MOST, part_history._MOST_VALUES, part_history._LARGEST),
        ),
        ("reads 64 MiB of descriptors", (part_history._MOST_BYTES,)),
        ("2 MiB of memory, 6 MiB with all fields", (typed._LARGEST, refusals._LARGEST)),
        (
            "8 MiB of ids, 250,000 lines; 1,000 prefixes",
            (clones._LONGEST, pkt_lines._MOST_LINES, upload_pack._MOST_PREFIXES),
        ),
        ("100,000 objects, 64 MiB; a pack on the disk", (clones._MOST_OBJECTS, clones._MOST)),
        ("1 MiB in Git, where files are read whole", (files._LARGEST,)),
        ("64 KiB; 50 rows, or 20,000 characters", (files._READ // 1024, files._ROWS, files._SHOWN)),
        ("16 MiB; 20,000 objects, 64 MiB", (pushes._LONGEST, pushes._OBJECTS, pushes._UNPACKED)),
        ("1,000 lines of 4,000 characters", (_LINES, _LONGEST_LINE)),
        ("one value in full: 100,000 characters", (_LONGEST_TEXT,)),
    ],
)
def test_the_table_of_limits_says_the_sizes(words: str, sizes: tuple[int, ...]) -> None:
    assert words in SECURITY.read_text()
    units = {"MiB": MIB, "Mi": MIB}
    tokens = words.replace("10^9", "1,000,000,000").replace(";", "").split()
    numbers = [
        int(each.replace(",", "")) * units.get(following.strip(","), 1)
        for each, following in zip(tokens, [*tokens[1:], ""], strict=True)
        if each.replace(",", "").isdecimal()
    ]
    assert numbers == list(sizes)


@pytest.fixture
def cars(memory: MetaStore) -> MetaStore:
    memory.dataset_create("physics/cars", {"name": "cars", "resources": [{"name": "cars", "path": "cars.csv"}], "n": 0})
    return memory


def refused(answer: TestResponse, status: int, words: str) -> None:
    assert (answer.status_code, words in answer.text) == (status, True), answer.text[:300]


def changed(door: Door, operations: list[dict[str, Any]]) -> TestResponse:
    return door.admin.patch(CARS, data=operations, content_type=JSON_PATCH)


def test_pointers_of_a_patch(cars: MetaStore, door: Door) -> None:
    longest = "/" + "x" * 99_999
    assert changed(door, [{"op": "add", "path": longest, "value": 1}]).status_code == 200
    refused(changed(door, [{"op": "add", "path": f"{longest}x", "value": 1}]), 422, "at most 100000 characters")
    assert changed(door, [{"op": "move", "from": longest, "path": "/y"}]).status_code == 200
    refused(changed(door, [{"op": "move", "from": f"{longest}x", "path": "/y"}]), 422, "at most 100000 characters")


def test_operations_of_a_patch(cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch, "_MOST_OPERATIONS", 3)
    more = [{"op": "add", "path": f"/k{number}", "value": number} for number in range(4)]
    assert changed(door, more[:3]).status_code == 200
    refused(changed(door, more), 422, "at most 3 operations, not 4")


def test_items_that_a_patch_shifts(cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    cars.dataset_patch("physics/cars", {"x": [1] * 10})
    front = {"op": "add", "path": "/x/0", "value": 1}
    monkeypatch.setattr(patch, "_MOST_SHIFTS", 21)
    assert changed(door, [front, front]).status_code == 200
    refused(changed(door, [front, front]), 422, "shifts too many items")


def test_texts_of_a_comparison(cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    cars.dataset_patch("physics/cars", {"title": "x" * 10})
    compared = f"{CARS}/diff?from=HEAD~1"
    monkeypatch.setattr(revisions, "_MOST_COMPARED", 10)
    assert door.anybody.get(compared).status_code == 200
    monkeypatch.setattr(revisions, "_MOST_COMPARED", 9)
    refused(door.anybody.get(compared), 413, "too long for one answer")


def test_differences_of_two_revisions(cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    cars.dataset_patch("physics/cars", {"x": {f"k{number}": 1 for number in range(4)}})
    cars.dataset_patch("physics/cars", {"x": {f"k{number}": 2 for number in range(4)}})
    compared = f"{CARS}/diff?from=HEAD~1"
    monkeypatch.setattr(difference, "_MOST", 4)
    assert len(door.anybody.get(compared).json["changes"]) == 4
    monkeypatch.setattr(difference, "_MOST", 3)
    assert [each["where"] for each in door.anybody.get(compared).json["changes"]] == ["x"]


def test_sizes_of_a_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    states = b'{"a":111}', b'{"a":111}', b'{"a":1}'
    size = sum(map(size_of, states))
    monkeypatch.setattr(merge, "_MOST_BYTES", size)
    assert take_out(*states) == ({"a": 1}, ())
    monkeypatch.setattr(merge, "_MOST_BYTES", size - 1)
    with pytest.raises(TooLarge, match=f"{size} bytes together; at most {size - 1} are merged"):
        take_out(*states)


def test_an_undo_that_is_too_much(cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    change = cars.dataset_patch("physics/cars", {"title": "Cars"}).revision.id
    cars.dataset_patch("physics/cars", {"n": 1})
    size = sum(size_of(cars.dataset_json("physics/cars", name)[1]) for name in ("HEAD", "HEAD~1", "HEAD~2"))
    monkeypatch.setattr(merge, "_MOST_BYTES", size - 1)
    refused(door.admin.post(f"{CARS}/undo", data={"revision": change}, content_type="application/json"), 413, "merge")
    monkeypatch.setattr(merge, "_MOST_BYTES", size)
    done = door.admin.post(f"{CARS}/undo", data={"revision": change}, content_type="application/json")
    assert done.status_code == 200
    assert "title" not in cars.dataset_read("physics/cars").descriptor


def test_lists_and_clashes_of_a_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    base, mine, theirs = {"k": ["a"]}, {"k": ["a", "b"], "x": 1}, {"k": ["a", "c"], "x": 2}
    monkeypatch.setattr(merge, "_LONGEST", 5)
    merged, clashes = merge.merge(base, mine, theirs)
    assert (merged["k"], len(clashes)) == (["a", "c", "b"], 1)
    monkeypatch.setattr(merge, "_LONGEST", 4)
    assert [each.where for each in merge.merge(base, mine, theirs)[1]] == ["k", "x"]
    monkeypatch.setattr(merge, "_MOST_CLASHES", 1)
    assert len(merge.merge(base, mine, theirs)[1]) == 1


def blamed(door: Door) -> TestResponse:
    return door.anybody.get(f"{CARS}/blame")


@pytest.mark.parametrize(
    ("limit", "most", "words"),
    [
        ("_MOST", 3, "more than 2 revisions"),
        ("_MOST_VALUES", 7, "more than the 6 values"),
        ("_LARGEST", None, "bytes"),
        ("_MOST_BYTES", None, "reads more than"),
    ],
)
def test_where_each_value_comes_from(
    cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch, limit: str, most: int | None, words: str
) -> None:
    for number in range(2):
        cars.dataset_patch("physics/cars", {"n": number + 1})
    sizes = [len(cars.dataset_json("physics/cars", name)[1]) for name in ("HEAD", "HEAD~1", "HEAD~2")]
    most = most if most is not None else sizes[0] if limit == "_LARGEST" else sum(sizes)
    monkeypatch.setattr(part_history, limit, most - 1)
    refused(blamed(door), 413, words)
    monkeypatch.setattr(part_history, limit, most)
    assert blamed(door).status_code == 200


def test_the_request_of_a_clone(cars: MetaStore, door: Door) -> None:
    listing = b"0014command=ls-refs\n0000"
    assert door.anybody.post(CLONE, data=bytes(8 * MIB)).status_code == 400
    assert door.anybody.post(CLONE, data=bytes(8 * MIB + 1)).status_code == 413
    gzipped = {"Content-Encoding": "gzip"}
    assert door.anybody.post(CLONE, data=gzip.compress(listing), headers=gzipped).status_code == 200
    assert door.anybody.post(CLONE, data=gzip.compress(bytes(8 * MIB), 1), headers=gzipped).status_code == 400
    assert door.anybody.post(CLONE, data=gzip.compress(bytes(8 * MIB + 1), 1), headers=gzipped).status_code == 413


def test_objects_of_a_clone(cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    head = cars.revision_read("physics/cars").id
    body = f"0012command=fetch\n00010032want {head}\n0009done\n0000".encode()
    monkeypatch.setattr(clones, "_MOST_OBJECTS", 3)  # a commit, its tree and the descriptor
    assert b"PACK" in door.anybody.post(CLONE, data=body).data
    monkeypatch.setattr(clones, "_MOST_OBJECTS", 2)
    assert "too many objects" in door.anybody.post(CLONE, data=body).text


def test_bytes_of_a_clone(cars: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    head = cars.revision_read("physics/cars").id
    body = f"0012command=fetch\n00010032want {head}\n0009done\n0000".encode()
    with cars.storage.objects("physics/cars") as repository:  # type: ignore[attr-defined]
        commit = repository.get(head)
        tree = repository.get(commit.content.split()[1].decode())
        size = len(commit.content) + len(tree.content) + len(cars.dataset_json("physics/cars")[1])
    monkeypatch.setattr(clones, "_MOST", size)
    assert b"PACK" in door.anybody.post(CLONE, data=body).data
    monkeypatch.setattr(clones, "_MOST", size - 1)
    assert f"more than {size - 1} bytes" in door.anybody.post(CLONE, data=body).text


@pytest.mark.parametrize("path", [CLONE, "/git/physics/cars.git/git-receive-pack"])
@pytest.mark.parametrize("packet", [b"0001", b"0005x"])
def test_packets_of_a_request_of_git(cars: MetaStore, door: Door, path: str, packet: bytes) -> None:
    """Eight million bytes of the shortest packets took some 150 MB, and sixteen 300 MB."""
    sent = {"Content-Type": "application/x-git-receive-pack-request"}
    answer = door.comes("ann", "ds:*", "ds:*:import").post(path, data=packet * 300_000 + b"0000", headers=sent)
    assert (answer.status_code, "more than 250000 of Git's packets" in answer.text) == (400, True)


def test_prefixes_of_a_list_of_references(cars: MetaStore, door: Door) -> None:
    """Each reference is compared with each prefix, which took minutes for thousands of both."""

    def listed(number: int) -> bytes:
        prefixes = b"".join(b"001eref-prefix refs/none/%04d\n" % each for each in range(number))
        return door.anybody.post(CLONE, data=b"0014command=ls-refs\n0001" + prefixes + b"0000").data

    assert listed(1000) == b"0000"
    assert b"refs/heads/main" in listed(1001)
