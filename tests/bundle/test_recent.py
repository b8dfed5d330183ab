"""Changes that begin with what was seen last, without asking: on PostgreSQL, where others change bundles meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from metastore.bundle import BundleRegistry, Groups
from metastore.bundle.port import Bundle, Snapshot
from metastore.bundle.postgres.record import PostgresRecord, SnapshotCache
from metastore.errors import BundleDeleted, PermissionDenied, RevisionConflict
from tests.bundle.postgres_server import migrated_database
from tests.bundle.test_postgres import AT, NUMI

GROUPS = Groups.parse("groups = NOvA\nNOvA = ann bo\nroot = ruth")


@pytest.fixture
def registries() -> Iterator[tuple[BundleRegistry, BundleRegistry]]:
    """Two programs on one database; the first has just made NuMI."""
    with (
        migrated_database() as dsn,
        BundleRegistry(PostgresRecord(dsn), GROUPS) as here,
        BundleRegistry(PostgresRecord(dsn), GROUPS) as there,
    ):
        here.bundle_create(NUMI, user="ann")
        yield here, there


def snapshots(registry: BundleRegistry) -> list[int]:
    return [line.id for line in registry.bundle_log()]


def test_a_change_of_what_was_changed_here_asks_for_nothing(
    registries: tuple[BundleRegistry, BundleRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = registries
    with monkeypatch.context() as silent:
        silent.setattr(PostgresRecord, "newest", lambda record, name: pytest.fail("it asked"))
        for number in range(3):
            made = here.bundle_update("NuMI", {"event": f"e,{number}"}, user="ann", expected=number + 1)
    assert here.bundle_read("NuMI") == made == replace(NUMI, event="e,2")
    assert [check.problem for check in here.bundle_verify()] == [None]


def test_what_others_changed_meanwhile_stays(registries: tuple[BundleRegistry, BundleRegistry]) -> None:
    here, there = registries
    there.bundle_update("NuMI", {"add_devices": ["E:THEIRS"]}, user="bo")
    here.bundle_update("NuMI", {"add_devices": iter(["E:MINE"])}, user="ann")
    here.bundle_update("NuMI", {"remove_devices": ["E:THEIRS"], "udp": True}, user="ann")
    there.bundle_update("NuMI", {"remove_devices": ["E:MINE"]}, user="bo")
    assert here.bundle_read("NuMI") == replace(NUMI, udp=True)
    assert len(snapshots(here)) == 5


def test_what_is_wrong_of_the_newest_state_alone_counts(registries: tuple[BundleRegistry, BundleRegistry]) -> None:
    here, there = registries
    there.bundle_update("NuMI", {"add_devices": ["E:THEIRS"]}, user="bo")
    here.bundle_update("NuMI", {"remove_devices": ["E:THEIRS"]}, user="ann")
    there.bundle_update("NuMI", {"udp": True}, user="bo")
    here.bundle_update("NuMI", {"udp": False}, user="ann")
    assert here.bundle_read("NuMI") == NUMI
    assert len(snapshots(here)) == 5


def test_a_user_who_may_not_change_the_newest_state_changes_nothing(
    registries: tuple[BundleRegistry, BundleRegistry],
) -> None:
    here, there = registries
    there.bundle_update("NuMI", {"writable": True}, user="ruth")
    with pytest.raises(PermissionDenied, match="collectable"):
        here.bundle_update("NuMI", {"writable": False}, user="ann")
    with pytest.raises(PermissionDenied, match="collectable"):
        here.bundle_delete("NuMI", user="ann")
    assert len(snapshots(here)) == 2


def test_the_snapshot_that_is_expected_is_the_newest_of_all(registries: tuple[BundleRegistry, BundleRegistry]) -> None:
    here, there = registries
    newest = there.bundle_update("NuMI", {"udp": True}, user="bo").snapshot
    with pytest.raises(RevisionConflict) as caught:
        here.bundle_update("NuMI", {"event": "e,1d"}, user="ann", expected=1)
    assert (caught.value.expected, caught.value.actual) == (1, newest)
    assert here.bundle_update("NuMI", {"event": "e,1d"}, user="ann", expected=newest).udp


def test_what_others_deleted_is_deleted(registries: tuple[BundleRegistry, BundleRegistry]) -> None:
    here, there = registries
    there.bundle_delete("NuMI", user="bo")
    for changes in ({"udp": True}, {}, {"udp": 1}):
        with pytest.raises(BundleDeleted):
            here.bundle_update("NuMI", changes, user="ann")
    assert len(snapshots(here)) == 2


def test_a_record_restored_from_a_backup_is_not_taken_for_the_one_before(
    registries: tuple[BundleRegistry, BundleRegistry],
) -> None:
    here, there = registries
    record = here._record
    assert isinstance(record, PostgresRecord)
    seen = record.recent("NuMI")
    assert seen is not None
    record._cache.keep(replace(seen, hash="0" * 64, bundle=replace(NUMI, devices=frozenset({"E:LOST"}))))
    here.bundle_update("NuMI", {"udp": True}, user="ann")
    assert there.bundle_read("NuMI") == replace(NUMI, udp=True)


def test_little_is_remembered() -> None:
    def snapshot(name: str, devices: int = 0, *, deleted: bool = False) -> Snapshot:
        bundle = Bundle(name, "e,1d", "NOvA", devices=frozenset(f"E:{number}" for number in range(devices)))
        return Snapshot(1, name, AT, "ann", "", "update", bundle, deleted)

    recent = SnapshotCache()
    for number in range(1_000):
        recent.keep(snapshot(f"B{number}"))
    assert 0 < sum(recent.get(f"B{number}") is not None for number in range(1_000)) <= 100
    for unkept in (snapshot("B999", 2_000), snapshot("B999", deleted=True)):
        recent.keep(snapshot("B999"))
        recent.keep(unkept)
        assert recent.get("B999") is None
