"""The file of a resource on its page: what is shown of it, and where it is if it cannot be shown."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import MetaStore, config
from metastore.config import ServiceSettings
from metastore.errors import InvalidInput
from metastore.pages import cards, files
from metastore.types import Change, DatasetId
from metastore.web import create_app

from .reader import Reader

SALT = DatasetId("ocean", "salt")
ROWS = "station;salt\n" + "".join(f"Süd {number};{number}.5\n" for number in range(200))
TABLE = {"format": "csv", "dialect": {"delimiter": ";"}}


class Shelf:
    """A service beside the folder of a Git LFS server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = metastore.connect(
            "memory:", author="Ann", validation="off", lfs_url="https://lfs.org/{owner}/{name}"
        )
        settings = ServiceSettings(lfs_folder=f"{folder}/{{owner}}/{{name}}")
        self.reader = Reader(create_app(self.store, settings=settings))

    def keeps(self, content: bytes, *, below: str = "ocean/salt", layout: str = "{0}") -> dict[str, Any]:
        """Keep a file as the server does; returns its hash and size, as a descriptor says them."""
        digest = hashlib.sha256(content).hexdigest()
        file = self.folder / below / layout.format(digest, digest[:2], digest[2:4])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return {"hash": f"sha256:{digest}", "bytes": len(content)}

    def shows(self, resource: dict[str, Any]) -> str:
        """Store a resource, and return the part of its page about its file."""
        self.store.dataset_create(SALT, {"resources": [{"name": "r", **resource}]})
        return self.reader.opens("/datasets/ocean/salt?resource=0").text(".file")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "lfs")


@pytest.mark.parametrize("layout", ["{0}", "{1}/{2}/{0}"], ids=["giftless", "Git LFS"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_a_table_shows_its_first_rows_in_the_encoding_of_the_descriptor(
    shelf: Shelf, layout: str, encoding: str
) -> None:
    named = shelf.keeps(ROWS.encode(encoding), layout=layout)
    shelf.shows({"path": "data/salt.csv", "encoding": encoding, **TABLE, **named})
    assert shelf.reader.texts(".file th") == ["station", "salt"]
    assert shelf.reader.texts(".file td")[:4] == ["Süd 0", "0.5", "Süd 1", "1.5"]
    assert len(shelf.reader.texts(".file tbody tr")) == 50


@pytest.mark.parametrize(
    ("resource", "cells"),
    [
        ({"path": "a.tsv"}, ["1,5", "2"]),
        ({"path": "a", "mediatype": "text/tab-separated-values"}, ["1,5", "2"]),
        ({"path": "a.csv", "dialect": {"delimiter": "\t"}}, ["1,5", "2"]),
        ({"path": "a.csv"}, ["1", "5\t2"]),
        ({"path": "a.tsv", "dialect": {"header": False}}, ["x,y", "z", "1,5", "2"]),
    ],
)
def test_the_dialect_or_the_kind_of_a_table_names_its_delimiter(
    shelf: Shelf, resource: dict[str, Any], cells: list[str]
) -> None:
    shelf.shows({**resource, **shelf.keeps(b"x,y\tz\n1,5\t2\n")})
    shown = shelf.reader.soup.select(".file td")
    assert [cell.text for cell in shown] == cells


def test_text_is_shown_as_text_and_never_as_html(shelf: Shelf) -> None:
    named = shelf.keeps(b"# Salt\n\n<script>alert(1)</script> <b>bold</b>\n")
    shelf.shows({"path": "README.md", **named})
    assert shelf.reader.soup.select(".file script, .file b, .file h1") == []
    assert "# Salt\n\n<script>alert(1)</script> <b>bold</b>" in shelf.reader.soup.select(".file pre")[0].text


def test_of_a_huge_file_only_the_beginning_is_read(shelf: Shelf) -> None:
    digest, size = "ab" * 32, 10**12
    (shelf.folder / "ocean/salt").mkdir(parents=True)
    with (shelf.folder / "ocean/salt" / digest).open("wb") as file:
        file.write(b"a long line of text\n" * 10_000)
        file.truncate(size)
    said = shelf.shows({"path": "a.json", "hash": f"sha256:{digest}", "bytes": size})
    assert "The beginning of 1.0 TB" in said
    assert len(shelf.reader.soup.select(".file pre")[0].text) == 20_000


def test_a_row_that_the_limit_cuts_is_not_shown(shelf: Shelf) -> None:
    row = "x" * 3_000
    shelf.shows({"path": "a.csv", **shelf.keeps(("name,next\n" + f"{row},y\n" * 40).encode())})
    assert set(shelf.reader.texts(".file td")) == {"x" * 79 + "…", "y"}


@pytest.mark.parametrize(
    ("resource", "content", "words"),
    [
        ({"path": "a.png"}, b"\x89PNG\x00\x01", "The file is here, but it is not text in UTF-8, so it is not shown."),
        ({"path": "a.txt"}, "Süd".encode("cp1252"), "it is not text in UTF-8"),
        ({"path": "a.txt", "encoding": "klingon"}, b"x", "the encoding “klingon” is unknown"),
        ({"path": "a.txt", "encoding": "unicode_escape"}, b"\\x41", "the encoding “unicode_escape” is unknown"),
        ({"path": "a.txt", "encoding": "zip"}, b"x", "the encoding “zip” is unknown"),
        ({"path": "a.txt", "bytes": 2}, b"xyz", "is not the one that the descriptor describes: it has 3 bytes"),
    ],
)
def test_what_cannot_be_shown_says_why(shelf: Shelf, resource: dict[str, Any], content: bytes, words: str) -> None:
    assert words in shelf.shows(shelf.keeps(content) | resource)


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        (
            {"path": "d/a.csv", "hash": "sha256:" + "ab" * 32, "bytes": 1234},
            "This service keeps a pointer to the file. The file itself is on the Git LFS server https://lfs.org/ocean/salt",
        ),
        (
            {"path": "d/a.csv"},
            "This service does not keep the file. The descriptor only says that it is called d/a.csv",
        ),
        ({"path": ["a.csv", "b.csv"]}, "The data is in several files"),
        ({"path": "https://example.org/a.csv"}, "This service does not fetch files from other sites."),
        ({"path": "a.csv", "hash": "sha256:" + hashlib.sha256().hexdigest(), "bytes": 0}, "The file is empty."),
    ],
)
def test_a_file_that_is_elsewhere_says_where(shelf: Shelf, resource: dict[str, Any], words: str) -> None:
    assert words in shelf.shows(resource)


