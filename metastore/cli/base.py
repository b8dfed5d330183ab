"""What the commands share: options, output, and errors turned into sentences and exit codes."""

from __future__ import annotations

import functools
import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metastore.cli.bars import bar_stream, wait_for_host
from metastore.cli.output import paint, show, show_bytes
from metastore.errors import (
    AuthenticationError,
    Conflict,
    DatasetNotFound,
    InvalidInput,
    MergeConflict,
    MetastoreError,
    NotADescriptor,
    NotFound,
    OutcomeUnknown,
    PathNotFound,
    PermissionDenied,
    StorageCorrupt,
    StorageError,
)
from metastore.parse import make_author
from metastore.printable import printable
from metastore.types import Author, Dataset, DatasetId, shortened

if TYPE_CHECKING:
    from metastore.settings import Settings
    from metastore.storage.local.storage import GitStorage
    from metastore.store.base import Store

#: Exit codes, looked up along the class's bases. 1 says that a check found something, 130 that Ctrl-C was pressed.
EXIT_CODES: dict[type, int] = {
    InvalidInput: 2,
    NotFound: 3,
    Conflict: 4,
    StorageError: 5,
    AuthenticationError: 6,
    PermissionDenied: 6,
}
FOUND_PROBLEMS = 1
#: The length of a full id, in hex digits.
_FULL = 40
#: The store lost something that its backup has.
KEPT_IN_BACKUP = 7


class App:
    """The options that every command has, and the store that they lead to."""

    def __init__(self) -> None:
        self.store_url: str | None = None
        self.author: str | None = None
        self.json = False
        self.quiet = False
        self.bundles_url: str | None = None
        self.groups_file: str | None = None
        self.user: str | None = None

    def reader(self) -> Store:
        """Open a store that has to be there."""
        return self.open(self.store_url, create=False)

    def writer(self, *, sync: bool = True) -> Store:
        """Open a store, and make it if there is none; a person is told, since a path may be mistyped."""
        new = self.is_new()
        store = self.open(self.store_url, create=True, sync=sync)
        if new:
            say(f"Made a new store at {self.url()}.")
        return store

    def is_new(self) -> bool:
        """Return whether there is no store yet, so that `writer` would make one."""
        from metastore.storage.connect import is_new

        return is_new(self.url())

    def url(self) -> str:
        """Return the URL of the store: the option, else the setting."""
        from metastore import config

        return self._settings(config.load()).url

    def require_author(self) -> None:
        """Say once, before anything is done, that nobody is named who writes.

        Raises:
            InvalidInput: Neither the options nor the settings nor Git name an author.
        """
        from metastore import config, connecting
        from metastore.storage.connect import is_service

        settings = self._settings(config.load())
        if is_service(settings.url):  # the token says who
            return
        if self.author is None and not (settings.options.get("author") or connecting.git_author()):
            raise InvalidInput(
                "nobody is named who writes: give --author 'Ann Lee <ann@example.org>', set METASTORE_AUTHOR, "
                "or git config --global user.name"
            )

    def known_author(self) -> Author:
        """Return who writes: the option, the setting, or Git's. Call `require_author` before."""
        from metastore import config, connecting

        named = self.author or config.load().options.get("author")
        author = make_author(named) if named else connecting.git_author()
        assert author is not None
        return author

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
        """Return the full id of a revision that was given as an abbreviation; anything else as it is."""
        from metastore.parse import looks_like_revision

        if dataset_id is None or revision is None or len(revision) == _FULL or not looks_like_revision(revision):
            return revision
        return self.reader().revision_read(dataset_id, revision).id

    def profiles(self) -> str | None:
        """Return the folder of profiles that the settings name."""
        from metastore import config

        folder: str | None = config.load().options.get("profiles")
        return folder

    def _settings(self, settings: Settings) -> Settings:
        return settings if self.store_url is None else replace(settings, url=self.store_url)

    def data(self, value: Any, text: str | Sequence[str] | bytes | None = None) -> None:
        """Print a result: as JSON on one line where that was asked for, else as a line, as lines, or as it is."""
        from metastore.wire import to_text

        if self.json or text is None:
            show(to_text(value))
        elif isinstance(text, bytes):
            show_bytes(text)
        else:
            show(*([text] if isinstance(text, str) else text))

    def summary(self, value: Any, text: str) -> None:
        """Print the counts of what was done: as JSON where that was asked for, else as a line unless `--quiet`."""
        if self.json or not self.quiet:
            self.data(value, text)

    def rows(self, values: Iterable[Any], text: Callable[[Any], str] = str) -> None:
        """Print one result a line, as they come."""
        for value in values:
            self.data(value, text(value))


