"""CKAN's dictionaries and descriptors: there and back is the identity, for any input."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import metastore
from metastore import ckan
from metastore.descriptor import lfs
from tests.conftest import REAL, real_descriptor

SHOWN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ckan" / "package_show_2.12.0.json").read_bytes())
UUID = "ecba7fc3-8db7-4442-b698-7ddebadfe0c7"


def shown(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SHOWN), **changes}


def shown_resource(**changes: Any) -> dict[str, Any]:
    return {**SHOWN["resources"][0], **changes}


def text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # 1 == True == 1.0


# What is generated: anything that JSON can say, and mostly what looks like CKAN or Data Package

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["cars", "a", "Cars 1", "-cars", "R", "r", "r-2", "resource-1", "resource-ecba7fc3", "ÄÖ", ""])
texts = st.none() | names | st.text(max_size=8)
urls = texts | st.sampled_from(
    ["http://e.x/a.csv", "http://e.x/..", "http://[e", "a.csv", "../x", "/etc/x", "data/r/a"]
)
hashes = texts | st.sampled_from(["a" * 64, "sha256:" + "b" * 64, "SHA256:" + "B" * 64, "sha1:c0de", "d" * 32])
json_texts = json_values.map(json.dumps)


def objects(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these members, mostly of the right kind."""
    mixed = {name: value | json_values for name, value in members.items()}
    return st.fixed_dictionaries({}, optional=mixed)


tags = objects({"name": names | st.sampled_from(["a b", "x,y"]), "id": texts, "vocabulary_id": texts})
extras = objects({"key": names | st.sampled_from(["datapackage", "datapackage.json"]), "value": texts | json_texts})
resources = objects(
    {
        "id": texts | st.just(UUID),
        "name": texts,
        "url": urls,
        "url_type": st.sampled_from(["upload", "", None]),
        "hash": hashes,
        "sha256": hashes,
        "size": st.integers(0, 9) | st.none(),
        "format": texts,
        "mimetype": texts | st.just("text/csv"),
        "description": texts,
        "schema": json_texts,
        "datapackage": json_texts,
        "ckan": json_values,
    }
)
people = st.sampled_from(["Ann", "", None])
packages = objects(
    {
        "id": texts,
        "name": names,
        "title": texts,
        "notes": texts,
        "url": urls,
        "version": texts,
        "metadata_created": st.sampled_from(["2026-11-21T17:02:56.425745", "2026-11-21T17:02:56", "2026"]),
        "license_id": st.sampled_from(["cc-by", "a b", "", None]),
        "license_title": texts,
        "license_url": urls,
        "author": people,
        "author_email": st.sampled_from(["a@b", "ab", "", None]),
        "maintainer": people,
        "maintainer_email": st.sampled_from(["a@b", "", None]),
        "organization": objects({"name": names, "title": texts}),
        "tags": st.lists(tags, max_size=3),
        "groups": st.lists(objects({"name": names}), max_size=2),
        "extras": st.lists(extras, max_size=3),
        "resources": st.lists(resources, max_size=4),
        "ckan": json_values,
        "package": json_values,
    }
)
contributors = objects(
    {"title": people, "email": st.sampled_from(["a@b", ""]), "role": st.sampled_from(["author", "maintainer"])}
)
descriptors = objects(
    {
        "name": names,
        "id": texts,
        "title": texts,
        "description": texts,
        "homepage": urls,
        "created": st.sampled_from(["2026-11-21T17:02:56Z", "2026-11-21T17:02:56+00:00"]),
        "keywords": st.lists(names, max_size=3),
        "licenses": st.lists(objects({"name": st.just("cc-by"), "title": texts, "path": urls}), max_size=2),
        "contributors": st.lists(contributors, max_size=4),
        "contributors+": json_values,
        "profile": texts,
        "resources": st.lists(
            objects(
                {
                    "name": names,
                    "title": texts,
                    "path": urls,
                    "id": texts,
                    "hash": hashes,
                    "bytes": st.integers(0, 9),
                    "schema": json_values,
                    "ckan": json_values | resources,
                }
            ),
            max_size=4,
        ),
        "ckan": json_values | packages,
    }
)


@given(packages)
@example({})
@example(SHOWN)
def test_any_package_comes_back_the_same(package: dict[str, Any]) -> None:
    before = copy.deepcopy(package)
    assert text_of(ckan.to_package(ckan.to_descriptor(package))) == text_of(before)
    assert text_of(package) == text_of(before)


@given(descriptors)
@example({})
@example(ckan.to_descriptor(SHOWN))
def test_any_descriptor_comes_back_the_same(descriptor: dict[str, Any]) -> None:
    before = copy.deepcopy(descriptor)
    assert text_of(ckan.to_descriptor(ckan.to_package(descriptor))) == text_of(before)
    assert text_of(descriptor) == text_of(before)


