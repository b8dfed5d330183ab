"""`verify` finds all that `git fsck --full --strict` finds, and what Git cannot know; an intact store is clean."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import metastore
from metastore.errors import DatasetNotFound, RevisionNotFound, StorageCorrupt, TagNotFound
from metastore.git.objects import Entry, object_id, tree_content
from metastore.git.partial import selected
from metastore.git.reachable import reachable
from metastore.git.upload_pack import Request, references
from metastore.storage.local.backup import backup
from metastore.storage.local.storage import GitStorage
from metastore.types import Damage, DatasetId

from .conftest import ANN, EPOCH, ticking

CARS = DatasetId("physics", "cars")
WHO = b"A <a@b.c> 1714564800 +0000"
EMPTY = b""


def connect(folder: Path) -> metastore.MetaStore:
    return metastore.connect(folder, author=ANN, clock=ticking(), sync=False, validation="off")


def git(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(path), "-c", "safe.directory=*", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def put(path: Path, kind: str, content: bytes) -> str:
    """Write a loose object as it is, however wrong."""
    identity = object_id(kind, content)
    file = path / "objects" / identity[:2] / identity[2:]
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        file.write_bytes(zlib.compress(b"%s %d\0" % (kind.encode(), len(content)) + content))
    return identity


def point(path: Path, identity: str, name: str = "refs/heads/main") -> None:
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(f"{identity}\n")


def head(path: Path) -> str:
    return git(path, "rev-parse", "HEAD").stdout.strip()


def tree_of(path: Path, revision: str = "HEAD") -> str:
    return git(path, "rev-parse", f"{revision}^{{tree}}").stdout.strip()


def loose(path: Path, identity: str) -> Path:
    file = path / "objects" / identity[:2] / identity[2:]
    file.chmod(0o644)
    return file


def commit(path: Path, root: str | None = None, **parts: bytes) -> str:
    """Put a commit on top of the branch, of which parts are replaced."""
    lines = {
        "tree": b"tree %s\n" % (root or tree_of(path)).encode(),
        "parents": b"parent %s\n" % head(path).encode(),
        "author": b"author %s\n" % WHO,
        "committer": b"committer %s\n" % WHO,
        "end": b"\nWhy\n",
    }
    return put(path, "commit", b"".join((lines | parts).values()))


def tree(path: Path, *rows: tuple[bytes, bytes, str]) -> str:
    return put(path, "tree", b"".join(b"%s %s\0" % row[:2] + bytes.fromhex(row[2]) for row in rows))


def replaced_commit(**parts: bytes) -> Callable[[Path], None]:
    return lambda path: point(path, commit(path, **parts))


def replaced_tree(*rows: tuple[bytes, bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        blob = put(path, "blob", b"{}")
        folder = tree(path, (b"100644", b"x", blob))
        made = [(mode, name, folder if mode.lstrip(b"0") == b"40000" else blob) for mode, name in rows]
        point(path, commit(path, tree(path, *made)))

    return damage


def replaced_tag(content: Callable[[str], bytes]) -> Callable[[Path], None]:
    return lambda path: point(path, put(path, "tag", content(head(path))), "refs/tags/wrong")


def removed(what: str) -> Callable[[Path], None]:
    return lambda path: loose(path, git(path, "rev-parse", what).stdout.strip()).unlink()


def written(what: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = loose(path, git(path, "rev-parse", what).stdout.strip())
        file.write_bytes(content(file.read_bytes()))

    return damage


def merged_with_a_lost_parent(path: Path) -> None:
    side = commit(path, end=b"\nSide\n")
    merge = commit(path, parents=b"parent %s\nparent %s\n" % (head(path).encode(), side.encode()))
    loose(path, side).unlink()
    point(path, merge)


def missing_blob_of_a_side_branch(path: Path) -> None:
    blob = put(path, "blob", b"side")
    side = commit(path, tree(path, (b"100644", b"a", blob)))
    point(path, side, "refs/heads/side")
    loose(path, blob).unlink()


def holding(name: str, content: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_text(content) and None


def packed_refs(edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        git(path, "pack-refs", "--all")
        file = path / "packed-refs"
        file.write_bytes(edit(file.read_bytes()))

    return damage


def nul_sha(path: Path) -> None:
    point(path, commit(path, tree(path, (b"100644", b"a", "0" * 40))))


def blob_for_a_tree(path: Path) -> None:
    point(path, commit(path, tree(path, (b"40000", b"a", put(path, "blob", b"x")))))


def tree_for_a_blob(path: Path) -> None:
    inner = tree(path, (b"100644", b"a", put(path, "blob", b"x")))
    point(path, commit(path, tree(path, (b"100644", b"a", inner))))


def cut_tree(path: Path) -> None:
    point(path, commit(path, put(path, "tree", b"100644 a\0short")))


def branch_to_a_blob(path: Path) -> None:
    point(path, put(path, "blob", b"x"))


def tag_of_another_kind(path: Path) -> None:
    blob = put(path, "blob", b"x").encode()
    point(path, put(path, "tag", b"object %s\ntype commit\ntag x\ntagger %s\n\nx\n" % (blob, WHO)), "refs/tags/x")


def repack(path: Path) -> None:
    """Pack with Git, in a repository that lets it delete objects, and that it looks for an index over packs in."""
    git(path, "config", "extensions.preciousObjects", "false")
    git(path, "config", "core.multiPackIndex", "true")
    git(path, "repack", "-adq")


def packed(then: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        repack(path)
        then(path)

    return damage


def damaged_beside_a_pack(path: Path) -> None:
    identity = git(path, "rev-parse", "refs/tags/v1").stdout.strip()
    repack(path)
    (file := path / "objects" / identity[:2] / identity[2:]).parent.mkdir(exist_ok=True)
    file.write_bytes(b"rubbish")


def flip(pattern: str, at: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (file,) = path.glob(pattern)
        file.chmod(0o644)
        content = bytearray(file.read_bytes())
        content[at] ^= 1
        file.write_bytes(bytes(content))

    return damage


def drop(pattern: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        for file in path.glob(pattern):
            file.unlink()

    return damage


def index_of_another_version(path: Path) -> None:
    (file,) = path.glob("objects/pack/*.idx")
    file.chmod(0o644)
    content = file.read_bytes()[:-20].replace(b"\xfftOc\0\0\0\2", b"\xfftOc\0\0\0\x09")
    file.write_bytes(content + hashlib.sha1(content).digest())


def with_extra(command: str, pattern: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        repack(path)
        git(path, *command.split())
        flip(pattern, -1)(path)

    return damage


#: Damage to files whose content can still be read.
MENDED_BY_PACKING: dict[str, Callable[[Path], None]] = {
    "object with more behind its end": written("HEAD~1:datapackage.json", lambda content: content + b"\0"),
    "object that is damaged, and whole in a pack": damaged_beside_a_pack,
}
TAG = b"object %s\ntype commit\ntag wrong\ntagger " + WHO + b"\n\nx\n"
#: Damage that `git fsck` finds.
DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing newest commit": removed("HEAD"),
    "missing older commit": removed("HEAD~1"),
    "missing tree": removed("HEAD~1^{tree}"),
    "missing blob": removed("HEAD~1:datapackage.json"),
    "missing tag object": removed("refs/tags/v1"),
    "missing second parent": merged_with_a_lost_parent,
    "missing blob of a side branch": missing_blob_of_a_side_branch,
    "empty object": written("HEAD~1:datapackage.json", lambda content: b""),
    "object cut short": written("HEAD~1:datapackage.json", lambda content: content[:-3]),
    "object with another content": written("HEAD~1:datapackage.json", lambda content: zlib.compress(b"blob 1\0x")),
    "object that is not compressed": written("HEAD~1^{tree}", lambda content: b"rubbish"),
    **MENDED_BY_PACKING,
    "unreachable object cut short": lambda path: loose(path, put(path, "blob", b"loose")).write_bytes(b"x") and None,
    "unreachable commit without author": lambda path: commit(path, author=EMPTY) and None,
    "commit without tree": replaced_commit(tree=EMPTY),
    "commit with a wrong tree id": replaced_commit(tree=b"tree 123\n"),
    "commit with a wrong parent id": replaced_commit(parents=b"parent 123\n"),
    "commit without author": replaced_commit(author=EMPTY),
    "commit with two authors": replaced_commit(author=b"author %s\n" % WHO * 2),
    "commit without committer": replaced_commit(committer=EMPTY),
    "author without e-mail": replaced_commit(author=b"author A 1714564800 +0000\n"),
    "author without a space before the e-mail": replaced_commit(author=b"author A<a@b.c> 1714564800 +0000\n"),
    "author without a space before the date": replaced_commit(author=b"author A <a@b.c>1714564800 +0000\n"),
    "author without a name": replaced_commit(author=b"author <a@b.c> 1714564800 +0000\n"),
    "author with a bracket in the name": replaced_commit(author=b"author A> <a@b.c> 1714564800 +0000\n"),
    "author with a wrong date": replaced_commit(author=b"author A <a@b.c> today +0000\n"),
    "author with a date of leading zeros": replaced_commit(author=b"author A <a@b.c> 0171 +0000\n"),
    "author with a date out of range": replaced_commit(author=b"author A <a@b.c> 99999999999999999999 +0000\n"),
    "author with a date of thousands of digits": replaced_commit(author=b"author A <a@b.c> %s +0000\n" % (b"9" * 5000)),
    "author with a wrong zone": replaced_commit(author=b"author A <a@b.c> 1714564800 CET\n"),
    "commit with NUL in its message": replaced_commit(end=b"\nWhy\0\n"),
    "tree out of order": replaced_tree((b"100644", b"b"), (b"100644", b"a")),
    "tree with two entries of one name": replaced_tree((b"100644", b"a"), (b"40000", b"a")),
    "tree with .git": replaced_tree((b"100644", b".git")),
    "tree with .GIT": replaced_tree((b"100644", b".GIT")),
    "tree with git~1": replaced_tree((b"100644", b"git~1")),
    "tree with a dot": replaced_tree((b"100644", b".")),
    "tree with two dots": replaced_tree((b"100644", b"..")),
    "tree with a slash in a name": replaced_tree((b"100644", b"a/b")),
    "tree with an empty name": replaced_tree((b"100644", b"")),
    "tree with a mode of leading zeros": replaced_tree((b"040000", b"a")),
    "tree that leads to zeros": nul_sha,
    "tree that is cut short": cut_tree,
    "blob where a tree has to be": blob_for_a_tree,
    "tree where a blob has to be": tree_for_a_blob,
    "branch that leads to a blob": branch_to_a_blob,
    "tag without object": replaced_tag(lambda to: b"type commit\ntag wrong\ntagger " + WHO + b"\n\nx\n"),
    "tag without type": replaced_tag(lambda to: b"object %s\ntag wrong\n\nx\n" % to.encode()),
    "tag without name": replaced_tag(lambda to: b"object %s\ntype commit\n\nx\n" % to.encode()),
    "tag with a wrong tagger": replaced_tag(lambda to: (TAG % to.encode()).replace(b" +0000", b"")),
    "tag of an object of another kind": tag_of_another_kind,
    "tag that leads nowhere": lambda path: point(path, "1" * 40, "refs/tags/nowhere"),
    "reference that holds no id": lambda path: point(path, "rubbish", "refs/tags/v1"),
    "branch without content": lambda path: (path / "refs/heads/main").write_bytes(b"") and None,
    "HEAD that names no branch": lambda path: (path / "HEAD").write_text("nothing\n") and None,
    "packed-refs that cannot be read": lambda path: (path / "packed-refs").write_text("rubbish rubbish\n") and None,
    "packed-refs with a line cut short": packed_refs(lambda content: content[:-20]),
    "packed-refs without its last line end": packed_refs(lambda content: content[:-1]),
    "packed-refs with an empty line": packed_refs(lambda content: content + b"\n"),
    "packed-refs with a comment": packed_refs(lambda content: content + b"# mine\n"),
    "packed-refs with another header": packed_refs(lambda content: content.replace(b"pack-refs with:", b"mine:")),
    "packed-refs with line ends of Windows": packed_refs(lambda content: content.replace(b"\n", b"\r\n")),
    "packed-refs with two targets of a tag": packed_refs(lambda content: content + content[-42:]),
    "packed-refs with a broken name": packed_refs(lambda content: content.replace(b"tags/v1", b"tags/v..1")),
    "packed-refs that is a folder": lambda path: (path / "packed-refs").mkdir(),
    "reference with a space in its name": lambda path: point(path, head(path), "refs/tags/a b"),
    "reference with two dots in its name": lambda path: point(path, head(path), "refs/tags/a..b"),
    "reference that stands for a missing one": holding("refs/heads/x", "ref: refs/heads/nowhere\n"),
    "configuration that cannot be read": holding("config", "[core\n"),
    "configuration that is a folder": lambda path: ((path / "config").unlink(), (path / "config").mkdir())[1],
    "configuration of another format": holding("config", "[core]\n\trepositoryformatversion = 5\n\tbare = true\n"),
    "configuration with an unknown extension": holding(
        "config", "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tours = true\n"
    ),
    "shallow that cannot be read": holding("shallow", "rubbish\n"),
    "pack with a flipped bit": packed(flip("objects/pack/*.pack", 40)),
    "pack with a wrong checksum": packed(flip("objects/pack/*.pack", -1)),
    "index with a wrong checksum": packed(flip("objects/pack/*.idx", -1)),
    "index of another version": packed(index_of_another_version),
    "index without pack": packed(drop("objects/pack/*.pack")),
    "pack without index": packed(drop("objects/pack/*.idx")),
    "multi-pack-index with a wrong checksum": with_extra("multi-pack-index write", "objects/pack/multi-pack-index"),
    "commit-graph with a wrong checksum": with_extra("commit-graph write --reachable", "objects/info/commit-graph"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store of one dataset with three revisions and a tag, all of its objects loose."""
    with connect(tmp_path / "store") as store:
        for number in range(3):
            (store.dataset_update if number else store.dataset_create)(CARS, {"n": number})
        store.tag_create(CARS, "v1", description="One")
        store.tag_create(CARS, "gone")
        store.tag_delete(CARS, "gone")
    return tmp_path / "store"


