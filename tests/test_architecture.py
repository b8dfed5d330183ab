"""What holds the design together: imports point down, the public names, errors, values, and a light import."""

from __future__ import annotations

import ast
import dataclasses
import functools
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import metastore
from metastore import access, bundle, errors, types
from metastore.bundle import Bundle, Snapshot

PACKAGE = Path(metastore.__file__).parent
#: From the bottom to the top; a module imports only from layers below its own, or within it.
LAYERS = [
    ["errors", "body"],
    ["types"],
    ["parse"],
    ["access"],
    ["keys"],
    ["keysources"],
    ["tokens"],
    ["gitobject", "descriptor"],
    ["patch", "difference", "lfs", "profiles", "filenames", "tabular"],
    ["merge"],
    ["storage.base", "storage.files", "storage.cache", "storage.credentials", "storage.naming"],
    ["storage.answers"],
    ["storage.host"],
    ["describe", "ownkey", "ckan.fields", "ckan.ids"],
    ["ckan.resources"],
    ["ckan.packages"],
    ["ckan"],
    ["storage.lookup", "storage.layout", "storage.packs"],
    ["storage.needed", "storage.packstream"],
    ["storage.smart", "storage.gitlab_api"],
    ["storage.objects"],
    ["storage.joining", "storage.database"],
    ["storage.memory", "storage.repository", "storage.github_graph", "storage.github_objects"],
    ["storage.github_api"],
    ["storage.github_moving"],
    ["storage.handles", "storage.github_repository", "storage.remote"],
    ["storage.gitlab_upkeep"],
    ["storage.github_changes"],
    ["storage.github_known", "storage.github_listing", "storage.gitlab_listing"],
    ["storage.github", "storage.gitlab"],
    ["storage.github_connect", "storage.gitlab_connect"],
    ["storage.maintenance", "storage.git"],
    ["storage.copying", "storage.backup_run", "storage.backup", "storage.transfer", "storage.mirror"],
    ["bundle.base", "bundle.listing"],
    ["bundle.checks", "bundle.chains", "bundle.tables", "bundle.exchange", "bundle.files"],
    ["bundle.policy", "bundle.index", "bundle.queries", "bundle.database", "bundle.recent"],
    ["bundle.versioned", "bundle.reader", "bundle.postgres", "bundle.migrate"],
    ["bundle.writer"],
    ["bundle.registry"],
    ["bundle"],
    ["journal", "writing", "events", "wire"],
    ["reader"],
    ["writer"],
    ["tags"],
    ["store"],
    ["client.transport"],
    ["client.answers"],
    ["client.reader"],
    ["client.settling"],
    ["client.tags"],
    ["client.store"],
    ["backends"],
    ["settings"],
    ["config"],
    ["service.metrics"],
    ["service.watch"],
    ["service.context"],
    ["service.server"],
    ["service.guard"],
    ["service.requests", "service.problems"],
    ["service.answers", "service.operation"],
    ["service.datasets", "service.revisions", "service.bundles", "service.description"],
    ["pages.words", "pages.session", "pages.markdown", "pages.present", "pages.activity", "pages.places"],
    ["pages.devices", "pages.bundle_parts"],
    ["pages.home", "pages.bundles", "pages.datasets", "pages.oidc"],
    ["pages.dataset_forms", "pages.bundle_forms", "pages.bundle_import", "pages.record"],
    ["pages"],
    ["web"],
    ["cli"],
]
#: Names that a module takes from above: `connect` and the public name, on use; annotations; what the port hands on.
FROM_ABOVE = {
    ("storage.base", "gitobject"),
    ("storage.maintenance", "storage.git"),
    ("bundle", "backends"),
}
ADAPTERS = {
    "storage.database",
    "storage.copying",
    "storage.repository",
    "storage.packs",
    "storage.git",
    "storage.maintenance",
    "storage.backup",
}
#: The modules that may talk to a host.
HOSTS = {"storage.host", "backends"}
#: The modules of bundles that may know of PostgreSQL.
DATABASE = {"database", "migrate", "postgres"}