@given(packages.map(lambda package: {**SHOWN, **package}))
def test_any_change_of_a_real_package_comes_back_the_same(package: dict[str, Any]) -> None:
    assert text_of(ckan.to_package(ckan.to_descriptor(package))) == text_of(package)


def test_what_is_kept_whole_is_kept_whole_within_what_is_kept_whole() -> None:
    package: dict[str, Any] = {"extras": 5}
    descriptor: dict[str, Any] = {"ckan": {"extras": [1]}}
    for _ in range(4):
        package = {"package": package}
        descriptor = {"ckan": {"package": descriptor}}
        assert ckan.to_package(ckan.to_descriptor(package)) == package
        assert ckan.to_descriptor(ckan.to_package(descriptor)) == descriptor
        package = ckan.to_package(ckan.to_descriptor({"ckan": package}))
        descriptor = ckan.to_descriptor(ckan.to_package({"package": descriptor}))
        assert ckan.to_package(ckan.to_descriptor(package)) == package
        assert ckan.to_descriptor(ckan.to_package(descriptor)) == descriptor


# How it reads


def test_a_real_package_reads_as_a_data_package() -> None:
    people = {"author": "Ann", "author_email": "ann@example.org", "maintainer": "Bob"}
    organization = {**SHOWN["organization"], "title": "Physics"}
    descriptor = ckan.to_descriptor(shown(**people, url="https://e.x/", version="2", organization=organization))
    rest = descriptor.pop("ckan")
    resource = descriptor["resources"][0]
    assert resource.pop("ckan")["position"] == 0
    assert descriptor == {
        "name": "ds1",
        "id": SHOWN["id"],
        "title": "T2",
        "description": "n",
        "homepage": "https://e.x/",
        "version": "2",
        "created": "2026-11-21T17:02:56.425745Z",
        "keywords": ["a b"],
        "licenses": [{"name": "cc-by", "title": SHOWN["license_title"], "path": SHOWN["license_url"]}],
        "contributors": [
            {"title": "Ann", "email": "ann@example.org", "role": "author"},
            {"title": "Bob", "role": "maintainer"},
            {"title": "Physics", "role": "publisher"},
        ],
        "resources": [
            {"name": "r", "title": "R", "path": "http://e.x/a.csv", "id": UUID, "format": "CSV", "bytes": 12},
        ],
    }
    assert rest["extras"] == {"k": "v"}
    assert rest["owner_org"] == SHOWN["owner_org"]
    assert metastore.validate(descriptor) == ()


def test_resources_get_names_that_data_packages_may_have() -> None:
    called = ["Straße 1", "a", "a", None, "", "x" * 300, "…"]
    resources = [shown_resource(name=name, id=f"{number}aaaaaaa-b") for number, name in enumerate(called)]
    descriptor = ckan.to_descriptor(shown(resources=resources))
    assert [(each["name"], each.get("title")) for each in descriptor["resources"]] == [
        ("strae-1", "Straße 1"),
        ("a", None),
        ("a-2", "a"),
        ("resource-3aaaaaaa", None),
        ("resource-4aaaaaaa", None),
        ("x" * 100, "x" * 300),
        ("resource-6aaaaaaa", "…"),
    ]
    assert metastore.validate(descriptor) == ()


@pytest.mark.parametrize("url", ["/etc/passwd", "../x.csv", "C:\\x.csv", "", "a/.git/x", "datapackage.json", None])
def test_an_address_that_is_no_safe_path_stays_with_ckan(url: str | None) -> None:
    package = shown(resources=[shown_resource(url=url)])
    descriptor = ckan.to_descriptor(package)
    assert "path" not in descriptor["resources"][0]
    assert descriptor["resources"][0]["ckan"]["url"] == url
    metastore.validate(descriptor)  # storable


@pytest.mark.parametrize("known", [{"hash": "A" * 64}, {"hash": "sha256:" + "a" * 64}, {"sha256": "a" * 64}])
def test_an_upload_whose_content_is_known_gets_an_lfs_pointer(known: dict[str, str]) -> None:
    url = f"http://ckan/dataset/x/resource/{UUID}/download/cars.csv"
    upload = shown_resource(name="Cars", url=url, url_type="upload", size=7, **known)
    package = shown(resources=[upload, shown_resource(name="Cars", url=url, url_type="upload", size=8, hash="b" * 64)])
    descriptor = ckan.to_descriptor(package)
    assert [each["path"] for each in descriptor["resources"]] == ["data/cars/cars.csv", "data/cars-2/cars.csv"]
    pointers = lfs.pointers_of(descriptor)
    assert b"oid sha256:aaaa" in pointers["data/cars/cars.csv"].lower()
    assert pointers["data/cars-2/cars.csv"].endswith(b"size 8\n")
    assert ckan.to_package(descriptor) == package


