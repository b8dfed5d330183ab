"""The pages and forms, with CKAN's own templates and with those of ckanext-scheming, as a browser is sent them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import ckan.tests.factories as factories
import pytest
from conftest import act, place

import metastore

Package = dict[str, Any]
SCHEMING = [
    pytest.mark.ckan_config("ckan.plugins", "metastore scheming_datasets"),
    pytest.mark.ckan_config("scheming.dataset_schemas", "ckanext.scheming:ckan_dataset.yaml"),
]
with_both_forms = pytest.mark.parametrize("forms", ["ckan", pytest.param("scheming", marks=SCHEMING)])


class Browser:
    """Ann's browser: it sends her token, reads forms, and sends them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._headers = {"Authorization": factories.APIToken(user="ann")["token"]}

    def sees(self, address: str) -> str:
        answer = self._app.get(address, headers=self._headers)
        assert answer.status_code == 200
        return unescape(answer.body)

    def sends(self, address: str, **form: Any) -> str:
        """Send a form, with the digest that the page of it carries, and return the page that follows."""
        if found := re.search(r'name="metastore_seen" value="(\w+)"', form.pop("page", "")):
            form["metastore_seen"] = found[1]
        return unescape(self._app.post(address, data=form, headers=self._headers).body)


@pytest.fixture
def browser(app: Any, ann: Package) -> Browser:
    return Browser(app)


def edited(cars: Package) -> Package:
    """A dataset whose title and then description were changed; the version that changed the title, and its page."""
    act("package_patch", "ann", id=cars["id"], title="All cars")
    [change] = act("dataset_revision_list", id=cars["id"], limit=1)
    act("package_patch", "ann", id=cars["id"], notes="More of them")
    return {"id": change["id"], "page": f"/dataset/{cars['id']}/versions/{change['id']}"}


@with_both_forms
def test_a_change_is_undone_by_the_form_on_its_page(browser: Browser, cars: Package, forms: str) -> None:
    version = edited(cars)
    page = browser.sees(version["page"])
    assert "An older version." in page
    assert f'action="{version["page"]}/undo"' in page
    assert 'for="undo-message">Why undo it</label>' in page
    assert "Undone" in browser.sends(version["page"] + "/undo", message="A mistake")
    [newest] = act("dataset_revision_list", id=cars["id"], limit=1)
    assert newest["message"] == "A mistake"
    shown = act("package_show", id=cars["id"])
    assert (shown["title"], shown["notes"]) == ("Cars", "More of them")
    assert "Nothing is left of this change to undo" in browser.sends(version["page"] + "/undo")
    assert len(act("dataset_revision_list", id=cars["id"])) == 4


@with_both_forms
def test_the_list_of_versions_sums_up_and_grades_each_one(browser: Browser, cars: Package, forms: str) -> None:
    edited(cars)
    act("package_patch", "ann", id=cars["id"], resources=[])
    page = browser.sees(f"/dataset/{cars['id']}/versions")
    assert re.findall(r'<span class="badge bg-secondary">(\w+)</span> ([^<]+)</small>', page) == [
        ("major", "1 resource removed"),
        ("patch", "description changed"),
        ("patch", "title changed"),
    ]


def test_a_new_order_alone_is_called_one(browser: Browser, store: metastore.Store, cars: Package) -> None:
    first = store.dataset_read(place(cars))
    for descriptor in ({"title": "Between"}, dict(reversed(first.descriptor.items()))):
        store.dataset_update(place(cars), {**descriptor}, author="Test")
    compare = f"/dataset/{cars['id']}/versions/compare?from="
    page = browser.sees(compare + first.revision.id)
    assert re.findall(r'<p class="text-break">(.*?)</p>', page) == ["only the order of members changed"]
    assert "No differences" not in page
    assert "No differences" in browser.sees(compare + "HEAD")


def test_a_licence_and_the_visibility_are_compared_as_the_form_calls_them(
    browser: Browser, ckan_config: Any, cars: Package
) -> None:
    ckan_config["ckanext.metastore.private_datasets"] = "true"
    act("package_patch", "ann", id=cars["id"], license_id="cc-by", private=True)
    page = browser.sees(f"/dataset/{cars['id']}/versions/compare?from=HEAD~1")
    rows = re.findall(r">(License|Visibility)</a></th>\s*<td>(.*?)</td>\s*<td>(.*?)</td>", page)
    assert rows == [("Visibility", "Public", "Private"), ("License", "", "Creative Commons Attribution")]


@with_both_forms
def test_the_form_to_undo_the_version_that_made_the_dataset_deletes_it(
    browser: Browser, cars: Package, forms: str
) -> None:
    [first] = act("dataset_revision_list", id=cars["id"])
    address = f"/dataset/{cars['id']}/versions/{first['id']}"
    page = browser.sees(address)
    assert "Undoing it deletes the dataset." in page
    assert "Undo or tag this version" in page
    assert 'for="undo-message"' not in page
    told = browser.sends(address + "/undo")
    assert "The dataset is deleted" in told
    assert "(deleted)" in re.sub(r"<[^>]+>", "", told)
    assert act("package_show", "ann", id=cars["id"])["state"] == "deleted"


