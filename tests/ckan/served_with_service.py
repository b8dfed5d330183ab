"""A running CKAN that records in a running MetaStore service, which checks tokens; run by `make test-ckan`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

import metastore
from tests.ckan.conftest import links, send
from tests.ckan.portal import Portal
from tests.ckan.service import Service
from tests.harness.http_proxy import Exchange, Proxy, proxied
from tests.waiting import free_port

EVERYTHING = "ds:*:read,list,create,update,patch,delete,purge,import"


@pytest.fixture(scope="module")
def wire(service: Service) -> Iterator[Proxy]:
    """Between CKAN and the service."""
    with proxied(service.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def portal(service: Service, wire: Proxy) -> Iterator[Portal]:
    recording = {"url": wire.address, "signing_key": str(service.signing_key)}
    made = Portal(Path(os.environ["CKAN_PROGRAMS"]).absolute(), testing=False, recording=recording)
    try:
        made.token = made.user("ann", "Ann Lee")
        made.serve()
        made.act(made.token, "organization_create", name="physics", title="Physics")
        yield made
    finally:
        made.close()


def signed(service: Service, scopes: str, **claims: Any) -> str:
    """Return a token with the claims that ckanext-authz-service writes (its `_create_token`)."""
    now = int(time.time())
    known = {"exp": now + 900, "nbf": now, "sub": "ann", "iss": "https://ckan.example.org", "name": "Ann Lee"}
    return jwt.encode({**known, "scopes": scopes, **claims}, service.signing_key.read_text(), "RS256")


@pytest.fixture
def store(service: Service) -> Iterator[metastore.MetaStore]:
    """The store of the service, without the wire."""
    with metastore.connect(service.address, token=signed(service, EVERYTHING)) as made:
        yield made


def new_dataset(portal: Portal, name: str, **said: Any) -> dict[str, Any]:
    made: dict[str, Any] = portal.act(portal.token, "package_create", name=name, owner_org="physics", **said)
    return made


def test_a_dataset_edited_in_the_form_is_compared_tagged_and_restored(
    portal: Portal, browser: httpx.Client, store: metastore.MetaStore
) -> None:
    new_dataset(portal, "cars", title="Cars", resources=[{"url": "https://e.x/a.csv"}])
    form = {"name": "cars", "owner_org": "physics", "title": "Cars 2", "save": "save", "private": "False"}
    send(browser, "/dataset/edit/cars", {**form, "metastore_message": "Number it"})
    found = list(store.revision_list(portal.place("cars")))
    assert [(each.message, each.author) for each in found] == [
        ("Number it", metastore.Author("Ann Lee", "ann")),
        ("Create dataset", metastore.Author("Ann Lee", "ann")),
    ]

    new, old = links(browser, "cars")
    assert [new, old] == [each.id for each in found]
    compared = browser.get("/dataset/cars/versions/compare", params={"from": old, "to": new})
    assert "Cars 2" in unescape(compared.text)

    page = f"/dataset/cars/versions/{old}"
    send(browser, page, {"tag": "v1", "description": "First"}, f"{page}/tag")
    tag = store.tag_read(portal.place("cars"), "v1")
    assert (tag.revision, tag.author.name, tag.description) == (old, "Ann Lee", "First")

    send(browser, "/dataset/cars/versions/v1", {"message": "As it was"}, f"{page}/restore")
    assert portal.act(portal.token, "package_show", id="cars")["title"] == "Cars"
    restored = store.dataset_read(portal.place("cars"))
    assert (restored.descriptor["title"], restored.revision.message) == ("Cars", "As it was")

    send(browser, "/dataset/cars/versions", {}, "/dataset/cars/versions/tags/v1/delete")
    assert list(store.tag_list(portal.place("cars"))) == []


def test_a_new_name_a_deletion_and_a_purge_are_followed(portal: Portal, store: metastore.MetaStore) -> None:
    made = new_dataset(portal, "carts")
    portal.act(portal.token, "package_patch", id=made["id"], name="wagons")
    place = f"ckan/{made['id']}"
    assert store.dataset_read(place).descriptor["name"] == "wagons"
    portal.act(portal.token, "package_delete", id=made["id"])
    with pytest.raises(metastore.DatasetDeleted):
        store.dataset_read(place)
    portal.act(portal.token, "dataset_purge", id=made["id"])
    assert made["id"] not in [each.name for each in store.dataset_list(deleted=None)]
    assert "in step" in portal.ckan("metastore", "status")


def test_the_history_in_activities_is_imported_with_its_dates(portal: Portal, store: metastore.MetaStore) -> None:
    made = new_dataset(portal, "boats", title="Boats")
    portal.act(portal.token, "package_patch", id="boats", title="Boats 2")
    place = portal.place("boats")
    store.dataset_purge(place, force=True)
    assert "2 revisions" in portal.ckan("metastore", "import-activities")
    found = list(store.revision_list(place))
    assert [(each.message, each.author.name) for each in found] == [
        ("Update dataset", "Ann Lee"),
        ("Create dataset", "Ann Lee"),
    ]
    assert f"{found[-1].created:%Y-%m-%dT%H:%M}" == made["metadata_created"][:16]
    portal.ckan("metastore", "reconcile")


def test_without_the_service_a_change_succeeds_and_is_caught_up(
    portal: Portal, browser: httpx.Client, service: Service, store: metastore.MetaStore
) -> None:
    before = len(list(store.revision_list(portal.place("cars"))))
    service.stop()
    portal.act(portal.token, "package_patch", id="cars", title="Unrecorded")
    new_dataset(portal, "trams")
    assert "MetaStore cannot be reached just now" in browser.get("/dataset/cars/versions").text
    with pytest.raises(RuntimeError, match="Error: "):
        portal.ckan("metastore", "status")
    service.start()
    portal.ckan("metastore", "drain")
    assert "in step" in portal.ckan("metastore", "status")
    newest, *others = store.revision_list(portal.place("cars"))
    assert (newest.message, newest.author.name, len(others)) == ("Update dataset", "Ann Lee", before)
    assert len(list(store.revision_list(portal.place("trams")))) == 1


def test_without_the_service_a_change_is_refused_if_that_is_wanted(
    portal: Portal, service: Service, store: metastore.MetaStore
) -> None:
    port = free_port()
    portal.serve(port, on_failure="fail")
    said = {"id": "trams", "title": "Refused"}
    service.stop()
    answer = httpx.post(
        f"http://127.0.0.1:{port}/api/3/action/package_patch",
        json=said,
        headers={"Authorization": portal.token},
        timeout=120,
    )
    service.start()
    assert (answer.status_code, "could not be recorded" in answer.text) == (409, True)
    assert service.address not in answer.text
    assert portal.act(portal.token, "package_show", id="trams")["title"] != "Refused"
    assert "in step" in portal.ckan("metastore", "status")


def killed(service: Service, wire: Proxy, when: str) -> None:
    """Let the service be killed at the next write: before it has it, in the middle, or when it has carried it out."""

    def fault(each: Exchange) -> None:
        if when == "done":
            each.forward()
        elif when == "within":
            each.hand_over()
        service.kill()

    wire.spoil["PUT"] = [fault]


@pytest.mark.parametrize("when", ["before", "within", "done"])
def test_killed_at_a_write_it_neither_loses_nor_doubles_anything(
    portal: Portal, service: Service, wire: Proxy, store: metastore.MetaStore, when: str
) -> None:
    name = f"lost-{when}"
    killed(service, wire, when)
    new_dataset(portal, name, title="First")
    service.start()
    killed(service, wire, when)
    portal.act(portal.token, "package_patch", id=name, title="Second")
    service.start()
    portal.ckan("metastore", "reconcile")
    assert "in step" in portal.ckan("metastore", "status")
    place = portal.place(name)
    titles = [store.dataset_read(place, each.id).descriptor["title"] for each in store.revision_list(place)]
    assert titles[0] == "Second"
    assert max(Counter(titles).values()) == 1
    if when == "done":
        assert [each.message for each in store.revision_list(place)] == ["Update dataset", "Create dataset"]


def test_killed_again_and_again_under_load_it_has_in_the_end_what_ckan_has(
    portal: Portal, service: Service, store: metastore.MetaStore
) -> None:
    names = [f"busy-{number}" for number in range(4)]
    for name in names:
        new_dataset(portal, name, title="0")

    def work(name: str) -> None:
        for number in range(1, 9):
            portal.act(portal.token, "package_patch", id=name, title=str(number))

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(work, name) for name in names]
        while not all(each.done() for each in done):
            time.sleep(0.3)  # let it get into something
            service.kill()
            service.start()
    assert [each.result() for each in done] == [None] * 4
    portal.ckan("metastore", "reconcile")
    assert "in step" in portal.ckan("metastore", "status")
    for name in names:
        place = portal.place(name)
        titles = [store.dataset_read(place, each.id).descriptor["title"] for each in store.revision_list(place)]
        assert titles[0] == "8"
        assert titles == sorted(set(titles), reverse=True)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stores:
        yield stores


def test_what_ckan_grants_an_editor_the_service_grants_too_and_nothing_else(
    service: Service, store: metastore.MetaStore, opened: ExitStack
) -> None:
    """Scopes and claims are those of ckanext-authz-service; itself it cannot be installed from PyPI."""
    said = {"name": "x", "resources": [{"name": "r", "path": "r.csv"}]}
    for place in ("org1/ds1", "org1/ds2", "org2/ds1"):
        store.dataset_create(place, said)

    def editor(scopes: str, **claims: Any) -> metastore.MetaStore:
        return opened.enter_context(metastore.connect(service.address, token=signed(service, scopes, **claims)))

    one, all_of_it = "ds:org1/ds1:delete,patch,read,update", "ds:org1/*:create,list,read,d,e,l,t"
    made = editor(one).dataset_update("org1/ds1", {**said, "title": "Edited"})
    assert made.revision.author.name == "Ann Lee"
    editor(all_of_it).dataset_create("org1/ds3", said)
    for place, scopes, refusal in [
        ("org1/ds2", one, metastore.DatasetNotFound),  # who may not read it does not learn that it exists
        ("org2/ds1", all_of_it, metastore.DatasetNotFound),
        ("org1/ds1", "", metastore.DatasetNotFound),
        ("org1/ds1", all_of_it, metastore.PermissionDenied),
    ]:
        with pytest.raises(refusal):
            editor(scopes).dataset_update(place, said)
    with pytest.raises(metastore.PermissionDenied):
        editor(one).dataset_purge("org1/ds1", force=True)
    with pytest.raises(metastore.PermissionDenied):
        editor(one).dataset_update("org1/ds1", said, author="Somebody Else")
    with pytest.raises(metastore.AuthenticationError):
        editor(one, exp=int(time.time()) - 60).dataset_read("org1/ds1")
    with pytest.raises(metastore.DatasetNotFound):
        editor(one, sub=None, name=None).dataset_read("org1/ds2")
    assert store.dataset_read("org1/ds1").revision == made.revision
