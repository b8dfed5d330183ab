"""The options of every command, the store that they name, and the messages and results of commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from metastore.cli.bars import bar_stream, wait_for_host
from metastore.cli.output import paint, show, show_bytes, show_pages
from metastore.errors import (
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    StorageCorrupt,
    StorageUnavailable,
)

if TYPE_CHECKING:
    from metastore.descriptor.grade import Grades
    from metastore.settings import Settings
    from metastore.storage.local.storage import GitStorage
    from metastore.store.base import Store
    from metastore.types import Author, DatasetId, Finding


class App:
    """The options of every command, and the store that they name."""

    def __init__(self) -> None:
        self.store_url: str | None = None
        self.author: str | None = None
        self.json = False
        self.quiet = False
        self.verbose = False
        self.format: str | None = None
        self.fields: tuple[str, ...] = ()
        self.columns: tuple[str, ...] = ()
        self.create = False
        self.bundles_url: str | None = None
        self.groups_file: str | None = None
        self.user: str | None = None

    def reader(self) -> Store:
        """Open a store that exists."""
        if self.url() and self.is_new():
            raise StorageUnavailable(
                f"there is no store at {self.url()}: `metastore init` makes one, and --store or METASTORE_STORE names "
                "another"
            )
        return self.open(self.store_url, create=False)

    def writer(self, *, sync: bool = True) -> Store:
        """Open a store, and make it if there is none.

        A path may be mistyped, so the user is told, with `--quiet` too; `--create` says that a new store is meant.
        """
        new = self.is_new()
        store = self.open(self.store_url, create=True, sync=sync)
        if new and not self.create:
            show(paint(f"Made a new store at {self.url()}."), err=True)
        return store

    def is_new(self) -> bool:
        """Tell whether there is no store yet, so that `writer` would make one."""
        from metastore.storage.connect import is_new

        return is_new(self.url())

    def url(self) -> str:
        """Return the URL of the store: the option, or else the setting."""
        from metastore import config

        return self._settings(config.load()).url

    def require_author(self, url: str | None = None) -> None:
        """Check once, before the work begins, that a write has an author.

        Args:
            url: The store that is written to; None for the one that the settings name.

        Raises:
            InvalidInput: Neither the options nor the settings nor Git name one.
        """
        from metastore import config, connecting
        from metastore.storage.connect import is_service

        settings = self._settings(config.load())
        if is_service(url or settings.url):  # the token names the author
            return
        if self.author is None and not (settings.options.get("author") or connecting.git_author()):
            raise InvalidInput(
                "the change has no author: give --author 'Ann Lee <ann@example.org>', set METASTORE_AUTHOR, "
                "or run: git config --global user.name 'Ann Lee'"
            )

    def known_author(self) -> Author:
        """Return the author: from the option, the setting or Git. Call `require_author` before."""
        author = self.found_author()
        assert author is not None
        return author

    def found_author(self) -> Author | None:
        """Return the author that the option or the setting names, or Git for a store that is not a service; or None."""
        from metastore import config, connecting
        from metastore.parse import make_author
        from metastore.storage.connect import is_service

        named = self.author or config.load().options.get("author")
        if named:
            return make_author(named)
        return None if is_service(self.url()) else connecting.git_author()

    def open(self, url: str | None, **options: Any) -> Store:
        """Open the store at a URL, or (None) the one that the settings name."""
        from metastore import config
        from metastore.storage.connect import is_service

        if self.author is not None:
            options["author"] = self.author
        settings = config.load()
        store = config.open_store(settings, url=url, **options)
        click.get_current_context().call_on_close(store.close)
        if not is_service(settings.url if url is None else url):
            for host in getattr(store.storage, "hosts", ()):
                host.waiting = wait_for_host
        return store

    def full_id(self, dataset_id: str | None, revision: str | None) -> str | None:
        """Return the full id of an abbreviated revision.

        Raises:
            InvalidInput: The text is not an id.
        """
        from metastore.parse import is_full_id, looks_like_revision

        if dataset_id is None or revision is None or is_full_id(revision):
            return revision
        if not looks_like_revision(revision):
            raise InvalidInput(f"--expected takes the id of a revision, or its first 7 digits, not {revision!r}")
        return self.reader().revision_read(dataset_id, revision).id

    def profiles(self) -> str | None:
        """Return the folder of profiles that the settings name."""
        from metastore import config

        folder: str | None = config.load().options.get("profiles")
        return folder

    def grades(self) -> Grades:
        """Return the rules for grades that the settings name, or the default ones."""
        from metastore import config
        from metastore.descriptor.grade import Grades

        return Grades.load(config.load().options.get("grades"))

    def _settings(self, settings: Settings) -> Settings:
        from dataclasses import replace

        return settings if self.store_url is None else replace(settings, url=self.store_url)

    def data(self, value: Any, text: str | Sequence[str] | bytes | None = None) -> None:
        """Print a result: with `--json` as a line of JSON, otherwise as a line, as lines, or as bytes."""
        from metastore.wire import to_text

        if self.json or text is None:
            show(to_text(value))
        elif isinstance(text, bytes):
            show_bytes(text)
        else:
            show_pages([text] if isinstance(text, str) else text)

    def summary(self, value: Any, text: str) -> None:
        """Print the counts of a command: with `--json` as JSON, otherwise as a line unless `--quiet`."""
        if self.json or not self.quiet:
            self.data(value, text)

    def rows(self, values: Iterable[Any], columns: Sequence[str] | None = None, **how: Any) -> None:
        """Print a list as it comes, in the form that the options name.

        Args:
            values: The values.
            columns: The fields of a table or of CSV. Default: those of the command.
            **how: See `metastore.cli.lists.show_list`.
        """
        from metastore.cli.lists import show_list

        form = self.format or ("jsonl" if self.json else "plain")
        show_list(values, form, columns=columns or self.columns, fields=self.fields, **how)

    def refuse_store(self, reason: str) -> None:
        """Refuse `--store` where it would do nothing.

        Raises:
            InvalidInput: The option was given.
        """
        if self.store_url is not None:
            raise InvalidInput(f"--store does nothing here: {reason}")


def say(text: str, **style: Any) -> None:
    """Print a message to stderr; with `--quiet` only errors, which are red."""
    context = click.get_current_context(silent=True)
    app = context.find_object(App) if context else None
    if app is None or not app.quiet or style.get("fg") == "red":
        show(paint(text, **style), err=True)


def tell_moment(store: Store, dataset_id: str, name: str | None, label: str | None = None) -> None:
    """Say which revision was meant, if it was named by a date, a time, or the number of revisions behind another."""
    if name is not None and is_relative(name):
        found = store.revision_read(dataset_id, name)
        say(f"{label or name}: revision {found.id[:12]}, from {found.created:%Y-%m-%d %H:%M} UTC.")


def is_relative(name: str) -> bool:
    """Tell whether a name, such as `2024-05-01` or `HEAD~2`, does not say by itself which revision it means."""
    return re.match(r"\d{4}-\d\d-\d\d|.*~\d*$", name) is not None


def tell_findings(dataset_id: DatasetId, findings: Sequence[Finding]) -> None:
    """Warn of each finding that a write adds, and count the others. The log itself quotes no descriptor."""
    for finding in findings:
        if not finding.known:
            say(f"WARNING: {dataset_id}: {finding}")
    if known := sum(finding.known for finding in findings):
        say(f"WARNING: {dataset_id}: {known} problem{'s' * (known != 1)} as before")


def go_through(ids: Sequence[DatasetId], label: str, work: Callable[[DatasetId], None]) -> list[dict[str, str]]:
    """Do some work for each dataset, with a progress bar. A dataset that is damaged does not stop the rest.

    Returns:
        The failures with their reasons. A dataset that has gone meanwhile is not a failure.
    """
    failures = []
    with click.progressbar(ids, label=label, file=bar_stream()) as bar:
        for dataset_id in bar:
            try:
                work(dataset_id)
            except DatasetNotFound:
                continue
            except (StorageCorrupt, PathNotFound) as error:
                failures.append({"dataset": str(dataset_id), "kind": error.kind, "reason": str(error)})
    for failure in failures:
        say(f"{failure['dataset']}: {failure['reason']}", fg="red")
    return failures


def local(app: App) -> GitStorage:
    """Return the local storage of an existing store. Raises InvalidInput: the store is not in a folder."""
    from metastore.storage.connect import is_service
    from metastore.storage.local.storage import GitStorage

    store = app.reader()
    if isinstance(store.storage, GitStorage):
        return store.storage
    if is_service(url := app.url()):
        raise InvalidInput(f"{url} is a service: verify, pack and back up where its store is")
    raise InvalidInput(f"this command needs a store in a folder, which {store!r} is not: `metastore copy` makes one")


def unnamed_of(store: Store) -> list[str]:
    """Return the repositories of a local store that have no id."""
    storage = _in_folder(store)
    return [f"{owner}/{name}" for owner, name, _ in storage.layout.unnamed()] if storage is not None else []


def local_root(store: Store) -> str | None:
    """Return the folder of a local store; None for any other store."""
    storage = _in_folder(store)
    return storage.layout.root if storage is not None else None


def _in_folder(store: Store) -> GitStorage | None:
    from metastore.storage.local.storage import GitStorage

    storage = store.storage
    return storage if isinstance(storage, GitStorage) else None
