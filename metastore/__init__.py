"""Records that cannot change without a trace and can always be put back.

```python
import metastore

store = metastore.connect("./catalogue", author="Ann Lee <ann@example.org>")
dataset = store.dataset_create("physics/cars", {"name": "cars", "resources": []})
store.dataset_patch("physics/cars", {"title": "Cars"}, message="Say what it is")
for revision in store.revision_list("physics/cars"):
    print(revision)
```

Importing this package loads no third-party one.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # `typing` takes longer to load than this module
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from metastore.aio import AsyncStore, Opening
    from metastore.errors import (
        AlreadyExists,
        AuthenticationError,
        BundleDeleted,
        BundleNotFound,
        Conflict,
        DatasetDeleted,
        DatasetMoved,
        DatasetNotFound,
        InvalidInput,
        MergeConflict,
        MetastoreError,
        NotADataset,
        NotADescriptor,
        NotFound,
        OutcomeUnknown,
        PathNotFound,
        PermissionDenied,
        ResourceNotFound,
        RevisionConflict,
        RevisionNotFound,
        SnapshotNotFound,
        StorageBusy,
        StorageCorrupt,
        StorageError,
        StorageUnavailable,
        TagNotFound,
        TooLarge,
    )
    from metastore.store.base import Store
    from metastore.store.store import MetaStore, validate
    from metastore.types import (
        Author,
        Dataset,
        DatasetId,
        Diff,
        Difference,
        FeedEntry,
        Finding,
        Issue,
        JournalEntry,
        Outcome,
        Project,
        Revision,
        Tag,
    )
    from metastore.wire import to_dict

__version__ = "0.1.0"

__all__ = [
    "AlreadyExists",
    "AsyncStore",
    "AuthenticationError",
    "Author",
    "BundleDeleted",
    "BundleNotFound",
    "Conflict",
    "Dataset",
    "DatasetDeleted",
    "DatasetId",
    "DatasetMoved",
    "DatasetNotFound",
    "Diff",
    "Difference",
    "FeedEntry",
    "Finding",
    "InvalidInput",
    "Issue",
    "JournalEntry",
    "MergeConflict",
    "MetaStore",
    "MetastoreError",
    "NotADataset",
    "NotADescriptor",
    "NotFound",
    "Outcome",
    "OutcomeUnknown",
    "PathNotFound",
    "PermissionDenied",
    "Project",
    "ResourceNotFound",
    "Revision",
    "RevisionConflict",
    "RevisionNotFound",
    "SnapshotNotFound",
    "StorageBusy",
    "StorageCorrupt",
    "StorageError",
    "StorageUnavailable",
    "Store",
    "Tag",
    "TagNotFound",
    "TooLarge",
    "aconnect",
    "connect",
    "to_dict",
    "validate",
]


def connect(url: str | Path, **options: Any) -> Store:
    """Open a store; one is made where there is nothing yet.

    Args:
        url: A path or `file:///var/lib/metastore` for Git repositories in a folder; `memory:` or `:memory:` for trying
            things out; `https://metastore.example.org` for a service; `github://owner`, `gitlab://group` and
            `gitea://host/owner` for Git hosts; `git+https://git.example.org/{owner}/{name}.git` for any Git server;
            `postgresql://user@host/name` for a PostgreSQL database.
        **options: For any store: `author` (an `Author`, `"Name <email>"` or a pair: who writes, unless a call says
            otherwise; without it, Git's own configuration is asked), `lfs_url` (a Git LFS server's address with
            `{owner}` and `{name}` in it), `validation` (`warn`, `strict` or `off`), `profiles` (a folder of JSON
            Schemas, or URL -> schema), `version_rule` (`off`, `warn` or `refuse`), `grades` (a JSON file), `max_bytes`
            (of a descriptor; 32 MiB), `clock`, and unless it is a folder, `cache` (a folder for indexes that can be
            rebuilt, below which each store gets one of its own; without it, they are in memory). For a folder:
            `create` (False: there must be a store already), `sync` (False: not durable, for tests and repeatable
            imports),
            `cache_bytes` (64 MiB), `auto_pack`. A service has `token`, `timeout` (10 seconds to connect, 60 to wait),
            `retries` (3), `author` and `max_bytes`. A database has `pool_size` (10), `patience` (30 seconds),
            `durable` (`required`, `warn` or `off`: what to do if it can lose acknowledged changes) and `replicas` (the
            URL of replicas, which answer reads that name a revision, also by `at_least`). A Git host has `token`, and
            those that `metastore.storage.github.connect.open_github` and `GitHubStorage` list.

    Raises:
        InvalidInput: The URL or an option is wrong.
        StorageUnavailable: There is no store, or it cannot be opened.
    """
    from metastore.connecting import connect as connect_to

    return connect_to(url, **options)


def aconnect(url: str | Path, **options: Any) -> Opening:
    """Open a store for asyncio.

    Write `async with aconnect(url) as store`, or `store = await aconnect(url)`. It takes what `connect` takes, and
    raises what that raises, once it is awaited.
    """
    from metastore.aio import aconnect as connect_to

    return connect_to(url, **options)


#: The module of each name that is neither here nor in `metastore.errors` or `metastore.types`. All are loaded on use.
_LAZY = {
    "AsyncStore": "aio",
    "MetaStore": "store.store",
    "Store": "store.base",
    "to_dict": "wire",
    "validate": "store.store",
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "types"):
        return import_module(f"metastore.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'metastore' has no attribute {name!r}")
    homes = (_LAZY[name],) if name in _LAZY else ("errors", "types")
    modules = (import_module(f"metastore.{home}") for home in homes)
    value = globals()[name] = next(getattr(module, name) for module in modules if hasattr(module, name))
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
