"""A running CKAN with the extension, driven over HTTP as a browser does it: forms, their tokens, redirects.

Not part of `make test`, since a CKAN takes a minute to start: `make test-ckan` runs it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import httpx
import pytest

import metastore
from tests.ckan.conftest import links, send
from tests.ckan.portal import Portal, away
from tests.waiting import free_port, until


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    made = Portal(Path(os.environ["CKAN_PROGRAMS"]).absolute(), testing=False)
    try:
        made.token = made.user("ann", "Ann Lee")
        made.serve()
        yield made
    finally:
        made.close()


def test_a_dataset_edited_twice_is_compared_tagged_restored_and_cloned(
    portal: Portal, browser: httpx.Client, tmp_path: Path
) -> None:
    portal.act(portal.token, "organization_create", name="physics", title="Physics")
    said = {"name": "cars", "owner_org": "physics", "title": "Cars", "resources": [{"url": "https://e.x/a.csv"}]}
    portal.act(portal.token, "package_create", **said)
    form = {**{name: said[name] for name in ("name", "owner_org")}, "save": "save", "private": "False"}
    assert 'name="metastore_message"' in browser.get("/dataset/edit/cars").text
    send(browser, "/dataset/edit/cars", {**form, "title": "Cars 2", "metastore_message": "Number it"})
    send(browser, "/dataset/edit/cars", {**form, "title": "Cars <3>", "metastore_message": "Love <b>it</b>"})

    versions = links(browser, "cars")
    assert len(versions) == 3
    page = unescape(browser.get("/dataset/cars/versions").text)
    assert "Number it" in page
    assert '<small class="text-muted">Title</small>' in page
    assert "Love &lt;b&gt;it" in browser.get("/dataset/cars/versions").text
    assert "/dataset/cars/versions" in browser.get("/dataset/cars").text

    compared = unescape(
        browser.get("/dataset/cars/versions/compare", params={"from": versions[2], "to": versions[0]}).text
    )
    assert "Cars <3>" in compared
    [of_title] = re.findall(r'<th scope="row"><a href="([^"]+)"[^>]*>Title</a></th>', compared)
    diff = portal.act(portal.token, "dataset_revision_diff", id="cars", **{"from": versions[2], "to": versions[0]})
    assert diff["grade"]
    assert f"{diff['grade']}</span> {diff['summary']}" in compared
    page = browser.get(of_title).text
    assert "Versions that changed: Title" in page
    assert "Create dataset" not in page

    send(
        browser,
        f"/dataset/cars/versions/{versions[2]}",
        {"tag": "v1", "description": "First"},
        f"/dataset/cars/versions/{versions[2]}/tag",
    )
    old = browser.get("/dataset/cars/versions/v1")
    assert "An older version" in old.text
    assert re.search(r"<h1>\s*Cars\s*</h1>", old.text)
    assert "The newest version" in browser.get(f"/dataset/cars/versions/{versions[0]}").text
    uuid = portal.act(portal.token, "package_show", id="cars")["id"]
    assert browser.get("/dataset/cars?revision=v1").url.path == "/dataset/cars/versions/v1"
    [resource] = re.findall(rf"/dataset/{uuid}/versions/{versions[2]}/resource/[0-9a-f-]+", old.text)
    assert "https://e.x/a.csv" in browser.get(resource).text
    by_query = browser.get(f"/dataset/cars/resource/{resource.rpartition('/')[2]}?revision=v1")
    assert "https://e.x/a.csv" in by_query.text
    assert "An older version" in by_query.text

    send(
        browser, "/dataset/cars/versions/v1", {"message": "As it was"}, f"/dataset/cars/versions/{versions[2]}/restore"
    )
    assert portal.act(portal.token, "package_show", id="cars")["title"] == "Cars"
    assert len(links(browser, "cars")) == 4

    clone = tmp_path / "cars"
    subprocess.run(["git", "clone", "--quiet", f"{portal.folder}/store/{portal.place('cars')}.git", clone], check=True)
    log = subprocess.run(
        ["git", "log", "--format=%an: %s"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
    assert log.splitlines() == [
        "Ann Lee: As it was",
        "Ann Lee: Love <b>it</b>",
        "Ann Lee: Number it",
        "Ann Lee: Create dataset",
    ]

    send(browser, "/dataset/cars/versions", {}, "/dataset/cars/versions/tags/v1/delete")
    assert browser.get("/dataset/cars/versions/v1").status_code == 404


def test_a_connection_on_which_nothing_is_sent_keeps_nobody_waiting(portal: Portal) -> None:
    with socket.create_connection(("127.0.0.1", portal.port)):
        assert httpx.get(f"{portal.url}/api/3/action/status_show", timeout=30).status_code == 200


def test_the_reason_of_a_change_of_a_resource_is_recorded(portal: Portal, browser: httpx.Client) -> None:
    resource = portal.act(portal.token, "package_show", id="cars")["resources"][0]["id"]
    page = f"/dataset/cars/resource/{resource}/edit"
    send(browser, page, {"url": "https://e.x/b.csv", "name": "B", "save": "", "metastore_message": "Name it"})
    assert portal.act(portal.token, "dataset_revision_list", id="cars")[0]["message"] == "Name it"


def test_the_message_of_the_first_form_of_a_new_dataset_is_that_of_its_first_version(
    portal: Portal, browser: httpx.Client
) -> None:
    form = {
        "name": "ferries",
        "owner_org": "physics",
        "title": "Ferries",
        "private": "False",
        "_ckan_phase": "1",
        "save": "",
    }
    answer = send(browser, "/dataset/new", {**form, "pkg_name": "", "metastore_message": "Begin with ferries"})
    assert answer.url.path.endswith("/resource/new")
    send(browser, answer.url.path, {"id": "", "url": "https://e.x/f.csv", "name": "F", "save": "go-metadata"})
    [only] = portal.act(portal.token, "dataset_revision_list", id="ferries")
    assert only["message"] == "Begin with ferries"


def test_an_uploaded_file_is_still_there_after_a_restoration(portal: Portal, browser: httpx.Client) -> None:
    headers = {"Authorization": portal.token}
    answer = httpx.post(
        f"{portal.url}/api/3/action/resource_create",
        data={"package_id": "cars", "name": "Upload", "metastore_message": "Upload it"},
        files={"upload": ("speeds.csv", b"speed\n30\n")},
        headers=headers,
        timeout=120,
    )
    made = answer.json()["result"]
    newest = portal.act(portal.token, "dataset_revision_list", id="cars")[0]
    assert newest["message"] == "Upload it"
    portal.act(portal.token, "package_patch", id="cars", notes="Something else", resources=[])
    portal.act(portal.token, "dataset_revert", id="cars", revision=newest["id"])
    assert browser.get(made["url"]).content == b"speed\n30\n"
    back = portal.act(portal.token, "package_show", id="cars")["resources"][-1]
    assert (back["id"], back["url"], back["size"]) == (made["id"], made["url"], made["size"])

    httpx.post(
        f"{portal.url}/api/3/action/resource_patch",
        data={"id": made["id"], "description": "Faster"},
        files={"upload": ("speeds.csv", b"speed\n300\n")},
        headers=headers,
        timeout=120,
    ).raise_for_status()
    page = f"/dataset/cars/versions/{newest['id']}"
    assert "The file of this version is gone" in browser.get(page).text
    answer = send(browser, page, {}, f"{page}/restore")
    assert "but for the files that are gone" in answer.text
    back = portal.act(portal.token, "package_show", id="cars")["resources"][-1]
    assert (back["size"], browser.get(back["url"]).content) == (10, b"speed\n300\n")


def test_a_draft_has_a_page_without_versions(portal: Portal, browser: httpx.Client) -> None:
    portal.act(portal.token, "package_create", name="sketch", owner_org="physics", state="draft")
    assert "There are no versions" in browser.get("/dataset/sketch/versions").text


def test_strangers_see_versions_and_change_nothing(portal: Portal, browser: httpx.Client) -> None:
    newest = links(browser, "cars")[0]
    with httpx.Client(base_url=portal.url, timeout=120) as stranger:
        page = stranger.get(f"/dataset/cars/versions/{newest}")
        assert page.status_code == 200
        assert "/restore" not in page.text
        for action in (f"{newest}/restore", f"{newest}/tag"):
            assert stranger.post(f"/dataset/cars/versions/{action}").status_code >= 400
        portal.act(portal.token, "package_patch", id="cars", private=True)
        assert stranger.get("/dataset/cars/versions").status_code == 404
        assert stranger.get(f"/dataset/cars/versions/{newest}").status_code == 404
        portal.act(portal.token, "package_patch", id="cars", private=False)


def test_a_form_of_another_site_restores_and_tags_nothing(portal: Portal, browser: httpx.Client) -> None:
    portal.act(portal.token, "dataset_tag_create", id="cars", tag="kept")
    before, oldest = links(browser, "cars"), links(browser, "cars")[-1]
    for action, form in [
        (f"{oldest}/restore", {"message": "Forged"}),
        (f"{oldest}/tag", {"tag": "forged"}),
        ("tags/kept/delete", {}),
        (f"{oldest}/restore", {"_csrf_token": "guessed"}),
    ]:
        assert browser.post(f"/dataset/cars/versions/{action}", data=form).status_code == 400
    assert links(browser, "cars") == before
    assert [tag["name"] for tag in portal.act(portal.token, "dataset_tag_list", id="cars")] == ["kept"]
    portal.act(portal.token, "dataset_tag_delete", id="cars", tag="kept")


@pytest.mark.parametrize("page", ["nothing", "compare?from=nothing", "compare", "x?revision=%00", "%2e%2e%2f"])
def test_a_wrong_address_is_no_crash(browser: httpx.Client, page: str) -> None:
    assert browser.get(f"/dataset/cars/versions/{page}").status_code in (400, 404)


def test_a_change_without_metastore_is_caught_up_by_the_command_line(portal: Portal, browser: httpx.Client) -> None:
    place = portal.place("cars")
    with away(portal) as folder:
        portal.act(portal.token, "package_patch", id="cars", title="Unrecorded")
        assert browser.get("/dataset/cars").status_code == 200
        assert str(folder) not in browser.get("/dataset/cars/versions").text
        with pytest.raises(RuntimeError, match="Error: "):
            portal.ckan("metastore", "status")
    with pytest.raises(RuntimeError, match="out of step"):
        portal.ckan("metastore", "status")
    assert f"{place}: updated" in portal.ckan("metastore", "reconcile", "--dry-run")
    portal.ckan("metastore", "reconcile")
    assert "in step" in portal.ckan("metastore", "status")
    newest = portal.act(portal.token, "dataset_revision_list", id="cars")[0]
    assert (newest["message"], newest["author"]["name"]) == ("Update dataset", "Ann Lee")


def test_the_datasets_of_a_renamed_organisation_are_recorded_by_ckans_job_worker(portal: Portal) -> None:
    portal.act(portal.token, "organization_create", name="biology", title="Biology")
    names = [f"cells-{number}" for number in range(5)]
    for name in names:
        portal.act(portal.token, "package_create", name=name, owner_org="biology")
    portal.act(portal.token, "organization_patch", id="biology", title="Biology and more")
    with pytest.raises(RuntimeError, match="datasets with changes that wait: 2"):
        portal.ckan("metastore", "status")
    portal.ckan("jobs", "worker", "--burst")
    assert "in step" in portal.ckan("metastore", "status")
    newest = portal.act(portal.token, "dataset_revision_list", id=names[-1])[0]
    assert (newest["message"], newest["author"]["name"]) == ("Change the organisation's name", "Ann Lee")


def test_ckans_job_worker_records_what_waited_once_metastore_answers_again(portal: Portal) -> None:
    for name in ("trams", "trains"):
        portal.act(portal.token, "package_create", name=name, owner_org="physics", title="0")
    where, worker = portal.place("trams"), portal.start_job_worker()
    with away(portal):
        portal.act(portal.token, "package_patch", id="trams", title="1")
        until(lambda: f"not recorded {where[5:]}" in (portal.folder / "jobs.log").read_text(), 120)
    portal.act(portal.token, "package_patch", id="trains", title="1")
    with metastore.connect(portal.folder / "store", author="Test") as store:  # to read it in CKAN records it too
        until(lambda: store.dataset_read(where).descriptor["title"] == "1", 120)
        assert next(iter(store.revision_list(where))).author.name == "Ann Lee"
    worker.kill()
    assert "in step" in portal.ckan("metastore", "status")


def test_a_purge_waits_while_the_folder_of_the_store_is_gone_and_nobody_reads_what_is_purged(portal: Portal) -> None:
    said = {"name": "diary", "owner_org": "physics"}
    uuid = portal.act(portal.token, "package_create", **said, title="Dear diary")["id"]
    until(lambda: _has_versions(portal, uuid))
    old, page = portal.act(portal.token, "dataset_revision_list", id=uuid)[0]["id"], "/dataset/diary/versions"
    with httpx.Client(base_url=portal.url, timeout=120) as stranger:
        with away(portal, leaving_a_file=False) as folder:
            portal.act(portal.token, "dataset_purge", id="diary")
            assert stranger.get(page).status_code == 404
            portal.act(portal.token, "package_create", **said, id=uuid, title="Another")
            shown = stranger.get(page)
            assert (shown.status_code, "cannot be shown just now" in shown.text) == (503, True)
            portal.ckan("jobs", "worker", "--burst")
            for command in ("drain", "reconcile", "status"):
                with pytest.raises(RuntimeError, match="is its disk mounted") as told:
                    portal.ckan("metastore", command)
            assert f"histories are not removed yet: {uuid}" in str(told.value)
            assert not folder.exists()
        with metastore.connect(folder, author="Test") as store:
            assert store.revision_read(f"ckan/{uuid}").id == old
            until(lambda: _shows_nothing_of(stranger.get(page), "Dear diary", old))
            with pytest.raises(metastore.RevisionNotFound):
                store.revision_read(f"ckan/{uuid}", old)
            assert len(list(store.revision_list(f"ckan/{uuid}"))) == 1
    assert "in step" in portal.ckan("metastore", "status")


def _has_versions(portal: Portal, uuid: str) -> bool:
    """Tell whether a dataset is recorded. For half a minute after an outage, CKAN does not ask MetaStore."""
    try:
        return bool(portal.act(portal.token, "dataset_revision_list", id=uuid))
    except RuntimeError:
        return False


def _shows_nothing_of(page: httpx.Response, *texts: str) -> bool:
    """Check that a page has none of these texts; return whether it is there yet."""
    assert [text for text in texts if text in page.text] == []
    return page.status_code == 200


def test_two_workers_that_change_one_dataset_leave_what_ckan_says(portal: Portal) -> None:
    port = free_port()
    portal.serve(port)
    workers = [portal.url, f"http://127.0.0.1:{port}"]
    portal.act(portal.token, "package_create", name="buses", owner_org="physics", title="Buses")

    def work(number: int) -> int:
        said = {"id": "buses", ("title", "notes")[number % 2]: f"Number {number}"}
        headers = {"Authorization": portal.token}
        url = f"{workers[number % 2]}/api/3/action/package_patch"
        return httpx.post(url, json=said, headers=headers, timeout=120).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(20))) == [200] * 20
    assert "in step" in portal.ckan("metastore", "status")
    shown = portal.act(portal.token, "package_show", id="buses")
    newest = portal.act(portal.token, "dataset_revision_show", id="buses")["package"]
    assert (newest["title"], newest["notes"]) == (shown["title"], shown["notes"])


def test_the_history_in_activities_becomes_revisions(portal: Portal) -> None:
    portal.act(portal.token, "package_create", name="boats", owner_org="physics", title="Boats")
    portal.act(portal.token, "package_patch", id="boats", title="Boats 2")
    with metastore.connect(portal.folder / "store", author="Test") as store:
        place = portal.place("boats")
        store.dataset_purge(place, force=True)
        imported = portal.ckan("metastore", "import-activities")
        assert "1 dataset" in imported
        assert "2 revisions" in imported
        assert not re.search(r"[1-9]\d* revision", portal.ckan("metastore", "import-activities"))  # a second time
        found = [(each.message, each.author.name) for each in store.revision_list(place)]
        assert found == [("Update dataset", "Ann Lee"), ("Create dataset", "Ann Lee")]
        first = store.dataset_read(place, list(store.revision_list(place))[1].id)
        assert first.descriptor["title"] == "Boats"
    portal.ckan("metastore", "reconcile")
    assert "in step" in portal.ckan("metastore", "status")


def test_the_past_of_a_dataset_that_is_not_public_today_is_imported_only_if_asked_for(portal: Portal) -> None:
    for name, change in (("hidden", {"private": True}), ("removed", {"state": "deleted"})):
        portal.act(portal.token, "package_create", name=name, owner_org="physics", title="Once public")
        portal.act(portal.token, "package_patch", id=name, **change)
    places = [portal.place("hidden"), portal.place("removed")]
    with metastore.connect(portal.folder / "store", author="Test") as store:
        for place in places:
            store.dataset_purge(place)
        assert "not public, passed over" in portal.ckan("metastore", "import-activities")
        assert set(places).isdisjoint(map(str, store.dataset_list(deleted=None)))
        portal.ckan("metastore", "import-activities", "--include-private")
        assert set(places) <= set(map(str, store.dataset_list(deleted=True)))


def test_the_store_of_another_portal_is_not_emptied(portal: Portal) -> None:
    with metastore.connect(portal.folder / "store", author="Test") as store:
        for number in range(20):
            other = {"id": f"other-{number}", "name": "other", "resources": [], "ckan": {}}
            for owner in ("ckan", "elsewhere"):
                store.dataset_create(f"{owner}/other-{number}", other)
        before = len(list(store.dataset_list("ckan/", deleted=None)))
        with pytest.raises(RuntimeError, match="another portal"):
            portal.ckan("metastore", "reconcile", "--purge")
        assert len(list(store.dataset_list("ckan/", deleted=None))) == before
        portal.ckan("metastore", "reconcile", "--purge", "--yes")
        assert len(list(store.dataset_list("ckan/", deleted=None))) == before - 20
        assert len(list(store.dataset_list("elsewhere/"))) == 20
