"""Text that others stored can forge nothing on a terminal, whatever command prints it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metastore
from metastore import InvalidInput, bundle
from metastore.printable import printable, printable_lines

from .conftest import ANN
from .terminal import on_terminal

#: Unicode's controls and what reorders or hides text, one by one as their tables list them.
CONTROLS = [
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFFF9, 0xFFFC),
    0xE0001,
    0xE0041,
]
#: What goes into each field: every control, a line that pretends to be ours, and a screen that is cleared.
EVIL = (
    "".join(f"{chr(code)}." for code in CONTROLS if code) + "\nFORGED\r\x1b[2J\x1b[31mFORGED\x1b[0m\u202eDEGROF\x9b2J"
)
ONE_LINE = EVIL.replace("\n", "").replace("\r", "")
TEXTS = (EVIL, ONE_LINE, "harmless")
CARS = "physics/cars"
COMMANDS = [
    "dataset read physics/cars",
    "dataset read physics/cars --raw",
    "dataset read physics/broken --raw",
    "dataset list",
    "resource read physics/cars evil",
    "project read physics/cars",
    "revision list physics/cars --summary",
    "revision list physics/cars --json",
    "revision read physics/cars",
    "revision diff physics/cars HEAD~1",
    "revision diff physics/cars HEAD~1 --unified",
    "revision diff physics/cars HEAD~1 --patch",
    "revision diff physics/broken HEAD~1",
    "diff physics/cars@HEAD~1 physics/cars --summary",
    "blame physics/cars",
    "tag list physics/cars",
    "tag read physics/cars v1",
    "journal",
    "changes",
    "search FORGED --facet keyword",
    "search FORGED --format csv",
    "dataset list --format table",
    "dataset list --format csv --long",
    "revision list physics/cars --format csv",
    "revision list physics/cars --format table",
    "tag list physics/cars --format csv",
    "journal --format csv",
    "journal --format table",
    "blame physics/cars --format csv",
    "changes --summary",
    "changes --format csv --fields id,summary --summary",
    "copy store other --dry-run",
    "pull other",
    "undo physics/cars HEAD~1 --dry-run",
    "verify",
    "check --store store",
    "describe evil.csv",
    "dataset undo physics/cars HEAD~1",
    "dataset read \x1b[2Jphysics/\u202ecars",
    "dataset read physics/cars \x1b[2J\u202ev9",
    "dataset \x1b[2Jcrate",
    "dataset patch physics/cars {\x1b[2J\u202e",
    "dataset update physics/cars evil.json",
    "export out --dry-run",
    "import . --dry-run",
    "bundle list",
    "bundle read NuMI",
    "bundle log",
    "bundle snapshot 2",
    "bundle diff 1 2",
    "bundle export",
    "bundle verify",
]


def accepted(write: object, *candidates: str) -> None:
    """Call with the most hostile text that is taken."""
    for text in candidates:
        try:
            write(text)  # type: ignore[operator]
        except InvalidInput:
            continue
        return
    raise AssertionError("not even harmless text was taken")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose every text is hostile, as far as it is taken; plain Git puts the rest there."""
    folder = tmp_path_factory.mktemp("printable")
    with metastore.connect(folder / "store", author=ANN, validation="off") as store:
        descriptor = {"title": "Cars", "keywords": [EVIL], "resources": [{"name": "evil", "path": "a.csv", EVIL: EVIL}]}
        store.dataset_create(CARS, descriptor)
        text = json.dumps({**descriptor, "title": EVIL, EVIL: [EVIL], "licenses": [{"name": EVIL}]}, ensure_ascii=False)
        accepted(lambda message: store.dataset_update(CARS, text, message=message), *TEXTS)
        accepted(lambda words: store.tag_create(CARS, "v1", description=words), *TEXTS)
        accepted(lambda words: store.dataset_move(CARS, "physics/cars2", message=words), *TEXTS)
        store.dataset_move("physics/cars2", CARS)
        store.dataset_create("physics/broken", {"title": "Broken"})
    (folder / "groups.conf").write_text("groups = NOvA\nNOvA = ann\n")
    registry = bundle.connect(folder / "store", groups=folder / "groups.conf")
    registry.bundle_create({"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TORTGT"]}, user="ann")
    accepted(
        lambda comment: registry.bundle_update("NuMI", {"add_devices": ["E:TR101D"]}, user="ann", comment=comment),
        *TEXTS,
    )
    registry.close()
    _commit(folder / "store/physics/broken.git", EVIL.encode())
    (folder / "evil.csv").write_text(f"a,{ONE_LINE}\n1,2\n")
    (folder / "evil.json").write_text(json.dumps({"resources": [{EVIL: EVIL, "name": EVIL, "path": "/" + EVIL}]}))
    return folder


