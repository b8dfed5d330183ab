"""The index of what revisions touched says the same as reading each revision."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

import metastore
from metastore import Author, Revision, config, connecting
from metastore.history import _touched, index
from metastore.history.index import PartIndex
from metastore.history.parts import Part, steps_back
from metastore.storage.memory import MemoryStorage
from metastore.storage.port import Storage

from .bundle.postgres_server import migrated_database
from .conftest import ANN, opened, ticking

CARS = "physics/cars"
NAMES = st.sampled_from(["a", "b", "=a", "7"])
VALUES: Any = st.deferred(lambda: st.sampled_from([0, "x", None]) | ITEMS | OBJECTS)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=2)
#: Things with names, some of which are one thing under another name, and some of which have no name at all.
ITEMS = st.lists(
    st.fixed_dictionaries({}, optional={"name": NAMES, "path": st.sampled_from("pq"), "a": VALUES}),
    min_size=1,
    max_size=3,
)
DOCUMENTS = st.none() | st.fixed_dictionaries({"a": ITEMS | OBJECTS}, optional={"=a": st.integers(0, 1)})
PARTS = st.sampled_from(
    [
        ("a",),
        ("=a",),
        *(("a", *rest) for rest in (["=a"], ["b"], ["=a", "a"], ["a", "a"], ["=b", "path"], ["0"], ["=7"])),
    ]
) | st.lists(NAMES, max_size=4).map(tuple)


class Histories:
    """Revisions that are numbers, with a descriptor each."""

    def __init__(self, documents: list[Any]) -> None:
        self.contents = [json.dumps(each).encode() if each is not None else None for each in documents]
        self.reads = 0

    def revision(self, number: int) -> Revision:
        parent = f"{number - 1:040}" if number else None
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return Revision(f"{number:040}", parent, Author("Ann", "ann@example.org"), now, "", deleted=False)

    def history(self, revision_id: str) -> Iterator[Revision]:
        return (self.revision(number) for number in range(int(revision_id), -1, -1))

    def read(self, revision: Revision) -> bytes | None:
        self.reads += 1
        return self.contents[int(revision.id)]

    def walked(self, start: int, part: Part) -> list[tuple[str, Part]]:
        steps = steps_back(self.history(f"{start:040}"), self.read, part)
        return [(revision.id, former) for revision, changed, former in steps if changed]

    def indexed(self, parts: PartIndex, start: int, part: Part) -> Iterator[tuple[str, Part]]:
        steps = parts.steps_back(self.history, self.read, self.revision(start), part)
        return ((revision.id, former) for revision, changed, former in steps if changed)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_BATCH", 3)
    monkeypatch.setattr(index, "_ROWS", 2)


@pytest.mark.parametrize(
    ("documents", "part"),
    [
        ([{"a": [{"name": "b", "path": "p", "n": 1}]}, {"a": [{"name": "c", "path": "p", "n": 1}]}], ("a", "=c", "n")),
        ([{"a": [{"name": "b", "path": "p"}]}, {"a": [{"name": "c", "path": "p"}]}], ("a", "=c")),
        ([{"a": [{"name": "b"}]}, {"a": {"b": {"name": "b"}}}], ("a", "b")),
        ([{"a": [{"path": "b", "n": 1}]}, {"a": [{"name": "b", "n": 1}]}], ("a", "=b", "n")),
        ([{"a": [1, 2]}, {"a": [2, 2]}], ("a", "1")),
        ([{"a": {"=b": 1}}, {"a": {"=b": 1, "b": 2}}], ("a", "=b")),
        ([{"a": {f"k{number}": 0 for number in range(300)}}, {"a": {}}], ("a", "k250")),
        ([{"a": {"n": 1.10}}, {"a": {"n": 1.1}}, {"a": {"n": True}}, None, {"a": {"n": 1}}], ("a", "n")),
    ],
    ids=["renamed", "renamed as a whole", "now a member", "now with a name", "position", "sign", "many", "deleted"],
)
def test_a_part_is_followed_by_the_index_as_by_reading(documents: list[Any], part: Part) -> None:
    histories, parts = Histories([{}, *documents, *documents[-1:]]), PartIndex(None)
    newest = len(documents) + 1
    for _ in range(3):
        assert list(histories.indexed(parts, newest, part)) == histories.walked(newest, part)


questions = st.lists(
    st.tuples(st.integers(0, 11), PARTS, st.none() | st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOCUMENTS, min_size=1, max_size=12), questions, st.sampled_from([3, 200]))
def test_the_index_agrees_with_reading_each_revision(
    monkeypatch: pytest.MonkeyPatch, documents: list[Any], asked: list[tuple[int, Part, int | None]], most: int
) -> None:
    monkeypatch.setattr(_touched, "_MOST", most)
    histories, parts = Histories(documents), PartIndex(None)
    for start, part, limit in asked:
        start = min(start, len(documents) - 1)
        expected = histories.walked(start, part)
        found = histories.indexed(parts, start, part)
        assert list(islice(found, limit)) == expected[:limit], (start, part)
        found.close()  # type: ignore[attr-defined]
    for start in range(len(documents)):
        for part in {part for _, part, _ in asked}:
            assert list(histories.indexed(parts, start, part)) == histories.walked(start, part), (start, part)


def test_a_history_that_is_indexed_is_found_with_few_reads(tmp_path: Path) -> None:
    histories = Histories([{"title": number // 50, "version": number} for number in range(1000)])
    parts = PartIndex(str(tmp_path / "history.sqlite"))
    expected = histories.walked(999, ("title",))
    assert list(histories.indexed(parts, 999, ("title",))) == expected
    histories.contents += [json.dumps({"title": "New", "version": 1001}).encode()]
    histories.reads = 0
    found = list(histories.indexed(PartIndex(str(tmp_path / "history.sqlite")), 1000, ("title",)))
    assert found == [(f"{1000:040}", ("title",)), *expected]
    assert histories.reads <= 4


def test_the_index_is_made_again_while_it_is_read(tmp_path: Path) -> None:
    histories = Histories([{"title": number} for number in range(30)])
    path = tmp_path / "history.sqlite"
    parts = PartIndex(str(path))
    expected = histories.walked(29, ("title",))
    assert list(histories.indexed(parts, 29, ("title",))) == expected
    found = histories.indexed(parts, 29, ("title",))
    head = [next(found) for _ in range(5)]
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript("DELETE FROM revisions; DELETE FROM touched")
    assert head + list(found) == expected


def test_the_index_holds_no_text(tmp_path: Path) -> None:
    histories = Histories([{"confidential": number} for number in range(10)])
    list(histories.indexed(PartIndex(str(tmp_path / "history.sqlite")), 9, ("confidential",)))
    assert not any(b"confidential" in each.read_bytes() for each in tmp_path.iterdir())


def test_a_store_keeps_its_index_beside_the_datasets(tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        first = store.dataset_create(CARS, {"title": "A", "resources": []}).revision
        store.dataset_patch(CARS, {"version": "1"})
        assert list(store.revision_list(CARS, path="/title")) == [first]
    assert (tmp_path / "store/_metastore/history.sqlite").is_file()
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        third = store.dataset_patch(CARS, {"title": "B"}).revision
        assert list(store.revision_list(CARS, path="/title")) == [third, first]


def test_an_open_store_reads_a_history_once_on_every_storage(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = metastore.MetaStore(storage, author=ANN, clock=ticking(), validation="off")
    first = store.dataset_create(CARS, {"title": "A"}).revision
    for number in range(8):
        store.dataset_patch(CARS, {"version": str(number)})
    assert list(store.revision_list(CARS, path="/title")) == [first]
    reads = counting(storage, monkeypatch)
    newest = store.dataset_patch(CARS, {"title": "B"}).revision
    reads.clear()
    assert list(store.revision_list(CARS, path="/title")) == [newest, first]
    assert len(reads) < 5


def counting(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list that each read of a file is appended to."""
    reads: list[str] = []
    read = storage.read

    def counted(dataset_id: Any, revision: str, path: str) -> bytes:
        reads.append(revision)
        return read(dataset_id, revision, path)

    monkeypatch.setattr(storage, "read", counted)
    return reads


