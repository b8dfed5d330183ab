"""Writes reach the disk before they count and before the call returns, as strace sees them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

#: Every kind of write. `call` leaves a mark in the trace where a call has returned.
WRITES = """
import os, sys, metastore
from metastore.files.durable import replace_file
root = sys.argv[1]

def call(name, made):
    os.access(f"{root}/returned/{name}", os.F_OK)
    return made

store = call("connect", metastore.connect(root, author="Ann Lee <ann@example.org>", validation="off"))
call("create", store.dataset_create("physics/cars", {"n": 1}))
call("update", store.dataset_update("physics/cars", {"n": 2}))
call("tag", store.tag_create("physics/cars", "v1"))
call("rename a tag", store.tag_update("physics/cars", "v1", new_name="v2"))
call("another tag", store.tag_create("physics/cars", "v3"))
call("delete a tag", store.tag_delete("physics/cars", "v3"))
call("move", store.dataset_move("physics/cars", "chemistry/boats"))
call("delete", store.dataset_delete("chemistry/boats"))
call("compact", store.storage.compact(metastore.DatasetId("chemistry", "boats")))
call("purge", store.dataset_purge("chemistry/boats"))

# Git packed a branch whose name has a slash, and removed its folder.
head, repository = store.dataset_create("physics/bikes", {"n": 1}).revision.id, f"{root}/physics/bikes.git"
replace_file(f"{repository}/packed-refs", f"{head} refs/heads/next/x\\n".encode(), sync=True)
replace_file(f"{repository}/HEAD", b"ref: refs/heads/next/x\\n", sync=True)
call("update of a branch in a folder", store.dataset_update("physics/bikes", {"n": 2}))
"""
TRACED = "fsync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat,open,openat,unlink,unlinkat,rmdir,access,faccessat"
#: Where something is made, or thrown away, that does not count; and files that are locked and hold nothing: a lock of
#: ours that comes back is stale, and is removed by the next writer. The feed's clock is reserved ahead; where the stamp
#: of a change is lost, the times of the references stand in for it.
ASIDE = re.compile(r"/objects/tmp_pack_\w+|/_metastore/tmp/\w+")
LOCKS = re.compile(r"/_metastore/(locks|turns)(/|$)|/tmp_object_\w+$|/_metastore/feed/clock$|/changed$|\.lock$")


class Event(NamedTuple):
    """A call to the kernel: `fsync`, `rename`, `link`, `mkdir`, `create`, `remove`, or `returned` of our own."""

    call: str
    path: str
    target: str = ""


def traced(root: Path) -> list[Event]:
    """Make every kind of write, and return what the kernel was asked to do below the store, in order."""
    log = root.with_suffix(".strace")
    options = ["-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", str(log)]
    command = ["strace", *options, sys.executable, "-c", WRITES, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    events = (event for line in log.read_text().splitlines() for event in parsed(line))
    return [event for event in events if below(str(root.parent), event.path)]


def parsed(line: str) -> Iterator[Event]:
    """Read a line of strace's; calls that failed, and opens that make no file, are passed over."""
    call = re.search(r"(\w+)\(", line)
    paths = re.findall(r'"([^"]+)"', line)
    if call is None:
        return
    if call[1].startswith(("access", "faccessat")) and paths and "/returned/" in paths[0]:
        yield Event("returned", paths[0])
    elif " = -1 " in line:
        return
    elif synced := re.search(r"fsync\(\d+<(.+?)(?: \(deleted\))?>\)\s+= 0", line):
        yield Event("fsync", synced[1])
    elif call[1].startswith(("rename", "link")):
        yield Event("link" if call[1].startswith("link") else "rename", *paths)
    elif call[1].startswith("mkdir"):
        yield Event("mkdir", paths[0])
    elif call[1].startswith("open") and "O_CREAT" in line:
        yield Event("create", paths[0])
    elif call[1] in ("unlink", "rmdir", "unlinkat"):
        yield Event("remove", named(call[1], line, paths))


