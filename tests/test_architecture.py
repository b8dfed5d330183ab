"""The rules of the design: imports point down, the public names, errors, values, and a light import."""

from __future__ import annotations

import ast
import dataclasses
import functools
import graphlib
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click
import pytest

import metastore
from metastore import bundle, errors, types
from metastore.auth import access
from metastore.bundle import Bundle, Snapshot
from metastore.cli import app
from metastore.client.store import RemoteStore
from metastore.storage.local.storage import GitStorage

PACKAGE = Path(metastore.__file__).parent
DESIGN = Path(__file__).parent.parent / "docs" / "explanation" / "design.md"
#: From the bottom to the top: a module imports only from its own line and those above it in this list.
ROOMS = [
    "errors os_errors closing phrase looks contrast excerpts wording lazy packages types parse printable forks",
    "files index_file",
    "git.objects git.cache",
    "http postgres",
    "git",
    "descriptor ckan",
    "history",
    "auth search",
    "storage",
    "bundle",
    "events wire store",
    "catalogue",
    "client",
    "connecting settings trust",
    "aio",
    "config",
    "service",
    "pages",
    "web",
    "cli",
]
#: Which packages of others each room may use; a package that is not named here may be used by none.
FOREIGN = {
    "pygit2": {"storage.local", "connecting"},
    "psycopg psycopg_pool yoyo": {"postgres", "bundle.postgres", "storage.postgres"},
    "zstandard": {"storage.postgres"},
    "httpx": {"http", "storage.connect"},
    "jwt": {"auth", "storage.github"},
    "cryptography": {"auth.keys"},
    "jsonschema_rs": {"descriptor"},
    "frictionless": {"descriptor", "packages"},
    "blinker": {"events"},
    "flask werkzeug markupsafe yaml": {"service", "pages", "web"},
    "flask_wtf authlib joserfc requests markdown_it nh3": {"pages"},
    "prometheus_client gunicorn": {"service"},
    "click": {"cli"},
}


@functools.cache
def modules() -> dict[str, ast.Module]:
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if name not in ("", "__main__"):  # the package itself leads to everything, on use
            trees[name] = ast.parse(path.read_text())
    return trees


