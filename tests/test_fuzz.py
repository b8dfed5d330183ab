"""Anything at all, given to every door: it is refused with one of our errors, or reads back the same."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metastore
from metastore.descriptor import lfs
from metastore.descriptor.difference import changes, json_patch
from metastore.descriptor.document import MAX_DEPTH, decode, encode, load
from metastore.descriptor.patch import patched
from metastore.errors import InvalidInput, MetastoreError
from metastore.git.objects import (
    Entry,
    commit_content,
    find_entry,
    first_parent,
    parse_commit,
    parse_tag,
    parse_tree,
    tree_content,
)
from metastore.parse import make_author, make_message, make_time, parse_dataset_id, parse_tag_name
from metastore.types import DatasetId

from .conftest import ANN, change
from .processes import SOAK, fsck

bounded = settings(
    max_examples=5000 if SOAK else 60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
few = settings(bounded, max_examples=500 if SOAK else 25)
#: Every kind of character, halves of pairs among them, and what means something to Git, JSON and file systems.
text = st.text(max_size=30) | st.text(st.sampled_from("a0/._-~ \\\n\r\t\0\x7f<>:\"'#*?[]%$@{}\u200c\u2028\ud800éＡ😀"))
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.0, -0.0, 1.0, 1e300, 2**70]) | text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=12,
)
nearby = st.recursive(
    st.sampled_from([0, 1, True, False, 1.0, None, "", "1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "~/", ""]), inner),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(["a", "b", "~/", "resources"]), nearby)
odd_parts = (
    [".git", "git~1", ".gitmodules", "gitmod~1", "gi7eba~1", "GI7D29~2", "g~123456", "~1234567", ".Git\u200c", "con"],
    ["..", ".", "", " ", "a", "b.c", "b c", "~", "ä", "é", "a" * 200, "a\u2028b", "a\\b", "-", "%2e"],
    ["datapackage.json", ".lfsconfig", "#x", "!x", "*", "[a]", '"q"'],
)
parts = st.sampled_from([part for some in odd_parts for part in some])
paths = st.lists(parts | st.text(max_size=5), min_size=1, max_size=4).map("/".join)


def tried(call: Callable[..., Any], *args: Any) -> Any:
    """Return what a call returns, or the error that we raise on purpose; nothing else may come out."""
    try:
        return call(*args)
    except MetastoreError as error:
        return error


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[metastore.MetaStore]:
    root = tmp_path_factory.mktemp("fuzz") / "store"
    with metastore.connect(root, author=ANN, sync=False, lfs_url="https://lfs.example.org/{owner}/{name}") as made:
        yield made


@bounded
@given(text | st.tuples(text, text) | st.builds(DatasetId, text, text) | st.builds("{}/{}".format, text, text))
def test_an_id_is_refused_or_stays_inside_the_store(each: Any) -> None:
    found = tried(parse_dataset_id, each)
    if not isinstance(found, MetastoreError):
        assert Path("/root", found).resolve() == Path("/root") / found.owner / found.name
        assert parse_dataset_id(str(found)) == found


@bounded
@given(text, text, text)
def test_any_text_may_be_asked_for(store: metastore.MetaStore, one: str, two: str, three: str) -> None:
    store.storage.ids()
    if not list(store.dataset_list(prefix="a/a")):
        store.dataset_create("a/a", {"resources": []})
    for call in (
        lambda: store.dataset_read(one),
        lambda: store.dataset_read("a/a", one),
        lambda: list(store.revision_list("a/a", two)),
        lambda: list(store.dataset_list(prefix=one)),
        lambda: list(store.dataset_list(prefix=f"a/{two}")),
        lambda: list(store.dataset_list(prefix=f"{two}/a")),
        lambda: list(store.dataset_list(after=two)),
        lambda: store.tag_read("a/a", one),
        lambda: store.resource_read("a/a", one),
        lambda: list(store.changes(one)),
        lambda: store.dataset_update("a/a", {}, expected=three),
        lambda: store.storage.read(DatasetId("a", "a"), store.revision_read("a/a").id, three),
        lambda: store.dataset_move("a/a", one),
    ):
        tried(call)


@bounded
@given(values)
def test_a_descriptor_is_refused_or_reads_back_the_same(store: metastore.MetaStore, value: Any) -> None:
    tried(lambda: store.dataset_purge("a/descriptor", force=True))
    made = tried(store.dataset_create, "a/descriptor", json.dumps(value) if isinstance(value, str) else value)
    if not isinstance(made, MetastoreError):
        read = store.dataset_read("a/descriptor")
        assert encode(read.descriptor) == encode(value) == read.bytes


@bounded
@given(st.text() | st.binary() | values.map(lambda value: json.dumps(value)))
def test_json_is_refused_or_written_as_it_was_read(given_text: Any) -> None:
    found = tried(decode, given_text)
    if not isinstance(found, MetastoreError):
        written = tried(encode, found)
        if not isinstance(written, MetastoreError):
            assert encode(decode(written)) == written


@bounded
@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?\Z"))
def test_a_number_stays_as_it_was_written(number: str) -> None:
    assert encode(decode(f'{{"n": [{number}]}}')) == f'{{\n  "n": [\n    {number}\n  ]\n}}\n'.encode()


@bounded
@given(documents, documents)
def test_a_difference_applied_to_the_old_gives_the_new_by_text(old: Any, new: Any) -> None:
    patch = json_patch(old, new)
    assert encode(patched(old, json.loads(json.dumps(patch))), sort=True) == encode(new, sort=True)
    assert bool(patch) == (encode(old, sort=True) != encode(new, sort=True))
    assert bool(list(changes(old, new))) <= bool(patch)


pointers = text | st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0~1", "~2", "01"])).map(
    lambda keys: "".join(f"/{key}" for key in keys)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]) | scalars},
    optional={"path": pointers | scalars, "from": pointers | scalars, "value": nearby},
)


@bounded
@given(documents, st.lists(operations | scalars, max_size=4) | values)
def test_a_patch_is_refused_or_applied_and_the_document_it_is_applied_to_stays(document: Any, patch: Any) -> None:
    before = encode(document)
    tried(patched, document, patch)
    assert encode(document) == before


steps = st.sampled_from(["a", "b", "~0~1", "", "resources", "0", "1", "2", "-", "01", "-1"])
places = st.lists(steps, min_size=1, max_size=3).map(lambda keys: "".join(f"/{key}" for key in keys))


@settings(bounded, max_examples=500 if SOAK else 60)
@given(
    documents,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy"]),
                "path": places,
                "from": places,
                "value": nearby,
            }
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_json_patch_does_what_the_library_of_that_name_does(document: Any, patch: Any) -> None:
    import jsonpatch

    given = encode(patch)
    try:
        expected = encode(jsonpatch.apply_patch(document, json.loads(given)))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, KeyError, TypeError):
        expected = None
    found = tried(patched, document, patch)
    assert (None if isinstance(found, InvalidInput) else encode(found)) == expected
    assert encode(patch) == given


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_does_what_the_appendix_of_rfc_7396_says(target: Any, patch: Any, result: Any) -> None:
    assert patched(target, patch) == result


@few
@given(st.lists(paths, min_size=1, max_size=3, unique=True))
def test_accepted_paths_make_a_repository_that_git_finds_nothing_wrong_with(
    store: metastore.MetaStore, listed: list[str]
) -> None:
    descriptor = {
        "resources": [
            {"name": f"r{n}", "path": path, "bytes": n, "hash": f"sha256:{n:064}"} for n, path in enumerate(listed)
        ]
    }
    tried(lambda: store.dataset_purge("a/paths", force=True))
    made = tried(store.dataset_create, "a/paths", descriptor)
    if isinstance(made, MetastoreError):
        assert isinstance(made, InvalidInput)
        return
    updated = store.dataset_update("a/paths", {"resources": descriptor["resources"][:1]})
    said = store.storage.read(DatasetId("a", "paths"), updated.revision.id, lfs.ATTRIBUTES)
    assert said == lfs.attributes(lfs.pointers_of(updated.descriptor))
    store.dataset_revert("a/paths", made.revision.id)
    root = Path(store.storage.layout.root)  # type: ignore[attr-defined]
    fsck(root)
    inside = store.storage.paths(DatasetId("a", "paths"), made.revision.id)
    assert all(not {"..", ".", ".git", ""} & set(path.split("/")) for path in inside)


@bounded
@given(text, text, text, st.datetimes() | st.just(datetime.min))
def test_authors_messages_tags_and_times_are_refused_or_read_back(one: str, two: str, tag: str, at: datetime) -> None:
    author, message = tried(make_author, (one, two)), tried(make_message, tag)
    tried(make_author, one)
    tried(parse_tag_name, tag)
    when = tried(make_time, at.replace(tzinfo=timezone(timedelta(hours=14))))
    if not any(isinstance(each, MetastoreError) for each in (author, message, when)):
        content = commit_content("0" * 40, None, change(message, author=author, at=when))
        read = parse_commit(content)
        assert (read.author, read.message, read.created) == (author, message, when)


@bounded
@given(st.binary() | st.builds(lambda a, b: b"tree " + b"0" * 40 + b"\n" + a + b"\n\n" + b, st.binary(), st.binary()))
def test_bytes_that_are_no_object_are_a_value_error(content: bytes) -> None:
    for parse in (parse_commit, first_parent, parse_tag, parse_tree):
        try:
            parse(content)
        except ValueError:
            continue


#: Whatever Git allows in a tree, also what is no UTF-8.
raw_names = st.binary(min_size=1, max_size=9).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)


@bounded
@given(
    st.dictionaries(raw_names, st.binary(min_size=20, max_size=20)),
    raw_names | text,
)
def test_one_entry_of_a_tree_is_the_one_among_all(ids: dict[str, bytes], other: str) -> None:
    content = tree_content({name: Entry("100644", identity.hex()) for name, identity in ids.items()})
    entries = parse_tree(content)
    assert len(entries) == len(ids)
    for name in [*ids, other, "a b", "\ud800"]:
        assert find_entry(content, name) == entries.get(name)


def test_what_is_too_deep_or_too_long_is_refused_and_the_rest_is_stored(store: metastore.MetaStore) -> None:
    for deep in ("[" * 100_000, '{"a":' * 100_000, '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"):
        for call in (decode, lambda text: store.dataset_create("a/deep", text), metastore.validate):
            assert isinstance(tried(call, deep), InvalidInput)
    nested: Any = 1
    for _ in range(MAX_DEPTH + 1):
        nested = [nested]
    for value in ({"a": nested}, {"a": math.nan}, {1: 2}, {"a": {1}}, {"a": 10**5000}):
        assert isinstance(tried(store.dataset_create, "a/deep", value), InvalidInput)
    large = {"resources": [], "text": ["x" * 1000] * 5_000}
    assert store.dataset_create("a/large", large).descriptor == load(encode(large)) == large