def named(call: str, line: str, paths: list[str]) -> str:
    """Return the whole path that a line removes: shutil names files relative to a folder that it holds open."""
    folder = re.search(r"unlinkat\(\d+<(.+?)>", line) if call == "unlinkat" else None
    return f"{folder[1]}/{paths[0]}" if folder else paths[0]


class Disk:
    """Which contents and names a power cut would lose, as far as the kernel's promises go."""

    def __init__(self) -> None:
        self.contents: set[str] = set()
        self.names: set[str] = set()

    def apply(self, event: Event) -> None:
        call, path, target = event
        if call == "fsync":
            self.contents.discard(path)
            self.names = {name for name in self.names if os.path.dirname(name) != path}
        elif call == "mkdir":
            self.names.add(path)
        elif call == "create":
            self.names.add(path)
            self.contents.add(path)
        elif call == "remove":
            self._forget(path)
            if "/refs/" in path:  # a tag that comes back is wrong too
                self.names.add(path)
        elif call in ("rename", "link"):
            if path in self.contents:
                self.contents.add(target)
            if call == "rename":
                self._forget(path)
            self.names.add(target)

    def _forget(self, path: str) -> None:
        self.names = {name for name in self.names if not below(path, name)}
        self.contents = {name for name in self.contents if not below(path, name)}

    def lost(self, folder: str = "") -> set[str]:
        """Return what would be lost, below a folder."""
        lost = {path for path in self.names | self.contents if below(folder, path) or not folder}
        return {path for path in lost if not LOCKS.search(path)}


def below(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    return traced(tmp_path_factory.mktemp("durability") / "store")


def test_a_file_has_its_content_on_the_disk_before_it_counts(events: list[Event]) -> None:
    disk, counted = Disk(), 0
    for event in events:
        if event.call in ("rename", "link") and not ASIDE.search(event.target):
            counted += 1
            assert event.path not in disk.contents, f"{event.target} may be empty after a power cut"
        disk.apply(event)
    assert counted > 20


def test_objects_and_repositories_are_on_the_disk_before_anything_leads_to_them(events: list[Event]) -> None:
    disk, leading = Disk(), 0
    for event in events:
        if event.call == "rename" and event.target.endswith(".git"):
            leading += 1
            assert disk.lost(event.path) <= {event.path}, f"{event.target} may have holes after a power cut"
        elif event.call == "rename" and (where := re.match(r"(.+\.git)/(refs/.+|packed-refs)$", event.target)):
            leading += 1
            assert disk.lost(f"{where[1]}/objects") == set(), f"{event.target} may lead nowhere after a power cut"
        disk.apply(event)
    assert leading > 8


def test_every_name_is_on_the_disk_before_the_call_returns(events: list[Event]) -> None:
    disk, returned = Disk(), []
    for event in events:
        if event.call == "returned":
            returned.append(os.path.basename(event.path))
            lost = {path for path in disk.lost() if not ASIDE.search(path)}
            assert lost == set(), f"{returned[-1]}: these may be gone after a power cut"
        disk.apply(event)
    assert len(returned) == WRITES.count("\ncall(") + 1


def test_a_pack_is_in_its_place_before_its_index_and_both_before_what_they_replace_goes(events: list[Event]) -> None:
    disk, there, packs = Disk(), set(), 0
    for event in events:
        if event.call == "rename" and "/objects/pack/" in event.target:
            there.add(event.target)
            if event.target.endswith(".idx"):
                packs += 1
                assert event.target.removesuffix("idx") + "pack" in there, "readers find an index without a pack"
        if event.call == "remove" and re.search(r"/objects/[0-9a-f]{2}/|/objects/pack/", event.path):
            repository = event.path.partition("/objects/")[0]
            lost = {path for path in disk.lost(f"{repository}/objects") if not ASIDE.search(path)}
            assert lost == set(), f"{event.path} goes before what replaces it is on the disk"
        disk.apply(event)
    assert packs