def long_history(store: metastore.Store, name: str) -> Revision:
    """Make a dataset whose title was given by its first revision, and return that."""
    first = store.dataset_create(name, {"name": name.partition("/")[2], "title": "A"}).revision
    for number in range(8):
        store.dataset_patch(name, {"version": str(number)})
    return first


def test_another_process_finds_the_index_on_every_storage(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "caches/one"
    first = long_history(metastore.MetaStore(storage, author=ANN, validation="off"), CARS)
    assert list(metastore.MetaStore(storage, cache=cache).revision_list(CARS, path="/title")) == [first]
    reads = counting(storage, monkeypatch)
    assert list(metastore.MetaStore(storage, cache=cache).revision_list(CARS, path="/title")) == [first]
    assert len(reads) < 4
    modes = {path.name: path.stat().st_mode & 0o777 for path in [cache, *cache.parent.rglob("*")] if path.exists()}
    assert modes == ({} if storage.private("x") else {"one": 0o700, **dict.fromkeys(files(cache), 0o600)})


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


@pytest.mark.parametrize("kind", ["memory", "git", "postgres"])
def test_a_purge_leaves_nothing_of_the_dataset_in_the_index(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for storage in opened(kind, tmp_path):
        cache = tmp_path / "cache/one"
        store = metastore.MetaStore(storage, author=ANN, validation="off", cache=cache)
        kept = long_history(store, "physics/kept")
        long_history(store, CARS)
        ids = [revision.id.encode() for revision in store.revision_list(CARS)]
        for name in ("physics/kept", CARS):
            list(store.revision_list(name, path="/title"))
        store.dataset_move(CARS, "physics/autos")
        folder = Path(storage.private(".") or cache)
        assert any(ids[0] in path.read_bytes() for path in folder.glob("history.sqlite*"))
        store.dataset_purge("physics/autos", force=True)
        for path in folder.glob("history.sqlite*"):
            assert not [identity for identity in ids if identity in path.read_bytes()], path
        with closing(sqlite3.connect(folder / "history.sqlite")) as database:
            assert database.execute("SELECT count(*) FROM revisions").fetchone() == (9,)
            runs = "SELECT count(DISTINCT run) FROM touched"
            assert database.execute(runs).fetchone() == (1,)
        reads = counting(storage, monkeypatch)
        assert list(store.revision_list("physics/kept", path="/title")) == [kept]
        assert len(reads) < 4


def test_what_is_looked_up_during_a_purge_is_forgotten_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with metastore.connect(tmp_path / "store", author=ANN, validation="off", sync=False) as store:
        long_history(store, CARS)
        list(store.revision_list(CARS, path="/title"))
        purge = store.storage.purge

        def looking(*args: Any, **options: Any) -> None:
            assert list(store.revision_list(CARS, path="/title"))
            purge(*args, **options)

        monkeypatch.setattr(store.storage, "purge", looking)
        store.dataset_purge(CARS, force=True)
    with closing(sqlite3.connect(tmp_path / "store/_metastore/history.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM revisions").fetchone() == (0,)


def test_rows_are_overwritten_also_where_sqlite_does_not_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = sqlite3.connect

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        database = original(*args, **options)
        database.execute("PRAGMA secure_delete = OFF")  # Debian builds SQLite with ON
        return database

    monkeypatch.setattr(sqlite3, "connect", connect)
    with metastore.connect(tmp_path / "store", author=ANN, validation="off", sync=False) as store:
        first = long_history(store, CARS)
        list(store.revision_list(CARS, path="/title"))
        store.dataset_purge(CARS, force=True)
        assert first.id.encode() not in (tmp_path / "store/_metastore/history.sqlite").read_bytes()


def test_a_purge_makes_no_index(tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        store.dataset_create(CARS, {})
        store.dataset_purge(CARS, force=True)
    assert not (tmp_path / "store/_metastore/history.sqlite").exists()


def test_a_damaged_dataset_is_purged_and_its_index_with_it(tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author=ANN, validation="off", sync=False) as store:
        first = long_history(store, CARS)
        list(store.revision_list(CARS, path="/title"))
    (tmp_path / f"store/{CARS}.git/objects/{first.id[:2]}/{first.id[2:]}").write_bytes(b"rubbish")
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        store.dataset_purge(CARS, force=True)
    content = (tmp_path / "store/_metastore/history.sqlite").read_bytes()
    assert first.id.encode() not in content


def open_to_others(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)


def a_file(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")


def a_link(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    (folder / "history.sqlite").symlink_to(folder.parent / "other")


def a_link_to_a_folder(folder: Path) -> None:
    (folder.parent.parent / "other").mkdir(mode=0o700)
    folder.parent.mkdir(mode=0o700)
    folder.symlink_to(folder.parent.parent / "other")


def below_a_folder_of_all(folder: Path) -> None:
    folder.mkdir(0o700, parents=True)
    folder.parent.chmod(0o777)


@pytest.mark.parametrize("damage", [open_to_others, a_file, a_link, a_link_to_a_folder, below_a_folder_of_all])
def test_a_cache_that_is_not_ours_alone_is_not_used(damage: Callable[[Path], None], tmp_path: Path) -> None:
    cache = tmp_path / "caches/one"
    damage(cache)
    before = sorted(tmp_path.rglob("*"))
    store = metastore.MetaStore(MemoryStorage(), author=ANN, cache=cache, validation="off")
    first = long_history(store, CARS)
    assert list(store.revision_list(CARS, path="/title")) == [first]
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] in ([], [cache / "history.sqlite"])
    assert not any(path.is_file() and path.stat().st_size for path in tmp_path.rglob("*"))


def test_a_cache_that_has_grown_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "caches/one"
    storage = MemoryStorage()
    first = long_history(metastore.MetaStore(storage, author=ANN, validation="off"), CARS)
    sizes = []
    for largest in (2**20, 2**20, 1):
        monkeypatch.setattr("metastore.index_file._LARGEST", largest)
        store = metastore.MetaStore(storage, cache=cache)
        reads = counting(storage, monkeypatch)
        assert list(store.revision_list(CARS, path="/title")) == [first]
        sizes.append(len(reads) >= 9)
    assert sizes == [True, False, True]


def test_each_store_has_a_folder_of_its_own_in_the_cache() -> None:
    urls = (
        "postgresql://db1/catalogue",
        "postgresql://db1/other",
        "postgresql:///catalogue?host=/run/one",
        "postgresql:///catalogue?host=/run/two",
        "github://physics",
    )
    folders = [connecting._cache_of(url, "/cache", None) for url in urls]
    folders.append(connecting._cache_of("github://physics", "/cache", "https://github.example.org/api"))
    assert len(set(folders)) == len(folders)
    same = "postgresql://ann:hidden@db1/catalogue?password=hidden&target_session_attrs=any"
    assert connecting._cache_of(same, "/cache", None) == folders[0]
    for url in ("store", "/var/lib/store", "file:///var/lib/store", "memory:", ":memory:"):
        assert connecting._cache_of(url, "/cache", None) is None


def test_the_settings_say_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with migrated_database() as dsn:
        parts = conninfo_to_dict(dsn)
        url = f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
        with metastore.connect(url, author=ANN, validation="off") as store:
            first = long_history(store, CARS)
        for named, used in (("off", []), ("", ["xdg"]), (str(tmp_path / "named"), ["named", "xdg"])):
            settings = config.load({"METASTORE_STORE": url, "METASTORE_CACHE": named})
            with config.open_store(settings) as store:
                assert list(store.revision_list(CARS, path="/title")) == [first]
            assert sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("history.sqlite")) == used
    assert len(list(tmp_path.glob("xdg/metastore/postgres-*/history.sqlite"))) == 1
