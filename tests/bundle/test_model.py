"""Random calls by random users on every record, compared with a model that is a few dictionaries."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from metastore.bundle import Bundle, BundleRegistry, Groups
from metastore.bundle.exchange import read_rows
from metastore.errors import AlreadyExists, BundleNotFound, InvalidInput, MetastoreError, PermissionDenied

from .conftest import GROUPS, RECORDS

SOAK = bool(os.environ.get("METASTORE_SOAK"))
ADMINS = {"Minerva": {"cy"}, "NOvA": {"ann", "bo"}, "MINOS": {"bo"}, "root": set()}
NAMES = st.sampled_from(["A", "a", "B"])
USERS = st.sampled_from([None, "eve", "ann", "bo", "cy", "ruth", "ruth", "ruth"])
DEVICES = st.frozensets(st.sampled_from(["E:ONE", "E:TWO", "E_TRE"]))
FLAGS = st.booleans()
BUNDLES = st.builds(
    Bundle,
    name=NAMES,
    event=st.sampled_from(["e,a9", "e,1d"]),
    ifb_group=st.sampled_from(["NOvA", "NOvA", "MINOS", "root"]),
    udp=FLAGS,
    writable=FLAGS,
    hosts=st.sampled_from([(), ("h1",), ("h2", "h1")]),
    devices=DEVICES,
)


class SteppedClock:
    """The machine's clock, which somebody sets now and then. PostgreSQL's server has a clock of its own."""

    def __init__(self) -> None:
        self.off, self.last = timedelta(), datetime.now(UTC)

    def __call__(self) -> datetime:
        self.last = datetime.now(UTC) + self.off
        return self.last


class Model:
    """The requirement, on a list of (name, state, deleted, user, action), numbered from 1 on."""

    def __init__(self) -> None:
        self.record: list[tuple[str, Bundle, bool, str, str]] = []

    def newest(self, name: str) -> tuple[Bundle | None, bool]:
        found = [(state, deleted) for each, state, deleted, _, _ in self.record if each == name]
        return found[-1] if found else (None, False)

    def live(self, name: str) -> Bundle:
        state, deleted = self.newest(name)
        if state is None or deleted:
            raise BundleNotFound(name)
        return state

    def permit(self, user: str | None, *states: Bundle | None) -> None:
        for state in states:
            may = user in ADMINS[state.ifb_group] and not state.writable if state else True
            if user != "ruth" and not may:
                raise PermissionDenied("")

    def put(self, user: str | None, action: str, state: Bundle, *, deleted: bool = False) -> Bundle:
        before, _ = self.newest(state.name)
        self.permit(user, before, state)
        if before and before.ifb_group != state.ifb_group and user != "ruth":
            raise PermissionDenied("")
        self.record.append((state.name, state, deleted, str(user), action))
        return state

    def create(self, user: str | None, action: str, state: Bundle) -> Bundle:
        before, deleted = self.newest(state.name)
        if before and not deleted:
            self.permit(user, state)
            raise AlreadyExists("")
        return self.put(user, action, state)

    def change(self, user: str | None, action: str, state: Bundle) -> Bundle:
        before, deleted = self.newest(state.name)
        self.permit(user, before, state)
        if before and not deleted and before.ifb_group != state.ifb_group:
            raise InvalidInput("")
        return state if before == state and not deleted else self.put(user, action, state)


class Machine(RuleBasedStateMachine):
    make: Any
    has_a_server = False

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.record = self.make(self.folder)
        self.clock = SteppedClock()
        self.registry = BundleRegistry(self.record, Groups.parse(GROUPS), clock=self.clock)
        self.model = Model()
        self.numbers: list[int] = []
        self.times: list[datetime] = []
        self.is_claimed: list[bool] = []

    def teardown(self) -> None:
        if hasattr(self, "registry"):
            self.registry.close()
            shutil.rmtree(self.folder)

    def both(self, real: Any, modelled: Any) -> None:
        """Do the same to both: either both fail alike, or neither."""
        before = len(self.model.record)
        try:
            expected: Any = modelled()
        except MetastoreError as error:
            with pytest.raises(type(error)):
                real()
            return
        got = real()
        if isinstance(expected, Bundle):
            assert got == expected
        if len(self.model.record) > before:
            fresh = [line.id for line in self.registry.bundle_log(limit=len(self.model.record) - before)]
            self.numbers += reversed(fresh)
            self.times += [self.clock.last] * len(fresh)
            self.is_claimed += [abs(self.clock.off) > timedelta(minutes=1)] * len(fresh)

    @rule(hours=st.integers(-1, 1), seconds=st.integers(-1, 1))
    def set_the_clock(self, hours: int, seconds: int) -> None:
        self.clock.off += timedelta(hours=hours, seconds=seconds)

    @rule(user=USERS, bundle=BUNDLES)
    def create(self, user: str | None, bundle: Bundle) -> None:
        self.both(
            lambda: self.registry.bundle_create(bundle, user=user), lambda: self.model.create(user, "create", bundle)
        )

    @rule(user=USERS, name=NAMES, udp=FLAGS, writable=FLAGS, devices=DEVICES)
    def update(self, user: str | None, name: str, udp: bool, writable: bool, devices: frozenset[str]) -> None:
        changes = {"udp": udp, "writable": writable, "devices": devices}
        self.both(
            lambda: self.registry.bundle_update(name, changes, user=user),
            lambda: self.model.change(
                user, "update", replace(self.model.live(name), udp=udp, writable=writable, devices=devices)
            ),
        )

    @rule(user=USERS, name=NAMES)
    def delete(self, user: str | None, name: str) -> None:
        self.both(
            lambda: self.registry.bundle_delete(name, user=user),
            lambda: self.model.put(user, "delete", self.model.live(name), deleted=True) and None,
        )

    @rule(user=USERS, name=NAMES, new=NAMES)
    def copy(self, user: str | None, name: str, new: str) -> None:
        self.both(
            lambda: self.registry.bundle_copy(name, new, user=user),
            lambda: self.model.create(user, "copy", replace(self.model.live(name), name=new)),
        )

    @rule(user=USERS, data=st.data())
    def restore(self, user: str | None, data: st.DataObject) -> None:
        if not self.numbers:
            return
        index = data.draw(st.integers(0, len(self.numbers) - 1))
        name, state, *_ = self.model.record[index]
        self.both(
            lambda: self.registry.bundle_restore(name, self.numbers[index], user=user),
            lambda: self.restored(user, state),
        )

    def restored(self, user: str | None, state: Bundle) -> Bundle:
        before, _ = self.model.newest(state.name)
        self.model.permit(user, before, state)
        if before and before.ifb_group != state.ifb_group and user != "ruth":
            raise PermissionDenied("")
        return self.model.change(user, "restore", state)

    @rule(user=USERS, bundles=st.lists(BUNDLES, max_size=3, unique_by=lambda each: each.name))
    def import_all(self, user: str | None, bundles: list[Bundle]) -> None:
        self.both(lambda: self.registry.bundle_import(bundles, user=user), lambda: self.imported(user, bundles))

    def imported(self, user: str | None, bundles: list[Bundle]) -> None:
        trial = Model()
        trial.record = list(self.model.record)
        for bundle in bundles:
            before, deleted = trial.newest(bundle.name)
            if before and not deleted and before.ifb_group != bundle.ifb_group:
                raise InvalidInput("")
            trial.change(user, "import", bundle) if before and not deleted else trial.put(user, "import", bundle)
        self.model.record = trial.record

    @rule()
    def open_again(self) -> None:
        if type(self).make is not RECORDS["memory"]:
            self.record.close()

    @invariant()
    def the_present_is_that_of_the_model(self) -> None:
        live = {name: state for name, state, *_ in self.model.record if self.model.newest(name) == (state, False)}
        assert list(self.registry.bundle_list()) == [live[name] for name in sorted(live)]
        exported = read_rows("".join(self.registry.bundle_export(format="csv")), "csv")
        assert [row.name for row in exported] == sorted(live)
        for name in ("A", "a", "B"):
            if name not in live:
                with pytest.raises(BundleNotFound):
                    self.registry.bundle_read(name)
            else:
                assert self.registry.bundle_read(name) == live[name]

    @invariant()
    def the_past_is_that_of_the_model(self) -> None:
        log = list(self.registry.bundle_log(limit=None))[::-1]
        assert [line.id for line in log] == self.numbers
        assert [(line.name, line.deleted, line.user, line.action) for line in log] == [
            (name, deleted, user, action) for name, _, deleted, user, action in self.model.record
        ]
        assert [line.created for line in log] == self.times
        assert [line.recorded is not None for line in log] == [each and self.has_a_server for each in self.is_claimed]
        if self.numbers:
            index = len(self.numbers) // 2
            assert self.registry.bundle_snapshot(self.numbers[index]).bundle == self.model.record[index][1]

    @invariant()
    def as_of_a_time_goes_by_the_latest_time_until_then(self) -> None:
        if not self.times:
            return
        middle = len(self.times) // 2
        name, at = self.model.record[middle][0], max(self.times[middle], self.clock.last)
        until = [i for i, each in enumerate(self.times) if self.model.record[i][0] == name and each <= at]
        latest = max(until, key=lambda i: (self.times[i], i))
        if self.model.record[latest][2]:
            with pytest.raises(BundleNotFound):
                self.registry.bundle_read(name, at=at)
        else:
            assert self.registry.bundle_read(name, at=at) == self.model.record[latest][1]

    @invariant()
    def every_chain_holds(self) -> None:
        assert [check.problem for check in self.registry.bundle_verify() if check.problem] == []


# On a host, thousands of requests would say what the storage's own model test says.
@pytest.mark.parametrize("record", [name for name in RECORDS if name != "github"])
def test_random_calls_do_what_the_model_does(record: str) -> None:
    class Of(Machine):
        make = staticmethod(RECORDS[record])
        has_a_server = record == "postgres"

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Of,
        settings=settings(
            max_examples=1000 if SOAK else 5 if record == "postgres" else 15,
            stateful_step_count=50 if SOAK else 20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