def test_the_place_of_a_file_is_its_path_size_and_hash(shelf: Shelf) -> None:
    shelf.shows({"path": "d/a b.csv", "hash": "sha256:" + "ab" * 32, "bytes": 1234})
    assert shelf.reader.texts(".file dd") == ["d/a b.csv", "1.2 kB", "sha256:" + "ab" * 32]
    head = shelf.store.revision_read(SALT).id
    assert f"git -C salt checkout {head[:12]} -- 'd/a b.csv'" in shelf.reader.text(".file pre")


def test_each_revision_shows_its_own_file(shelf: Shelf) -> None:
    shelf.shows({"path": "a.txt", **shelf.keeps(b"the first")})
    shelf.store.tag_create(SALT, "v1")
    second = {"name": "r", "path": "a.txt", **shelf.keeps(b"the second")}
    shelf.store.dataset_patch(SALT, {"resources": [second]})
    assert "the second" in shelf.reader.opens("/datasets/ocean/salt?resource=0").text(".file")
    assert "the first" in shelf.reader.opens("/datasets/ocean/salt?resource=0&revision=v1").text(".file")


def test_files_of_another_dataset_are_not_reached(shelf: Shelf) -> None:
    named = shelf.keeps(b"secret", below="others/private")
    assert "keeps a pointer" in shelf.shows({"path": "a.txt", **named})


def test_a_pipe_in_the_folder_is_not_waited_for(shelf: Shelf) -> None:
    (shelf.folder / "ocean/salt").mkdir(parents=True)
    os.mkfifo(shelf.folder / "ocean/salt" / ("ab" * 32))
    assert "keeps a pointer" in shelf.shows({"path": "a.txt", "hash": "sha256:" + "ab" * 32, "bytes": 3})