@with_both_forms
def test_a_version_that_lacks_what_the_dataset_has_now_is_shown(browser: Browser, cars: Package, forms: str) -> None:
    [first] = act("dataset_revision_list", id=cars["id"])
    more = {"url": "https://example.org", "author": "Bo Ek", "author_email": "bo@example.org", "version": "2"}
    resource = {**cars["resources"][0], "description": "Each car", "mimetype": "text/csv"}
    act("package_patch", "ann", id=cars["id"], resources=[resource], **more)
    page = browser.sees(f"/dataset/{cars['id']}/versions/{first['id']}")
    assert "An older version." in page
    assert not re.search(r">\s*None\s*<", page)
    browser.sees(f"/dataset/{cars['id']}/versions/{first['id']}/resource/{resource['id']}")


@with_both_forms
def test_a_later_change_that_stands_in_the_way_is_named_as_the_forms_do(
    browser: Browser, cars: Package, forms: str
) -> None:
    version = edited(cars)
    act("package_patch", "ann", id=cars["id"], title="Other cars")
    told = browser.sends(version["page"] + "/undo")
    assert "A later change stands in the way. It changed again: Title" in told


@with_both_forms
def test_the_form_of_the_second_editor_tells_the_change_and_keeps_the_input(
    browser: Browser, cars: Package, forms: str
) -> None:
    address = f"/dataset/edit/{cars['name']}"
    page = browser.sees(address)
    assert "What changed" in page
    act("package_patch", "ann", id=cars["id"], title="Theirs")
    mine = {"name": cars["name"], "owner_org": cars["owner_org"], "title": "Mine", "notes": "Mine", "save": ""}
    mine |= {"metastore_message": "My reason", "_ckan_phase": "dataset_new_1"}
    refused = browser.sends(address, page=page, **mine)
    assert "Ann Lee saved a change after you opened this form" in refused
    assert "Title: now Theirs, Cars when you opened the form" in refused
    assert re.search(r'name="title"[^>]*value="Mine"', refused)
    assert re.search(r'name="metastore_message"[^>]*value="My reason"', refused)
    browser.sends(address, page=refused, **mine)
    assert act("package_show", id=cars["id"])["title"] == "Mine"


@with_both_forms
def test_so_does_the_form_of_a_resource(browser: Browser, cars: Package, forms: str) -> None:
    [resource] = cars["resources"]
    address = f"/dataset/{cars['name']}/resource/{resource['id']}/edit"
    page = browser.sees(address)
    assert "What changed" in page
    act("resource_patch", "ann", id=resource["id"], description="Theirs")
    mine = {"url": resource["url"], "name": "Mine", "save": "go-dataset-complete"}
    refused = browser.sends(address, page=page, **mine)
    assert "Description: now Theirs, – when you opened the form" in refused
    browser.sends(address, page=refused, **mine)
    assert act("resource_show", id=resource["id"])["name"] == "Mine"


def test_the_page_of_a_dataset_leads_to_versions_that_lead_to_each_other(
    browser: Browser, ckan_config: Any, cars: Package
) -> None:
    ckan_config["ckanext.metastore.public_url"] = "https://metastore.example.org/"
    version = edited(cars)
    act("dataset_tag_create", "ann", id=cars["id"], tag="v1", revision=version["id"], description="First edition")
    newest, _, oldest = [each["id"] for each in act("dataset_revision_list", id=cars["id"])]
    place = f"/dataset/{cars['id']}/versions"
    assert f'hx-get="{place}/selector"' in browser.sees(f"/dataset/{cars['name']}")
    chosen = browser.sees(f"{place}/selector?current={version['id']}")
    assert "First edition" in chosen
    assert re.findall(r'<option value="(\w+)"( selected)?', chosen) == [
        (newest, ""),
        (version["id"], " selected"),
        (oldest, ""),
    ]
    page = browser.sees(version["page"])
    assert f'rel="prev" href="{place}/{oldest}"' in page
    assert f'rel="next" href="{place}/{newest}"' in page
    assert f"/api/3/action/dataset_revision_show?id={cars['id']}&revision={version['id']}" in page
    assert 'rel="next"' not in browser.sees(f"{place}/{newest}")
    assert 'rel="prev"' not in browser.sees(f"{place}/{oldest}")
    listed = browser.sees(place)
    assert f"git clone https://metastore.example.org/git/ckan/{cars['id']}.git" in listed
    assert f"/api/3/action/dataset_revision_list?id={cars['id']}" in listed
    act("package_patch", "ann", id=cars["id"], name=cars["name"] + "-new")
    assert version["id"] in browser.sees(version["page"])  # the address stays


def test_a_dataset_without_versions_and_a_metastore_that_is_away_cost_a_page_nothing(
    browser: Browser, app: Any, physics: Package, down: Any
) -> None:
    draft = act("package_create", "ann", name="sketch", owner_org=physics["id"], state="draft")
    assert app.get(f"/dataset/{draft['id']}/versions/selector").status_code == 404
    with down:
        made = act("package_create", "ann", name="sketched", owner_org=physics["id"])
        assert "hx-get" in browser.sees(f"/dataset/{made['name']}")
        assert app.get(f"/dataset/{made['id']}/versions/selector").status_code == 503


@pytest.mark.parametrize(
    ("language", "word"),
    [
        ("de", "Alle Versionen"),
        ("es", "Todas las versiones"),
        ("fr", "Toutes les versions"),
        ("pt_BR", "Todas as versões"),
    ],
)
def test_the_pages_speak_the_language_of_the_reader(browser: Browser, cars: Package, language: str, word: str) -> None:
    assert word in browser.sees(f"/{language}/dataset/{cars['name']}")