@functools.cache
def imports(name: str) -> frozenset[str]:
    """Return what a module imports, at its top or on use; ours without `metastore.`, and not what only types need."""
    names = set()
    for node in _without_type_checking(modules()[name]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            ours = {each for each in inner if each.removeprefix("metastore.") in modules()}
            names |= ours or {node.module}
    return frozenset(each.removeprefix("metastore.") for each in names)


def _without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _without_type_checking(child)


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def height(name: str) -> int:
    fitting = [(len(room), at) for at, rooms in enumerate(ROOMS) for room in rooms.split() if is_in(name, room)]
    return max(fitting)[1]


def our_imports() -> Iterator[tuple[str, str]]:
    """Yield each module with each of ours that it imports."""
    return ((name, imported) for name in modules() for imported in imports(name) & modules().keys())


def test_imports_point_down() -> None:
    above = [f"{name} imports {imported}" for name, imported in our_imports() if height(imported) > height(name)]
    assert above == [], "what is imported lies above"


def test_the_drawing_names_each_package() -> None:
    drawing = (DESIGN.parent.parent / "img" / "layers.svg").read_text()
    words = set(re.findall(r"\w+", " ".join(re.findall(r"<text[^>]*>([^<]*)", drawing))))
    packages = {path.parent.name for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE}
    assert packages - {"migrations"} <= words


def test_no_module_leads_back_to_itself() -> None:
    tops = graphlib.TopologicalSorter({name: imports(name) & modules().keys() for name in modules()})
    tops.prepare()  # raises CycleError, which names the circle


def test_what_is_private_is_used_by_its_own_package_alone() -> None:
    reaching = []
    for name, imported in our_imports():
        package, _, module = imported.rpartition(".")
        if module.startswith("_") and not is_in(name, package):
            reaching.append(f"{name} reaches into {package} for {module}")
    assert reaching == []


def test_each_foreign_package_has_its_place() -> None:
    known = {package: rooms for packages, rooms in FOREIGN.items() for package in packages.split()}
    strange = []
    for name in modules():
        packages = {imported.split(".")[0] for imported in imports(name) - modules().keys()}
        strange += [
            f"{name} imports {package}"
            for package in packages - sys.stdlib_module_names - {"metastore"}
            if not any(is_in(name, room) for room in known.get(package, ()))
        ]
    assert strange == []


def test_only_the_configuration_reads_the_environment() -> None:
    reading = [name for name, tree in modules().items() if "os" in imports(name) and "attr='environ'" in ast.dump(tree)]
    assert reading == ["config"]


def drawing() -> dict[str, str]:
    """Return the sections of the drawing in the design, by the package or module that each begins with."""
    text = DESIGN.read_text().partition("```text\n")[2].partition("\n```")[0]
    return {section.split()[0].rstrip("/"): section for section in re.split(r"\n(?=\S)", text)}


def test_the_drawing_names_each_package_and_public_module() -> None:
    sections = drawing()
    assert sections.keys() == {name.split(".")[0] for name in modules()}
    for name in modules():
        room, *inside = name.split(".")
        for part in inside:
            assert part.startswith("_") or re.search(rf"\b{part}\b", sections[room]), f"{name} is not drawn"


PUBLIC_CALLS = {
    "batch",
    "blame",
    "changes",
    "close",
    "dataset_bytes",
    "dataset_create",
    "dataset_delete",
    "dataset_entries",
    "dataset_json",
    "dataset_list",
    "dataset_move",
    "dataset_patch",
    "dataset_purge",
    "dataset_read",
    "dataset_revert",
    "dataset_search",
    "is_indexed",
    "dataset_undo",
    "get_resource",
    "dataset_update",
    "journal",
    "journal_import",
    "max_bytes",
    "profiles",
    "project_read",
    "owner_list",
    "resource_list",
    "resource_read",
    "part_history",
    "revision_diff",
    "revision_list",
    "revision_read",
    "search",
    "settle",
    "storage",
    "tag_create",
    "tag_delete",
    "tag_entries",
    "tag_list",
    "tag_read",
    "tag_update",
    "verify",
}


def test_every_public_name_is_there_and_documented() -> None:
    for name in metastore.__all__:
        assert getattr(metastore, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metastore.nothing  # noqa: B018
    assert set(metastore.__all__) <= set(dir(metastore))
    for store in (metastore.Store, metastore.MetaStore, RemoteStore):
        assert {name for name in dir(store) if not name.startswith("_")} == PUBLIC_CALLS
        assert store is metastore.Store or store.__mro__[1] is metastore.Store


def test_import_loads_no_third_party_package() -> None:
    program = (
        "import sys; before = set(sys.modules); import metastore; metastore.connect;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert set(done.stdout.split()) <= {"metastore"}


def test_errors_and_types_are_reached_through_the_package() -> None:
    program = (
        "import metastore; print(metastore.errors.NotFound is metastore.NotFound, metastore.types.Tag is metastore.Tag)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_hardly_anything_is_loaded_before_an_interrupt_is_told_in_words() -> None:
    program = "import sys; before = {*sys.modules}; import metastore.cli; print(*sys.modules.keys() - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"gc", "metastore", "metastore.cli", "signal"}


def test_the_command_line_loads_a_command_when_it_is_used() -> None:
    program = "import sys, metastore.cli.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("metastore.")}
    assert loaded == {
        "metastore.cli",
        *(f"metastore.cli.{name}" for name in ("app", "base", "bars", "options", "output", "problems")),
        "metastore.errors",
        "metastore.phrase",
        "metastore.printable",
    }


def test_a_start_of_the_command_line_loads_few_modules_and_none_that_is_slow(tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author="Setup", validation="off") as store:
        store.dataset_create("physics/cars", {})
        for number in range(25):
            store.dataset_patch("physics/cars", {"version": f"1.{number}"})
        assert isinstance(store.storage, GitStorage)
        store.storage.pack_loose(types.DatasetId("physics", "cars"))
    read = _loaded("--store", str(tmp_path / "store"), "dataset", "read", "physics/cars")
    assert {name.split(".")[0] for name in read} - set(sys.stdlib_module_names) <= {"metastore", "blinker"}
    slow = {"difflib", "importlib.resources", "random", "secrets", "shutil"}
    slow |= {f"metastore.{name}" for name in ("auth.access", "catalogue.batches", "git.verify")}
    slow |= {f"metastore.descriptor.{name}" for name in ("difference", "merge")}
    slow |= {"metastore.history.blame", *(f"metastore.search.{name}" for name in ("scan", "documents", "values"))}
    assert slow & read == set()
    # Each module takes 0.2 to 1 ms of the 100 ms that `--version` may take, and of the 150 ms of a read.
    assert len(_loaded("--version")) <= 20 + 4 * (sys.version_info >= (3, 14))
    assert "pygit2" in _loaded("--store", str(tmp_path / "store"), "revision", "list", "physics/cars")  # reads far more
    assert len(read) <= 129 + 3 * (sys.version_info >= (3, 13))  # whose own modules import three more


def _loaded(*command: str) -> set[str]:
    """Return the modules that a command loads beyond those of Python and Click."""
    program = (
        "import sys, atexit, click; before = {*sys.modules}; from metastore.cli.app import run;"
        "atexit.register(lambda: print(*sys.modules.keys() - before, file=sys.stderr)); run()"
    )
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_each_command_is_found_in_its_module() -> None:
    listed = {(name, command.name) for name in set(app.MODULES.values()) for command in _commands_of(name)}
    assert listed == {(module, name) for name, module in app.MODULES.items()}


def _commands_of(module: str) -> tuple[click.Command, ...]:
    commands: tuple[click.Command, ...] = import_module(f"metastore.cli.{module}").COMMANDS
    return commands


REVISION = types.Revision(
    types.RevisionId("a" * 40), None, types.Author("Ann"), "Why", datetime(2024, 1, 1, tzinfo=UTC)
)
SNAPSHOT = Snapshot(7, "NuMI", REVISION.created, "ann", "", "delete", Bundle("NuMI", "e,a9", "NOvA"), deleted=True)
EXAMPLES = [
    errors.MetastoreError("x"),
    errors.InvalidInput("wrong", pointer="/a", problems=(("/a", "wrong"), ("/b", "too"))),
    errors.TooLarge("51 bytes"),
    errors.NotFound("x"),
    errors.DatasetNotFound("a/b"),
    errors.DatasetDeleted("a/b", REVISION),
    errors.DatasetMoved("a/b", types.DatasetId("c", "d")),
    errors.RevisionNotFound("a/b", "v1"),
    errors.PathNotFound("a/b", "a" * 40, "x.csv"),
    errors.TagNotFound("a/b", "v1"),
    errors.ResourceNotFound("a/b", "x"),
    errors.BundleNotFound("NuMI"),
    errors.BundleDeleted("NuMI", SNAPSHOT),
    errors.SnapshotNotFound(7, "snapshot 7 is of bundle Other"),
    errors.Conflict("x"),
    errors.AlreadyExists("a/b"),
    errors.RevisionConflict("a/b", "a" * 40, None),
    errors.MergeConflict("a/b", (types.Difference("changed", "title", "A", "B"),)),
    errors.AuthenticationError("no token came", missing=True),
    errors.PermissionDenied("x", scope="ds:org/x:metadata:update"),
    errors.StorageError("x"),
    errors.StorageBusy("x"),
    errors.StorageUnavailable("x"),
    errors.StorageCorrupt("x"),
    errors.NotADescriptor("a/b", "a" * 40, "is not JSON"),
    errors.NotADataset("x.git", "is empty"),
    errors.OutcomeUnknown("x", "a" * 40, before="b" * 40),
]


def with_refinements(base: type = errors.MetastoreError) -> set[type]:
    return {base}.union(*(with_refinements(sub) for sub in base.__subclasses__()))


def all_errors() -> set[type]:
    return {kind for kind in with_refinements() if kind.__module__ == errors.__name__}


def test_a_refinement_of_an_error_is_of_the_same_kind_for_everybody_outside() -> None:
    for kind in with_refinements() - all_errors():
        (base,) = kind.__bases__
        assert kind.kind == base.kind  # type: ignore[attr-defined]
        assert kind.__module__.startswith(("metastore.http.", "metastore.git."))


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    assert {type(each) for each in EXAMPLES} == all_errors()
    assert len({kind.kind for kind in all_errors()}) == len(all_errors())  # type: ignore[attr-defined]
    for kind in all_errors():
        assert kind.__name__ in (errors.__doc__ or "")
    assert issubclass(errors.InvalidInput, ValueError)
    assert issubclass(errors.NotFound, LookupError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_with_their_facts(error: errors.MetastoreError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_values_are_frozen_and_printable() -> None:
    values = [
        value
        for module in (types, access, bundle.port)
        for value in vars(module).values()
        if dataclasses.is_dataclass(value)
    ]
    assert len(values) > 10
    for value in values:
        assert value.__dataclass_params__.frozen, value  # type: ignore[attr-defined]
    assert str(REVISION) == "aaaaaaaaaaaa 2024-01-01 00:00:00 Ann: Why"
    assert str(types.Author("Ann", "a@b")) == "Ann <a@b>"
    assert str(SNAPSHOT) == "7 2024-01-01 00:00:00 ann delete NuMI"
    assert str(SNAPSHOT.bundle) == "NuMI (NOvA, e,a9, 0 devices)"