def say(text: str, **style: Any) -> None:
    """Tell the person something, on stderr; with --quiet only what went wrong, which is red."""
    context = click.get_current_context(silent=True)
    app = context.find_object(App) if context else None
    if app is None or not app.quiet or style.get("fg") == "red":
        show(paint(text, **style), err=True)


def tell_findings(made: Dataset) -> None:
    """Warn of what a write added that breaks the profile, and count the rest; the log quotes no descriptor."""
    for finding in made.findings:
        if not finding.known:
            say(f"WARNING: {made.id}: {finding}")
    if known := sum(finding.known for finding in made.findings):
        say(f"WARNING: {made.id}: {known} problem{'s' * (known != 1)} as before")


def command(group: click.Group, name: str, *, writes: bool = False, expects: bool = False) -> Callable[..., Any]:
    """Make a function a command with the options that all have, those that write, and those with `--expected`."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            app = click.get_current_context().find_object(App)
            if writes and app:
                app.require_author()
            if expects and app and "name" not in kwargs:  # a tag's id has no abbreviation
                kwargs["expected"] = app.full_id(kwargs["dataset_id"], kwargs["expected"])
            try:
                return function(app, *args, **kwargs)
            except InvalidInput as error:
                if app and _is_unnamed(app, kwargs.get("dataset_id")):
                    raise InvalidInput(f"{error}. `metastore adopt` gives this repository an id") from None
                raise

        options: list[Callable[..., Any]] = [*COMMON, *(WRITING if writes else ()), *(EXPECTING if expects else ())]
        decorated: Any = run
        for option in reversed(options):
            decorated = option(decorated)
        made: click.Command = group.command(name)(decorated)
        return made

    return decorate


def keep(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that keeps an option's value in the `App`, wherever on the line it stands."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value not in (None, False):  # not given here, but perhaps in front of the command
            setattr(context.ensure_object(App), attribute, value)

    return callback


def _be_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    keep("quiet")(context, parameter, value)
    if value:
        logging.getLogger("metastore").setLevel(logging.ERROR)


class _Time(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2024-05-01 or 2024-05-01T12:00:00Z", param, ctx)
        if len(value) == len("2024-05-01"):
            return at.replace(tzinfo=UTC)  # a plain date begins at midnight in UTC
        if at.tzinfo is None:
            self.fail(f"{value!r} has no time zone: write {at.isoformat()}Z for UTC", param, ctx)
        return at


TIME = _Time()
COMMON: tuple[Callable[..., Any], ...] = (
    click.option(
        "--store",
        metavar="URL",
        expose_value=False,
        callback=keep("store_url"),
        help="The store: a path, or the URL of a store or service. Otherwise METASTORE_STORE, else ./metastore-data.",
    ),
    click.option("--json", is_flag=True, expose_value=False, callback=keep("json"), help="Print JSON for programs."),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_be_quiet,
        help="Print results and errors, and neither bars nor counts.",
    ),
)
WRITING: tuple[Callable[..., Any], ...] = (
    click.option(
        "-a",
        "--author",
        metavar="'NAME <EMAIL>'",
        expose_value=False,
        callback=keep("author"),
        help="Who. Otherwise METASTORE_AUTHOR, else Git's user.name and user.email.",
    ),
    click.option("-m", "--message", metavar="TEXT", help="Why."),
    click.option("--at", type=TIME, metavar="TIME", help="When, for imports; otherwise now."),
)
EXPECTING: tuple[Callable[..., Any], ...] = (
    click.option("--expected", metavar="ID", help="Only if this still is the newest; otherwise a conflict."),
)


def go_through(ids: Sequence[DatasetId], label: str, work: Callable[[DatasetId], None]) -> list[dict[str, str]]:
    """Do something with each dataset, with a bar; one that is damaged or gone does not keep the others from it.

    Returns:
        What failed, and why; a dataset that is not there any more is no failure.
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
    """Return the local storage of the store that has to be there. Raises InvalidInput where it is another kind."""
    from metastore.storage.local.storage import GitStorage

    storage = app.reader().storage
    if not isinstance(storage, GitStorage):
        raise InvalidInput("only a store in a folder can be used this way")
    return storage


