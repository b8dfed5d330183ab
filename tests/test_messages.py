"""Errors speak in our words: what was wrong, where, and what would be right; not in those of the libraries below."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import config
from metastore.bundle.exchange import read_rows
from metastore.connecting import connect
from metastore.descriptor.document import decode
from metastore.descriptor.grade import Grades
from metastore.descriptor.patch import patched
from metastore.descriptor.profiles import Profiles
from metastore.errors import InvalidInput, MetastoreError

from .conftest import ANN
from .loopback import serving
from .test_cli import WRITE, Run, cars, run  # noqa: F401 - fixtures

#: What Python, libraries and the C library say.
FOREIGN = (
    *("Expecting", "delimiter", "Extra data", "Unterminated", "(char ", "codec", "invalid literal", "Errno"),
    *("unhashable", "NoneType", "<class", "object has no", "KeyError", "ValueError", "TypeError", "Traceback"),
    *("or directory", "Is a directory", "Not a directory", "Permission denied", "Connection refused", "not known"),
    *("non-existent", "non-container", "sequence index", "Location must", "bytes-like", "does not contain a"),
    *("Invalid IPv6", "IPv4", "httpx", "urlopen", "sqlite", "psycopg", "jsonpatch", "integer range"),
)
DOCUMENT = {"title": "Cars", "resources": [{"name": "a", "path": "a.csv"}]}


def is_ours(message: str) -> bool:
    return message != "" and not [each for each in FOREIGN if each.lower() in message.lower()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'a': 1}", "a name in double quotes was expected in line 1, column 2"),
        ('{"a": 1,}', f"in line 1, column {8 if sys.version_info >= (3, 13) else 9}"),
        ("[1,]", "column"),
        ('{"a" 1}', "a colon was expected in line 1, column 6"),
        ('{\n"a": 1', "a comma or a closing bracket was expected at the end, in line 2, column 7"),
        ("", "a value was expected at the end, in line 1, column 1"),
        ('{"a": "b', "no double quote ends the string that begins in line 1, column 7"),
        (r'{"a": "\x"}', "no escape such as"),
        (r'{"a": "\u12"}', "four hexadecimal digits"),
        ('{"a": "b\nc"}', r"must be written as \n"),
        ("{} x", "the document has ended, but more text begins in line 1, column 4"),
        (b"\xff", "byte 0"),
    ],
)
def test_what_is_no_json_is_told_where_and_what_was_expected(text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(text)
    assert message in str(caught.value)
    assert is_ours(str(caught.value))
    assert "something else" not in str(caught.value)  # which is for what a later Python may say


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (1, "an operation is an object, not a number"),
        ({"path": "/title"}, "its op is missing; there are add, remove"),
        ({"op": "frob", "path": "/title"}, "its op is 'frob'; there are add, remove"),
        ({"op": ["add"], "path": "/title"}, 'its op is ["add"]; there are'),
        ({"op": "remove"}, "remove needs a path"),
        ({"op": "add", "path": "/title"}, "add needs a value"),
        ({"op": "copy", "path": "/title"}, "copy needs a from"),
        ({"op": "remove", "path": ["title"]}, "its path is a list, not text"),
        ({"op": "remove", "path": "title"}, "its path is 'title', but a pointer begins with /"),
        ({"op": "remove", "path": "/a~2"}, "write ~0 for ~"),
        ({"op": "remove", "path": ""}, "the whole document cannot be removed"),
        ({"op": "remove", "path": "/nothing"}, "the document has no member 'nothing'"),
        ({"op": "replace", "path": "/resources/0/x", "value": 1}, "'/resources/0' has no member 'x'"),
        ({"op": "remove", "path": "/resources/7"}, "the list '/resources' has 1 item, and no item 7"),
        ({"op": "add", "path": "/resources/7", "value": 1}, "none can be added as item 7"),
        ({"op": "add", "path": "/resources/x", "value": 1}, "'x' has to be the number of an item"),
        ({"op": "add", "path": "/title/x", "value": 1}, "'/title' is text, so it has no member 'x'"),
        ({"op": "move", "from": "/resources", "path": "/resources/0/x"}, "'/resources' cannot be moved into itself"),
        ({"op": "test", "path": "/title", "value": "Boats"}, "'/title' is 'Cars', not 'Boats'"),
    ],
)
def test_an_operation_that_does_not_fit_is_told_why(operation: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        patched(DOCUMENT, [operation])
    assert message in str(caught.value)
    assert is_ours(str(caught.value))
    assert caught.value.pointer == "/0"


@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset", "create", "physics/new", "."),
        ("dataset", "create", "physics/new", "missing.json"),
        ("dataset", "create", "physics/new", "cars.csv/x"),
        ("dataset", "create", "physics/new", "broken.json"),
        ("dataset", "patch", "physics/cars", '{"a":'),
        ("dataset", "list", "--limit", "x"),
        ("dataset", "list", "--store", "https://[::1"),
        ("dataset", "list", "--store", "github://[x"),
        ("dataset", "list", "--store", "gitlab://h:x/g"),
        ("dataset", "list", "--store", "gitea://[x/o"),
        ("dataset", "list", "--store", "git+https://[x/{owner}/{name}"),
        ("dataset", "list", "--store", "file://[x/y"),
        ("dataset", "list", "--store", "broken.json"),
        ("mirror", "https://[x/{owner}/{name}"),
        ("settle", "{"),
        ("settle", "{}"),
        ("settle", '{"change": "x"}'),
        ("import", "broken.json"),
        ("import", "cars.csv", "--owner", "x"),
        ("import", "latin.csv", "--owner", "x"),
        ("bundle", "import", "cars.csv"),
        ("bundle", "import", "missing.csv"),
        ("export", "broken.json/x"),
        ("backup", "broken.json/x"),
        ("init", "broken.json"),
        ("init", "broken.json/x"),
        ("check", "missing.json"),
        ("check", "broken.json"),
        ("diff", "broken.json", "missing.json"),
        ("pull", "missing"),
        ("changes", "--since", "nonsense"),
        ("search", '"open'),
    ],
)
def test_the_command_line_speaks_our_words(run: Run, cars: str, tmp_path: Path, arguments: Any) -> None:  # noqa: F811
    (tmp_path / "broken.json").write_text("{'a': 1}")
    (tmp_path / "cars.csv").write_text('"name"x,title\n1,2\n')
    (tmp_path / "latin.csv").write_bytes("name\nm\u00fcller\n".encode("latin-1"))
    done = run(*arguments, *(WRITE if arguments[:2] in (("dataset", "create"), ("dataset", "patch")) else ()))
    assert done.code in (1, 2, 4, 5)
    assert is_ours(done.out + done.err), done.err


def test_settings_and_rules_that_cannot_be_read_are_told_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("[")
    (tmp_path / "broken.toml").write_text("a = [")
    for call in (
        lambda: config.load({"METASTORE_CONFIG": str(tmp_path / "broken.toml")}),
        lambda: config.load({"METASTORE_CONFIG": str(tmp_path)}),
        lambda: Grades.load(tmp_path / "broken.json"),
        lambda: Grades.load(tmp_path / "missing.json"),
        lambda: Profiles.load(tmp_path),
        lambda: read_rows('"a"x,b\n', "csv"),
        lambda: read_rows(b"\xff", "csv"),
        lambda: read_rows("[", "json"),
    ):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert is_ours(str(caught.value)), caught.value


def test_a_server_that_is_not_reached_is_told_in_our_words() -> None:
    for url in ("http://127.0.0.1:9", "https://127.0.0.1:9", "http://nothing.invalid"):
        with pytest.raises(MetastoreError) as caught, connect(url, retries=0) as store:
            store.dataset_read("physics/cars")
        assert is_ours(str(caught.value)), caught.value
        assert "cannot be reached: " in str(caught.value)


def test_the_service_speaks_our_words() -> None:
    with metastore.connect("memory:", author=ANN) as store:
        store.dataset_create("physics/cars", DOCUMENT)
        with serving(store) as url, connect(url) as there:
            for call in (
                lambda: there.dataset_read("physics/cars", "nothing"),
                lambda: list(there.dataset_list(after="x")),
                lambda: there.dataset_search('"open'),
            ):
                with pytest.raises(MetastoreError) as caught:
                    call()
                assert is_ours(json.dumps([str(caught.value), getattr(caught.value, "problems", ())]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dataset", "create", "physics/new", "broken.json"), "Error: broken.json: not JSON: "),
        (("dataset", "update", "physics/cars", "list.json"), "Error: list.json: a descriptor is a JSON object"),
        (("dataset", "create", "physics/cars", "good.json"), "run: metastore dataset read physics/cars\n"),
        (("tag", "create", "physics/cars", "a b"), "letters, digits or any of '_-+.', not 'a b'"),
        (("blame", "physics/cars", "--path", "title"), "a path is a JSON Pointer such as /licenses, not 'title'"),
        (("blame", "physics/cars", "--path", "/nothing"), "There is no value at /nothing."),
        (("log", "physics/cars", "--path", "/nothing"), "No revision fits."),
        (("search", "licence:CC0"), "0 datasets.\n'licence:CC0' was searched for as text. Filters are options, such"),
        (("search", "cars", "AND", "modified:>nope"), "'AND' was searched for as text."),
        (("import", "bare.json", "--owner", "x"), "0 failed, 1 finding\n"),
    ],
)
def test_a_stranger_is_told_what_was_meant(
    run: Run,  # noqa: F811
    cars: str,  # noqa: F811
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    for name, text in (("broken", '{"a"'), ("list", "[]"), ("bare", '{"name": "bare"}'), ("good", '{"name": "a"}')):
        (tmp_path / f"{name}.json").write_text(text)
    done = run(*arguments, *(WRITE if arguments[0] in ("dataset", "tag") else ()))
    assert message in done.out + done.err


def test_words_that_are_no_filter_get_no_hint(run: Run, cars: str) -> None:  # noqa: F811
    for words in ("nothing", "https://example.org/nothing", '"licence: CC0"', "licence:"):
        assert "searched for as text" not in run("search", words).err
