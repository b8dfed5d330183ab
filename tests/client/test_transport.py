"""The answers of a service, or of somebody in its place: understood, tried again, or refused with a sentence."""

from __future__ import annotations

import gzip
import itertools
import logging
import os
import pickle
import re
import socket
import threading
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

import metastore
from metastore import (
    AuthenticationError,
    DatasetId,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MetaStore,
    NotFound,
    PermissionDenied,
    RevisionConflict,
    StorageBusy,
    StorageUnavailable,
)
from metastore.client._last_seen import LastSeen
from metastore.config import ServiceSettings
from metastore.http import responses as http_responses
from metastore.http._body import head_within
from metastore.types import RevisionId

from ..conftest import change
from ..harness import http_proxy as faults
from ..harness.http_proxy import Exchange, Fault, Proxy, no_waiting
from ..loopback import TOKEN, serving, token

CARS = "physics/cars"
PROBLEM = "application/problem+json"
#: It unpacks to much more than anybody wants.
BOMB = gzip.compress(b" " * 20_000_000)

NEVER_OURS: dict[str, Fault] = {
    "HTML": faults.says("200 OK"),
    "another type": faults.says("200 OK", b"{}", "text/plain"),
    "another document": faults.says("200 OK", b"{}", "application/json"),
    "half a document": faults.says(
        "200 OK", b'{"id": "physics/cars", "descriptor": {', "application/vnd.metastore+json"
    ),
    "no descriptor": faults.says("200 OK", b'{"id": "a/b", "descriptor": 5}', "application/vnd.metastore+json"),
    "404 of a web server": faults.says("404 Not Found"),
    "404 of another service": faults.says("404 Not Found", b'{"kind": "not-found"}', PROBLEM),
    "403 of a proxy": faults.says("403 Forbidden"),
    "500": faults.says("500 Internal Server Error", b"{}", PROBLEM),
    "a problem without facts": faults.says("404 Not Found", b'{"kind": "dataset-not-found"}', PROBLEM),
    "a redirection": faults.says("302 Found", Location="https://other.example.org/"),
    "a move that is none": faults.says("308 Permanent Redirect", Location="https://other.example.org/"),
}


@pytest.mark.parametrize("answer", NEVER_OURS)
def test_what_metastore_never_says_is_refused_with_address_and_status(
    remote: MetaStore, served: MetaStore, proxy: Proxy, answer: str
) -> None:
    served.dataset_create(CARS, {})
    proxy.always["GET"] = NEVER_OURS[answer]
    for read in (remote.dataset_read, remote.revision_list, remote.project_read, remote.tag_list):
        with pytest.raises(StorageUnavailable, match=rf"{proxy.address}/api/v1/\w+/physics/cars.* answered \d\d\d "):
            read(CARS)
    assert len(proxy.seen) == 4


@pytest.mark.parametrize(
    "fault",
    [
        faults.cut_before_it_arrives,
        faults.cut_within_the_answer,
        faults.cut_within_the_head,
        faults.noise,
        faults.says("502 Bad Gateway"),
        faults.says("503 Busy", b"{}", PROBLEM, Retry_After="2"),
    ],
)
def test_a_read_is_tried_again_and_then_given_up(
    remote: MetaStore, served: MetaStore, proxy: Proxy, fault: Fault
) -> None:
    made = served.dataset_create(CARS, {"a": 1})
    pauses = no_waiting(remote)
    proxy.spoil["GET"] = [fault, fault, fault]
    assert remote.dataset_read(CARS) == remote.dataset_read(CARS) == served.dataset_read(CARS)
    assert remote.dataset_read(CARS).revision == made.revision
    assert len(pauses) == 3
    assert all(0 < pause <= 5 for pause in pauses)
    proxy.always["GET"] = fault
    with pytest.raises(StorageUnavailable):
        remote.dataset_read(CARS)
    assert len(proxy.seen) == 10


def test_who_says_to_come_back_much_later_is_not_waited_for(remote: MetaStore, proxy: Proxy) -> None:
    pauses = no_waiting(remote)
    body = b'{"kind": "storage-busy", "detail": "busy"}'
    proxy.always["GET"] = faults.says("503 Busy", body, PROBLEM, Retry_After="600")
    with pytest.raises(StorageBusy, match="busy"):
        remote.dataset_read(CARS)
    assert (pauses, len(proxy.seen)) == ([], 1)