def _commit(repository: Path, content: bytes) -> None:
    """Commit, with plain Git, something that is not JSON, by a person whose name is hostile."""

    def git(*arguments: str, stdin: bytes = b"") -> str:
        command = ["git", "-C", repository, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout.decode().strip()

    blob = git("hash-object", "-w", "--stdin", stdin=content)
    tree = git("mktree", stdin=f"100644 blob {blob}\tdatapackage.json\n".encode())
    head = git("rev-parse", "HEAD")
    person = f"{ONE_LINE.replace('<', '').replace('>', '')} <evil@example.org> 1700000000 +0000"
    commit = f"tree {tree}\nparent {head}\nauthor {person}\ncommitter {person}\n\n{EVIL}\n"
    made = git("hash-object", "-w", "--stdin", "-t", "commit", stdin=commit.encode())
    git("update-ref", "refs/heads/main", made)


#: Runs each command of a JSON list as a process of its own would, with a line between them that no text has.
ONE_BY_ONE = r"""
import json, sys
from metastore.cli.app import run
for number, command in enumerate(json.loads(sys.argv[1])):
    print(f"\n<< {number} >>", flush=True)
    sys.argv = ["metastore", *command.split(" ")]
    try:
        run()
    except SystemExit:
        sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def screens(folder: Path) -> dict[str, str]:
    """What each command writes on a terminal, without the codes that are ours."""
    environment = {
        "METASTORE_STORE": "store",
        "METASTORE_GROUPS_FILE": "groups.conf",
        "METASTORE_USER": "ann",
        "METASTORE_AUTHOR": str(ANN),
        "PYTHONPATH": str(Path(metastore.__file__).parents[1]),
        "LANG": "C.UTF-8",
    }
    _, written = on_terminal(
        [sys.executable, "-c", ONE_BY_ONE, json.dumps(COMMANDS)], cwd=folder, env={**os.environ, **environment}
    )
    text = re.sub(r"\x1b\[(\d+m|K|\?25[hl])", "", written.decode().replace("\r\n", "\n"))
    text = re.sub(r"\r(?=\w* *\[)", "", text)  # a progress bar draws itself again
    parts = re.split(r"^<< \d+ >>$", text, flags=re.MULTILINE)[1:]
    return dict(zip(COMMANDS, parts, strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_what_others_wrote_forges_nothing_on_a_terminal(screens: dict[str, str], command: str) -> None:
    text = screens[command]
    assert text.strip()
    assert "Traceback" not in text
    assert not [hex(ord(each)) for each in text if ord(each) in CONTROLS and each not in "\n\t"], text
    if "--raw" not in command:  # which prints nothing but a file, line by line
        assert not re.search(r"^FORGED", text, re.MULTILINE), text


def test_json_is_the_same_json_when_it_is_printable() -> None:
    text = json.dumps({EVIL: [EVIL]}, ensure_ascii=False)
    assert json.loads(printable(text)) == json.loads(printable_lines(text)) == {EVIL: [EVIL]}


def test_every_command_prints_through_one_function() -> None:
    folder = Path(metastore.__file__).parent / "cli"
    direct = re.compile(r"\b(click\.(echo|secho|style|echo_via_pager)|print)\(")
    printing = {path.name for path in folder.glob("*.py") if direct.search(path.read_text(encoding="utf-8"))}
    assert printing == {"output.py", "bars.py", "__init__.py", "app.py", "upkeep.py"}  # the last three: own texts
