"""Lines of a journal that were copied from or to a service: as they were written, marked, and without any effect."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import jsonify

import metastore
from metastore import MetaStore
from metastore.catalogue.exports import export
from metastore.catalogue.imports import Importer
from metastore.catalogue.sources import read
from metastore.client.store import RemoteStore
from metastore.errors import InvalidInput, OutcomeUnknown, PermissionDenied, StorageUnavailable
from metastore.http.connection import Connection
from metastore.http.responses import ResponseLost
from metastore.service import revisions
from metastore.settings import ServiceSettings
from metastore.storage.lines import JOURNAL
from metastore.store import journal_copy, settling
from metastore.store._journal import key_of
from metastore.store.journal_copy import checked, copy_journal, read_up
from metastore.types import Author, ChangeRequest, DatasetId, JournalEntry, Outcome, RevisionId
from metastore.wire import from_wire, to_wire

from ..conftest import ANN, EPOCH, STORAGES, opened, ticking
from ..loopback import serving, token
from .conftest import API, Door

BO = Author("Bo Rae", "bo@example.org")
MAKER = token("ds:*:read,import", user="imp")
ID = "c9f22aaa3d7d336d229f72c38e3f4afb3c3bed3d"


@pytest.fixture
def here() -> MetaStore:
    """A store whose journal has a line of each common kind."""
    store = metastore.connect("memory:", author=ANN, clock=ticking())
    store.dataset_create("physics/old", {"name": "old"})
    store.tag_create("physics/old", "v1")
    store.tag_delete("physics/old", "v1", message="Too early")
    store.dataset_move("physics/old", "physics/cars", message="A better name")
    store.dataset_create("math/sets", {"name": "sets"})
    store.dataset_purge("math/sets", force=True, message="Asked by its author\n\nIn a letter")
    return store


@pytest.fixture(params=["memory", "git", "postgres"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetaStore]:
    """The store of a service, with a line of its own."""
    for storage in opened(request.param, tmp_path):
        yield with_own_line(MetaStore(storage, author=BO, clock=ticking()))


def with_own_line(store: MetaStore) -> MetaStore:
    store.dataset_create("physics/boats", {"name": "boats"})
    store.dataset_move("physics/boats", "physics/ships", message="Ours")
    return store


def told(store: metastore.Store) -> list[tuple[Any, ...]]:
    """What the lines of a journal say, without their ids and marks."""
    return [(line.action, line.dataset_id, line.details, *_who(line)) for line in store.journal()]


def _who(line: JournalEntry) -> tuple[Any, ...]:
    return line.author, line.message, line.created


def line(**members: Any) -> dict[str, Any]:
    """Return a line as it is sent."""
    entry = JournalEntry(RevisionId(ID), "purge", DatasetId("physics", "cars"), {"revision": ID}, ANN, "Why", EPOCH)
    return {**to_wire(entry), **members}


def sent(door: Door, *lines: Any, scopes: tuple[str, ...] = ("ds:*:read,import",)) -> Any:
    return door.comes("imp", *scopes).post(f"{API}/journal", json={"lines": lines})


@pytest.mark.parametrize("kind", STORAGES)
def test_lines_come_from_a_service_as_they_were_written(here: MetaStore, kind: str, tmp_path: Path) -> None:
    for storage in opened(kind, tmp_path):
        target = MetaStore(storage, author=BO, clock=ticking())
        with serving(here) as address, metastore.connect(address) as service:
            assert copy_journal(service, target, dry_run=True) == (3, ())
            assert list(target.journal()) == []
            assert copy_journal(service, target) == (3, ())
            assert copy_journal(service, target) == (0, ())
            here.dataset_purge("physics/cars", force=True)
            assert copy_journal(service, target) == (1, ())
        assert told(target) == told(here)
        assert [entry.copied.id for entry in target.journal() if entry.copied] == [entry.id for entry in here.journal()]
        assert {entry.copied.author for entry in target.journal() if entry.copied} == {BO}
        assert not list(target.verify())


def test_lines_go_to_a_service_behind_its_own_and_say_who_brought_them(here: MetaStore, served: MetaStore) -> None:
    (own,) = served.journal()
    before = [replace(entry, cursor="") for entry in served.changes()]
    with serving(served) as address, metastore.connect(address, token=MAKER) as service:
        assert copy_journal(here, service, dry_run=True) == (3, ())
        assert copy_journal(here, service) == (3, ())
        assert copy_journal(here, service) == (0, ())
        *copied, last = service.journal()
        assert list(service.journal(before=copied[-1].id)) == [own]
    assert last == own
    assert told(served)[:-1] == told(here)
    assert {entry.copied.author.name for entry in copied if entry.copied} == {"imp"}
    assert [replace(entry, cursor="") for entry in served.changes()] == before
    assert not list(served.verify())


def test_lines_travel_in_a_circle_and_are_not_doubled(here: MetaStore, served: MetaStore) -> None:
    third = metastore.connect("memory:", author="Cy", clock=ticking())
    with (
        serving(served) as one,
        serving(third) as other,
        metastore.connect(one, token=MAKER) as first,
        metastore.connect(other, token=token("ds:*:read,import", user="cy")) as second,
    ):
        assert copy_journal(here, first)[0] == 3
        assert copy_journal(first, second) == (4, ())
        assert copy_journal(second, here) == (1, ())
        assert copy_journal(second, first) == (0, ())
        assert copy_journal(here, second) == (0, ())
        lines = {key_of(entry) for entry in here.journal()}
    assert lines == {key_of(entry) for entry in third.journal()} == {key_of(entry) for entry in served.journal()}
    assert {entry.copied.author.name for entry in third.journal() if entry.copied} == {"cy"}


@pytest.mark.parametrize("is_forged_first", [True, False])
def test_a_forged_line_keeps_no_true_one_out(here: MetaStore, served: MetaStore, is_forged_first: bool) -> None:
    true = next(entry for entry in here.journal() if entry.action == "purge")
    forged = replace(true, message="Because Ann asked")
    first, second = (forged, true) if is_forged_first else (true, forged)
    with serving(served) as address:
        for user, entry in (("eve", first), ("imp", second), ("eve", first)):
            with metastore.connect(address, token=token("ds:*:read,import", user=user)) as service:
                service.journal_import([entry])
                copy_journal(service, metastore.connect("memory:", author=BO))
    later, earlier = [entry for entry in served.journal() if entry.copied]
    assert [_who(later), _who(earlier)] == [_who(second), _who(first)]
    assert later.copied
    assert earlier.copied
    assert (later.copied.id, later.copied.author.name, later.copied.contradicts) == (true.id, "imp", True)
    assert (earlier.copied.id, earlier.copied.author.name, earlier.copied.contradicts) == (true.id, "eve", False)
    assert served.journal_import([true, forged]) == 0
    assert not list(served.verify())


def test_both_lines_travel_on_and_say_that_they_contradict_each_other(here: MetaStore, memory: MetaStore) -> None:
    true = next(iter(here.journal()))
    memory.journal_import([replace(true, message="Made up"), true], author=BO)
    target = metastore.connect("memory:", author=BO)
    assert copy_journal(memory, target) == (2, ())
    assert copy_journal(memory, target) == (0, ())
    assert [(entry.message, entry.copied.contradicts) for entry in target.journal() if entry.copied] == [
        (true.message, True),
        ("Made up", False),
    ]


def test_a_line_of_this_store_is_not_contradicted_by_a_copy(here: MetaStore) -> None:
    before = list(here.journal())
    forged = [replace(entry, message="Made up") for entry in before]
    assert here.journal_import([*forged, replace(forged[0], dataset_id=DatasetId("other", "one"))]) == 0
    assert list(here.journal()) == before


@pytest.mark.parametrize("who", [["ds:physics/*:read"], ["ds:*:read"]])
def test_what_readers_see_in_different_words_is_one_line(
    here: MetaStore, who: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # withdrawals of moves repeated the message once
        patch.setattr("metastore.store._journal.withdrawal", lambda entry: "Move physics/cars to math/trees")
        here.dataset_create("math/trees", {})
        with pytest.raises(metastore.AlreadyExists):
            here.dataset_move("physics/cars", "math/trees")
    target = metastore.connect("memory:", author=BO)
    everything = {entry.id: entry for entry in here.journal()}
    with (
        serving(here, ServiceSettings(public_read=False)) as address,
        metastore.connect(address, token=token(*who)) as service,
    ):
        copy_journal(service, target)
    seen = len(target.journal())
    assert copy_journal(here, target) == (len(everything) - seen, ())
    assert copy_journal(here, target, dry_run=True) == (0, ())
    assert len(target.journal()) == len(everything)
    assert [entry.message[:13] for entry in target.journal() if entry.action == "withdrawn"] == ["Withdraw line"]
    assert not any(entry.copied.contradicts for entry in target.journal() if entry.copied)


def test_a_line_needs_the_right_to_import_on_each_dataset_that_it_names(here: MetaStore) -> None:
    there = metastore.connect("memory:", author=BO)
    lines = list(here.journal())[::-1]
    with serving(there) as address:
        for scopes in (("ds:*:*",), ("ds:physics/old:import", "ds:*:read")):
            with metastore.connect(address, token=token(*scopes)) as service, pytest.raises(PermissionDenied):
                service.journal_import(lines[1:])
        with metastore.connect(address) as service, pytest.raises(metastore.AuthenticationError):
            service.journal_import(lines)
        assert list(there.journal()) == []
        with metastore.connect(address, token=token("ds:*:read", "ds:physics/old:import", user="imp")) as service:
            copied, refused = copy_journal(here, service)
    assert (copied, [entry.action for entry in there.journal()]) == (1, ["tag_delete"])
    assert sorted((str(each.dataset), "needs ds:" in each.reason) for each in refused) == [
        ("math/sets", True),
        ("physics/old", True),
    ]


def test_a_reader_gets_the_lines_of_what_they_may_read(here: MetaStore) -> None:
    here.dataset_move("physics/cars", "secret/plans", message="To the secret ones")
    target = metastore.connect("memory:", author=BO)
    with (
        serving(here, ServiceSettings(public_read=False)) as address,
        metastore.connect(address, token=token("ds:physics/*:read")) as service,
    ):
        assert copy_journal(service, target) == (2, ())
    assert [entry.action for entry in target.journal()] == ["move", "tag_delete"]
    assert "secret" not in str(list(target.journal()))


def test_a_move_that_the_target_has_and_shows_in_part_is_not_reported_again(here: MetaStore) -> None:
    (move,) = (entry for entry in here.journal() if entry.action == "move")
    forged = replace(move, id=RevisionId("f" * 40), message="Made up", details={"new_id": "secret/plans"})
    there = metastore.connect("memory:", author=BO)
    there.journal_import([forged, *list(here.journal())[::-1]])
    scopes = ("ds:physics/old:read,import", "ds:physics/cars:import", "ds:math/*:read,import")
    with (
        serving(there, ServiceSettings(public_read=False)) as address,
        metastore.connect(address, token=token(*scopes, user="imp")) as service,
    ):
        assert copy_journal(here, service) == (0, ())
        here.dataset_create("physics/new", {"name": "new"})
        here.dataset_move("physics/new", "physics/newer")
        copied, (refused,) = copy_journal(here, service)
    assert (copied, str(refused.dataset)) == (0, "physics/new")


def test_a_line_about_a_hidden_dataset_is_refused_as_one_about_none(closed: Door, memory: MetaStore) -> None:
    memory.dataset_create("secret/plans", {"name": "plans"})
    scopes = ("ds:physics/*:read,import", "ds:secret/*:import")
    answers = [sent(closed, line(dataset_id=each), scopes=scopes) for each in ("secret/plans", "secret/none")]
    moved = line(action="move", details={"new_id": "secret/plans"})
    assert [answer.status_code for answer in (*answers, sent(closed, moved, scopes=scopes))] == [404, 404, 404]
    assert answers[0].json["detail"].replace("plans", "none") == answers[1].json["detail"]
    assert list(memory.journal()) == []


@pytest.mark.parametrize("is_old", [False, True])
def test_the_withdrawal_of_a_move_names_no_hidden_target(
    closed: Door, memory: MetaStore, is_old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_old:  # such lines repeated the message of the move
        monkeypatch.setattr("metastore.store._journal.withdrawal", lambda entry: "Move physics/cars to secret/plans")
    for name in ("physics/cars", "secret/plans"):
        memory.dataset_create(name, {"name": "x"})
    with pytest.raises(metastore.AlreadyExists):
        memory.dataset_move("physics/cars", "secret/plans")
    shown = closed.comes("reader", "ds:physics/*:read").get(f"{API}/journal")
    assert [entry["action"] for entry in shown.json] == ["withdrawn", "move"]
    assert "secret" not in shown.text
    target = metastore.connect("memory:", author=BO)
    if not is_old:
        copy_journal(memory, target, prefix="physics/")
        assert next(entry.message for entry in target.journal()) == shown.json[0]["message"]


def test_only_lines_with_the_prefix_are_copied(here: MetaStore) -> None:
    target = metastore.connect("memory:", author=BO)
    assert copy_journal(here, target, prefix="math/") == (1, ())
    assert [str(entry.dataset_id) for entry in target.journal()] == ["math/sets"]


def test_copying_that_was_cut_off_goes_on(here: MetaStore, served: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_copy, "MOST_LINES", 1)
    real, calls = RemoteStore.journal_import, iter([True, True, False])

    def cut(self: RemoteStore, lines: Any, **options: Any) -> int:
        if lines and not next(calls):
            raise StorageUnavailable("gone")
        return real(self, lines, **options)

    with serving(served) as address, metastore.connect(address, token=MAKER) as service:
        with monkeypatch.context() as patch:
            patch.setattr(RemoteStore, "journal_import", cut)
            with pytest.raises(StorageUnavailable):
                copy_journal(here, service)
        assert len(served.journal()) == 1 + 2
        assert copy_journal(here, service) == (1, ())
    assert told(served)[:-1] == told(here)


def test_a_lost_response_doubles_no_line(here: MetaStore, served: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real, lost = Connection.send, iter([True])

    def losing(self: Connection, method: str, url: str, **options: Any) -> Any:
        answer = real(self, method, url, **options)
        if method == "POST" and next(lost, False):
            raise ResponseLost(url, "is lost")
        return answer

    monkeypatch.setattr("metastore.http.connection._FIRST_PAUSE", 0)
    monkeypatch.setattr(Connection, "send", losing)
    with serving(served) as address, metastore.connect(address, token=MAKER) as service:
        copy_journal(here, service)
    assert told(served)[:-1] == told(here)
    assert next(lost, None) is None


def test_what_takes_long_is_done_in_parts(here: MetaStore, served: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metastore.service.revisions._LONG", 0.0)
    with serving(served) as address, metastore.connect(address, token=MAKER) as service:
        assert copy_journal(here, service) == (3, ())
    assert told(served)[:-1] == told(here)


def test_a_journal_that_was_replaced_is_read_again(tmp_path: Path, here: MetaStore) -> None:
    with metastore.connect(tmp_path, author=BO, sync=False) as target:
        lines = list(here.journal())[::-1]
        assert target.journal_import(lines) == 3
        shutil.rmtree(tmp_path / "_metastore/journal.git")
        assert target.journal_import(lines[:1]) == 1
        assert target.journal_import(lines) == 2


def test_a_journal_that_is_replaced_while_it_is_read_is_read_from_its_new_beginning(
    tmp_path: Path, here: MetaStore
) -> None:
    lines = list(here.journal())[::-1]
    with metastore.connect(tmp_path, author=BO, sync=False) as other:
        other.journal_import(lines)
        with metastore.connect(tmp_path, author=BO, sync=False) as target:
            assert not read_up(target, 0)
            shutil.rmtree(tmp_path / "_metastore/journal.git")
            assert other.journal_import(lines[:1]) == 1
            assert target.journal_import(lines) == 2


def reads(memory: MetaStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each line that is read of a journal is added."""
    read, real = list[str](), type(memory.storage).read

    def noting(self: Any, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> bytes:
        if dataset_id == JOURNAL:
            read.append(revision_id)
        return real(self, dataset_id, revision_id, path)

    monkeypatch.setattr(type(memory.storage), "read", noting)
    return read


def test_a_long_journal_is_read_in_parts_before_the_first_line_is_taken(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [checked(from_wire(JournalEntry, line(id=f"{number:040}"))) for number in range(20)]
    memory.journal_import(there, author=ANN)
    door.app.extensions["metastore"] = replace(door.app.extensions["metastore"], store=MetaStore(memory.storage))
    monkeypatch.setattr(revisions, "_LONG", -1.0)
    read, answers = reads(memory, monkeypatch), list[Any]()
    while not answers or not answers[-1]["done"]:
        before = len(read)
        answers.append(sent(door, to_wire(there[3])).get_json())
        assert len(read) - before <= 3
    assert answers[-1] == {"done": 1, "appended": 0}
    assert answers[:-1] == [{"done": 0, "appended": 0}] * len(answers[:-1])
    assert 10 < len(answers) < 25
    assert len(memory.journal()) == 20


def test_a_client_waits_until_the_service_has_read_its_journal(
    here: MetaStore, served: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.journal_import(list(here.journal())[1:], author=ANN)
    monkeypatch.setattr(revisions, "_LONG", -1.0)
    with (
        serving(MetaStore(served.storage, author=BO)) as address,
        metastore.connect(address, token=MAKER) as service,
    ):
        assert service.journal_import(list(here.journal())[::-1]) == 1


@pytest.mark.parametrize("done", [{"done": 0, "appended": 0}, {"done": 2, "appended": 2}, {"done": 1, "appended": 2}])
def test_a_service_that_never_takes_a_line_is_not_asked_for_ever(
    here: MetaStore, served: MetaStore, done: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.client._service_writer._MOST_WAITS", 5)
    monkeypatch.setattr("metastore.service.responses.answer", lambda value: jsonify(done))
    with serving(served) as address, metastore.connect(address, token=MAKER) as service:
        with pytest.raises(StorageUnavailable):
            service.journal_import(list(here.journal())[:1])


def test_lines_that_come_while_the_journal_is_read_are_known(memory: MetaStore, here: MetaStore) -> None:
    lines = list(here.journal())[::-1]
    memory.journal_import(lines[:2], author=ANN)
    other = MetaStore(memory.storage, author=BO)
    assert not read_up(other, 0)
    memory.journal_import(lines[2:], author=ANN)
    assert other.journal_import(lines) == 0
    assert read_up(other, 0)


def test_a_page_of_the_journal_ends_after_a_second_and_goes_on(
    door: Door, memory: MetaStore, here: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.journal_import(list(here.journal())[::-1], author=ANN)
    whole = door.anybody.get(f"{API}/journal?dataset=physics/old")
    monkeypatch.setattr(revisions, "_LONG", -1.0)
    address, found, pages = f"{API}/journal?dataset=physics/old&since=2020-01-01T00:00:00Z", list[Any](), 0
    while address:
        answer = door.anybody.get(address)
        found += answer.get_json()
        address, pages = answer.headers.get("Link", "")[1:].partition(">")[0], pages + 1
    assert (found, pages) == (whole.get_json(), 3)
    assert len(found) == 2
    assert door.anybody.get(f"{API}/journal?dataset=physics/old&since=2099-01-01T00:00:00Z&limit=1000").json == []


BAD: dict[str, tuple[Any, int]] = {
    "no object": (["x"], 422),
    "no time": ([line(created="yesterday")], 422),
    "a time before all years": ([line(created="0001-01-01T00:00:00+14:00")], 422),
    "a time after all years": ([line(created="9999-12-31T23:59:59-10:00")], 422),
    "unknown action": ([line(action="burn")], 400),
    "an id of another form": ([line(id="abc")], 400),
    "the journal itself": ([line(dataset_id="_metastore/journal")], 400),
    "a move without a target": ([line(action="move")], 400),
    "a move to no id": ([line(action="move", details={"new_id": "no id"})], 400),
    "a move to the store's own": ([line(action="move", details={"new_id": "_metastore/x"})], 400),
    "a new id of something else": ([line(details={"new_id": "physics/x"})], 400),
    "details within details": ([line(details={"a": {"b": 1}})], 400),
    "many details": ([line(details={str(number): 1 for number in range(21)})], 413),
    "long details": ([line(details={"a": "x" * 100_001})], 413),
    "half a character": ([line(details={"a": "\ud800"})], 400),
    "a message with NUL": ([line(message="a\0b")], 400),
    "an author without a name": ([line(author={"name": "", "email": ""})], 400),
    "many lines": ([line()] * 101, 422),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_line_is_refused_and_none_is_appended(door: Door, memory: MetaStore, kind: str) -> None:
    lines, status = BAD[kind]
    answer = sent(door, line(), *lines) if status != 422 else sent(door, *lines)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert list(memory.journal()) == []


def test_a_request_with_lines_is_bounded(door: Door, memory: MetaStore) -> None:
    long = [line(message="x" * 65_000) for _ in range(70)]
    assert sent(door, *long).status_code == 413
    assert sent(door, line()).json == {"done": 1, "appended": 1}
    assert sent(door, line()).json == {"done": 1, "appended": 0}
    assert sent(door).json == {"done": 0, "appended": 0}
    assert len(memory.journal()) == 1


def test_a_service_in_front_of_another_takes_no_lines(here: MetaStore, door: Door) -> None:
    with serving(here) as address, metastore.connect(address, token=MAKER) as inner:
        door.app.extensions["metastore"] = replace(door.app.extensions["metastore"], store=inner)
        assert sent(door, line()).status_code == 400


def test_a_line_that_a_hostile_service_sends_is_checked(here: MetaStore) -> None:
    for members in ({"action": "burn"}, {"dataset_id": DatasetId("_metastore", "bundles")}, {"details": {"a": [1]}}):
        entry = replace(next(iter(here.journal())), **members)
        with pytest.raises(InvalidInput):
            here.journal_import([entry])


def test_a_line_with_what_is_no_id_stops_no_other_lines(here: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    true, target = list(here.journal()), metastore.connect("memory:", author=BO)
    bad = [
        replace(true[0], action="move", id=RevisionId(ID), details={"new_id": each}) for each in ("_own/x", "x", [1])
    ]
    monkeypatch.setattr(here, "journal", lambda: [*bad, *true])
    copied, refused = copy_journal(here, target)
    assert (copied, len(refused)) == (3, 3)
    assert told(target) == [(entry.action, entry.dataset_id, entry.details, *_who(entry)) for entry in true]


def test_lines_since_a_time_are_those_that_came_since(here: MetaStore) -> None:
    target = metastore.connect("memory:", author=BO)
    target.journal_import(list(here.journal())[::-1])
    assert len(target.journal(since="2026-01-01")) == 3
    assert {entry.created.year for entry in target.journal(since="2026-01-01")} == {2024}


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_copied_line_settles_no_change_of_this_store(memory: MetaStore, is_copied: bool) -> None:
    head = memory.dataset_create("physics/cars", {"name": "cars"}).revision
    change = ChangeRequest("purge", DatasetId("physics", "cars"), ANN, "Why", EPOCH)
    lost = OutcomeUnknown("the answer was lost", before=head.id, change=change)
    if is_copied:
        memory.dataset_purge("physics/cars", force=True, author=BO, message="Of our own")
        details = {"revision": head.id}
        memory.journal_import([JournalEntry(RevisionId(ID), "purge", change.dataset_id, details, ANN, "Why", EPOCH)])
    else:
        memory.dataset_purge("physics/cars", force=True, author=ANN, message="Why", at=EPOCH)
    assert memory.settle(lost) is (Outcome.NOT_LANDED if is_copied else Outcome.LANDED)


def test_after_a_second_the_answer_says_how_many_lines_were_looked_at(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "_LONG", -1.0)
    lines = [line(id=digit * 40) for digit in "abc"]
    assert sent(door, *lines).get_json() == {"done": 1, "appended": 1}
    assert sent(door, *lines[1:]).get_json() == {"done": 1, "appended": 1}


def test_many_copied_lines_do_not_hide_one_of_this_store(memory: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    head = memory.dataset_create("physics/cars", {"name": "cars"}).revision
    change = ChangeRequest("purge", DatasetId("physics", "cars"), ANN, "Why", EPOCH)
    memory.dataset_purge("physics/cars", force=True, author=ANN, message="Why", at=EPOCH)
    details = {"revision": head.id}
    memory.journal_import([JournalEntry(RevisionId(ID), "purge", change.dataset_id, details, BO, "Theirs", EPOCH)])
    monkeypatch.setattr(settling, "_RECENT", 1)
    assert memory.settle(OutcomeUnknown("lost", before=head.id, change=change)) is Outcome.LANDED


def test_a_purge_elsewhere_stops_no_import_of_an_export(here: MetaStore, memory: MetaStore, tmp_path: Path) -> None:
    export(here, tmp_path)
    memory.journal_import([JournalEntry(RevisionId(ID), "purge", DatasetId("physics", "cars"), {}, ANN, "Why", EPOCH)])
    assert [line.outcome for line in Importer(memory).run(read([tmp_path]))] == ["created"]
