"""Undo of bundles: one change goes, and nothing else, for each kind of change."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, given, settings

from metastore.bundle import Bundle, BundleRegistry
from metastore.bundle.difference import merged
from metastore.bundle.port import STATE
from metastore.bundle.versioned import VersionedRecord
from metastore.errors import MergeConflict
from metastore.storage.memory import MemoryStorage

from .conftest import registry_of

states = st.builds(
    Bundle,
    name=st.just("B"),
    event=st.sampled_from(["e,a9", "e,1d"]),
    ifb_group=st.just("NOvA"),
    storage=st.sampled_from(["short", "long"]),
    udp=st.booleans(),
    hosts=st.sampled_from([(), ("h1",), ("h1", "h2"), ("h2",)]),
    devices=st.frozensets(st.sampled_from(["E:ONE", "E:TWO", "E:TRE"])),
)
bounded = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def fresh(*bundles: Bundle) -> tuple[BundleRegistry, list[int]]:
    """Return a registry with a bundle that had these states, and their snapshots."""
    registry = registry_of(VersionedRecord(MemoryStorage()))
    made = [registry.bundle_create(bundles[0], user="ann")]
    states = ({key: getattr(bundle, key) for key in STATE} for bundle in bundles[1:])
    made += [registry.bundle_update("B", state, user="ann") for state in states]
    return registry, [bundle.snapshot or 0 for bundle in made]


def same(one: Bundle, other: Bundle) -> bool:
    return all(getattr(one, key) == getattr(other, key) for key in STATE)


@bounded
@given(states, states)
def test_undo_of_the_newest_is_a_restore_and_undo_of_that_the_original(old: Bundle, new: Bundle) -> None:
    registry, made = fresh(old, new)
    assume(made[0] != made[1])
    undone = registry.bundle_undo("B", made[1], user="ann")
    assert same(undone, old)
    assert same(registry.bundle_undo("B", undone.snapshot or 0, user="ann"), new)


@bounded
@given(states, states)
def test_undo_of_a_creation_deletes_what_is_as_it_was_created(old: Bundle, new: Bundle) -> None:
    registry, made = fresh(old, new)
    if made[1] != made[0]:
        with pytest.raises(MergeConflict):
            registry.bundle_undo("B", made[0], user="ann")
        registry.bundle_undo("B", made[1], user="ann")
    gone = registry.bundle_undo("B", made[0], user="ann")
    assert registry.bundle_snapshot(gone.snapshot or 0).deleted
    assert same(registry.bundle_undo("B", gone.snapshot or 0, user="ann"), old)


@bounded
@given(states, states, states)
def test_undo_touches_nothing_outside_the_change(old: Bundle, new: Bundle, later: Bundle) -> None:
    registry, made = fresh(old, new, later)
    assume(len(set(made)) == 3)
    try:
        undone = registry.bundle_undo("B", made[1], user="ann")
    except MergeConflict:
        assert same(registry.bundle_read("B"), later)
        assert registry.bundle_log("B")[0].id == made[2]
        return
    for key in set(STATE) - {"devices"}:
        if getattr(old, key) == getattr(new, key):
            assert getattr(undone, key) == getattr(later, key)
    changed = old.devices ^ new.devices
    assert undone.devices == (later.devices - changed) | (old.devices & changed)


@bounded
@given(states, st.permutations(["event", "devices", "storage"]))
def test_undo_of_independent_changes_commutes(start: Bundle, order: list[str]) -> None:
    changed = {
        "event": "e,00",
        "devices": start.devices | {"E:NEW"},
        "storage": "long" if start.storage == "short" else "short",
    }
    for sequence in (order, order[::-1]):
        registry, _ = fresh(start)
        made = {key: registry.bundle_update("B", {key: changed[key]}, user="ann").snapshot or 0 for key in order}
        assert same(registry.bundle_read("B"), replace(start, **changed))
        for key in sequence:
            registry.bundle_undo("B", made[key], user="ann")
        assert same(registry.bundle_read("B"), start)


@bounded
@given(states, states, states)
def test_a_merge_has_both_changes_and_mine_where_both_changed_an_attribute(
    base: Bundle, mine: Bundle, theirs: Bundle
) -> None:
    both = merged(base, mine, replace(theirs, snapshot=7))
    for key in ("event", "storage", "udp"):
        side = theirs if getattr(mine, key) == getattr(base, key) else mine
        assert getattr(both, key) == getattr(side, key)
    for before, ours, others, result in (
        (base.devices, mine.devices, theirs.devices, both.devices),
        (frozenset(base.hosts), frozenset(mine.hosts), frozenset(theirs.hosts), frozenset(both.hosts)),
    ):
        assert result == (ours - (before - others)) | (others - before)
    assert both.snapshot == 7
