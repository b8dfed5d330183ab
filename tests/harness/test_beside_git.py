"""Plain Git at work in the repositories of a store: its locks are respected, and it respects ours."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import metastore
from metastore.errors import RevisionConflict, StorageBusy
from metastore.git.history import next_objects
from metastore.storage.local import _locks as locks
from metastore.storage.local import _objects as objects
from metastore.storage.local._config import lacking
from metastore.storage.local._joining import join
from metastore.storage.local._packs import pack_names
from metastore.storage.local.backup import backup
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from ..conftest import ANN, change
from ..processes import SOAK, fsck
from ..test_storage_contract import tag_of

CARS = DatasetId("physics", "cars")


def git(folder: Path | str, *command: str) -> str:
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def storage(tmp_path: Path) -> GitStorage:
    storage = GitStorage(tmp_path / "store", sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    for name in ("v1", "v2"):
        storage.tag_create(CARS, tag_of(name, first.id))
    return storage


@pytest.fixture
def repository(storage: GitStorage) -> Path:
    return Path(storage.layout.path(CARS))


WRITES: dict[str, tuple[str, Callable[[GitStorage], object]]] = {
    "append": (
        "refs/heads/main",
        lambda s: s.append(CARS, {"a": b"2"}, change(), parent=s.resolve(CARS, None).id),
    ),
    "tag": ("refs/tags/v3", lambda s: s.tag_create(CARS, tag_of("v3", s.resolve(CARS, None).id))),
    "rename a tag": (
        "refs/tags/v3",
        lambda s: s.tag_update(CARS, "v1", tag_of("v3", s.resolve(CARS, None).id), expected=s.tag(CARS, "v1").id),
    ),
    "rename a tag, packed": (
        "packed-refs",
        lambda s: s.tag_update(CARS, "v1", tag_of("v3", s.resolve(CARS, None).id), expected=s.tag(CARS, "v1").id),
    ),
    "delete a tag": ("packed-refs", lambda s: s.tag_delete(CARS, "v1", expected=s.tag(CARS, "v1").id)),
}


def seen(storage: GitStorage) -> tuple[object, list[object]]:
    return storage.resolve(CARS, None), list(storage.tags(CARS))


@pytest.mark.parametrize("write", WRITES)
def test_a_write_waits_for_a_lock_that_git_holds_and_then_lands(
    write: str, storage: GitStorage, repository: Path
) -> None:
    file, call = WRITES[write]
    lock = repository / f"{file}.lock"
    lock.write_bytes(b"")
    timer = threading.Timer(0.3, lock.unlink)
    before, began = seen(storage), time.monotonic()
    timer.start()
    call(storage)
    assert time.monotonic() - began >= 0.25
    assert seen(storage) != before
    assert not [path for path in repository.rglob("*.lock") if path.is_symlink() or path.exists()]


@pytest.mark.parametrize("write", WRITES)
def test_a_lock_that_git_left_is_named_and_nothing_has_changed(
    write: str, storage: GitStorage, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_PATIENCE", 0.05)
    file, call = WRITES[write]
    lock = repository / f"{file}.lock"
    lock.write_bytes(b"")
    before = seen(storage)
    with pytest.raises(StorageBusy, match=f"remove {lock}"):
        call(storage)
    assert seen(GitStorage(storage.layout.root)) == before
    assert lock.read_bytes() == b""
    lock.unlink()
    call(storage)
    assert seen(storage) != before


@pytest.mark.parametrize("write", WRITES)
def test_a_lock_that_a_killed_writer_left_stops_nobody(write: str, storage: GitStorage, repository: Path) -> None:
    file, call = WRITES[write]
    (repository / f"{file}.lock").symlink_to("metastore")
    (repository / f"{file}..lock").write_bytes(b"half of so")
    before = seen(storage)
    call(storage)
    assert seen(storage) != before


def left_behind(repository: Path) -> Iterator[Path]:
    for name in ("refs/heads/main", "refs/tags/v1", "packed-refs", "HEAD", "config"):
        yield repository / f"{name}.lock"


def test_the_next_writer_removes_every_lock_that_a_killed_one_left(storage: GitStorage, repository: Path) -> None:
    for lock in left_behind(repository):
        lock.symlink_to("metastore")
    (repository / "refs/tags/v9..lock").write_bytes(b"half of so")
    WRITES["append"][1](storage)
    assert not [path for path in repository.rglob("*.lock") if path.is_symlink() or path.exists()]
    git(repository, "gc", "-q")


def test_verify_names_the_locks_that_a_killed_writer_left_and_repair_removes_them(
    storage: GitStorage, repository: Path
) -> None:
    for lock in left_behind(repository):
        lock.symlink_to("metastore")
    assert {damage.kind for damage in storage.verify()} == {"left-over-file"}
    assert len(list(storage.verify(repair=True))) == 5
    assert list(storage.verify()) == []


def test_the_locks_of_others_are_no_left_overs(storage: GitStorage, repository: Path) -> None:
    (repository / "refs/tags/v1.lock").write_bytes(b"")
    (repository / "refs/tags/v2.lock").symlink_to("somebody")
    assert list(storage.verify(repair=True)) == []
    WRITES["append"][1](storage)
    assert (repository / "refs/tags/v1.lock").exists()
    assert (repository / "refs/tags/v2.lock").is_symlink()


@contextmanager
def git_holds(lock: Path) -> Iterator[None]:
    lock.touch(exist_ok=False)
    yield
    lock.unlink()


def test_what_git_does_under_its_lock_is_seen_by_the_writer_that_waits(storage: GitStorage, repository: Path) -> None:
    first = storage.resolve(CARS, None)
    other = storage.append(CARS, {"a": b"theirs"}, change(), parent=first.id)
    branch = repository / "refs/heads/main"
    branch.write_text(f"{first.id}\n")
    failed: list[Exception] = []

    def write() -> None:
        try:
            storage.append(CARS, {"a": b"ours"}, change(), parent=first.id)
        except RevisionConflict as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    with git_holds(repository / "refs/heads/main.lock"):
        writer.start()
        time.sleep(0.2)
        branch.write_text(f"{other.id}\n")
    writer.join()
    assert [type(error) for error in failed] == [RevisionConflict]
    assert storage.resolve(CARS, None) == other


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("command", [["gc", "-q"], ["pack-refs", "--all"]], ids=" ".join)
def test_an_update_while_git_packs_the_branch_is_kept(command: list[str], storage: GitStorage, tmp_path: Path) -> None:
    """Git has written the old value into `packed-refs`, and is about to remove the file with the new one."""
    with slow_git(storage, "unlink", "./refs/heads/main", command, seconds=1):  # the writer waits for Git
        revision = storage.append(CARS, {"a": b"2"}, change(), parent=storage.resolve(CARS, None).id)
    assert GitStorage(storage.layout.root).resolve(CARS, None) == revision
    fsck(tmp_path / "store")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("command", [["gc", "-q"], ["pack-refs", "--all"]], ids=" ".join)
def test_changes_of_tags_while_git_packs_references_are_kept(
    command: list[str], storage: GitStorage, repository: Path, tmp_path: Path
) -> None:
    """Git has written both tags into `packed-refs.new`, and is about to rename it."""
    with slow_git(storage, "rename", "packed-refs.new", command, seconds=1):  # the writer waits for Git
        WRITES["rename a tag"][1](storage)
        storage.tag_delete(CARS, "v2", expected=storage.tag(CARS, "v2").id)
    assert [tag.name for tag in GitStorage(storage.layout.root).tags(CARS)] == ["v3"]
    fsck(tmp_path / "store")


@contextmanager
def slow_git(storage: GitStorage, call: str, path: str, command: list[str], seconds: int = 200) -> Iterator[None]:
    """Run the body while Git is halted before a system call on a path: until the body has ended, or for some seconds.

    Of `rename`, strace compares no paths: the first one of each process is delayed.
    """
    waiting = ["sh", "-c", 'kill -STOP $$; exec git -c "safe.directory=*" "$@"', "sh", *command]
    program = subprocess.Popen(waiting, cwd=storage.layout.path(CARS), stderr=subprocess.PIPE, text=True)
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
    with halted(program, storage, call, path, lambda: os.kill(program.pid, signal.SIGCONT), seconds):
        yield
    program.communicate()


@contextmanager
def halted(
    program: subprocess.Popen[str],
    storage: GitStorage,
    call: str,
    path: str,
    begin: Callable[[], object],
    seconds: int = 200,
) -> Iterator[None]:
    """Run the body while a program is halted before a system call on a path, to which `begin` brings it."""
    log, repository = Path(f"{storage.layout.root}/../trace"), storage.layout.path(CARS)
    which = [f"trace={call}", "-e", f"inject={call}:delay_enter={seconds * 1_000_000}:when=1"]
    of_path = ["-P", path] if call != "rename" else []
    tracing = ["strace", "-f", "-o", str(log), *of_path, "-e", *which, "-p", str(program.pid)]
    strace = subprocess.Popen(tracing, cwd=repository, stderr=subprocess.PIPE, text=True)
    status = Path(f"/proc/{program.pid}/status")
    wait_for(lambda: "TracerPid:\t0\n" not in status.read_text() or strace.poll() is not None)
    begin()
    at_it = re.compile(rf" {call}\(.*{re.escape(path)}")
    wait_for(lambda: bool(log.exists() and at_it.search(log.read_text())) or program.poll() is not None)
    is_halted = program.poll() is None
    try:
        if is_halted:
            yield
    finally:
        strace.terminate()  # it lets go of the program, which does the call now
        _, said = strace.communicate()
    if "ptrace" in said or "Operation not permitted" in said:
        pytest.skip("strace may not trace here")
    assert is_halted, "Git did not come to the call"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_branch_and_tags_that_git_packed_are_read_and_written(storage: GitStorage, repository: Path) -> None:
    before = seen(storage)
    git(repository, "pack-refs", "--all")
    assert not (repository / "refs/heads/main").exists()
    assert seen(storage) == before == seen(GitStorage(storage.layout.root))
    for write in ("append", "rename a tag"):
        WRITES[write][1](storage)
    storage.tag_delete(CARS, "v2", expected=storage.tag(CARS, "v2").id)
    assert git(repository, "rev-parse", "main") == storage.resolve(CARS, None).id
    assert git(repository, "tag").split() == ["v3"]


CONFIGS = {
    b"": False,
    b"[core]\n\tbare = true\n": False,
    b"[receive]\n\thideRefs = refs\n": True,
    b"[Receive] HIDEREFS=refs # a word\n": True,
    b'[receive]\n\thideRefs = "refs"\n': True,
    b"[transfer]\n\thideRefs = refs\n": True,
    b"[receive]\n\thideRefs = refs/pull\n": False,
    b"[receive]\n\thideRefs = refs\n\thideRefs = !refs/heads\n": False,
    b"# hideRefs = refs\n": False,
    b"[uploadpack]\n\thideRefs = refs\n": False,
    b'[receive "x"]\n\thideRefs = refs\n': False,
}


@pytest.mark.parametrize("config", CONFIGS)
def test_whether_a_configuration_refuses_pushes_is_told_as_git_tells_it(
    config: bytes, storage: GitStorage, repository: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(repository), "clone")
    (repository / "config").write_bytes(b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n" + config)
    push = ["git", "-c", "safe.directory=*", "push", "-q", "origin", "main:refs/heads/other"]
    refused = subprocess.run(push, cwd=tmp_path / "clone", capture_output=True).returncode != 0
    assert (b"hideRefs" not in lacking((repository / "config").read_bytes())) is refused is CONFIGS[config]
    WRITES["append"][1](storage)
    assert lacking((repository / "config").read_bytes()) == b""


def test_a_repository_put_back_as_the_documentation_says_refuses_pushes_at_once(
    storage: GitStorage, repository: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(repository), "clone")
    shutil.rmtree(repository)
    recipe = (Path(__file__).parents[2] / "docs/howto/recover.md").read_text()
    assert "git clone --mirror -c receive.hideRefs=refs CLONE STORE/OWNER/NAME.git" in recipe
    git(tmp_path, "clone", "--mirror", "-c", "receive.hideRefs=refs", "clone", str(repository))
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path / "clone", "push", str(repository), "main:refs/heads/other")
    store = metastore.connect(storage.layout.root, author=ANN, validation="off")
    assert [tag.name for tag in store.tag_list(CARS)] == ["v1", "v2"]
    store.dataset_update(CARS, {"name": "cars"})


#: Each of them deletes objects, or packs, that nothing leads to.
DELETING = (
    ["repack", "-a", "-d", "-q"],
    ["repack", "-A", "-d", "-q"],
    ["repack", "--cruft", "--cruft-expiration=now", "-d", "-q"],
    ["prune", "--expire=now"],
    ["gc", "--prune=now", "-q"],
    ["gc", "--prune=now", "--cruft", "-q"],
    ["multi-pack-index", "expire"],
    ["maintenance", "run", "--quiet", "--task=loose-objects", "--task=incremental-repack", "--task=gc"],
)


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
@pytest.mark.parametrize("command", DELETING, ids=" ".join)
def test_git_deletes_no_object_whose_reference_is_about_to_be_set(
    command: list[str], packed: bool, storage: GitStorage, repository: Path
) -> None:
    head = storage.resolve(CARS, None).id
    with storage.open(CARS) as opened:
        objects, commit = next_objects(opened, head, {"a": os.urandom(64)}, change())
        opened.put(objects)
    if packed:
        storage.pack_loose(CARS)
        storage.append(CARS, {"b": b"1"}, change(), parent=head)
        storage.pack_loose(CARS)
        beside(repository, "multi-pack-index", "write")
    for _ in range(2):  # what is packed as a piece of rubbish by the first run is deleted by the second one
        beside(repository, *command)
    with GitStorage(storage.layout.root).open(CARS) as opened:
        assert {identity: opened.read_uncached(identity) for identity in objects} == objects
    git(repository, "update-ref", "refs/heads/main", commit)
    git(repository, "fsck", "--strict", "--no-dangling")


def beside(repository: Path, *command: str) -> None:
    """Run Git, which may refuse."""
    run = ["git", "-c", "safe.directory=*", "-c", "gc.auto=0", *command]
    done = subprocess.run(run, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0 or "precious-objects" in done.stderr, done.stderr


@pytest.mark.parametrize("write", [*WRITES, "pack"])
def test_a_repository_that_git_made_keeps_its_objects_from_the_first_write_on(
    write: str, storage: GitStorage, repository: Path
) -> None:
    (repository / "config").write_bytes(b"[core]\n\tbare = true\n[extensions]\n\tpreciousObjects = false\n")
    storage.compact(CARS) if write == "pack" else WRITES[write][1](storage)
    assert git(repository, "config", "--bool", "extensions.preciousObjects") == "true"
    assert git(repository, "config", "--bool", "core.multiPackIndex") == "false"
    assert git(repository, "config", "receive.hideRefs") == "refs"


LOOPS = (
    ["gc", "-q"],
    ["gc", "--prune=now", "-q"],
    ["repack", "-a", "-d", "-q"],
    ["repack", "-a", "-q"],
    ["prune-packed"],
    ["pack-refs", "--all"],
    ["maintenance", "run", "--quiet"],
    ["multi-pack-index", "write", "--no-progress"],
)
SECONDS = 3600 if SOAK else 60
#: How long a worker pauses on average between two rounds: writers a tenth of it, others four times as long, in seconds.
PAUSE = 0.0 if SOAK else 1.0
#: Each worker works at least so many times, even on a slow machine.
LEAST = 3


def test_packing_leaves_no_index_over_packs_that_are_gone(
    storage: GitStorage, repository: Path, tmp_path: Path
) -> None:
    for number in range(3):
        storage.append(CARS, {"a": str(number).encode()}, change(), parent=storage.resolve(CARS, None).id)
        storage.pack_loose(CARS)
    git(repository, "multi-pack-index", "write")
    storage.compact(CARS)
    fsck(tmp_path / "store")


@pytest.fixture
def unindexed(storage: GitStorage, repository: Path) -> Path:
    """A pack without its index, as `git gc` leaves one that was made again after it had seen the index alone."""
    storage.pack_loose(CARS)
    (index,) = (repository / "objects" / "pack").glob("*.idx")
    index.unlink()
    return index


def test_a_pack_that_lost_its_index_is_read_and_has_one_again(storage: GitStorage, unindexed: Path) -> None:
    assert GitStorage(storage.layout.root).find(CARS, "v1", "a")[1] == b"1"
    assert unindexed.exists()
    assert list(GitStorage(storage.layout.root).verify()) == []


def test_a_backup_has_what_is_in_a_pack_that_lost_its_index(
    storage: GitStorage, unindexed: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert backup(storage, tmp_path / "backup").kept == ()
        assert GitStorage(tmp_path / "backup").find(CARS, "v1", "a")[1] == b"1"
        unindexed.unlink()


def test_verify_names_what_a_pack_without_its_index_hides_and_changes_nothing(
    storage: GitStorage, unindexed: Path
) -> None:
    assert list(GitStorage(storage.layout.root).verify()) != []
    assert not unindexed.exists()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_pack_is_read_whose_new_index_git_gc_removes_as_garbage(storage: GitStorage, repository: Path) -> None:
    """`git gc` has seen the index alone; before it removes it, `git repack` makes the same pack again."""
    git(repository, "repack", "-a", "-q")
    (index,) = (repository / "objects" / "pack").glob("*.idx")
    index.with_suffix(".pack").unlink()
    with slow_git(storage, "unlink", f"./objects/pack/{index.name}", ["gc", "-q"]):
        git(repository, "repack", "-a", "-q")
        git(repository, "prune-packed")
        assert list(storage.verify()) == []
    assert not index.exists()
    assert index.with_suffix(".pack").exists()
    assert GitStorage(storage.layout.root).find(CARS, "v1", "a")[1] == b"1"
    assert list(GitStorage(storage.layout.root).verify()) == []
    fsck(Path(storage.layout.root))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_git_opens_a_pack_that_was_replaced_since_it_looked_again(storage: GitStorage, repository: Path) -> None:
    """Git misses an object that was just packed, lists the packs once more, and is slow to open the one with it."""
    head = storage.resolve(CARS, None).id
    for number in range(8):
        newest = storage.append(CARS, {"a": str(number).encode()}, change(), parent=storage.resolve(CARS, None).id).id
        if number < 7:
            pack_without_joining(storage)
    command = ["git", "-c", "safe.directory=*", "cat-file", "--batch-check=%(objecttype)"]
    with subprocess.Popen(
        command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as git_program:
        assert git_program.stdin is not None
        assert git_program.stdout is not None
        print(head, file=git_program.stdin, flush=True)
        assert git_program.stdout.readline() == "commit\n"
        new = pack_without_joining(storage)
        index = f"./objects/pack/{new}.idx"
        ask = partial(print, newest, file=git_program.stdin, flush=True)
        with halted(git_program, storage, "openat", index, ask):
            for number in range(12):
                join(str(repository), most=1, sync=False)
                storage.append(CARS, {"b": b"%d" % number}, change(), parent=storage.resolve(CARS, None).id)
                pack_without_joining(storage)
        assert git_program.stdout.readline() == "commit\n"
        git_program.stdin.close()


def pack_without_joining(storage: GitStorage) -> str:
    """Put loose objects into one more pack, and return its name."""
    path = storage.layout.path(CARS)
    before = pack_names(path)
    with storage.lock(CARS), storage.open(CARS) as opened:
        opened.database.pack_loose()
    (new,) = pack_names(path) - before
    return new


def test_packing_does_not_remove_half_of_a_pack_that_git_is_making_again(storage: GitStorage, repository: Path) -> None:
    """`git repack` has put the pack in its place, and has yet to do so with its index."""
    git(repository, "repack", "-a", "-q")
    (index,) = (repository / "objects" / "pack").glob("*.idx")
    unfinished = index.with_name(f".tmp-1234-{index.name}")
    shutil.copy(index, unfinished)
    age(index.with_suffix(".pack"))
    storage.compact(CARS)
    assert index.with_suffix(".pack").exists()
    unfinished.rename(index)
    assert {file.stem for file in index.parent.glob("*.idx")} == {file.stem for file in index.parent.glob("*.pack")}
    storage.compact(CARS)
    assert len(list(index.parent.glob("*.pack"))) == 1


def age(file: Path) -> None:
    """Let a file be older than any running process."""
    os.utime(file, (time.time() - 7200,) * 2)


def test_repair_indexes_a_pack_that_lost_its_index(storage: GitStorage, unindexed: Path) -> None:
    pack = unindexed.with_suffix(".pack")
    age(pack)
    damage, other = metastore.connect(storage.layout.root).verify(repair=True)
    assert str(damage) == f"physics/cars: objects/pack/{pack.name} had no index (repaired)"
    assert "has no datapackage.json" in str(other)
    assert list(GitStorage(storage.layout.root).verify()) == []


def test_repair_removes_an_index_without_a_pack_only_if_its_objects_are_elsewhere(
    storage: GitStorage, repository: Path
) -> None:
    git(repository, "repack", "-a", "-q")
    (index,) = (repository / "objects" / "pack").glob("*.idx")
    index.with_suffix(".pack").unlink()
    age(index)
    (lost, *_) = (path for path in repository.glob("objects/??/*"))
    aside = lost.rename(repository / "aside")
    assert [damage.repaired for damage in storage.verify(repair=True) if index.name in str(damage)] == [False]
    aside.rename(lost)
    assert [damage.repaired for damage in storage.verify(repair=True) if index.name in str(damage)] == [True]
    assert not index.exists()
    assert list(storage.verify()) == []


def test_packing_takes_in_a_pack_that_lost_its_index(storage: GitStorage, unindexed: Path) -> None:
    storage.append(CARS, {"a": b"2"}, change(), parent=GitStorage(storage.layout.root).resolve(CARS, None).id)
    unindexed.unlink(missing_ok=True)
    age(unindexed.with_suffix(".pack"))
    storage.compact(CARS)
    assert len(list(unindexed.parent.glob("*.pack"))) == 1
    assert GitStorage(storage.layout.root).find(CARS, "v1", "a")[1] == b"1"


def test_a_damaged_pack_without_an_index_is_tried_once(
    storage: GitStorage, unindexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = unindexed.with_suffix(".pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-10])
    runs: list[list[str]] = []
    program = objects.run
    monkeypatch.setattr(objects, "run", lambda command: (runs.append(command), program(command))[1])
    database = objects.ObjectDatabase(str(unindexed.parents[2]), sync=False)
    assert [database.index_again(), database.index_again()] == [{pack.stem}, set()]
    assert len(runs) == 1
    assert not unindexed.exists()


def test_nothing_acknowledged_is_lost_while_git_works_beside_writers(
    tmp_path: Path, counted: Callable[..., None]
) -> None:
    """Writers of revisions and of tags, beside loops of what Git's own housekeeping does, clones and fetches."""
    root, deadline = tmp_path / "store", time.monotonic() + SECONDS
    Worker.failed.clear()
    GitStorage(root, sync=False).create(CARS, {"a": b"0"}, change())
    writers = [Revisions(root, deadline), Revisions(root, deadline), *(Tags(root, deadline, each) for each in "xy")]
    beside = [*(Loop(root, deadline, command) for command in LOOPS), Clones(root, tmp_path, deadline)]
    beside.append(Backups(root, tmp_path / "backup", deadline))
    for thread in (*writers, *beside):
        thread.start()
    for thread in (*writers, *beside):
        thread.join()
    assert [thread.error for thread in (*writers, *beside) if thread.error] == []
    with metastore.connect(root) as store:
        history = {revision.id for revision in store.revision_list(CARS)}
        tags = {tag.name: tag.revision for tag in store.tag_list(CARS)}
    acknowledged = [each for writer in writers if isinstance(writer, Revisions) for each in writer.acknowledged]
    expected = {name: at for writer in writers if isinstance(writer, Tags) for name, at in writer.tags.items()}
    rounds = {
        f"rounds_of_{kind.__name__.lower()}": sum(each.rounds for each in (*writers, *beside) if isinstance(each, kind))
        for kind in (Tags, Loop, Clones, Backups)
    }
    refused = sum(each.failures for each in beside if isinstance(each, Clones))
    lost = len(set(acknowledged) - history)
    counted(seconds=SECONDS, updates_acknowledged=len(acknowledged), lost=lost, **rounds, clones_that_failed=refused)
    assert set(acknowledged) <= history
    assert tags == expected
    assert len(acknowledged) > 10
    fsck(root)
    over_packs = "objects/pack/multi-pack-index names packs that are gone"
    assert [each for each in GitStorage(root).verify(repair=True) if each.detail != over_packs] == []
    assert list(GitStorage(root).verify()) == list(GitStorage(tmp_path / "backup").verify()) == []