@functools.cache
def modules() -> list[tuple[str, ast.Module]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__", "storage", "service", "client"):
            found.append((name, ast.parse(path.read_text())))
    return found


def layer(module: str) -> int:
    known = "cli" if module.split(".")[0] == "cli" else module
    return next(height for height, names in enumerate(LAYERS) if known in names)


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {f"metastore.{name}" for name, _ in modules()}
            found |= (inner & known) or {node.module}
    return found


@pytest.mark.parametrize(("name", "tree"), modules(), ids=[name for name, _ in modules()])
def test_imports_point_down(name: str, tree: ast.Module) -> None:
    for imported in imports(tree):
        if not imported.startswith("metastore.") or (target := imported.removeprefix("metastore.")) == "storage":
            continue
        if target == "cli" or (name, target) in FROM_ABOVE:
            continue
        assert layer(target) <= layer(name), f"{name} imports {target}, which is above it"


@pytest.mark.parametrize(("name", "tree"), modules(), ids=[name for name, _ in modules()])
def test_each_foreign_package_has_its_place(name: str, tree: ast.Module) -> None:
    foreign = {each.split(".")[0] for each in imports(tree)}
    assert "pygit2" not in foreign or name in ADAPTERS or name == "backends"
    assert not {"psycopg", "psycopg_pool", "yoyo"} & foreign or name in {f"bundle.{each}" for each in DATABASE}
    assert "httpx" not in foreign or name == "client.transport" or name in HOSTS
    assert "click" not in foreign or name.startswith("cli")
    assert not {"flask", "werkzeug"} & foreign or name == "web" or name.startswith(("service", "pages"))
    assert "blinker" not in foreign or name == "events"
    assert "jwt" not in foreign or name in {"keys", "tokens", "storage.github_connect"}
    assert "cryptography" not in foreign or name == "keys"
    assert "os" not in foreign or "environ" not in ast.dump(tree) or name == "config"


def test_every_public_name_is_there_and_documented() -> None:
    for name in metastore.__all__:
        assert getattr(metastore, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metastore.nothing  # noqa: B018
    public = {name for name in dir(metastore.MetaStore) if not name.startswith("_")}
    assert public == {
        "changes",
        "close",
        "dataset_bytes",
        "dataset_create",
        "dataset_delete",
        "dataset_list",
        "dataset_move",
        "dataset_patch",
        "dataset_purge",
        "dataset_read",
        "dataset_revert",
        "dataset_update",
        "journal",
        "max_bytes",
        "project_read",
        "resource_read",
        "revision_diff",
        "revision_list",
        "revision_read",
        "storage",
        "tag_create",
        "tag_delete",
        "tag_list",
        "tag_read",
        "tag_update",
        "verify",
    }


def test_import_loads_no_third_party_package() -> None:
    program = (
        "import sys; before = set(sys.modules); import metastore; metastore.connect;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert set(done.stdout.split()) <= {"metastore"}


REVISION = types.Revision(
    types.RevisionId("a" * 40), None, types.Author("Ann"), "Why", datetime(2024, 1, 1, tzinfo=UTC)
)
SNAPSHOT = Snapshot(7, "NuMI", REVISION.created, "ann", "", "delete", Bundle("NuMI", "e,a9", "NOvA"), deleted=True)
EXAMPLES = [
    errors.MetastoreError("x"),
    errors.InvalidInput("wrong", pointer="/a", problems=(("/a", "wrong"), ("/b", "too"))),
    errors.TooLarge(51, 50),
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
    errors.AuthenticationError("no token came", missing=True),
    errors.PermissionDenied("x", scope="ds:org/x:metadata:update"),
    errors.StorageError("x"),
    errors.StorageBusy("x"),
    errors.StorageUnavailable("x"),
    errors.StorageCorrupt("x"),
    errors.OutcomeUnknown("x", "a" * 40),
]


def all_errors(base: type = errors.MetastoreError) -> set[type]:
    return {base}.union(*(all_errors(sub) for sub in base.__subclasses__()))


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
        for module in (types, access, bundle.base)
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
