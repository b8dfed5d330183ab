"""The library does what people who know Python and Data Packages expect of it."""

from __future__ import annotations

import json
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import frictionless
import pytest

import metastore
from metastore import InvalidInput, MetaStore, RevisionConflict, Store

from .conftest import ANN
from .loopback import TOKEN, serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # it reads its profiles and does not close them
    import datapackage

CARS = "physics/cars"
DESCRIPTOR = {"name": "cars", "title": "Cars", "resources": [{"name": "cars", "path": "cars.csv"}]}


@pytest.fixture(params=["here", "a service"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store with two revisions of one dataset, the first of them tagged."""
    here = metastore.connect(":memory:", author=ANN)
    here.dataset_create(CARS, DESCRIPTOR)
    here.tag_create(CARS, "v1")
    here.dataset_update(CARS, {**DESCRIPTOR, "title": "Fast cars"})
    if request.param == "here":
        yield here
    else:
        assert isinstance(here, MetaStore)
        with serving(here) as url:
            yield metastore.connect(url, token=TOKEN)


def test_lists_are_lists(store: Store) -> None:
    newest, first = store.revision_list(CARS)
    assert store.revision_list(CARS)[0] == newest
    assert store.revision_list(CARS)[-1] == first
    assert store.revision_list(CARS)[:1] == [newest]
    assert len(store.revision_list(CARS)) == 2
    tag = store.tag_list(CARS).first()
    assert tag is not None
    assert tag.revision == first.id
    assert CARS in store.dataset_list()
    assert not store.journal()


def test_ids_are_texts(store: Store) -> None:
    assert store.dataset_list()[0] == CARS
    assert json.dumps(list(store.dataset_list())) == '["physics/cars"]'


def test_a_revision_or_tag_stands_for_its_id(store: Store) -> None:
    newest, first = store.revision_list(CARS)
    tag = store.tag_read(CARS, "v1")
    for name in (first, tag):
        assert store.dataset_read(CARS, name).descriptor["title"] == "Cars"
        assert store.revision_read(CARS, revision=name) == first
        assert list(store.revision_list(CARS, name)) == [first]
        assert store.revision_diff(CARS, name, newest).changes[0].new == "Fast cars"
        assert store.dataset_json(CARS, name) == store.dataset_json(CARS, first.id)
    assert store.tag_create(CARS, "v2", newest).revision == newest.id


def test_what_is_expected_can_be_a_revision_or_tag(store: Store) -> None:
    newest, first = store.revision_list(CARS)
    tag = store.tag_read(CARS, "v1")
    for stale in (first, tag):
        with pytest.raises(RevisionConflict):
            store.dataset_patch(CARS, {"title": "Old"}, expected=stale)
    assert store.dataset_patch(CARS, {"title": "New"}, expected=newest).descriptor["title"] == "New"
    changed = store.tag_update(CARS, "v1", description="The first", expected=tag)
    with pytest.raises(RevisionConflict):
        store.tag_delete(CARS, "v1", expected=tag)
    store.tag_delete(CARS, "v1", expected=changed)


def test_changes_are_taken_back_by_the_revisions_that_made_them(store: Store) -> None:
    newest, first = store.revision_list(CARS)
    assert store.dataset_undo(CARS, newest).descriptor["title"] == "Cars"
    assert store.dataset_revert(CARS, newest).descriptor["title"] == "Fast cars"
    assert store.dataset_revert(CARS, first).descriptor["title"] == "Cars"


def test_what_names_no_revision_is_refused(store: Store) -> None:
    wrong: Any = 7
    with pytest.raises(InvalidInput, match="a Revision or a Tag, not int"):
        store.dataset_read(CARS, wrong)
    with pytest.raises(InvalidInput, match="expected is a full id"):
        store.dataset_patch(CARS, {"title": "x"}, expected=wrong)


def test_a_store_says_where_it_is_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert repr(metastore.connect("catalogue")) == "<MetaStore catalogue>"
    assert repr(metastore.connect(":memory:")) == "<MetaStore :memory:>"
    assert repr(metastore.connect("https://metastore.example.org")) == "<RemoteStore https://metastore.example.org>"
    assert repr(metastore.connect("github://acme", token="secret")) == "<MetaStore github://acme>"
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@db.example.org:5432/lab?sslpassword=secret", "postgresql://db.example.org:5432/lab"),
        ("postgresql://ann:p@ss@db/lab", "postgresql://db/lab"),
        ("git+https://token@git.example.org/{owner}/{name}.git", "git+https://git.example.org/{owner}/{name}.git"),
        ("file:///var/lib/metastore", "file:///var/lib/metastore"),
        ("host=db password=secret", ""),
        ("./a=b", ""),
    ],
)
def test_a_url_is_shown_without_user_password_and_query(url: str, shown: str) -> None:
    from metastore.connecting import shown as show

    assert show(url) == shown


@pytest.mark.parametrize(
    ("url", "has", "has_not"),
    [
        ("memory:", "clock", "create"),
        ("somewhere", "auto_pack", "token"),
        ("github://physics", "installation", "sync"),
        ("gitlab://physics", "topic", "installation"),
        ("git+https://git.example.org/{owner}/{name}.git", "timeout", "topic"),
        ("postgresql://localhost/x", "pool_size", "token"),
    ],
)
def test_an_unknown_option_lists_those_of_that_store(url: str, has: str, has_not: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        metastore.connect(url, zzz=1)
    listed = str(refused.value).partition("it has ")[2].split(", ")
    assert (has in listed, has_not in listed) == (True, False)


def test_a_misspelt_option_is_told_the_right_one() -> None:
    with pytest.raises(InvalidInput, match="no option 'autor': did you mean 'author'"):
        metastore.connect(":memory:", autor="Ann")
    with pytest.raises(InvalidInput, match="a service has no option 'timout': did you mean 'timeout'"):
        metastore.connect("https://metastore.example.org", timout=3)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)


PACKAGES = {
    "frictionless": lambda: frictionless.Package.from_descriptor(DESCRIPTOR),
    "datapackage": lambda: datapackage.Package(DESCRIPTOR),
    "dplib": lambda: SimpleNamespace(to_dict=lambda: DESCRIPTOR),  # as dplib-py's models have it
}


@pytest.mark.parametrize("library", PACKAGES)
def test_a_package_of_another_library_is_stored(library: str) -> None:
    store = metastore.connect(":memory:", author=ANN)
    made = store.dataset_create(CARS, PACKAGES[library]())
    assert made.descriptor["title"] == "Cars"
    assert made.descriptor["resources"][0]["path"] == "cars.csv"
    assert store.dataset_update(CARS, PACKAGES[library]()).revision == made.revision
    assert metastore.validate(PACKAGES[library]()) == metastore.validate(made.descriptor)


@pytest.mark.parametrize("library", ["frictionless", "datapackage"])
@pytest.mark.usefixtures("no_network")
def test_a_dataset_becomes_a_package_that_reads_its_files(library: str, tmp_path: Path) -> None:
    (tmp_path / "cars.csv").write_text("id,speed\n1,120\n")
    store = metastore.connect(":memory:", author=ANN)
    store.dataset_create(CARS, {**DESCRIPTOR, "version": "1"})
    store.dataset_update(CARS, {**DESCRIPTOR, "title": "Other"})
    old = store.dataset_read(CARS, store.revision_list(CARS)[-1])
    package = old.to_package(library, basepath=str(tmp_path))
    resource = package.get_resource("cars")
    rows = resource.read_rows() if library == "frictionless" else resource.read(keyed=True)
    assert [dict(row) for row in rows] in ([{"id": 1, "speed": 120}], [{"id": "1", "speed": "120"}])
    assert package.to_descriptor()["title"] == "Cars" if library == "frictionless" else package.descriptor["title"]
    assert old.descriptor == {**DESCRIPTOR, "version": "1"}  # the package has a copy


@pytest.mark.parametrize("library", ["frictionless", "datapackage"])
@pytest.mark.parametrize(
    ("member", "pointer"),
    [
        (
            {"resources": [{"name": "a", "path": "a.csv", "schema": "https://example.org/s.json"}]},
            "/resources/0/schema",
        ),
        ({"resources": [{"name": "a", "path": "a.csv", "dialect": "d.json"}]}, "/resources/0/dialect"),
        ({"profile": "https://example.org/profile.json"}, "/profile"),
        ({"resources": [{"name": "a", "path": "a.csv", "profile": "profiles/a.json"}]}, "/resources/0/profile"),
        ({"resources": ["https://example.org/resource.json"]}, "/resources/0"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_a_package_that_would_be_fetched_in_parts_is_refused(
    member: dict[str, Any], pointer: str, library: str
) -> None:
    store = metastore.connect(":memory:", author=ANN, validation="off")
    dataset = store.dataset_create(CARS, {**DESCRIPTOR, **member})
    with pytest.raises(InvalidInput, match="would read another document at once") as caught:
        dataset.to_package(library)
    assert caught.value.pointer == pointer


def test_a_descriptor_that_the_library_does_not_take_is_refused_in_its_words() -> None:
    store = metastore.connect(":memory:", author=ANN, validation="off")
    dataset = store.dataset_create(CARS, {"name": "cars"})
    with pytest.raises(InvalidInput, match="frictionless does not take this descriptor: "):
        dataset.to_package()
    with pytest.raises(InvalidInput, match="the library is frictionless or datapackage, not 'pandas'"):
        dataset.to_package("pandas")


def test_every_value_is_a_dictionary_in_the_form_of_the_service(store: Store) -> None:
    revision, dataset = metastore.to_dict(store.revision_list(CARS)[1]), metastore.to_dict(store.dataset_read(CARS))
    assert json.loads(json.dumps(revision)) == revision
    assert revision["author"] == {"name": "Ann Lee", "email": "ann@example.org"}
    assert (dataset["id"], dataset["descriptor"]["title"]) == (CARS, "Fast cars")
    with pytest.raises(InvalidInput, match="not str"):
        metastore.to_dict(CARS)


def test_former_names_of_arguments_are_taken(store: Store) -> None:
    first = store.dataset_create("a/b", {"name": "b", "resources": [{"name": "x", "path": "x.csv"}]}).revision
    store.tag_create("a/b", tag_name="v1", revision_ref=first)  # type: ignore[call-arg]
    store.dataset_patch("a/b", {"title": "B"})
    assert "title" not in store.dataset_read("a/b", revision_ref="v1").descriptor  # type: ignore[call-arg]
    assert store.tag_read("a/b", tag_name="v1").revision == first.id  # type: ignore[call-arg]
    assert store.get_resource("a/b", "x", revision_ref="v1")["path"] == "x.csv"  # type: ignore[call-arg]
    store.dataset_revert("a/b", to_revision_ref="v1")  # type: ignore[call-arg]
    assert "title" not in store.dataset_read("a/b").descriptor
    with pytest.raises(TypeError, match="former name"):
        store.dataset_read("a/b", revision="v1", revision_ref="v1")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        store.dataset_list(revision_ref="v1")  # type: ignore[call-arg]
