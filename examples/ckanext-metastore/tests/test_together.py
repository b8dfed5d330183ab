"""Two people who change one dataset at the same time, one of them by an older version: both changes count."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from ckan import model
from ckanext.metastore import undoing
from conftest import act

Package = dict[str, Any]


def at_once(app: Any, *calls: Callable[[], Any]) -> None:
    """Make calls at the same time, as web workers do."""

    def run(call: Callable[[], Any]) -> None:
        with app.flask_app.test_request_context():
            try:
                call()
            finally:
                model.Session.remove()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    model.Session.remove()  # it has what it read before


def test_two_changes_that_are_undone_at_once_are_both_undone(
    app: Any, cars: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    act("package_patch", "ann", id=cars["id"], title="All cars")
    act("package_patch", "ann", id=cars["id"], notes="More of them")
    notes, title, _ = [each["id"] for each in act("dataset_revision_list", id=cars["id"])]
    brought_back, together = undoing.brought_back, threading.Barrier(2)

    def slowly(*args: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            together.wait(3)  # both get here only if the second one has not waited for the first
        return brought_back(*args)

    monkeypatch.setattr(undoing, "brought_back", slowly)
    at_once(
        app, *(lambda each=each: act("dataset_undo", "ann", id=cars["id"], revision=each) for each in (notes, title))
    )
    shown = act("package_show", id=cars["id"])
    assert (shown["title"], shown["notes"]) == (cars["title"], cars["notes"])
    assert len(act("dataset_revision_list", id=cars["id"])) == 5


def test_a_dataset_that_becomes_private_while_a_version_is_restored_stays_private(
    app: Any, cars: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    act("package_patch", "ann", id=cars["id"], title="All cars")
    oldest = act("dataset_revision_list", id=cars["id"])[-1]["id"]
    brought_back, computing, hidden = undoing.brought_back, threading.Event(), threading.Event()

    def slowly(*args: Any) -> Any:
        package = brought_back(*args)
        computing.set()
        hidden.wait(3)  # it is hidden meanwhile only if it is not held
        return package

    def hide() -> None:
        computing.wait(60)
        act("package_patch", "ann", id=cars["id"], private=True)
        hidden.set()

    monkeypatch.setattr(undoing, "brought_back", slowly)
    at_once(app, lambda: act("dataset_revert", "ann", id=cars["id"], revision=oldest), hide)
    shown = act("package_show", "ann", id=cars["id"])
    assert (shown["title"], shown["private"]) == (cars["title"], True)
