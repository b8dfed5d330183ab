"""The documentation is true: every name has its place, every example and every block runs.

Blocks of README.md and docs/*.md run in order, each file in a folder of its own that has `examples/`: ```sh and
```console in Bash (variables that were exported stay), ```python in one process a file. A ```text block right behind
one is its output; `…` in it stands for anything on that line, a line that is only `…` for any lines. A block that
cannot run has `<!-- not run: reason -->` right in front.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import werkzeug.exceptions

import metastore
from metastore import bundle, ckan, config, errors, events, types
from metastore.bundle.port import BundleRecord
from metastore.cli.app import cli
from metastore.cli.problems import EXIT_CODES, FOUND_PROBLEMS
from metastore.storage.port import Storage

from .waiting import free_port

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.py")) if "__main__" in path.read_text()]
IDS = [str(path.relative_to(ROOT)) for path in PAGES]


# Blocks


class Block(NamedTuple):
    line: int
    language: str
    content: str
    output: str | None
    not_run: str | None


_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]*) -->\n)?^(?P<fence>`{3,})(?P<language>\w+)\n(?P<content>.*?)^(?P=fence)\n"
    r"(?:\n*```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(line, found["language"], found["content"], found["output"], found["reason"])


#: The port that pages name. They get a free one instead, since somebody else here may use this one.
PORT = "5016"
RUNNABLE = {"sh", "console", "python"}
_DRIVER = """
import contextlib, io, json, sys, traceback
names = {"__name__": "__main__"}
for line in sys.stdin:
    out, failed = io.StringIO(), ""
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(json.loads(line), "<block>", "exec"), names)
        except BaseException:
            failed = traceback.format_exc()
    print(json.dumps([out.getvalue(), failed]), flush=True)
