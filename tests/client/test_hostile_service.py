"""A service that is hostile: a client ends with an error within its bounds, and a copy keeps nothing that is untrue."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import MetaStore, StorageUnavailable
from metastore.client._responses import next_page
from metastore.errors import MetastoreError, OutcomeUnknown, TooLarge
from metastore.git.objects import BLOB, GitObject, object_id
from metastore.git.pack import to_pack
from metastore.git.pkt_lines import FLUSH, pkt_line
from metastore.http.responses import Response
from metastore.storage.copy import copy
from metastore.store.journal_copy import copy_journal
from metastore.types import ChangeRequest, DatasetId, JournalEntry, Outcome, RevisionId
from metastore.wire import to_wire

from ..conftest import ANN, EPOCH
from ..harness import http_proxy as faults
from ..harness.http_proxy import Exchange, Fault, Proxy, proxied
from ..loopback import TOKEN

CARS = "physics/cars"
JSON = "application/json"
LISTS: dict[str, Callable[[metastore.Store], object]] = {
    "datasets": lambda store: list(store.dataset_list()),
    "revisions": lambda store: list(store.revision_list(CARS)),
    "tags": lambda store: list(store.tag_list(CARS)),
    "journal": lambda store: list(store.journal()),
    "changes": lambda store: list(store.changes()),
    "owners": lambda store: list(store.owner_list()),
    "search": lambda store: store.dataset_search("x"),
    "a dataset": lambda store: store.dataset_read(CARS),
}
BODIES: dict[str, bytes] = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep, and cut": b'{"a":' * 100_000,
    "not a number": b"[NaN]",
    "infinite": b"[Infinity, -Infinity]",
    "a number of many digits": b"[" + b"9" * 100_000 + b"]",
    "no text": b'["\xff\xfe"]',
    "half a character": b'["\\ud800"]',
    "a text": b'"physics/cars"',
    "nothing": b"",
}
IDS = [
    "../x",
    "physics/..",
    "./x",
    "Physics/Cars",
    "a/b/c",
    "a/b\0",
    "a/" + "b" * 10_000,
    "-x/--force",
    "a/b.lock",
    "é/x",
]


def gives(body: bytes, kind: str = JSON, **more: str) -> Fault:
    return faults.says("200 OK", body, kind, **more)


@pytest.mark.parametrize("body", BODIES)
def test_json_that_no_service_says_is_refused_in_a_sentence(remote: metastore.Store, proxy: Proxy, body: str) -> None:
    for call, read in LISTS.items():
        kind = "application/vnd.metastore+json" if call == "a dataset" else JSON
        for says in (gives(BODIES[body], kind), faults.says("404 Not Found", BODIES[body], "application/problem+json")):
            proxy.always["GET"] = says
            with pytest.raises(StorageUnavailable) as caught:
                read(remote)
            assert len(str(caught.value)) < 500


def test_an_id_that_no_dataset_has_is_refused_wherever_it_stands(remote: metastore.Store, proxy: Proxy) -> None:
    for given in IDS:
        for call, answer in naming(given).items():
            proxy.always["GET"] = answer
            with pytest.raises(StorageUnavailable) as caught:
                LISTS[call](remote)
            assert len(str(caught.value)) < 500


def naming(given: str) -> dict[str, Fault]:
    """Return answers to calls that name this id."""
    entry = {"dataset_id": given, "action": "purged", "revision": None, "new_id": None, "cursor": "1"}
    line = {**to_wire(journal_line(1)), "dataset_id": given}
    moved = {"kind": "dataset-moved", "detail": "Moved", "dataset_id": CARS, "new_id": given}
    return {
        "datasets": gives(json.dumps([given]).encode()),
        "journal": gives(json.dumps([line]).encode()),
        "changes": gives(json.dumps([entry]).encode()),
        "a dataset": faults.says("308 Permanent Redirect", json.dumps(moved).encode(), "application/problem+json"),
    }


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n[]",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
    ],
    ids=["short", "negative", "chunk", "headers", "header"],
)
def test_a_response_that_is_not_framed_as_it_says_is_refused(proxy: Proxy, answer: bytes) -> None:
    proxy.always["GET"] = lambda each: each.answer(answer)
    with metastore.connect(proxy.address, timeout=(5, 5), retries=0) as store, pytest.raises(StorageUnavailable):
        store.dataset_list()


def test_compressed_json_is_bounded_when_it_is_unpacked(remote: metastore.Store, proxy: Proxy) -> None:
    bomb = gzip.compress(b"[" + b" " * 20_000_000 + b"]")
    proxy.always["GET"] = gives(bomb, Content_Encoding="gzip")
    remote._http.connection.longest = 100_000  # type: ignore[attr-defined]
    with pytest.raises(StorageUnavailable, match="more than 100000 bytes"):
        remote.dataset_list()


@pytest.mark.parametrize("unit", ["<", "<>;", "<>; rel", '<>; rel="nex', ",", "<a>; a=b, "])
def test_a_link_header_is_read_in_a_time_that_grows_with_its_length(unit: str) -> None:
    answer = Response("http://x.example.org", 200, {"link": unit * (30_000 // len(unit))}, b"")
    started = time.process_time()
    assert (next_page(answer), answer.next_page()) == (None, None)
    assert time.process_time() - started < 0.3


def test_a_long_reason_is_cut(remote: metastore.Store, proxy: Proxy) -> None:
    said = {"kind": "dataset-not-found", "detail": "x" * 5_000_000, "dataset_id": CARS}
    proxy.always["GET"] = faults.says("404 Not Found", json.dumps(said).encode(), "application/problem+json")
    with pytest.raises(metastore.DatasetNotFound) as caught:
        remote.dataset_read(CARS)
    assert len(str(caught.value)) < 11_000


# The journal


def journal_line(number: int, message: str = "Why") -> Any:
    return JournalEntry(RevisionId(f"{number:040x}"), "purge", DatasetId("physics", "cars"), {}, ANN, message, EPOCH)


def test_a_journal_without_end_does_not_fill_the_memory(
    remote: metastore.Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.store.journal_copy._MOST_HELD", 100_000)
    numbers = itertools.count()

    def page(each: Exchange) -> None:
        number = next(numbers)
        lines = json.dumps([to_wire(journal_line(number, "x" * 10_000))]).encode()
        gives(lines, Link=f'<?before={number}>; rel="next"')(each)

    proxy.always["GET"] = page
    target = metastore.connect("memory:", author=ANN)
    with pytest.raises(TooLarge, match="prefix"):
        copy_journal(remote, target)
    assert list(target.journal()) == []
    assert next(numbers) < 12


def test_a_feed_that_goes_back_and_forth_is_given_up(
    remote: metastore.Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.client._calls._LARGEST_PAGE", 1)
    monkeypatch.setattr("metastore.client._calls.MOST_PAGES", 7)
    numbers = itertools.count()

    def page(each: Exchange) -> None:
        odd = next(numbers) % 2
        entry = {"dataset_id": f"a/b{odd}", "action": "purged", "revision": None, "new_id": None, "cursor": f"{odd}"}
        gives(json.dumps([entry]).encode())(each)

    proxy.always["GET"] = page
    with pytest.raises(StorageUnavailable, match="more than 7 pages"):
        list(remote.changes("1"))


def test_moves_in_a_circle_are_not_followed_for_ever(
    remote: metastore.Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.store.settling._MOST_MOVES", 5)

    def moved(each: Exchange) -> None:
        there = "a" if b"/datasets/x/b" in each.request.split(b"\r\n", 1)[0] else "b"
        here = "a" if there == "b" else "b"
        said = {"kind": "dataset-moved", "detail": "Moved", "dataset_id": f"x/{here}", "new_id": f"x/{there}"}
        faults.says("308 Permanent Redirect", json.dumps(said).encode(), "application/problem+json")(each)

    proxy.always["GET"] = moved
    for action, new_id in (("move", DatasetId("x", "c")), ("purge", None), ("update", None)):
        change = ChangeRequest(action, DatasetId("x", "a"), ANN, "Why", EPOCH, new_id=new_id)
        assert remote.settle(OutcomeUnknown("lost", before="a" * 40, change=change)) is Outcome.UNKNOWN


# Copies


@pytest.fixture
def target(tmp_path: Path) -> MetaStore:
    return metastore.connect(tmp_path / "target", author=ANN, sync=False)


def is_git(each: Exchange, command: bytes) -> bool:
    head = each.request.split(b"\r\n", 1)[0]
    return b"/git-upload-pack" in head and b"command=" + command in each.request


def spoils(proxy: Proxy, command: bytes, answer: Fault) -> None:
    """Let something answer one command of Git in place of the service."""
    proxy.always["POST"] = lambda each: (answer if is_git(each, command) else faults.passes)(each)


def refuses(remote: Any, target: MetaStore, said: str) -> None:
    """Expect that nothing is copied, for this reason."""
    report = copy(remote.storage, target.storage)
    assert [str(each.dataset) for each in report.not_copied] == [CARS]
    assert re.search(said, report.not_copied[0].reason), report.not_copied
    assert not list(target.dataset_list(deleted=None))
    assert not list(target.verify())


def fetched(objects: bytes) -> Fault:
    """Return the answer to a fetch with this pack."""
    parts = [objects[at : at + 60_000] for at in range(0, len(objects), 60_000)]
    body = pkt_line("packfile") + b"".join(b"%04x\1%s" % (len(part) + 5, part) for part in parts) + FLUSH
    return gives(body, "application/x-git-upload-pack-result")


def packed(*contents: bytes) -> bytes:
    return to_pack({object_id(BLOB, content): GitObject(BLOB, content) for content in contents})


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (packed(b"another"), "other objects"),
        (packed(), "other objects"),
        (packed(bytes(50_000_000)), "more than"),
        (packed(*(b"%d" % number for number in range(1001))), "more than 1000"),
        (packed(b"cut")[:-30], "cannot be read"),
        (b"PACK" + b"\xff" * 40, "cannot be read"),
        (b"", "cannot be read"),
    ],
    ids=["other", "none", "bomb", "many", "cut", "count", "empty"],
)
def test_a_pack_that_is_not_what_was_asked_for_is_not_stored(
    remote: Any,
    served: MetaStore,
    proxy: Proxy,
    target: MetaStore,
    pack: bytes,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.dataset_create(CARS, {"name": "cars"})
    monkeypatch.setattr("metastore.git.protocol._MOST_OBJECTS", 1000)
    remote.storage.hosts[0].longest = 1_000_000
    spoils(proxy, b"fetch", fetched(pack))
    refuses(remote, target, said)


@pytest.mark.parametrize(
    "line",
    ["", "nonsense", "z" * 40 + " refs/heads/main", "a" * 40 + " refs/heads/main", "a" * 39 + " HEAD"],
)
def test_references_that_are_none_are_refused(
    remote: Any, served: MetaStore, proxy: Proxy, target: MetaStore, line: str
) -> None:
    served.dataset_create(CARS, {"name": "cars"})
    spoils(proxy, b"ls-refs", gives(pkt_line(line) + FLUSH, "application/x-git-upload-pack-result"))
    with pytest.raises(StorageUnavailable) if "a" * 40 not in line else pytest.MonkeyPatch.context():
        report = copy(remote.storage, target.storage)
        assert len(report.not_copied) == 1
    assert not list(target.dataset_list(deleted=None))


def test_a_tag_with_the_name_of_a_path_or_an_option_is_left_out(
    remote: Any, served: MetaStore, proxy: Proxy, target: MetaStore, tmp_path: Path
) -> None:
    head = served.dataset_create(CARS, {"name": "cars"}).revision.id
    names = [
        "../../../x",
        "/etc/x",
        "-x",
        "--upload-pack=x",
        "a..b",
        "a=b",
        "a\0b",
        ".x",
        "x.lock",
        "x" * 10_000,
        "é\x1b",
        "",
    ]

    def refs(each: Exchange) -> None:
        lines = [f"{head} HEAD symref-target:refs/heads/main", f"{head} refs/heads/main"]
        lines += [f"{head} refs/tags/{name}" for name in [*names, "good"]]
        lines += [f"{head} refs/heads/../../../y", f"{head} refs/tags/../heads/z"]
        gives(b"".join(map(pkt_line, lines)) + FLUSH, "application/x-git-upload-pack-result")(each)

    spoils(proxy, b"ls-refs", refs)
    before = {path for path in tmp_path.rglob("*") if "target" not in path.parts}
    report = copy(remote.storage, target.storage)
    assert (report.not_copied, report.tags) == ((), 2)
    assert [tag.name for tag in target.tag_list(CARS)] == ["-x", "good"]
    assert {path for path in tmp_path.rglob("*") if "target" not in path.parts} == before
    assert not list(target.verify())


def test_a_branch_that_leads_out_of_the_repository_is_not_written(
    remote: Any, served: MetaStore, proxy: Proxy, target: MetaStore, tmp_path: Path
) -> None:
    head = served.dataset_create(CARS, {"name": "cars"}).revision.id

    def refs(each: Exchange) -> None:
        lines = [f"{head} HEAD symref-target:refs/heads/../../../evil", f"{head} refs/heads/../../../evil"]
        gives(b"".join(map(pkt_line, lines)) + FLUSH, "application/x-git-upload-pack-result")(each)

    spoils(proxy, b"ls-refs", refs)
    copy(remote.storage, target.storage)
    assert not list(tmp_path.rglob("*evil*"))
    assert not list(target.verify())


def test_a_listing_with_bad_ids_stops_a_copy_before_it_writes(
    remote: Any, served: MetaStore, proxy: Proxy, target: MetaStore
) -> None:
    served.dataset_create(CARS, {"name": "cars"})
    for given in IDS:
        proxy.always["GET"] = gives(json.dumps([CARS, given]).encode())
        with pytest.raises(StorageUnavailable):
            copy(remote.storage, target.storage)
        assert not list(target.dataset_list(deleted=None))


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_no_redirect_takes_the_token_to_another_server(
    remote: Any, served: MetaStore, proxy: Proxy, target: MetaStore, status: str
) -> None:
    served.dataset_create(CARS, {"name": "cars"})
    with proxied("http://127.0.0.1:9") as other:
        for path in (f"/git/{CARS}.git/git-upload-pack", f"/api/v1/datasets/{CARS}"):
            proxy.always["POST"] = proxy.always["GET"] = faults.says(status, Location=f"{other.address}{path}")
            for call in LISTS.values():
                with pytest.raises(MetastoreError) as caught:
                    call(remote)
                assert TOKEN not in str(caught.value)
            with suppress(MetastoreError):
                copy(remote.storage, target.storage, only=[DatasetId("physics", "cars")])
        assert other.seen == []
    assert not list(target.dataset_list(deleted=None))