def _is_unnamed(app: App, text: str | None) -> bool:
    """Tell whether a text is no id, and yet what a repository of a local store is called."""
    try:
        return text is not None and text in unnamed_of(app.reader())
    except MetastoreError:
        return False


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

    try:
        storage = store.storage
    except InvalidInput:  # it is a service
        return None
    return storage if isinstance(storage, GitStorage) else None


def read_input(source: str) -> bytes:
    """Read a file, or stdin for `-`.

    Raises:
        InvalidInput: It cannot be read.
    """
    if source == "-":
        stdin = sys.stdin.buffer
        if stdin.isatty():
            say("Reading from the keyboard; end with Ctrl-D.")
        return stdin.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error.strerror}") from None


def write_output(path: Path, content: bytes) -> None:
    """Write a file, and the folders that it is in.

    Raises:
        InvalidInput: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None


def show_error(error: MetastoreError, *, as_json: bool) -> int:
    """Say what is wrong, on stderr.

    Returns:
        The exit code.
    """
    if as_json:
        from metastore.wire import to_text

        facts = {name: value for name, value in vars(error).items() if name != "problems"}
        show(to_text({"error": {"kind": error.kind, "message": str(error), **facts}}), err=True)
    else:
        say(f"Error: {error}", fg="red")
        problems = error.problems if isinstance(error, InvalidInput) else ()
        for pointer, detail in problems[1:] if len(problems) > 1 else ():
            say(f"  {pointer or '(descriptor)'}: {detail}")
        for place in error.places if isinstance(error, MergeConflict) else ():
            say(f"  {place.where}: it is {shortened(place.new)} now, and was {shortened(place.old)} before the change")
        if isinstance(error, NotADescriptor):
            say(f"  To see it, run: metastore dataset read {error.dataset_id} {error.revision} --raw")
        if isinstance(error, OutcomeUnknown) and error.change is not None:
            say(f"  To find out, run: metastore settle {shlex.quote(_facts_of(error))}")
        if isinstance(error, AuthenticationError) and error.missing:
            say("  Set METASTORE_TOKEN to one; `metastore token`, run where the service is, issues them.")
    return next((code for kind in type(error).__mro__ if (code := EXIT_CODES.get(kind))), 5)


def _facts_of(error: OutcomeUnknown) -> str:
    """Return what `metastore settle` needs to know of an error, as JSON."""
    from metastore.wire import to_text

    facts = {"change": error.change, "before": error.before, "wanted": error.wanted}
    return to_text(facts | ({"attempt": error.attempt} if error.attempt else {}))


class _OneLine(logging.Formatter):
    """Writes a message on one line, whatever it quotes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        return printable(super().formatMessage(record))


def set_up_logging() -> None:
    """Let the library's warnings reach the person, in plain words."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: record.name != "metastore.findings")  # `tell_findings` says more
    logger = logging.getLogger("metastore")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.WARNING)