def test_too_many_requests_is_busy(remote: MetaStore, proxy: Proxy) -> None:
    proxy.always["GET"] = faults.says("429 Too Many Requests")
    with pytest.raises(StorageBusy, match="429"):
        remote.dataset_read(CARS)


def test_a_write_that_was_refused_for_now_is_sent_again_after_what_the_service_asks(
    remote: MetaStore, proxy: Proxy
) -> None:
    pauses = no_waiting(remote)
    proxy.spoil["PUT"] = [faults.says("429 Too Many Requests", Retry_After="4")]
    created = remote.dataset_create("physics/new", {"name": "new"})
    assert remote.dataset_read("physics/new").revision == created.revision
    assert (len(pauses), pauses[0] >= 4) == (1, True)


def test_nobody_there_is_said_and_nothing_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    store = metastore.connect(address, token=TOKEN)
    pauses = no_waiting(store)
    for call in (
        lambda: store.dataset_read(CARS),
        lambda: store.dataset_update(CARS, {}, expected="0" * 40),
    ):
        with pytest.raises(StorageUnavailable, match=f"{address}.* cannot be reached"):
            call()
    assert len(pauses) == 2 * 3


def test_silence_ends_after_the_timeout(proxy: Proxy) -> None:
    proxy.always["GET"] = faults.silent
    with metastore.connect(proxy.address, timeout=(5, 0.1), retries=0) as store, pytest.raises(StorageUnavailable):
        store.dataset_read(CARS)


@pytest.mark.parametrize("longest", [100_000, 10**12])
def test_a_body_that_never_ends_is_cut(proxy: Proxy, longest: int) -> None:
    proxy.always["GET"] = faults.endless
    with metastore.connect(proxy.address, timeout=(5, 0.1), retries=0) as store:
        store._http.connection.longest = longest  # type: ignore[attr-defined]
        with pytest.raises(StorageUnavailable, match="more than"):
            store.dataset_read(CARS)