def test_a_package_is_storable_and_its_history_reads_well(git_store: metastore.MetaStore) -> None:
    identity = ckan.dataset_id(SHOWN["id"])
    git_store.dataset_create(identity, ckan.to_descriptor(shown(resources=[])))
    git_store.dataset_update(identity, ckan.to_descriptor(shown(title="T3")))
    diff = git_store.revision_diff(identity, git_store.revision_read(identity).parent or "")
    assert "title changed: 'T2' → 'T3'" in map(str, diff.changes)
    assert "resource r added" in str(diff.changes[1])
    assert ckan.to_package(git_store.dataset_read(identity).descriptor) == shown(title="T3")
    assert git_store.resource_read(identity, UUID)["title"] == "R"


# From elsewhere


@pytest.mark.parametrize("name", REAL)
def test_a_real_descriptor_survives_ckan(name: str) -> None:
    descriptor = real_descriptor(name)
    package = ckan.to_package(descriptor)
    assert text_of(ckan.to_descriptor(package)) == text_of(descriptor)
    answered = as_ckan_shows(package)
    again = ckan.to_descriptor(answered)
    assert text_of(ckan.to_package(again)) == text_of(answered)
    del again["ckan"]
    assert set(descriptor) <= set(again)
    for member, value in descriptor.items():
        if member != "resources":
            assert again[member] == value
    for old, new in zip(descriptor["resources"], again["resources"], strict=True):
        assert {**new, **old} == new


def as_ckan_shows(package: dict[str, Any]) -> dict[str, Any]:
    """Add what CKAN adds to what it is given, and change what it changes."""
    answered = {**shown(tags=[]), **package}
    answered["resources"] = [
        {**shown_resource(), **resource, "id": f"{number:08}-b698", "position": number}
        for number, resource in enumerate(package["resources"])
    ]
    for resource in answered["resources"]:
        resource["url"] = resource["url"] if "://" in resource["url"] else f"http://{resource['url']}"
    answered["extras"] = sorted([*package.get("extras", []), {"key": "a", "value": ""}], key=lambda each: each["key"])
    return answered


def test_a_descriptor_from_elsewhere_fills_the_fields_of_ckan() -> None:
    package = ckan.to_package(real_descriptor("frictionless/zipped-resources"))
    assert package["author"]
    assert package["license_id"]
    assert package["url"].startswith("http")
    assert all(resource["url"] for resource in package["resources"])
    assert [extra["key"] for extra in package["extras"]] == ["datapackage"]


def test_contributors_that_ckan_has_no_field_for_stay_behind_the_others() -> None:
    ann, bob, eve = ({"title": name, "role": "author"} for name in ("Ann", "Bob", "Eve"))
    package = ckan.to_package({"contributors": [ann, bob, eve]})
    assert package["author"] == "Ann"
    assert ckan.to_descriptor({**package, "author": "Zoe"})["contributors"] == [{**ann, "title": "Zoe"}, bob, eve]


def test_changing_the_extra_by_hand_loses_nothing() -> None:
    for value in ("{", "[]", "{}", '{"ckan": 1}', '{"title": "Other"}', '{"b":1,"a":2}', None, 5):
        package = shown(extras=[{"key": "datapackage", "value": value}])
        assert ckan.to_package(ckan.to_descriptor(package)) == package


def test_what_json_cannot_say_is_refused_with_its_place() -> None:
    with pytest.raises(metastore.InvalidInput, match="/notes"):
        ckan.to_descriptor(shown(notes=object()))


# Ids


def test_a_dataset_is_known_by_ckans_id_under_any_name() -> None:
    assert str(ckan.dataset_id(UUID)) == f"ckan/{UUID}"
    assert str(ckan.dataset_id(UUID, owner="portal")) == f"portal/{UUID}"


@given(st.text(min_size=1), st.text(min_size=1))
@example("cars", "Cars")
@example(UUID, UUID.upper())
@example("\ud800", "\udfff")
def test_every_id_that_a_sysadmin_chooses_has_an_id_of_its_own(one: str, other: str) -> None:
    assert (ckan.dataset_id(one) == ckan.dataset_id(other)) is (one == other)


@pytest.mark.parametrize("package_id", ["", None, 5])
def test_a_dataset_without_an_id_is_refused(package_id: Any) -> None:
    with pytest.raises(metastore.InvalidInput, match="id of a CKAN dataset"):
        ckan.dataset_id(package_id)