"""


class Runner:
    """Runs the blocks of one page as one person would, one after the other.

    Args:
        folder: Empty; a home and a working folder are made there.
        programs: Found before all others.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        (self.folder / "examples").symlink_to(ROOT / "examples")
        home = folder / "home"
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\n\tname = Ann Lee\n\temail = ann@example.org\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("METASTORE_", "GIT_"))}
        path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
        self.environment = {
            **inherited,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "PATH": path,
            "TMPDIR": str(folder),
        }
        self.state = folder / "state"
        self.state.write_text("")
        self._python: subprocess.Popen[str] | None = None
        self._port = str(free_port())

    def close(self) -> None:
        if self._python:
            self._python.communicate()
        for left in self.folder.glob("*.pid"):  # a page that failed did not come to the block that stops it
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(left.read_text()), signal.SIGTERM)

    def run(self, block: Block) -> str:
        block = block._replace(content=block.content.replace(PORT, self._port))
        if block.language == "python":
            return self.python(block.content)
        if block.language == "console":
            lines = block.content.splitlines()
            return self.shell("\n".join(line[2:] for line in lines if line.startswith("$ ")))
        return self.shell(block.content)

    def shell(self, script: str) -> str:
        whole = f"source {self.state}\nset -eu -o pipefail\n{script}\nexport -p >{self.state}\n"
        done = subprocess.run(
            ["bash", "-c", whole],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def python(self, program: str) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-c", _DRIVER],
                cwd=self.folder,
                env=self.environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._python.stdin
        assert self._python.stdout
        self._python.stdin.write(json.dumps(program) + "\n")
        self._python.stdin.flush()
        output, failed = json.loads(self._python.stdout.readline())
        assert not failed, failed
        return str(output)


def matches(wanted: str, got: str) -> bool:
    pattern = ""
    for line in wanted.rstrip().splitlines():
        pattern += "(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.rstrip().split("…"))) + "\n"
    text = "".join(line.rstrip() + "\n" for line in got.rstrip().splitlines())
    return re.fullmatch(pattern, text) is not None


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_block_runs_and_prints_what_is_shown(page: Path, tmp_path: Path, programs: Path) -> None:
    runner = Runner(tmp_path, programs)
    try:
        for block in blocks(page):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            if block.language not in RUNNABLE:
                continue
            if block.not_run is not None:
                print(f"{where}: not run: {block.not_run}")
                continue
            got = run_at(where, runner, block)
            wanted = block.output
            if block.language == "console":
                wanted = "\n".join(line for line in block.content.splitlines() if not line.startswith("$ "))
            if wanted is not None:
                assert matches(wanted, got), f"{where} printed\n{got}\nand not\n{wanted}"
    finally:
        runner.close()


def run_at(where: str, runner: Runner, block: Block) -> str:
    try:
        return runner.run(block)
    except AssertionError as error:
        raise AssertionError(f"{where}\n{block.content}\n{error}") from None


def test_what_is_compared_is_compared() -> None:
    assert matches("a … c\n…\nend\n", "a b c\n1\n2\nend\n")
    assert matches("", "")
    assert not matches("a\n", "a\nb\n")
    assert not matches("a … c\n", "a b d\n")


def test_blocks_are_found_with_their_reason_and_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: far away -->\n```sh\nfly\n```\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n")
    assert [block[1:] for block in blocks(page)] == [
        ("sh", "fly\n", None, "far away"),
        ("python", "print(1)\n", "1\n", None),
    ]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_beside_the_docs_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


# Examples


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_every_example_runs_and_writes_into_new_folders_alone(example: Path, tmp_path: Path, programs: Path) -> None:
    """`make hostile` runs them without a folder."""
    runner = Runner(tmp_path, programs)
    tour = f"{sys.executable} examples/{example.name} --store"
    assert runner.shell(f"{tour} new")
    assert "is not empty" in runner.shell(f"{tour} new || true")
    assert "new/store" in runner.shell("find new -maxdepth 1")


# Names


def reference() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "reference").glob("*.md")))


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield the full name and value of all that is public."""
    for name in metastore.__all__:
        yield f"metastore.{name}", getattr(metastore, name)
    for name in ckan.__all__:
        yield f"metastore.ckan.{name}", getattr(ckan, name)
    for name in bundle.__all__:
        yield f"metastore.bundle.{name}", getattr(bundle, name)
    for owner in (metastore.MetaStore, Storage, bundle.BundleRegistry, BundleRecord):
        for name in sorted(vars(owner).keys() | {name for name in dir(owner) if not name.startswith("_")}):
            if not name.startswith("_") and name != "branch":
                yield f"{owner.__module__}.{owner.__name__}.{name}", getattr(owner, name)
    for module in (errors, types, events):
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", value


PUBLIC = dict(public_names())


def test_the_tests_that_the_self_assessment_names_are_there() -> None:
    text = (ROOT / "docs" / "explanation" / "asvs.md").read_text()
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 40
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (file := ROOT / "tests" / path).is_file() or (name and f"def {name}(" not in file.read_text())
    ]
    assert missing == []
    folders = re.findall(r"`(tests/\w+)`", text)
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_the_files_that_the_tour_names_are_there() -> None:
    text = (ROOT / "docs" / "explanation" / "tour.md").read_text()
    named = set(re.findall(r"`([\w/-]+(?:\.py|\.yaml|/))`", text))
    assert len(named) > 40
    places = [ROOT, ROOT / "metastore", ROOT / "tests", *(ROOT / "metastore").glob("*/")]
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


def test_every_public_name_says_what_it_is() -> None:
    texts = {name: inspect.getdoc(value) or "" for name, value in PUBLIC.items()}
    assert [name for name, text in texts.items() if not text] == []
    # Dataclasses write their parameters where there is no docstring.
    assert [name for name, text in texts.items() if text.startswith(f"{name.rsplit('.', 1)[-1]}(")] == []


def test_every_public_name_is_in_the_reference() -> None:
    pages, missing = reference(), []
    for name in PUBLIC:
        owner, _, last = name.rpartition(".")
        if owner.endswith(("port.Storage", "port.BundleRecord")):
            pattern = rf"autoclass:: {re.escape(owner)}\n   :members:"
        else:
            pattern = rf":: metastore\.(\w+\.)*{last}$"
        if not re.search(pattern, pages, re.MULTILINE):
            missing.append(name)
    assert missing == []


def all_modules() -> list[Path]:
    return sorted((ROOT / "metastore").rglob("*.py"))


def test_every_error_that_a_docstring_names_exists() -> None:
    known = {name for place in (errors, werkzeug.exceptions) for name in dir(place) if name[0].isupper()}
    known |= set(dir(builtins))
    found = 0
    for path in all_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                continue
            _, raises, section = (ast.get_docstring(node) or "").partition("Raises:\n")
            for name in re.findall(r"^    (\w+):", section if raises else "", re.MULTILINE):
                assert name in known, f"{path}: {getattr(node, 'name', 'the module')} raises {name}, which is no error"
                found += 1
    assert found > 50


def examples_in_docstrings() -> Iterator[Any]:
    for path in all_modules():
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "```python" in text or ">>> " in text else ():
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                docstring = ast.get_docstring(node) or ""
                assert ">>> " not in docstring, f"{path}: an example is a block of ```python"
                for found in re.findall(r"```python\n(.*?)```", docstring, re.DOTALL):
                    yield pytest.param(found, id=f"{path.relative_to(ROOT)}:{getattr(node, 'name', 'module')}")


@pytest.mark.parametrize("example", list(examples_in_docstrings()))
def test_the_example_in_a_docstring_runs(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groups.conf").write_text("groups = NOvA\nNOvA = ann\n")
    package = {"name": "cars", "title": "Cars", "resources": [{"url": "cars.csv", "format": "CSV"}]}
    names: dict[str, Any] = {"package": dict(package)}
    exec(compile(example, "<example>", "exec"), names)
    if "tell" in names:  # a subscriber: let it hear something
        metastore.connect("memory:", author="Ann").dataset_create("physics/cars", {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == (1 if "tell" in names else 2 if "print" in example else 0)
    assert names["package"] == package


def test_the_packages_show_how_they_are_used() -> None:
    places = {parameter.id for parameter in examples_in_docstrings()}
    assert {f"metastore/{name}:module" for name in ("__init__.py", "bundle/__init__.py", "events.py")} <= places


def commands(group: click.Group, prefix: str = "metastore") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def test_every_command_is_shown_in_use() -> None:
    written = "\n".join(page.read_text() for page in PAGES)
    assert [command for command in sorted(commands(cli)) if not re.search(rf"\b{command}\b", written)] == []


def test_every_command_is_in_the_reference() -> None:
    assert ".. click:: metastore.cli.app:cli\n   :prog: metastore\n   :nested: full" in reference()


def test_every_kind_of_error_and_every_exit_code_is_listed() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    for error in vars(errors).values():
        if inspect.isclass(error) and issubclass(error, errors.MetastoreError):
            assert f"`{error.__name__}`" in page
            assert f"`{error.kind}`" in page
    codes = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for code in (*EXIT_CODES.values(), FOUND_PROBLEMS):
        assert f"| {code} |" in codes


def test_every_setting_is_listed() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for variable in set(re.findall(r"METASTORE_\w+", inspect.getsource(config))):
        assert f"`{variable}`" in page