class Worker(threading.Thread):
    """Works again and again until a deadline, or until another worker fails."""

    failed = threading.Event()
    pause = 4 * PAUSE

    def __init__(self, root: Path, deadline: float) -> None:
        super().__init__()
        self.root, self.deadline = root, deadline
        self.rounds, self.error = 0, ""

    def run(self) -> None:
        try:
            while (time.monotonic() < self.deadline or self.rounds < LEAST) and not self.failed.is_set():
                self.work()
                self.rounds += 1
                self.failed.wait(random.uniform(0, 2 * self.pause))
        except Exception:  # named in the assertion of the test
            self.failed.set()
            packs = sorted(os.listdir(self.root / "physics" / "cars.git" / "objects" / "pack"))
            self.error = f"{type(self).__name__}: {traceback.format_exc()}{packs}"

    def work(self) -> None:
        raise NotImplementedError


class Revisions(Worker):
    pause = PAUSE / 10

    def __init__(self, root: Path, deadline: float) -> None:
        super().__init__(root, deadline)
        self.storage = GitStorage(root, sync=False)
        self.acknowledged: list[str] = []

    def work(self) -> None:
        head = self.storage.resolve(CARS, None)
        try:
            made = self.storage.append(CARS, {"a": os.urandom(8).hex().encode()}, change(), parent=head.id)
            self.acknowledged.append(made.id)
        except RevisionConflict:  # the other writer was faster
            pass