def damages(folder: Path, **options: object) -> list[Damage]:
    with connect(folder) as store:
        return list(store.verify(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DAMAGES)
def test_what_git_finds_is_found_and_the_other_datasets_are_not_blamed(name: str, folder: Path) -> None:
    path = folder / "physics/cars.git"
    assert (git(path, "fsck", "--full", "--strict").returncode, damages(folder)) == (0, [])
    DAMAGES[name](path)
    assert git(path, "fsck", "--full", "--strict").returncode != 0, "Git finds nothing: the test is wrong"
    assert {damage.where for damage in damages(folder)} == {"physics/cars"}


@pytest.mark.parametrize("name", MENDED_BY_PACKING)
def test_packing_replaces_a_damaged_file_whose_content_can_be_read(name: str, folder: Path, tmp_path: Path) -> None:
    MENDED_BY_PACKING[name](folder / "physics/cars.git")
    (damage,) = damages(folder)
    assert "`metastore pack physics/cars` replaces it" in damage.detail
    with connect(folder) as store:
        assert isinstance(store.storage, GitStorage)
        assert backup(store.storage, tmp_path / "backup").kept == (CARS,)
        store.storage.compact(CARS)
        assert backup(store.storage, tmp_path / "backup").kept == ()
    assert damages(folder) == []


def not_json(path: Path, content: bytes) -> None:
    """Let an older revision hold a descriptor that cannot be read, and the newest a good one."""
    bad = put(path, "blob", content)
    good = put(path, "blob", b"{}")
    for blob in (bad, good):
        made = put(path, "tree", tree_content({"datapackage.json": Entry("100644", blob)}))
        point(path, commit(path, made))


def journal_line(path: Path, content: bytes, name: bytes = b"entry.json") -> None:
    journal = path.parent.parent / "_metastore/journal.git"
    point(journal, commit(journal, tree(journal, (b"100644", name, put(journal, "blob", content)))))


def no_line(path: Path) -> None:
    """Remove the file of the journal's newest line, and write a good line after that."""
    journal = path.parent.parent / "_metastore/journal.git"
    good = tree_of(journal)
    point(journal, commit(journal, tree(journal)))
    point(journal, commit(journal, good))


def moved_note(path: Path) -> None:
    note = path.parent.parent / "_metastore/notes/physics/old"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_bytes(b"{half of")


def shallow(path: Path) -> None:
    newest = head(path)
    removed("HEAD~1")(path)
    (path / "shallow").write_text(f"{newest}\n")


#: Damage that Git cannot know of, and what is said of it.
MORE: dict[str, tuple[Callable[[Path], None], str]] = {
    "an old descriptor that is not JSON": (lambda path: not_json(path, b'{"a",}'), "is not JSON"),
    "an old descriptor with NaN": (lambda path: not_json(path, b'{"a": NaN}'), "NaN is not JSON"),
    "an old descriptor that is a list": (lambda path: not_json(path, b"[]"), "is not a JSON object"),
    "no descriptor": (replaced_tree((b"100644", b"a")), "has no datapackage.json"),
    "a line of the journal that is not JSON": (lambda path: journal_line(path, b"{"), "entry.json of revision"),
    "a line of the journal without a dataset": (lambda path: journal_line(path, b"{}"), "lacks a part"),
    "a line of the journal that is another file": (lambda path: journal_line(path, b"{}", b"other"), "no entry.json"),
    "a line of the journal without files": (no_line, "no entry.json"),
    "a note that cannot be read": (moved_note, "cannot be read"),
    "a branch that is not there": (lambda path: (path / "refs/heads/main").unlink(), "the branch main is missing"),
    "a commit that is said to have no parents": (shallow, "is missing"),
}


@pytest.mark.parametrize("name", MORE)
def test_what_git_cannot_know_is_found_too(name: str, folder: Path) -> None:
    damage, words = MORE[name]
    damage(folder / "physics/cars.git")
    for path in folder.glob("*/*.git"):
        assert git(path, "fsck", "--full", "--strict").returncode == 0
    assert words in " ".join(map(str, damages(folder)))


def test_a_bad_descriptor_that_many_revisions_share_is_reported_once(folder: Path) -> None:
    path = folder / "physics/cars.git"
    not_json(path, b"{")
    not_json(path, b"{")
    assert [damage.kind for damage in damages(folder)] == ["not-a-descriptor"]


@pytest.mark.parametrize("name", ["v1.new", "tmp_old", "pack_git2_x", "tmp_object_git2_x", "former-ids.1-2.new"])
def test_repair_leaves_tags_of_any_name_alone(name: str, folder: Path) -> None:
    with connect(folder) as store:
        store.tag_create(CARS, name)
        for file in (folder / "physics/cars.git/refs").rglob("*"):
            os.utime(file, (1, 1))
        assert list(store.verify(repair=True)) == []
        assert name in [tag.name for tag in store.tag_list(CARS)]


def test_a_branch_that_is_called_like_a_left_over_is_left_alone(folder: Path) -> None:
    path = folder / "physics/cars.git"
    for name in ("tmp_work", "x.new", "pack_git2_y"):
        point(path, head(path), f"refs/heads/{name}")
        os.utime(path / "refs/heads" / name, (1, 1))
    assert damages(folder, repair=True) == []
    assert len(os.listdir(path / "refs/heads")) == 4


def test_heads_that_were_kept_elsewhere_show_a_history_that_was_replaced(folder: Path, tmp_path: Path) -> None:
    with connect(folder) as store:
        kept = {str(CARS): store.revision_read(CARS).id}
        store.dataset_update(CARS, {"n": 4})
        store.dataset_move(CARS, "physics/trains")
        assert list(store.verify(heads=kept)) == []
        store.dataset_purge("physics/trains", force=True)
        assert [damage.kind for damage in store.verify(heads=kept)] == ["gone"]
        store.dataset_create(CARS, {"n": 5})
        assert [(damage.where, damage.kind) for damage in store.verify(heads=kept)] == [("physics/cars", "replaced")]
        assert list(store.verify()) == []


def test_verify_reads_along_all_parents_on_every_storage_that_has_them(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path / "store", sync=False)
    store = metastore.MetaStore(storage, author=ANN, validation="off")
    store.dataset_create(CARS, {}, at=EPOCH)
    path = tmp_path / "store/physics/cars.git"
    side = commit(path, put(path, "tree", tree_content({"datapackage.json": Entry("100644", put(path, "blob", b"{"))})))
    point(path, commit(path, parents=b"parent %s\nparent %s\n" % (head(path).encode(), side.encode())))
    (damage,) = store.verify()
    assert side[:12] in damage.detail


@pytest.mark.parametrize("how", ["empty", "sha256", "folder"])
def test_the_feed_names_a_bad_repository_and_goes_on(how: str, folder: Path) -> None:
    path = folder / "x/new.git"
    path.mkdir(parents=True)
    if how != "folder":
        assert git(path, "init", "-q", "--bare", f"--object-format={'sha1' if how == 'empty' else how}").returncode == 0
    with connect(folder) as store:
        store.dataset_create("z/last", {})
        actions = {str(entry.dataset_id): entry.action for entry in store.changes()}
    assert actions == {"physics/cars": "changed", "x/new": "unreadable", "z/last": "changed"}


@pytest.mark.parametrize("name", ["tag without object", "tag without type"])
def test_a_damaged_tag_is_named_where_it_is_read_and_keeps_nobody_from_the_revisions(name: str, folder: Path) -> None:
    path = folder / "physics/cars.git"
    DAMAGES[name](path)
    with connect(folder) as store:
        for read in (store.tag_read, store.dataset_read, store.revision_read):
            with pytest.raises(StorageCorrupt, match="tag wrong of physics/cars cannot be read"):
                read(CARS, "wrong")
        newest = head(path)
        assert store.revision_read(CARS, newest[:8]).id == store.revision_read(CARS, "v1").id == newest


def test_a_tag_that_leads_nowhere_keeps_nobody_from_the_revisions(folder: Path) -> None:
    path = folder / "physics/cars.git"
    DAMAGES["tag that leads nowhere"](path)
    with connect(folder) as store:
        newest = head(path)
        assert store.revision_read(CARS, newest[:8]).id == newest
        with pytest.raises(StorageCorrupt, match="is missing"):
            store.tag_read(CARS, "nowhere")
        with pytest.raises(RevisionNotFound):
            store.revision_read(CARS, "1" * 8)


@pytest.mark.parametrize("name", ["tag without object", "commit without tree"])
def test_an_object_that_leads_nowhere_is_damage_for_a_clone_too(name: str, folder: Path) -> None:
    DAMAGES[name](folder / "physics/cars.git")
    with GitStorage(folder).objects(CARS) as repository:
        starts = repository.reference_targets().values()
        for find in (reachable, selected):
            with pytest.raises(StorageCorrupt, match="cannot be read"):
                find(repository, starts)
        if name.startswith("tag"):
            with pytest.raises(StorageCorrupt, match="cannot be read"):
                list(references(repository, Request("ls-refs", ("peel",))))


def test_a_tag_of_a_blob_is_no_tag_of_a_revision(folder: Path) -> None:
    path = folder / "physics/cars.git"
    point(path, put(path, "blob", b"x"), "refs/tags/blob")
    with connect(folder) as store:
        with pytest.raises(TagNotFound):
            store.tag_read(CARS, "blob")
        with pytest.raises(RevisionNotFound):
            store.dataset_read(CARS, "blob")


@pytest.mark.parametrize(
    ("content", "name"), [(b"{", b"entry.json"), (b"[]", b"entry.json"), (b"\xff", b"entry.json"), (b"{}", b"other")]
)
def test_a_line_of_the_journal_that_is_none_hides_no_other(
    content: bytes, name: bytes, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(folder) as store:
        before = list(store.journal())
        journal_line(folder / "physics/cars.git", content, name)
        assert list(store.journal()) == before
        assert re.search(r"line [0-9a-f]{40} of the journal is passed over", caplog.text)
        assert [damage.where for damage in store.verify()] == ["_metastore/journal"]
        store.dataset_move(CARS, "physics/autos")
        assert [line.action for line in store.journal()] == ["move", *(line.action for line in before)]


def test_former_ids_that_lead_nowhere_are_named_until_their_notes_are_back(folder: Path, tmp_path: Path) -> None:
    with connect(folder) as store:
        for before, after in (("physics/cars", "sea/cars"), ("sea/cars", "air/cars"), ("air/cars", "sea/cars")):
            store.dataset_move(before, after)
        store.dataset_create("air/cars", {})
        assert damages(folder) == []
        (folder / "_metastore/notes").rename(tmp_path / "notes")
        (damage,) = damages(folder)
        assert str(damage).startswith("physics/cars: sea/cars was here, but no note says so any more")
        assert "copy _metastore/notes/physics/cars from a backup" in damage.detail
        (tmp_path / "notes").rename(folder / "_metastore/notes")
        store.dataset_purge("sea/cars", force=True)
    assert damages(folder) == []


def test_a_dataset_that_is_purged_during_a_check_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(self: GitStorage, dataset_id: DatasetId, *wanted: object) -> None:
        raise DatasetNotFound(dataset_id)

    monkeypatch.setattr(GitStorage, "find", find)
    assert damages(folder) == []
