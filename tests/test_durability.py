"""What has to reach the disk before a call returns, seen from outside with strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WRITES = """
import sys, metastore
store = metastore.connect(sys.argv[1], author="Ann Lee <ann@example.org>", validation="off")
store.dataset_create("physics/cars", {"n": 1})
store.dataset_update("physics/cars", {"n": 2})
store.tag_create("physics/cars", "v1")
store.tag_update("physics/cars", "v1", new_name="v2")
store.dataset_move("physics/cars", "physics/boats")
store.dataset_delete("physics/boats")
store.storage.compact(metastore.DatasetId("physics", "boats"))
store.dataset_purge("physics/boats")
"""
#: Where something is made, or thrown away, that does not count.
ASIDE = re.compile(r"/objects/tmp_pack_\w+/|/_metastore/tmp/\w+$")


def traced(root: Path) -> list[tuple[str, str, str]]:
    """Make every kind of write; return ("fsync", path, "") and ("rename", from, to) in order, below the store."""
    log = root.with_suffix(".strace")
    calls = "trace=fsync,rename,renameat,renameat2,link,linkat"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(log), sys.executable, "-c", WRITES, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    found = []
    for line in log.read_text().splitlines():
        if synced := re.search(r"fsync\(\d+<(.+?)(?: \(deleted\))?>\)\s+= 0", line):
            found.append(("fsync", synced[1], ""))
        elif moved := re.search(r'(?:rename|link)\w*\((?:[^"]*)"([^"]+)",(?:[^"]*)"([^"]+)".*= 0', line):
            found.append(("rename", moved[1], moved[2]))
    return [row for row in found if row[1].startswith(str(root))]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_file_is_durable_before_it_counts_and_its_name_before_the_call_returns(tmp_path: Path) -> None:
    root = tmp_path / "store"
    rows = traced(root)
    renames = [(place, row[1], row[2]) for place, row in enumerate(rows) if row[0] == "rename"]
    counted = [(place, source, target) for place, source, target in renames if not ASIDE.search(target)]
    assert len(counted) > 20
    for place, source, target in counted:
        if not target.endswith(".git"):  # of a folder, what is in it was looked at by itself
            assert ("fsync", source, "") in rows[:place], f"{target} may be empty after a power cut"
        assert ("fsync", os.path.dirname(target), "") in rows[place:], f"{target} may be gone after a power cut"
