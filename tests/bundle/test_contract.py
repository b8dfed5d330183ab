"""The contract of every registry of bundles. A record joins by a line in conftest.py, and cannot change a test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from metastore.bundle import Bundle, BundleRegistry, Groups
from metastore.bundle.checks import make_bundle, warnings
from metastore.bundle.listing import ORDERS, BundleLine, Listing
from metastore.bundle.port import BundleRecord, Write
from metastore.errors import (
    AlreadyExists,
    BundleDeleted,
    BundleNotFound,
    InvalidInput,
    MergeConflict,
    MetastoreError,
    PermissionDenied,
    RevisionConflict,
    SnapshotNotFound,
)

from ..cases import cases
from ..conftest import EPOCH
from .conftest import DATA, GROUPS, REAL, RECORDS, numi, opened, registry_of

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def names(bundles: Any) -> list[str]:
    return [each.name for each in bundles]


# Create and read


def test_a_created_bundle_reads_back_whole(registry: BundleRegistry) -> None:
    given = numi(storage="long", run=True, udp=True, writable=True, hosts=["b1", "a2.example.org"])
    made = registry.bundle_create(given, user="ruth", comment="First")
    assert made == make_bundle(given) == registry.bundle_read("NuMI")
    assert made.hosts == ("b1", "a2.example.org")
    assert made.updated == EPOCH
    assert registry.bundle_read("NuMI").snapshot == made.snapshot


def test_a_closed_registry_says_so_at_every_call(git_registry: BundleRegistry) -> None:
    git_registry.bundle_create(numi(), user="ruth")
    git_registry.close()
    git_registry.close()
    for call in (
        git_registry.bundle_list,
        lambda: git_registry.bundle_read("NuMI"),
        lambda: git_registry.bundle_delete("NuMI", user="ann"),
        git_registry.__enter__,
    ):
        with pytest.raises(InvalidInput, match="<BundleRegistry VersionedRecord> is closed: open it again"):
            call()


def test_create_fills_in_the_defaults(registry: BundleRegistry) -> None:
    made = registry.bundle_create({"name": "Empty", "event": "e,1d", "ifb_group": "NOvA"}, user="ann")
    assert made == Bundle("Empty", "e,1d", "NOvA", "short", False, False, False, (), frozenset())


def test_a_bundle_can_be_given_as_a_value(registry: BundleRegistry) -> None:
    made = registry.bundle_create(Bundle("B", "e,1d", "NOvA", devices=frozenset({"E:TOR860"})), user="ann")
    assert registry.bundle_read("B") == made


def test_create_on_a_taken_name_changes_nothing(registry: BundleRegistry) -> None:
    first = registry.bundle_create(numi(), user="ann")
    with pytest.raises(AlreadyExists):
        registry.bundle_create(numi(event="e,00"), user="ann")
    assert registry.bundle_read("NuMI") == first
    assert len(registry.bundle_log("NuMI")) == 1


def test_names_differ_by_case(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    registry.bundle_create(numi(name="numi", event="e,00"), user="ann")
    assert registry.bundle_read("NuMI").event == "e,a9"
    assert names(registry.bundle_list(prefix="num")) == ["numi"]


def test_what_is_missing_is_named_precisely(registry: BundleRegistry) -> None:
    for call in (
        lambda: registry.bundle_read("None"),
        lambda: registry.bundle_read("None", at=EPOCH),
        lambda: registry.bundle_update("None", {"udp": True}, user="ruth"),
        lambda: registry.bundle_delete("None", user="ruth"),
        lambda: registry.bundle_copy("None", "New", user="ruth"),
    ):
        with pytest.raises(BundleNotFound, match="no bundle None"):
            call()
    for number in (1, 0, -1, 2**63, 2**70):
        with pytest.raises(SnapshotNotFound):
            registry.bundle_snapshot(number)
    assert list(registry.bundle_list()) == list(registry.bundle_log()) == list(registry.bundle_verify()) == []


# Update


def test_update_changes_what_is_named_and_keeps_the_rest(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(hosts=["h1"]), user="ann")
    made = registry.bundle_update("NuMI", {"event": "e,00", "udp": True}, user="bo", comment="Other event")
    assert made == make_bundle(numi(hosts=["h1"], event="e,00", udp=True))
    assert made.updated == EPOCH + timedelta(seconds=1)


def test_devices_are_replaced_added_and_removed(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    made = registry.bundle_update("NuMI", {"add_devices": ["E:NEW"], "remove_devices": ["E:TR101D"]}, user="ann")
    assert made.devices == {"E:NEW", "E:TORTGT"}
    made = registry.bundle_update("NuMI", {"devices": ["E:A1"], "add_devices": ["E:B1"]}, user="ann")
    assert made.devices == {"E:A1", "E:B1"}
    with pytest.raises(InvalidInput, match="E:NONE is not among its devices"):
        registry.bundle_update("NuMI", {"remove_devices": ["E:NONE"]}, user="ann")


SAME: list[dict[str, Any]] = [
    {},
    {"event": "e,a9"},
    {"devices": ["E:TORTGT", "E:TR101D", "E:TORTGT"]},
    {"name": "NuMI", "ifb_group": "NOvA"},
]


def test_what_alters_nothing_leaves_no_snapshot(registry: BundleRegistry) -> None:
    first = registry.bundle_create(numi(), user="ann")
    for changes in SAME:
        made = registry.bundle_update("NuMI", changes, user="ann", comment="Nothing")
        assert (made.snapshot, made.updated) == (first.snapshot, first.updated), changes
    assert len(registry.bundle_log()) == 1


def test_name_and_group_never_change(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ruth")
    for fixed in ({"name": "Other"}, {"ifb_group": "MINOS"}):
        with pytest.raises(InvalidInput, match="never changes"):
            registry.bundle_update("NuMI", fixed, user="ruth")


def test_expected_refuses_a_change_made_for_an_older_state(registry: BundleRegistry) -> None:
    seen = registry.bundle_create(numi(), user="ann").snapshot
    newer = registry.bundle_update("NuMI", {"udp": True}, user="bo", expected=seen)
    for change in (
        lambda: registry.bundle_update("NuMI", {"udp": False}, user="ann", expected=seen),
        lambda: registry.bundle_update("NuMI", {"udp": True}, user="ann", expected=seen),  # would alter nothing
        lambda: registry.bundle_delete("NuMI", user="ann", expected=seen),
        lambda: registry.bundle_restore("NuMI", seen or 0, user="ann", expected=seen),
    ):
        with pytest.raises(RevisionConflict) as caught:
            change()
        assert (caught.value.expected, caught.value.actual) == (seen, newer.snapshot)
    assert registry.bundle_read("NuMI").snapshot == newer.snapshot


def test_run_needs_a_collectable_bundle(registry: BundleRegistry) -> None:
    with pytest.raises(InvalidInput, match="only a collectable"):
        registry.bundle_create(numi(run=True), user="ruth")
    registry.bundle_create(numi(writable=True, run=True), user="ruth")
    with pytest.raises(InvalidInput, match="only a collectable"):
        registry.bundle_update("NuMI", {"writable": False}, user="ruth")


# Delete, restore, copy


def test_a_deletion_keeps_the_last_state_and_is_flagged(registry: BundleRegistry) -> None:
    made = registry.bundle_create(numi(), user="ann")
    gone = registry.bundle_delete("NuMI", user="bo", comment="No longer read")
    assert (gone.deleted, gone.bundle, gone.action, gone.user) == (True, made, "delete", "bo")
    assert registry.bundle_snapshot(gone.id) == gone
    with pytest.raises(BundleDeleted) as caught:
        registry.bundle_read("NuMI")
    assert caught.value.snapshot == gone
    assert list(registry.bundle_list()) == []
    assert [line.deleted for line in registry.bundle_log("NuMI")] == [True, False]


def test_what_is_deleted_refuses_changes(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    registry.bundle_delete("NuMI", user="ann")
    for change in (
        lambda: registry.bundle_update("NuMI", {"udp": True}, user="ann"),
        lambda: registry.bundle_delete("NuMI", user="ann"),
        lambda: registry.bundle_copy("NuMI", "Copy", user="ann"),
    ):
        with pytest.raises(BundleDeleted):
            change()
    assert len(registry.bundle_log()) == 2


def test_restore_is_a_new_change_equal_to_an_old_state(registry: BundleRegistry) -> None:
    first = registry.bundle_create(numi(), user="ann")
    registry.bundle_update("NuMI", {"devices": []}, user="ann")
    back = registry.bundle_restore("NuMI", first.snapshot or 0, user="bo", comment="Too few")
    assert back == first
    newest = registry.bundle_snapshot(back.snapshot or 0)
    assert (newest.action, newest.user, newest.comment) == ("restore", "bo", "Too few")
    again = registry.bundle_restore("NuMI", first.snapshot or 0, user="bo")
    assert again.snapshot == back.snapshot
    assert len(registry.bundle_log()) == 3


def test_restore_brings_a_deleted_bundle_back_also_from_its_deletion(registry: BundleRegistry) -> None:
    first = registry.bundle_create(numi(), user="ann")
    for number in (lambda: first.snapshot or 0, lambda: registry.bundle_log("NuMI")[0].id):
        registry.bundle_delete("NuMI", user="ann")
        assert registry.bundle_restore("NuMI", number(), user="ann") == first == registry.bundle_read("NuMI")
        assert names(registry.bundle_list(device="E:TORTGT")) == ["NuMI"]


def test_one_change_is_undone_and_later_ones_stay(registry: BundleRegistry) -> None:
    first = registry.bundle_create(numi(devices=["E:TORTGT", "E:TR101D"]), user="ann")
    wrong = (
        registry.bundle_update("NuMI", {"event": "e,00", "devices": ["E:TORTGT", "E:NEW"]}, user="ann").snapshot or 0
    )
    registry.bundle_update("NuMI", {"hosts": ["h1"], "add_devices": ["E:LATER"]}, user="ann")
    back = registry.bundle_undo("NuMI", wrong, user="bo")
    assert (back.event, back.hosts, back.devices) == (first.event, ("h1",), first.devices | {"E:LATER"})
    newest = registry.bundle_snapshot(back.snapshot or 0)
    assert (newest.action, newest.user, newest.comment) == ("update", "bo", f"Undo {wrong}")
    assert registry.bundle_undo("NuMI", wrong, user="bo").snapshot == newest.id
    assert registry.bundle_undo("NuMI", newest.id, user="bo").event == "e,00"


def test_undo_is_refused_where_a_later_change_stands_in_the_way(registry: BundleRegistry) -> None:
    first = registry.bundle_create(numi(), user="ann").snapshot or 0
    wrong = registry.bundle_update("NuMI", {"event": "e,00"}, user="ann").snapshot or 0
    newest = registry.bundle_update("NuMI", {"event": "e,1d"}, user="ann")
    with pytest.raises(MergeConflict, match="event"):
        registry.bundle_undo("NuMI", wrong, user="ann")
    with pytest.raises(MergeConflict, match="stands in the way: event"):
        registry.bundle_undo("NuMI", first, user="ann")
    with pytest.raises(PermissionDenied):
        registry.bundle_undo("NuMI", wrong, user="eve")
    assert registry.bundle_read("NuMI") == newest
    gone = registry.bundle_delete("NuMI", user="ann")
    with pytest.raises(BundleDeleted):
        registry.bundle_undo("NuMI", wrong, user="ann")
    assert registry.bundle_undo("NuMI", gone.id, user="ann") == newest
    with pytest.raises(MergeConflict):
        registry.bundle_undo("NuMI", gone.id, user="ann")


def test_undoing_a_creation_deletes_the_bundle_while_it_is_as_it_was_created(registry: BundleRegistry) -> None:
    first = registry.bundle_create(numi(), user="ann")
    number = first.snapshot or 0
    changed = registry.bundle_update("NuMI", {"event": "e,00"}, user="ann").snapshot or 0
    same = registry.bundle_undo("NuMI", changed, user="ann").snapshot or 0
    with pytest.raises(PermissionDenied):
        registry.bundle_undo("NuMI", number, user="eve")
    with pytest.raises(RevisionConflict):
        registry.bundle_undo("NuMI", number, user="ann", expected=changed)
    undone = registry.bundle_undo("NuMI", number, user="ann", expected=same)
    newest = registry.bundle_snapshot(undone.snapshot or 0)
    assert (undone, newest.deleted, newest.comment, newest.previous) == (first, True, f"Undo {number}", same)
    assert registry.bundle_undo("NuMI", number, user="ann").snapshot == newest.id, "nothing of the creation is left"
    back = registry.bundle_undo("NuMI", newest.id, user="ann")
    assert back == first == registry.bundle_read("NuMI")
    registry.bundle_undo("NuMI", back.snapshot or 0, user="ann")
    with pytest.raises(BundleDeleted):
        registry.bundle_read("NuMI")


def test_a_deleted_name_can_be_used_again(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    gone = registry.bundle_delete("NuMI", user="ann")
    made = registry.bundle_create(numi(event="e,00", devices=[]), user="ann")
    assert registry.bundle_read("NuMI") == made
    assert registry.bundle_snapshot(made.snapshot or 0).previous == gone.id


def test_the_number_of_another_bundle_is_refused(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    other = registry.bundle_create(numi(name="Other"), user="ann").snapshot or 0
    with pytest.raises(SnapshotNotFound, match="is of bundle Other"):
        registry.bundle_restore("NuMI", other, user="ann")
    with pytest.raises(SnapshotNotFound, match="is of bundle Other"):
        registry.bundle_read("NuMI", snapshot=other)


def test_a_copy_is_a_new_bundle_with_a_record_of_its_own(registry: BundleRegistry) -> None:
    original = registry.bundle_create(numi(hosts=["h1"]), user="ann")
    copy = registry.bundle_copy("NuMI", "NuMI_2", user="bo", comment="As new")
    assert copy == make_bundle(numi(name="NuMI_2", hosts=["h1"]))
    snapshot = registry.bundle_snapshot(copy.snapshot or 0)
    assert (snapshot.action, snapshot.previous) == ("copy", None)
    assert registry.bundle_read("NuMI").snapshot == original.snapshot
    with pytest.raises(AlreadyExists):
        registry.bundle_copy("NuMI", "NuMI_2", user="bo")


# List


@pytest.fixture(scope="module", params=RECORDS)
def several(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleRegistry]:
    """Several bundles; shared by tests that only read."""
    with opened(request.param, tmp_path_factory.mktemp("several")) as record:
        registry = registry_of(record)
        fill(registry)
        yield registry


def fill(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(name="a.b_c", devices=["E:TOR860"]), user="ruth")
    registry.bundle_create(numi(name="B_1", ifb_group="MINOS", hosts=["h1", "h2"]), user="ruth")
    registry.bundle_create(numi(name="B_2", event="e,1d", writable=True, run=True, hosts=["h2"]), user="ruth")
    registry.bundle_create(numi(name="BxX", udp=True), user="ruth")
    registry.bundle_create(numi(name="gone"), user="ruth")
    registry.bundle_delete("gone", user="ruth")


@cases(
    "wanted, found",
    [
        ({}, ["B_1", "B_2", "BxX", "a.b_c"]),
        ({"group": "MINOS"}, ["B_1"]),
        ({"group": "minos"}, []),
        ({"device": "E:TOR860"}, ["a.b_c"]),
        ({"device": "E:TOR%"}, []),
        ({"event": "e,1d"}, ["B_2"]),
        ({"run": True}, ["B_2"]),
        ({"run": False}, ["B_1", "BxX", "a.b_c"]),
        ({"host": "h2"}, ["B_1", "B_2"]),
        ({"host": "h"}, []),
        ({"prefix": "B_"}, ["B_1", "B_2"]),
        ({"prefix": "b"}, []),
        ({"prefix": "%"}, []),
        ({"prefix": "B", "after": "B_1"}, ["B_2", "BxX"]),
        ({"limit": 2}, ["B_1", "B_2"]),
        ({"limit": 0}, []),
        ({"after": "B_1", "limit": 1}, ["B_2"]),
        ({"group": "NOvA", "host": "h2", "run": True}, ["B_2"]),
    ],
)
def test_bundles_are_listed_by_name_and_filtered(
    several: BundleRegistry, wanted: dict[str, Any], found: list[str]
) -> None:
    assert names(several.bundle_list(**wanted)) == found


def test_a_listed_bundle_is_whole(several: BundleRegistry) -> None:
    for each in several.bundle_list():
        read = several.bundle_read(each.name)
        assert (each, each.updated, each.snapshot) == (read, read.updated, read.snapshot)


def test_pages_put_together_are_the_whole_list(registry: BundleRegistry) -> None:
    for number in range(7):
        registry.bundle_create(numi(name=f"B{number}"), user="ann")
    pages, after = [], None
    while page := names(registry.bundle_list(after=after, limit=3)):
        pages.append(page)
        after = page[-1]
    assert pages == [["B0", "B1", "B2"], ["B3", "B4", "B5"], ["B6"]]


# Lists for people


def test_a_line_says_who_changed_a_bundle_last_and_why(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(hosts=["h1", "h2"], writable=True, run=True), user="ruth")
    made = registry.bundle_update("NuMI", {"remove_devices": ["E:TORTGT"], "udp": True}, user="ruth", comment="Broken")
    (line,) = registry.bundle_lines(Listing())
    state = ("NuMI", "e,a9", "NOvA", "short", True, True, True, ("h1", "h2"), 1)
    assert line == BundleLine(*state, made.updated, "ruth", "Broken", made.snapshot, False)
    gone = registry.bundle_delete("NuMI", user="ruth", comment="Over")
    assert registry.bundle_lines(Listing()) == []
    (line,) = registry.bundle_lines(Listing(deleted=True))
    assert line == BundleLine(*state, gone.created, "ruth", "Over", gone.id, True)
    registry.bundle_restore("NuMI", gone.id, user="ruth")
    assert registry.bundle_lines(Listing(deleted=True)) == []


@cases(
    "wanted, found",
    [
        ({"text": "b_"}, ["B_1", "B_2", "a.b_c"]),
        ({"text": "tor8"}, ["a.b_c"]),
        ({"text": "E,1D"}, ["B_2"]),
        ({"text": "minos"}, ["B_1"]),
        ({"text": "H2"}, ["B_1", "B_2"]),
        ({"text": "minos b_"}, ["B_1"]),
        ({"text": "b_ tor8"}, ["a.b_c"]),
        ({"text": "minos tor8"}, []),
        ({"text": "%"}, []),
        ({"text": '"'}, []),
        ({"text": "TORTGT", "group": "NOvA", "run": False}, ["BxX"]),
        ({"device": "E:TOR860"}, ["a.b_c"]),
        ({"event": "e,1d"}, ["B_2"]),
        ({"deleted": True}, ["gone"]),
        ({"deleted": True, "text": "tortgt"}, ["gone"]),
        ({"deleted": True, "text": "tor8"}, []),
        ({"deleted": True, "device": "E:TORTGT"}, ["gone"]),
        ({"deleted": True, "group": "MINOS"}, []),
        ({"order": "event", "limit": 2}, ["B_2", "B_1"]),
        ({"order": "devices", "descending": True}, ["BxX", "B_2", "B_1", "a.b_c"]),
        ({"order": "updated", "descending": True, "limit": 1}, ["BxX"]),
        ({"order": "user", "limit": 1}, ["B_1"]),
        ({"limit": 0}, []),
    ],
)
def test_lines_are_filtered_and_ordered(several: BundleRegistry, wanted: dict[str, Any], found: list[str]) -> None:
    assert names(several.bundle_lines(Listing(**wanted))) == found


@cases("order", ORDERS)
@cases("descending", [False, True])
def test_pages_in_any_order_put_together_are_the_whole(several: BundleRegistry, order: str, descending: bool) -> None:
    key, name = (lambda line: getattr(line, order)), (lambda line: line.name)
    whole = sorted(several.bundle_lines(Listing()), key=lambda line: (key(line), name(line)), reverse=descending)
    found: list[BundleLine] = []
    while True:
        behind = {"after": found[-1].name, "after_key": key(found[-1])} if found else {}
        page = several.bundle_lines(Listing(order=order, descending=descending, limit=3, **behind))
        found += page
        if len(page) < 3:
            break
    assert names(found) == names(whole)


# The record


@pytest.fixture(scope="module", params=RECORDS)
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleRegistry]:
    """A registry in which something happened every second from EPOCH on; shared by tests that only read."""
    with opened(request.param, tmp_path_factory.mktemp("history")) as record:
        registry = registry_of(record)
        work(registry)
        yield registry


def work(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann", comment="First")
    registry.bundle_create(numi(name="Other", devices=["E:TOR860"]), user="bo")
    registry.bundle_update("NuMI", {"add_devices": ["E:TOR860"], "hosts": ["h1"]}, user="bo")
    registry.bundle_update("NuMI", {"remove_devices": ["E:TOR860", "E:TR101D"]}, user="ann", comment="Broken")
    registry.bundle_delete("NuMI", user="ruth")


def test_every_change_leaves_one_snapshot_with_all_of_it(history: BundleRegistry) -> None:
    lines = history.bundle_log()
    assert [(line.user, line.action, line.comment) for line in lines] == [
        ("ruth", "delete", ""),
        ("ann", "update", "Broken"),
        ("bo", "update", ""),
        ("bo", "create", ""),
        ("ann", "create", "First"),
    ]
    assert [line.created for line in lines] == [EPOCH + timedelta(seconds=n) for n in (4, 3, 2, 1, 0)]
    numbers = [line.id for line in lines]
    assert numbers == sorted(set(numbers), reverse=True)
    newest = history.bundle_snapshot(numbers[1])
    assert newest.bundle == make_bundle(numi(hosts=["h1"], devices=["E:TORTGT"]))
    assert newest.previous == numbers[2]


def test_the_log_says_what_changed(history: BundleRegistry) -> None:
    assert [line.changed for line in history.bundle_log("NuMI")] == [
        "−1 devices",
        "−2 devices",
        "+1 devices, hosts",
        "+2 devices",
    ]


def test_a_copy_and_a_return_say_what_came(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    registry.bundle_copy("NuMI", "Copy", user="ann")
    registry.bundle_delete("NuMI", user="ann")
    registry.bundle_create(numi(event="e,00"), user="ann")
    assert [line.changed for line in registry.bundle_log()] == ["+2 devices", "−2 devices", "+2 devices", "+2 devices"]


@cases(
    "wanted, found",
    [
        ({"name": "Other"}, ["bo create Other"]),
        ({"name": "nothing"}, []),
        ({"user": "bo"}, ["bo update NuMI", "bo create Other"]),
        ({"device": "E:TOR860"}, ["ann update NuMI", "bo update NuMI", "bo create Other"]),
        ({"device": "E:TOR860", "name": "NuMI"}, ["ann update NuMI", "bo update NuMI"]),
        ({"device": "E:TORTGT"}, ["ruth delete NuMI", "ann create NuMI"]),
        ({"since": EPOCH + timedelta(seconds=3)}, ["ruth delete NuMI", "ann update NuMI"]),
        ({"until": EPOCH + timedelta(seconds=1)}, ["ann create NuMI"]),
        ({"since": LONG_AGO, "until": EPOCH}, []),
        ({"limit": 1}, ["ruth delete NuMI"]),
        ({"limit": 0}, []),
        ({"before": 2**70, "limit": 1}, ["ruth delete NuMI"]),
        ({"before": -(2**70)}, []),
    ],
)
def test_the_log_is_filtered(history: BundleRegistry, wanted: dict[str, Any], found: list[str]) -> None:
    assert [f"{line.user} {line.action} {line.name}" for line in history.bundle_log(**wanted)] == found


def test_pages_put_together_are_the_whole_log(history: BundleRegistry) -> None:
    whole = list(history.bundle_log())
    pages, before = [], None
    while page := list(history.bundle_log(before=before, limit=2)):
        pages += page
        before = page[-1].id
    assert pages == whole


def test_a_time_in_any_zone_is_the_same_time(history: BundleRegistry) -> None:
    west = timezone(timedelta(hours=-5))
    assert history.bundle_log(until=(EPOCH + timedelta(seconds=2)).astimezone(west)) == history.bundle_log()[3:]
    assert history.bundle_read("NuMI", at=EPOCH.astimezone(west)) == make_bundle(numi())


def test_a_bundle_is_read_as_of_a_snapshot_and_a_time(history: BundleRegistry) -> None:
    for line in history.bundle_log("NuMI"):
        then = history.bundle_snapshot(line.id).bundle
        assert history.bundle_read("NuMI", snapshot=line.id) == then
        if not line.deleted:
            assert history.bundle_read("NuMI", at=line.created) == then
            assert history.bundle_read("NuMI", at=line.created + timedelta(microseconds=999_999)).snapshot
    with pytest.raises(BundleDeleted):
        history.bundle_read("NuMI", at=EPOCH + timedelta(days=1))
    with pytest.raises(BundleNotFound, match="there was no bundle Other"):
        history.bundle_read("Other", at=EPOCH)


def test_as_of_goes_by_the_time_of_the_change_and_the_log_by_its_number(record: BundleRecord) -> None:
    times = [EPOCH + timedelta(days=days) for days in (0, 2, 1)]  # the clock was set back
    registry = BundleRegistry(record, Groups.parse(GROUPS), clock=iter(times).__next__)
    registry.bundle_create(make_bundle(numi()), user="ann")
    registry.bundle_update("NuMI", {"event": "e,late"}, user="ann")
    registry.bundle_update("NuMI", {"event": "e,early"}, user="ann")
    events = [registry.bundle_read("NuMI", at=EPOCH + timedelta(days=days)).event for days in range(4)]
    assert events == ["e,a9", "e,early", "e,late", "e,late"]
    assert [line.created for line in registry.bundle_log()] == times[::-1]
    assert registry.bundle_read("NuMI").event == "e,early"


@pytest.mark.parametrize("year", [1, 999, 1000, 1969])
def test_long_ago_there_was_nothing(history: BundleRegistry, year: int) -> None:
    with pytest.raises(BundleNotFound):
        history.bundle_read("Other", at=datetime(year, 1, 2, tzinfo=UTC))
    assert list(history.bundle_log(until=datetime(year, 1, 2, tzinfo=UTC))) == []
    assert len(history.bundle_log(since=datetime(year, 1, 2, tzinfo=UTC))) == 5


def test_two_snapshots_are_compared(history: BundleRegistry) -> None:
    newest, second, first = (line.id for line in history.bundle_log("NuMI")[1:])
    diff = history.bundle_diff(first, newest)
    assert (diff.added, diff.removed, diff.attributes) == ((), ("E:TR101D",), {"hosts": ((), ("h1",))})
    assert (diff.old.id, diff.new.id) == (first, newest)
    assert history.bundle_diff(second, first).removed == ("E:TOR860",)
    other = history.bundle_log("Other")[0].id
    assert history.bundle_diff(first, other).attributes["name"] == ("NuMI", "Other")


def test_verify_says_of_each_name_that_its_chain_holds(history: BundleRegistry) -> None:
    checks = list(history.bundle_verify())
    assert [(each.name, each.snapshots, each.problem) for each in checks] == [("NuMI", 4, None), ("Other", 1, None)]
    assert [each.head for each in checks] == [
        history.bundle_snapshot(history.bundle_log(name)[0].id).hash for name in ("NuMI", "Other")
    ]
    assert len({each.head for each in checks}) == 2


def test_several_bundles_change_in_one_write(record: BundleRecord) -> None:
    writes = [Write("import", make_bundle(numi(name=name)), None) for name in ("C", "A", "B")]
    made = record.write(writes, user="ann", comment="All", at=EPOCH)
    assert [each.name for each in made] == ["C", "A", "B"]
    assert sorted(each.id for each in made) == [each.id for each in made]
    assert [record.newest(each.name) for each in made] == list(made)
    assert [check.problem for check in record.chains()] == [None] * 3


def test_a_write_that_fails_in_part_changes_nothing(record: BundleRecord) -> None:
    record.write([Write("create", make_bundle(numi()), None)], user="ann", comment="", at=EPOCH)
    new, taken = (make_bundle(numi(name=name)) for name in ("New", "NuMI"))
    for writes, error in (
        ([Write("create", new, None), Write("create", taken, None)], RevisionConflict),
        ([Write("create", new, None), Write("update", taken, 2**40)], RevisionConflict),
        ([Write("update", new, 1)], RevisionConflict),
        ([Write("create", new, None), Write("update", new, None)], InvalidInput),
    ):
        with pytest.raises(error):
            record.write(writes, user="ann", comment="", at=EPOCH)
    with pytest.raises(BundleNotFound):
        record.newest("New")


def test_a_record_takes_a_write_of_nothing(record: BundleRecord) -> None:
    assert list(record.write([], user="ann", comment="", at=EPOCH)) == []


# What is accepted, and what is not


def test_all_real_bundles_are_accepted_without_a_warning(registry: BundleRegistry) -> None:
    for given in REAL:
        made = registry.bundle_create(given, user="ann")
        assert made.devices == set(given["devices"])
        assert warnings(made) == ()
    assert names(registry.bundle_list()) == sorted(each["name"] for each in REAL)


def test_all_real_events_and_devices_are_accepted_without_a_warning() -> None:
    pairs = [(each["event"], each["device"]) for each in DATA["device_event_pairs"]]
    events = {*DATA["events"], *(event for event, _ in pairs)}
    devices = [*DATA["more_devices"], *(device for _, device in pairs)]
    for event in events:
        assert warnings(make_bundle(numi(event=event, devices=devices))) == ()


def test_an_unusual_device_gets_a_warning_and_is_kept(registry: BundleRegistry) -> None:
    made = registry.bundle_create(numi(devices=["Zündung/öffnen", "E:TOR860"]), user="ann")
    assert registry.bundle_read("NuMI").devices == {"Zündung/öffnen", "E:TOR860"}
    assert ["Zündung/öffnen" in each.detail for each in warnings(made)] == [True]


NASTY = [
    "'; DROP TABLE bundles; --",
    'x" OR ""="',
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x85b",
    "\ud800",
    "x" * 300,
    "",
    "   ",
]


def test_what_is_unsafe_is_refused_and_changes_nothing(registry: BundleRegistry) -> None:
    keys = ("name", "event", "ifb_group", "storage", "hosts", "devices", "run", "colour")
    for key, text in itertools.product(keys, NASTY):
        value = [text] if key in ("hosts", "devices") else text
        with pytest.raises(InvalidInput) as caught:
            registry.bundle_create(numi(**{key: value}), user="ruth")
        assert f"/{key}" in caught.value.problems[0][0]
    assert list(registry.bundle_log()) == []


def test_what_has_the_wrong_type_is_refused_or_kept(registry: BundleRegistry) -> None:
    keys = ("name", "event", "ifb_group", "storage", "hosts", "devices", "run")
    values = (None, 1, 1.5, True, [], {}, "e,a9", b"e,a9", [None], [[]], object())
    for number, (key, value) in enumerate(itertools.product(keys, values)):
        try:
            made = registry.bundle_create({**numi(name=f"B{number}", writable=True), key: value}, user="ruth")
        except InvalidInput:
            continue
        assert registry.bundle_read(made.name) == made


def test_invalid_and_oversized_bundles_are_refused(registry: BundleRegistry) -> None:
    nothing: list[Any] = [None, "NuMI", ["NuMI"], 1]
    for given in nothing:
        with pytest.raises(InvalidInput, match="a bundle is an object"):
            registry.bundle_create(given, user="ann")
    with pytest.raises(InvalidInput, match="at most 1000 hosts"):
        registry.bundle_create(numi(hosts=[f"h{number}" for number in range(1001)]), user="ann")
    with pytest.raises(InvalidInput, match="at most 100000 devices"):
        registry.bundle_create(numi(devices=["E:SAME"] * 100_001), user="ann")
    registry.bundle_create(numi(), user="ann")
    for given in nothing:
        with pytest.raises(InvalidInput, match="changes are an object"):
            registry.bundle_update("NuMI", given, user="ann")


def test_all_that_is_wrong_is_said_at_once(registry: BundleRegistry) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.bundle_create({"event": "!", "devices": ["E:OK1", "x"], "colour": "red"}, user="ann")
    assert [pointer for pointer, _ in caught.value.problems] == [
        "/colour",
        "/name",
        "/ifb_group",
        "/event",
        "/devices/1",
    ]


def test_an_odd_comment_is_kept_or_refused(registry: BundleRegistry) -> None:
    for number, text in enumerate(NASTY):
        before = len(registry.bundle_log())
        try:
            made = registry.bundle_create(numi(name=f"B{number}"), user="ann", comment=text)
        except InvalidInput:
            assert len(registry.bundle_log()) == before, text
        else:
            assert registry.bundle_snapshot(made.snapshot or 0).comment == text.strip()
            assert registry.bundle_log()[0].comment == text.strip()
    assert {check.problem for check in registry.bundle_verify()} == {None}


def test_a_comment_of_ten_megabytes_is_refused(registry: BundleRegistry) -> None:
    with pytest.raises(InvalidInput, match="at most 65536 characters"):
        registry.bundle_create(numi(), user="ann", comment="x" * 10_000_000)
    longest = registry.bundle_create(numi(), user="ann", comment="ä" * 65_536)
    assert len(registry.bundle_snapshot(longest.snapshot or 0).comment) == 65_536


def test_an_odd_user_changes_nothing(registry: BundleRegistry) -> None:
    odd: list[Any] = [*NASTY, ["ann"], {}, 1, True, b"ann"]
    for user in odd:
        with pytest.raises(MetastoreError):
            registry.bundle_create(numi(), user=user)
    assert list(registry.bundle_log()) == []


def test_every_printable_user_is_kept_as_given(record: BundleRecord) -> None:
    for number, user in enumerate(("ann lee", "<ann>", ".", "Änn", "ann@example.org", "CN=Ann, O='x'")):
        record.write([Write("create", make_bundle(numi(name=f"B{number}")), None)], user=user, comment="", at=EPOCH)
        assert record.newest(f"B{number}").user == user
    assert {check.problem for check in record.chains()} == {None}


ODD: list[Any] = [*NASTY, ["x"], {}, b"x"]


@cases("key", ["group", "device", "event", "run", "host", "prefix", "after", "limit"])
def test_an_odd_filter_finds_nothing_or_is_refused(history: BundleRegistry, key: str) -> None:
    for odd in ODD:
        with suppress(InvalidInput):
            found = list(history.bundle_list(**{key: odd}))
            assert found == [] or (key in ("prefix", "after") and names(found) == ["Other"])
    assert len(history.bundle_log()) == 5


@cases("key", ["text", "group", "device", "event", "run", "deleted", "order", "descending", "after_key", "limit"])
def test_an_odd_list_finds_nothing_or_is_refused(history: BundleRegistry, key: str) -> None:
    for odd in ODD:
        for order in ("devices", "updated", "name"):
            behind = {"after": "NuMI"} if key == "after_key" else {}
            with suppress(InvalidInput):
                wanted = Listing(**{"order": order, **behind, key: odd})
                assert names(history.bundle_lines(wanted)) in ([], ["Other"])
    assert names(history.bundle_lines(Listing())) == ["Other"]


@cases("key", ["name", "user", "device", "since", "until", "before", "limit"])
def test_an_odd_filter_of_the_log_finds_nothing_or_is_refused(history: BundleRegistry, key: str) -> None:
    for odd in ODD:
        with suppress(InvalidInput):
            assert list(history.bundle_log(**{key: odd})) == []


def test_an_odd_name_is_refused_everywhere(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    calls: list[Callable[[Any], Any]] = [
        registry.bundle_read,
        lambda name: registry.bundle_read(name, at=EPOCH),
        lambda name: registry.bundle_update(name, {}, user="ruth"),
        lambda name: registry.bundle_delete(name, user="ruth"),
        lambda name: registry.bundle_copy(name, "New", user="ruth"),
        lambda name: registry.bundle_copy("NuMI", name, user="ruth"),
        lambda name: registry.bundle_restore(name, 1, user="ruth"),
    ]
    for call in calls:
        for odd in (*ODD, None, 1):
            with pytest.raises(InvalidInput, match="is not a name"):
                call(odd)


def test_an_odd_number_is_no_snapshot(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    odd: list[Any] = ["1", None, 1.0, True, [], "'; DROP TABLE"]
    for number in odd:
        with pytest.raises(SnapshotNotFound):
            registry.bundle_snapshot(number)
        with pytest.raises(SnapshotNotFound):
            registry.bundle_restore("NuMI", number, user="ann")


@pytest.mark.parametrize(
    "at",
    [EPOCH.replace(tzinfo=None), "2024-05-01", 0, datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))],
    ids=str,
)
def test_a_time_needs_a_zone_and_has_to_be_one(registry: BundleRegistry, at: Any) -> None:
    registry.bundle_create(numi(), user="ann")
    with pytest.raises(InvalidInput, match="time"):
        registry.bundle_read("NuMI", at=at)
    with pytest.raises(InvalidInput, match="time"):
        registry.bundle_log(since=at)


def test_two_thousand_devices_are_kept(registry: BundleRegistry) -> None:
    devices = [f"E:D{number:04}" for number in range(2000)]
    registry.bundle_create(numi(devices=devices), user="ann")
    registry.bundle_update("NuMI", {"remove_devices": devices[:1000]}, user="ann")
    assert registry.bundle_read("NuMI").devices == set(devices[1000:])
    assert registry.bundle_log()[0].changed == "−1000 devices"