@pytest.mark.parametrize("head", [b"X", b"X: y\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_a_head_that_never_ends_is_cut(proxy: Proxy, head: bytes) -> None:
    proxy.always["GET"] = faults.dripping(head)
    with metastore.connect(proxy.address, timeout=(5, 5), retries=2) as store:
        store._http.connection._trace = head_within(0.1)  # type: ignore[attr-defined]
        with pytest.raises(StorageUnavailable, match=r"more than 0\.1 seconds for the head"):
            store.dataset_read(CARS)
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("fault", [faults.endless, faults.says("200 OK", BOMB, PROBLEM, Content_Encoding="gzip")])
def test_an_answer_that_nobody_reads_to_its_end_is_asked_for_once(
    remote: MetaStore, served: MetaStore, proxy: Proxy, fault: Fault
) -> None:
    remote._http.connection.longest = 100_000  # type: ignore[attr-defined]
    pauses = no_waiting(remote)
    proxy.always["GET"] = fault
    tracemalloc.start()
    try:
        with pytest.raises(StorageUnavailable, match="answers with more than 100000 bytes"):
            remote.dataset_read(CARS)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert (pauses, len(proxy.seen)) == ([], 1)


def test_a_write_whose_answer_nobody_reads_to_its_end_is_settled_by_looking(
    remote: MetaStore, served: MetaStore, proxy: Proxy
) -> None:
    remote._http.connection.longest = 100_000  # type: ignore[attr-defined]
    proxy.spoil["PUT"] = [faults.says("200 OK", BOMB, PROBLEM, forwards=True, Content_Encoding="gzip")]
    made = remote.dataset_create(CARS, {"a": 1})
    assert served.dataset_read(CARS).revision == made.revision
    assert [revision.id for revision in served.revision_list(CARS)] == [made.revision.id]


def test_a_token_goes_to_its_service_alone_and_is_shown_nowhere(
    remote: MetaStore, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.always["GET"] = faults.says("302 Found", Location="http://127.0.0.1:9/elsewhere")
    with caplog.at_level(logging.DEBUG), pytest.raises(StorageUnavailable, match="not followed") as caught:
        remote.dataset_read(CARS)
    assert f"Authorization: Bearer {TOKEN}".encode() in proxy.heads[0]
    shown = [repr(remote), repr(remote._http), str(caught.value), caplog.text, repr(pickle.dumps(caught.value))]  # type: ignore[attr-defined]
    assert not any(TOKEN in each for each in shown)


def test_a_list_goes_on_page_by_page_and_never_elsewhere(remote: MetaStore, served: MetaStore, proxy: Proxy) -> None:
    for number in range(205):
        served.dataset_create(("x", f"d{number:03}"), {})
    listed = remote.dataset_list("x/")
    assert (listed[0], len(proxy.seen)) == ("x/d000", 1)
    assert list(listed) == list(served.dataset_list())
    assert len(proxy.seen) == 4  # three pages, after the first one alone
    link = '<http://other.example.org/api/v1/datasets?after=x/d000>; rel="next"'
    proxy.always["GET"] = faults.says("200 OK", b"[]", "application/json", Link=link)
    with pytest.raises(StorageUnavailable, match="elsewhere"):
        remote.dataset_list()
    proxy.always["GET"] = faults.says("200 OK", b'["a/b"]', "application/json", Link='<?after=a/b>; rel="next"')
    with pytest.raises(StorageUnavailable, match="in a circle"):
        list(remote.dataset_list())


def test_a_page_of_too_many_values_is_not_parsed(remote: MetaStore, proxy: Proxy) -> None:
    proxy.always["GET"] = faults.says("200 OK", b"[" + b"[]," * 2_000_001 + b"[]]", "application/json")
    with pytest.raises(StorageUnavailable, match="more than the 2000000 values"):
        remote.dataset_list()


def test_a_list_without_end_is_given_up(remote: MetaStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_responses, "MOST_PAGES", 5)
    numbers = itertools.count()

    def page(each: Exchange) -> None:
        link = f'<?after=a/{next(numbers)}>; rel="next"'
        faults.says("200 OK", b'["a/b"]', "application/json", Link=link)(each)

    proxy.always["GET"] = page
    with pytest.raises(StorageUnavailable, match="more than 5 pages"):
        list(remote.dataset_list())


def test_a_change_feed_of_many_at_once_comes_whole(
    remote: MetaStore, served: MetaStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.client._calls._LARGEST_PAGE", 10)
    for number in range(35):
        served.dataset_create(("x", f"d{number:03}"), {})
    found = [entry.dataset_id for entry in remote.changes()]
    assert sorted(found) == list(served.dataset_list())
    assert len(proxy.seen) > 3


def test_a_change_feed_without_end_is_given_up(
    remote: MetaStore, served: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.client._calls._LARGEST_PAGE", 10)
    monkeypatch.setattr("metastore.client._calls.MOST_PAGES", 2)
    for number in range(35):
        served.dataset_create(("x", f"d{number:03}"), {})
    with pytest.raises(StorageUnavailable, match="feed has more than 2 pages"):
        list(remote.changes())


def test_a_move_is_said_and_not_followed(remote: MetaStore, served: MetaStore, proxy: Proxy) -> None:
    served.dataset_create(CARS, {})
    served.dataset_move(CARS, "x/y")
    for call in (remote.dataset_read, remote.dataset_delete, lambda each: remote.dataset_update(each, {})):
        with pytest.raises(DatasetMoved) as caught:
            call(CARS)
        assert caught.value.new_id == "x/y"


def test_who_has_no_token_a_bad_one_or_a_narrow_one_is_told(served: MetaStore) -> None:
    served.dataset_create(CARS, {"a": 1})
    with serving(served) as address:
        nobody, bad, narrow = (
            metastore.connect(address, token=each) for each in (None, "x.y.z", token("ds:physics/boats"))
        )
        assert nobody.dataset_read(CARS) == served.dataset_read(CARS)
        for store, error, fact in (
            (nobody, AuthenticationError, {"missing": True}),
            (narrow, PermissionDenied, {"scope": "ds:physics/cars:metadata:update"}),
        ):
            with pytest.raises(error) as caught:
                store.dataset_patch(CARS, {"a": 2})
            assert vars(caught.value) == fact
        with pytest.raises(AuthenticationError) as caught:
            bad.dataset_read(CARS)
        assert not caught.value.missing
        signer = metastore.connect(address, token=token("ds:*:*"), author="Somebody Else")
        with pytest.raises(PermissionDenied, match="import"):
            signer.dataset_patch(CARS, {"a": 2})
    assert served.dataset_read(CARS).descriptor == {"a": 1}


def test_without_an_author_it_is_who_the_token_names(served: MetaStore) -> None:
    with (
        serving(served) as address,
        metastore.connect(address, token=token("ds:*:*", name="Zoë", email="zoe@example.org")) as store,
    ):
        assert str(store.dataset_create(CARS, {}).revision.author) == "Zoë <zoe@example.org>"


def test_a_service_that_demands_preconditions_gets_them(served: MetaStore) -> None:
    with (
        serving(served, ServiceSettings(require_if_match=True, public_read=False)) as address,
        metastore.connect(address, token=TOKEN) as store,
    ):
        store.dataset_create(CARS, {"a": 1})
        store.tag_create(CARS, "v1")
        store.dataset_update(CARS, {"a": 2})
        store.dataset_patch(CARS, {"a": 3})
        store.dataset_revert(CARS, "v1")
        store.tag_update(CARS, "v1", description="One")
        store.tag_delete(CARS, "v1")
        store.dataset_move(CARS, "x/y")
        store.dataset_delete("x/y")
        store.dataset_purge("x/y")
        with pytest.raises(DatasetNotFound):
            metastore.connect(address, token=token("ds:other/*")).dataset_read(CARS)


def test_a_message_of_any_length_and_kind_arrives(remote: MetaStore) -> None:
    message = "Grüße\n\n" + '☃\\"\u2028' * 10_000 + "."
    made = remote.dataset_create(CARS, {}, message=message)
    assert made.revision.message == message
    assert remote.dataset_delete(CARS, message=message).message == message


def test_what_is_stored_comes_back_to_the_byte(remote: MetaStore, served: MetaStore) -> None:
    odd = b' {"a":1.10,\r\n\t"\\u00e9": ", \\"descriptor\\": ", "b": 1E5 , "descriptor": {}}  \n\n'
    served.storage.create(DatasetId("physics", "cars"), {"datapackage.json": odd}, change('Say ", "descriptor": '))
    assert remote.dataset_read(CARS).bytes == odd
    assert remote.dataset_bytes(CARS) == served.dataset_bytes(CARS)


def test_a_larger_descriptor_than_the_service_takes_is_refused(remote: MetaStore, served: MetaStore) -> None:
    served._max_bytes = 1000
    with pytest.raises(InvalidInput, match="at most 1000"):
        remote.dataset_create(CARS, {"a": "x" * 1000})
    with pytest.raises(InvalidInput, match="at most 50 "), metastore.connect("http://localhost", max_bytes=50) as store:
        store.dataset_create(CARS, {"a": "x" * 50})


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "../..", "a/b", "%2e%2e", "?x=1", "#", "", " ", "é" * 300])
def test_any_text_may_be_asked_for(remote: MetaStore, served: MetaStore, text: str) -> None:
    served.dataset_create(CARS, {"resources": [{"name": "a/b"}, {"name": "?x=1"}, {"name": ""}]})

    def asked(store: MetaStore, call: str) -> Any:
        try:
            return getattr(store, call)(CARS, text)
        except metastore.MetastoreError as error:
            return type(error), str(error)

    for call in ("dataset_read", "revision_read", "tag_read", "resource_read"):
        found, meant = asked(remote, call), asked(served, call)
        assert found == meant or (text == "\ud800" and found[0] is InvalidInput)


def test_a_child_and_threads_share_a_store_without_sharing_connections(remote: MetaStore, served: MetaStore) -> None:
    served.dataset_create(CARS, {"n": 0})
    remote.dataset_read(CARS)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(3):
                remote.dataset_patch(
                    CARS, '[{"op": "add", "path": "/x", "value": 1}]', message=threading.current_thread().name
                )
                remote.dataset_patch(CARS, {"x": None}, message=threading.current_thread().name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if remote.dataset_read(CARS).descriptor["n"] == 0 else 1)
    for each in threads:
        each.join()
    assert os.waitpid(child, 0)[1] == 0
    assert failures == []
    assert len(remote._http.connection._pools) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("http://", {}, "looks like https://"),
        ("https://host:port", {}, "a host or a port that cannot be read"),
        ("https://[::1", {}, "a host or a port that cannot be read"),
        ("https://ann:secret@host", {}, "holds no password"),
        ("https://host/?token=secret", {}, "neither"),
        ("https://host/#x", {}, "neither"),
        ("https://host", {"token": "a b"}, "printable ASCII"),
        ("http://host", {"token": "ab"}, "not sent to host unencrypted"),
        ("http://10.0.0.7:8000", {"token": "ab"}, "not sent to 10.0.0.7 unencrypted"),
        ("https://host", {"token": "secret\n"}, "printable ASCII"),
        ("https://host", {"token": 5}, "printable ASCII"),
        ("https://host", {"timeout": 0}, "timeout"),
        ("https://host", {"timeout": (1, 2, 3)}, "timeout"),
        ("https://host", {"timeout": float("nan")}, "timeout"),
        ("https://host", {"retries": -1}, "retries"),
        ("https://host", {"max_bytes": 0}, "max_bytes"),
        ("https://host", {"author": "<>"}, "author"),
        ("https://host", {"validation": "strict"}, "a service has no option 'validation'"),
    ],
)
def test_an_address_or_option_that_makes_no_sense_is_refused(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        metastore.connect(url, **options)
    assert "secret" not in str(caught.value)


def test_what_only_a_local_store_has_is_refused_with_a_sentence(remote: MetaStore) -> None:
    remote.dataset_create("physics/cars", {"name": "cars"})
    storage, head = remote.storage, remote.revision_read("physics/cars").id
    cars, bikes = DatasetId("physics", "cars"), DatasetId("physics", "bikes")
    for call in (
        remote.verify,
        lambda: storage.compact(cars),
        lambda: storage.touched(None),
        lambda: storage.rename(cars, bikes, parent=head),
        lambda: storage.purge(cars, parent=head),
    ):
        with pytest.raises(InvalidInput, match="is a service"):
            call()
    made = storage.append(cars, {"datapackage.json": b"{}"}, change(), parent=head)  # the token grants import
    assert [revision.id for revision in remote.revision_list("physics/cars")] == [made.id, head]


def named(proxy: Proxy) -> str | None:
    """Return the revision that the last request had to see."""
    found = re.search(rb"(?i)\r\nmetastore-at-least: *([^\r]*)", proxy.heads[-1])
    return found[1].decode() if found else None


def test_a_client_names_the_last_revision_that_it_wrote_or_read_since(
    remote: MetaStore, served: MetaStore, proxy: Proxy
) -> None:
    other = served.dataset_create(CARS, {}).revision
    remote.dataset_read(CARS)
    assert named(proxy) is None  # it has written nothing
    remote.dataset_read(CARS, at_least=other)
    assert named(proxy) == other.id
    own = remote.dataset_patch(CARS, {"title": "Own"}).revision
    remote.dataset_read(CARS, other.id)
    assert named(proxy) is None  # what a revision was never changes
    remote.dataset_json(CARS)
    assert named(proxy) == own.id
    newer = served.dataset_patch(CARS, {"title": "Newer"}).revision
    for expected in (own, newer):
        assert remote.dataset_read(CARS).revision == newer
        assert named(proxy) == expected.id


@pytest.mark.parametrize("write", ["delete", "purge", "move", "refused"])
def test_after_a_write_that_leaves_no_revision_to_name_a_client_reads_the_newest(
    remote: MetaStore, served: MetaStore, proxy: Proxy, write: str
) -> None:
    created = remote.dataset_create(CARS, {}).revision
    if write == "delete":
        remote.dataset_delete(CARS)
    elif write == "purge":
        remote.dataset_purge(CARS, force=True)
    elif write == "move":
        remote.dataset_move(CARS, "physics/moved")
    else:
        served.dataset_patch(CARS, {"title": "Newer"})
        with pytest.raises(RevisionConflict):
            remote.dataset_patch(CARS, {}, expected=created)
    with suppress(NotFound):
        remote.dataset_read(CARS)
    assert named(proxy) is None


def test_of_two_writes_at_once_neither_revision_is_what_a_client_has_to_see() -> None:
    cars, written = DatasetId("physics", "cars"), LastSeen()
    turns = [written.begin(cars) for _ in range(2)]
    for turn in reversed(turns):
        written.wrote(cars, turn, RevisionId("a" * 40))
    assert written.get(cars) is None


def test_a_read_that_is_late_does_not_hide_what_was_written_meanwhile() -> None:
    cars, written = DatasetId("physics", "cars"), LastSeen()
    written.wrote(cars, written.begin(cars), RevisionId("b" * 40))
    written.saw(cars, "a" * 40, RevisionId("c" * 40))
    assert written.get(cars) == "b" * 40
