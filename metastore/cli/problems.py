"""Errors as messages and exit codes, and the log as lines for people."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator

from metastore.cli.base import say
from metastore.cli.output import show
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
    NotADescriptor,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    ResourceNotFound,
    RevisionNotFound,
    StorageError,
    TagNotFound,
)
from metastore.printable import printable

#: Exit codes by class; a class without one has its base's. 1 means that a check found something, 130 Ctrl-C.
EXIT_CODES: dict[type, int] = {
    InvalidInput: 2,
    NotFound: 3,
    Conflict: 4,
    StorageError: 5,
    AuthenticationError: 6,
    PermissionDenied: 6,
}
FOUND_PROBLEMS = 1
#: The store has lost something that its backup has.
KEPT_IN_BACKUP = 7


def _contrasted(old: object, new: object) -> str:
    return f": it is {_state(new)} now, and was {_state(old)} before the change"


def _state(value: object) -> str:
    from metastore.wording import spelled

    return "missing" if value is None else spelled(value, 80)


def show_error(error: MetastoreError, *, as_json: bool, advise: bool = True) -> int:
    """Print an error to stderr, where there is one with the command that helps, and return its exit code."""
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
            values = "" if place.new is place.old is None else _contrasted(place.old, place.new)
            say(f"  {place.where}{values}")
        for line in _advice(error) if advise else ():
            say(f"  {line}")
        if isinstance(error, OutcomeUnknown) and error.change is not None:
            import shlex

            say(f"  To find out, run: metastore settle {shlex.quote(_facts_of(error))}")
        if isinstance(error, AuthenticationError):
            what = "Set METASTORE_TOKEN to a token." if error.missing else "The token is that of METASTORE_TOKEN."
            say(f"  {what} `metastore token`, on the machine of the service, issues tokens.")
    return next((code for kind in type(error).__mro__ if (code := EXIT_CODES.get(kind))), 5)


def _advice(error: MetastoreError) -> Iterator[str]:
    """Yield the command that helps after an error, if there is one."""
    from metastore.types import DatasetId

    match error:
        case NotADescriptor():
            yield f"To see it, run: metastore dataset read {error.dataset_id} {error.revision} --raw"
        case DatasetDeleted():
            before = str(error.revision.parent)[:12]
            yield f"To bring it back, run: metastore dataset revert {error.dataset_id} {before}"
        case DatasetMoved():
            yield f"To read it, run: metastore dataset read {error.new_id}"
        case DatasetNotFound():
            owner = str(error.dataset_id).partition("/")[0]
            yield f"To list the datasets of this owner, run: metastore dataset list {owner}/"
        case RevisionNotFound():
            yield from _form_of_revision(str(error.revision))
            yield f"To list its revisions, run: metastore revision list {error.dataset_id}"
            yield f"To list its tags, run: metastore tag list {error.dataset_id}"
        case TagNotFound():
            yield f"To list the tags, run: metastore tag list {error.dataset_id}"
        case ResourceNotFound():
            yield f"To see its resources, run: metastore dataset read {error.dataset_id}"
        case BundleNotFound() if not isinstance(error, BundleDeleted):
            yield "To list the bundles, run: metastore bundle list"
        case AlreadyExists(what=DatasetId()):
            yield f"To see it, run: metastore dataset read {error.what}"
        case _:
            pass


def _form_of_revision(text: str) -> Iterator[str]:
    """Yield the right form of a revision's name, where Git's habits or a date led to another."""
    if re.fullmatch(r"[0-9a-fA-F]{1,40}", text) and (len(text) < 7 or text != text.lower()):
        yield "An id is abbreviated to 7 digits or more, in lower case."
    elif "^" in text or "@{" in text:
        yield "Write HEAD~1 for the revision before the newest one, and v1~1 for the one before v1."
    elif re.fullmatch(r"(?!\d{4}-\d\d-\d\d$)\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|today|yesterday|now", text):
        yield "For the newest revision at a time, write 2024-05-01 or 2024-05-01T12:00:00Z."


def _facts_of(error: OutcomeUnknown) -> str:
    """Return the facts of an error that `metastore settle` needs, as JSON."""
    from metastore.wire import to_text

    facts = {"change": error.change, "before": error.before, "wanted": error.wanted}
    return to_text(facts | ({"attempt": error.attempt} if error.attempt else {}))


class _OneLine(logging.Formatter):
    """Writes each message on one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        return printable(super().formatMessage(record))


def set_up_logging() -> None:
    """Print the library's warnings to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: record.name != "metastore.findings")  # `tell_findings` prints them
    for name in ("metastore", "httpx"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.WARNING)