class Tags(Worker):
    pause = PAUSE / 10

    def __init__(self, root: Path, deadline: float, prefix: str) -> None:
        super().__init__(root, deadline)
        self.storage, self.prefix = GitStorage(root, sync=False), prefix
        self.tags: dict[str, str] = {}

    def work(self) -> None:
        head, names = self.storage.resolve(CARS, None).id, [f"{self.prefix}{self.rounds}", f"{self.prefix}new"]
        made = self.storage.tag_create(CARS, tag_of(names[0], head))
        self.tags[names[0]] = head
        if self.rounds % 3 == 1:
            made = self.storage.tag_update(CARS, names[0], tag_of(f"{names[0]}.r", head), expected=made.id)
            self.tags[f"{names[0]}.r"] = self.tags.pop(names[0])
        if self.rounds % 3 == 2:
            self.storage.tag_delete(CARS, names[0], expected=made.id)
            del self.tags[names[0]]


class Loop(Worker):
    def __init__(self, root: Path, deadline: float, command: list[str]) -> None:
        super().__init__(root, deadline)
        self.command, self.name_of_loop = command, " " + " ".join(command)

    def work(self) -> None:
        run = ["git", "-c", "safe.directory=*", "-c", "gc.auto=0", *self.command]
        done = subprocess.run(run, cwd=self.root / "physics" / "cars.git", capture_output=True, text=True)
        if done.returncode and "lock" not in done.stderr and "already" not in done.stderr:
            # Git's commands stumble over one another; only what they leave behind matters.
            self.stumbled = done.stderr


class Clones(Worker):
    """Clones and fetches. Git looks once more for a pack that has gone; a second one that goes then is its error."""

    def __init__(self, root: Path, folder: Path, deadline: float) -> None:
        super().__init__(root, deadline)
        self.folder, self.failures = folder, 0

    def work(self) -> None:
        target = self.folder / f"clone{self.rounds}"
        source = str(self.root / "physics" / "cars.git")
        try:
            git(self.folder, "clone", "-q", "--mirror", f"file://{source}", str(target))
            git(target, "fetch", "-q", "origin")
        except subprocess.CalledProcessError:
            self.failures += 1
        shutil.rmtree(target, ignore_errors=True)


class Backups(Worker):
    def __init__(self, root: Path, target: Path, deadline: float) -> None:
        super().__init__(root, deadline)
        self.storage, self.target = GitStorage(root, sync=False), target

    def work(self) -> None:
        report = backup(self.storage, self.target)
        assert report.kept == ()
        # A storage keeps no journal, so that nothing accounts for the tags that were removed.
        assert all(lost.reference.startswith("refs/tags/") for lost in report.lost)
        time.sleep(0.3)  # flock is not fair: who asks again at once mostly gets it
