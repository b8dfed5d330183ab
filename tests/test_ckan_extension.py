"""What of the CKAN extension knows no CKAN: what is recorded, what is given back, and how MetaStore is made to agree.

The rest of it is tested in a real CKAN, by `make test-ckan`.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import ckan
from tests.conftest import ANN, ticking

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "examples" / "ckanext-metastore"))
from ckanext.metastore import record, tokens  # noqa: E402 - in the examples
from ckanext.metastore.patience import within  # noqa: E402
from ckanext.metastore.sync import Recorder, known_ids  # noqa: E402

SHOWN: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "ckan" / "package_show_2.12.0.json").read_bytes())


def shown(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SHOWN), **changes}


@pytest.fixture
def store() -> Iterator[metastore.MetaStore]:
    with metastore.connect("memory:", author=ANN, clock=ticking()) as made:
        yield made


@pytest.fixture
def recorder(store: metastore.MetaStore) -> Recorder:
    return Recorder(store)


# What is recorded


def test_what_is_recorded_is_what_somebody_said() -> None:
    descriptor = record.descriptor_of(shown())
    assert descriptor["ckan"] == {
        "organization": {"id": SHOWN["owner_org"], "name": "org1"},
        "owner_org": SHOWN["owner_org"],
        "private": False,
        "state": "active",
        "type": "dataset",
        "extras": {"k": "v"},
    }
    assert descriptor["resources"] == [
        {
            "name": "r",
            "title": "R",
            "path": "http://e.x/a.csv",
            "id": SHOWN["resources"][0]["id"],
            "format": "CSV",
            "bytes": 12,
            "ckan": {"created": "2026-11-21T17:02:56.440141"},
        }
    ]
    assert metastore.validate(descriptor) == ()


def test_what_ckan_computes_is_no_change() -> None:
    later = shown(metadata_modified="2027-01-01T00:00:00", num_tags=7, isopen=False)
    later["resources"][0]["metadata_modified"] = "2027-01-01T00:00:00"
    later["tags"][0]["id"] = "another"
    assert record.descriptor_of(later) == record.descriptor_of(shown())


def test_an_older_version_is_shown_with_all_that_ckan_shows() -> None:
    old = record.package_of(record.descriptor_of(shown(notes="Old")), like=shown())
    assert set(SHOWN) <= set(old)
    assert (old["notes"], old["version"], old["groups"], old["num_resources"]) == ("Old", None, [], 1)
    assert old["tags"] == [{"display_name": "a b", "name": "a b"}]


def test_what_is_restored_stays_where_the_dataset_is() -> None:
    old = record.descriptor_of(shown(notes="Old", name="before", private=False, owner_org="other"))
    back = record.restored(shown(private=True, title="New"), old)
    assert (back["name"], back["private"], back["owner_org"]) == ("ds1", True, SHOWN["owner_org"])
    assert (back["title"], back["notes"]) == ("T2", "Old")
    assert "organization" not in back


@pytest.mark.parametrize(
    ("said", "private_too", "expected"),
    [
        ({}, False, True),
        ({"state": "draft"}, True, False),
        ({"state": "deleted"}, True, False),
        ({"private": True}, False, False),
        ({"private": True}, True, True),
    ],
)
def test_which_datasets_are_recorded(said: dict[str, Any], private_too: bool, expected: bool) -> None:
    assert record.is_recorded(shown(**said), private_too=private_too) is expected


# How MetaStore is made to agree


def test_the_same_state_makes_no_second_revision(store: metastore.MetaStore, recorder: Recorder) -> None:
    assert recorder.record(shown(), None).action == "created"
    assert recorder.record(shown(metadata_modified="2027-01-01"), "org1/ds1").action == "unchanged"
    assert recorder.record(shown(title="T3"), "org1/ds1", message="Why").action == "updated"
    assert [each.message for each in store.revision_list("org1/ds1")] == ["Why", "Create dataset"]


def test_text_that_python_takes_for_equal_is_a_change(recorder: Recorder) -> None:
    recorder.record(shown(extras=[{"key": "a", "value": 1}]), None)
    assert recorder.record(shown(extras=[{"key": "a", "value": True}]), None).action == "updated"


def test_a_dataset_moves_with_its_name_and_its_organisation(store: metastore.MetaStore, recorder: Recorder) -> None:
    recorder.record(shown(), None)
    moved = recorder.record(shown(name="new", organization={"name": "other"}), "org1/ds1")
    assert (moved.action, str(moved.dataset_id)) == ("moved", "other/new")
    assert len(list(store.revision_list("other/new"))) == 2
    assert recorder.record(shown(name="new", organization={"name": "other"}), "org1/ds1").action == "unchanged"


def test_a_dataset_that_was_withdrawn_moves_with_its_history(store: metastore.MetaStore, recorder: Recorder) -> None:
    recorder.record(shown(), None)
    assert recorder.record(shown(private=True), "org1/ds1").action == "deleted"
    assert recorder.record(shown(private=True), "org1/ds1").action == "unchanged"
    assert recorder.record(shown(name="new"), "org1/ds1").action == "moved"
    assert [each.deleted for each in store.revision_list("org1/new")][-2:] == [True, False]


def test_the_name_of_another_dataset_is_not_taken(recorder: Recorder) -> None:
    recorder.record(shown(), None)
    other = shown(id="another")
    with pytest.raises(metastore.Conflict, match="reconcile"):
        recorder.record(other, None)
    assert recorder.withdraw("org1/ds1", "another").action == "unchanged"
    assert recorder.record(shown(title="T3"), None).action == "updated"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(store: metastore.MetaStore) -> None:
    dry = Recorder(store, dry_run=True)
    assert dry.record(shown(), None).action == "created"
    assert list(store.dataset_list()) == []
    Recorder(store).record(shown(), None)
    assert dry.record(shown(title="T3"), "org1/ds1").action == "updated"
    assert dry.record(shown(name="new"), "org1/ds1").action == "moved"
    assert dry.record(shown(state="deleted"), "org1/ds1").action == "deleted"
    assert dry.purge("org1/ds1", SHOWN["id"]).action == "purged"
    assert len(list(store.revision_list("org1/ds1"))) == 1


def test_a_purge_can_be_repeated_and_removes_no_other_dataset(recorder: Recorder) -> None:
    recorder.record(shown(), None)
    assert recorder.purge("org1/ds1", "another").action == "unchanged"
    assert [recorder.purge("org1/ds1", SHOWN["id"]).action for _ in range(2)] == ["purged", "unchanged"]


def test_datasets_are_known_by_ckans_id_and_others_left_alone(store: metastore.MetaStore, recorder: Recorder) -> None:
    recorder.record(shown(), None)
    recorder.record(shown(id="second", name="ds2"), None)
    recorder.withdraw("org1/ds2", "second")
    store.dataset_create("org1/elsewhere", {"id": "third", "name": "elsewhere", "resources": []})
    assert known_ids(store) == {SHOWN["id"]: "org1/ds1", "second": "org1/ds2"}


def test_what_is_stored_gives_ckan_the_same_dataset(store: metastore.MetaStore, recorder: Recorder) -> None:
    recorder.record(shown(), None)
    package = ckan.to_package(store.dataset_read("org1/ds1").descriptor)
    assert package == record.recorded(shown())


# Patience, and tokens


def test_a_call_is_waited_for_and_its_error_is_handed_on() -> None:
    assert within(60, lambda: None) is None
    with pytest.raises(metastore.Conflict, match="no"):
        within(60, lambda: (_ for _ in ()).throw(metastore.Conflict("no")))


def test_a_call_that_takes_too_long_is_given_up() -> None:
    import threading

    go_on = threading.Event()
    try:
        with pytest.raises(metastore.StorageBusy, match=r"0\.01 seconds"):
            within(0.01, lambda: go_on.wait(60))
    finally:
        go_on.set()


def test_tokens_say_who_and_are_believed_for_some_minutes() -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    signer = tokens.Signer(pem, "https://portal.example.org")
    token = signer.token_for("ann", ANN)
    assert signer.token_for("ann", ANN) == token
    portal = jwt.decode(signer.token_for(None, metastore.Author("CKAN")), key.public_key(), algorithms=["RS256"])
    assert portal["scopes"].endswith(",import")
    claims = jwt.decode(token, key.public_key(), algorithms=["RS256"], issuer="https://portal.example.org")
    assert (claims["sub"], claims["scopes"]) == ("ann", tokens.SCOPES)
    assert (claims["name"], claims["email"]) == (ANN.name, ANN.email)
    assert 0 < claims["exp"] - claims["nbf"] <= 2000