def in_git(descriptor: bytes, files: dict[str, bytes]) -> MetaStore:
    """Return a store with a dataset that others made, with data in its repository."""
    store = metastore.connect("memory:", author="Ann", validation="off")
    store.dataset_create("a/b", {})
    storage = store.storage
    head = storage.resolve(DatasetId("a", "b"), None)
    change = Change(head.author, "Add data", head.created)
    storage.append(DatasetId("a", "b"), {"datapackage.json": descriptor, **files}, change, parent=head.id)
    return store


def test_a_file_in_the_repository_of_a_dataset_is_shown() -> None:
    store = in_git(b'{"resources": [{"name": "r", "path": "data/x.csv"}]}', {"data/x.csv": b"a,b\n1,2\n"})
    reader = Reader(create_app(store)).opens("/datasets/a/b?resource=0")
    assert reader.texts(".file td") == ["1", "2"]


def reading(store: MetaStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the files that a storage reads from now on."""
    read, original = list[str](), store.storage.read
    monkeypatch.setattr(store.storage, "read", lambda *of: read.append(of[2]) or original(*of))
    return read


@pytest.mark.parametrize("claim", ["", ', "bytes": 7', ', "bytes": 5000000'])
def test_a_large_file_in_the_repository_is_not_read_whatever_the_descriptor_says(
    monkeypatch: pytest.MonkeyPatch, claim: str
) -> None:
    descriptor = b'{"resources": [{"name": "r", "path": "x.csv"%s}]}' % claim.encode()
    store = in_git(descriptor, {"x.csv": b"a" * 2_000_000, ".lfsconfig": b"#" * 2_000_000})
    read = reading(store, monkeypatch)
    said = Reader(create_app(store)).opens("/datasets/a/b?resource=0").text(".file")
    assert "It is too large to show here (2.0 MB)." in said
    assert not {"x.csv", ".lfsconfig"} & set(read)


@pytest.mark.parametrize(
    ("claim", "words"), [("", "a"), (', "bytes": 5000000', "It is too large to show here (5.0 MB).")]
)
def test_where_a_host_tells_no_sizes_the_claim_of_the_descriptor_counts(
    monkeypatch: pytest.MonkeyPatch, claim: str, words: str
) -> None:
    descriptor = b'{"resources": [{"name": "r", "path": "x.csv"%s}]}' % claim.encode()
    store = in_git(descriptor, {"x.csv": b"a,b\n1,2\n"})
    monkeypatch.setattr(store.storage, "size", lambda *of: None)
    read = reading(store, monkeypatch)
    assert words in Reader(create_app(store)).opens("/datasets/a/b?resource=0").text(".file")
    assert ("x.csv" in read) is (not claim)


@pytest.mark.parametrize("path", ["lfs/{owner}/{name}", "/srv/lfs", "/srv/{name}"])
def test_the_folder_of_a_git_lfs_server_is_an_absolute_path_for_each_dataset(path: str) -> None:
    with pytest.raises(InvalidInput, match="METASTORE_LFS_FOLDER: this is an absolute path with"):
        config.load({"METASTORE_LFS_FOLDER": path})
    assert config.load({"METASTORE_LFS_FOLDER": "/l/{owner}/{name}"}).service.lfs_folder == "/l/{owner}/{name}"


@pytest.mark.parametrize("line", ["\n", " \n", "url=\n", "url = x y\n", "\t \r\n", " ", "url= "])
def test_a_configuration_of_lfs_that_somebody_made_is_read_in_little_time(line: str) -> None:
    config = (line * 40_000)[:40_000]
    started = time.process_time()
    assert files._SERVER.search(config) is None
    assert time.process_time() - started < 0.2
    found = files._SERVER.search(config + "\n[lfs]\n\turl = https://lfs.example.org/x \n")
    assert found
    assert found[1] == "https://lfs.example.org/x"


@pytest.mark.parametrize("unit", ["[", "[x](", "![", "<", "[a]( ", "`"])
def test_a_card_reads_a_description_of_brackets_in_little_time(unit: str) -> None:
    content = json.dumps({"description": unit * 4000}).encode()
    started = time.process_time()
    cards._described(content)
    assert time.process_time() - started < 0.02
