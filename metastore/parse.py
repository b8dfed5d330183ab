"""Parse ids, tag names, revisions, authors, messages and times at the edge, or refuse them, once."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from metastore.errors import InvalidInput
from metastore.phrase import Phrase
from metastore.types import Author, DatasetId, Revision, Tag
from metastore.wording import shortened

if TYPE_CHECKING:
    from urllib.parse import SplitResult

#: A dataset id, or what `parse_dataset_id` makes one of.
AnyId = str | tuple[str, str]
#: An author, or what `make_author` makes one of.
AnyAuthor = Author | str | tuple[str, str]
#: A revision: by name, or as a call returned it. A tag stands for the revision that it names.
AnyRevision = str | Revision | Tag
#: A time, or the text that `make_time` makes one of (ISO 8601).
AnyTime = datetime | str

_PART = re.compile(r"[a-z0-9_][a-z0-9._-]{0,99}")
_TAG = re.compile(r"[A-Za-z0-9_\-+.,]{1,100}")
_HEX = re.compile(r"[0-9a-f]{7,40}")
_GIT_STRIPS = "".join(map(chr, range(33))) + ".,:;<>\"\\'"
_MESSAGE_LIMIT = 65_536
#: An e-mail address, without the quoted form of RFC 5321, which nobody uses.
_EMAIL = re.compile(r"[^\s\x00-\x20\x7f@<>()\[\]\\,;:\"]{1,64}@[^\W_][\w-]*(\.[\w-]+)*")


def parse_dataset_id(text: AnyId) -> DatasetId:
    """Parse `owner/name`, or a pair of both, as a dataset id.

    Raises:
        InvalidInput: The text is not an id; the message says why.
    """
    # A DatasetId is checked too: its constructor takes any text.
    if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
        return _parse_dataset_id("/".join(text))
    if not isinstance(text, str):
        raise InvalidInput(f"a dataset id is text such as 'owner/name', or a pair, not {type(text).__name__}")
    return _parse_dataset_id(text)


@lru_cache(4096)
def _parse_dataset_id(text: str) -> DatasetId:
    parts = text.split("/")
    if len(parts) != 2 or not all(parts):
        raise InvalidInput(Phrase("a dataset id looks like 'owner/name', not %(value)s", value=shortened(text)))
    for part in parts:
        if problem := _problem_of_part(part):
            values = {"part": shortened(part), "id": shortened(text), "problem": problem}
            raise InvalidInput(Phrase("%(part)s in the dataset id %(id)s %(problem)s", **values))
    return DatasetId(*parts)


def _problem_of_part(part: str) -> str | None:
    if _PART.fullmatch(part.lower()) and part != part.lower():
        return Phrase("must be lower case: try %(name)r", name=part.lower())
    if not _PART.fullmatch(part):
        return Phrase("must be 1 to 100 of the characters a-z 0-9 . _ - and begin with a letter, digit or underscore")
    if ".." in part or part.endswith("."):
        return Phrase("must not contain '..' or end with a dot")
    if part.endswith((".git", ".lock")):
        return Phrase("must not end with .git or .lock")
    return None


def parse_writable_id(text: AnyId) -> DatasetId:
    """Parse the id of a dataset that callers may write to.

    Raises:
        InvalidInput: It is not an id, or the id of one of the store's own datasets.
    """
    dataset_id = parse_dataset_id(text)
    if dataset_id.is_own:
        raise InvalidInput(
            Phrase("owners that begin with '_', such as %(owner)r, are the store's own", owner=dataset_id.owner)
        )
    return dataset_id


def parse_tag_name(name: str) -> str:
    """Check the name of a tag: letters, digits, `_ - + . ,`, within Git's rules (git-check-ref-format).

    Raises:
        InvalidInput: The name is malformed, or could be mistaken for a revision.
    """
    if not (isinstance(name, str) and _TAG.fullmatch(name)):
        raise InvalidInput(
            Phrase("a tag's name is 1 to 100 letters, digits or any of '_-+.', not %(value)s", value=shortened(name))
        )
    if name.startswith("-") or not is_tag_name(name):
        raise InvalidInput(Phrase("Git does not allow the tag name %(name)r", name=name))
    if name in ("HEAD", "main", "master") or _HEX.fullmatch(name.lower()):
        raise InvalidInput(
            Phrase("the tag name %(name)r could be mistaken for a revision or the branch: choose another", name=name)
        )
    return name


def is_tag_name(text: str) -> bool:
    """Return whether a tag of Git can have this name; the text of a path never has that form.

    A reference whose name ends in `.lock` would be the lock of another one.
    """
    is_formed = isinstance(text, str) and _TAG.fullmatch(text) is not None
    return is_formed and not text.startswith(".") and not text.endswith((".", ".lock")) and ".." not in text


def parse_revision(revision: AnyRevision | None) -> str | None:
    """Return the name of a revision, or None for the newest.

    Raises:
        InvalidInput: It is neither text nor a revision or tag.
    """
    if isinstance(revision, Revision):
        return revision.id
    if isinstance(revision, Tag):
        return revision.revision
    if revision is not None and not isinstance(revision, str):
        raise InvalidInput(f"a revision is its id, a tag's name, a Revision or a Tag, not {type(revision).__name__}")
    return revision


def parse_expected(expected: AnyRevision | None) -> str | None:
    """Return the full id that a caller expects, of a revision or of a tag; None if any will do.

    Raises:
        InvalidInput: It is something else.
    """
    if isinstance(expected, (Revision, Tag)):
        return parse_revision(expected)
    if expected is None or (isinstance(expected, str) and is_full_id(expected)):
        return expected
    raise InvalidInput(f"expected is a full id of 40 hex digits, as a read returns it, not {str(expected)[:60]!r}")


def parse_limit(limit: int | None) -> int | None:
    """Check how many items of a list are wanted, at most; None for all.

    Raises:
        InvalidInput: It is not a number, or negative.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InvalidInput(f"a limit is a number from 0 on, not {limit!r}")
    return limit


def parse_wait(wait: float) -> float:
    """Check how many seconds a call waits; a negative number does not wait.

    Raises:
        InvalidInput: It is not a number.
    """
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or wait != wait:
        raise InvalidInput(f"wait is a number of seconds, not {shortened(wait)}")
    return wait


def make_author(author: AnyAuthor) -> Author:
    """Parse `Name <email>`, a pair of both, or an `Author`, and normalise it as Git does.

    Raises:
        InvalidInput: The name is empty once normalised, or is not Unicode.
    """
    given = author
    if isinstance(author, str):
        name, _, email = author.partition("<")
        author = (name, email)
    if isinstance(author, tuple) and len(author) == 2:
        author = Author(*author)
    if not (isinstance(author, Author) and isinstance(author.name, str) and isinstance(author.email, str)):
        raise InvalidInput("an author is 'Name <email>', a pair of name and email, or an Author")
    name, email = _clean_identity(author.name), _clean_identity(author.email)
    if not name:
        raise InvalidInput(f"an author needs a name: {shortened(given)} has none that Git would keep")
    return author if (name, email) == (author.name, author.email) else Author(name, email)


def is_email(text: str) -> bool:
    """Return whether a text has the form of an e-mail address, such as `ann@example.org`."""
    return len(text) <= 254 and _EMAIL.fullmatch(text) is not None and text.isprintable()


@lru_cache(1024)
def _clean_identity(text: str) -> str:
    """Trim the "crud" of Git's ident.c at both ends, and drop newlines and angle brackets inside."""
    if len(text) > 1000:
        raise InvalidInput("an author's name and email are texts of at most 1000 characters")
    encodable(text, "an author")
    return re.sub(r"[<>\n\0]", "", text.strip(_GIT_STRIPS)).strip(_GIT_STRIPS)


def make_message(text: str) -> str:
    """Normalise a message as Git does: drop leading blank lines and trailing white space.

    Raises:
        InvalidInput: It is not a string, is longer than 65,536 characters, contains NUL, or is not Unicode.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"a message is text, not {type(text).__name__}")
    if len(text) > _MESSAGE_LIMIT:
        limits = {"most": _MESSAGE_LIMIT, "number": len(text)}
        raise InvalidInput(Phrase("a message has at most %(most)s characters, not %(number)s", **limits))
    if "\0" in text:
        raise InvalidInput(Phrase("a message cannot contain a NUL character"))
    encodable(text, "a message")
    return text.lstrip("\r\n").rstrip()


def make_time(at: AnyTime) -> datetime:
    """Convert a time to UTC and whole seconds. A plain date, such as 2024-05-01, begins at midnight in UTC.

    Raises:
        InvalidInput: It is not a time, has no time zone, or is before 1970, which Git cannot store.
    """
    if isinstance(at, str):
        is_date = len(at) == len("2024-05-01")
        try:
            at = datetime.fromisoformat(at)
        except ValueError as error:
            reason = "" if "isoformat" in str(error) else f" ({error})"
            value = shortened(at) + reason
            raise InvalidInput(
                Phrase("a time looks like 2024-05-01T12:00:00Z, or 2024-05-01, not %(value)s", value=value)
            ) from None
        at = at.replace(tzinfo=UTC) if is_date else at
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InvalidInput(f"a time needs a time zone, such as 2024-05-01T12:00:00+00:00, not {shortened(str(at))}")
    try:
        at = at.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        raise InvalidInput(f"the time {at} is not in the years 1 to 9999 of UTC") from None
    if at.year < 1970:
        raise InvalidInput(f"Git cannot store times before 1970, such as {at:%Y-%m-%d}")
    return at


def looks_like_revision(text: str) -> bool:
    """Return whether a text is a revision id or an abbreviation: 7 to 40 lower-case hex digits."""
    return _HEX.fullmatch(text) is not None


def is_full_id(text: str) -> bool:
    """Return whether a text is the whole id of a revision or a tag, and not an abbreviation."""
    return len(text) == 40 and looks_like_revision(text)


def split_url(url: str) -> SplitResult:
    """Split a URL into its parts.

    Raises:
        InvalidInput: Its host or port is malformed. The message does not repeat the URL, which may hold a password.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidInput(
            "this URL has a host or a port that cannot be read: write example.org, 192.0.2.1 or [2001:db8::1], and a "
            "port as in example.org:5000"
        ) from None
    return parts


def encodable(text: str, what: str) -> None:
    """Refuse text with a lone surrogate, which cannot be encoded as UTF-8.

    Raises:
        InvalidInput: There is one; the message begins with `what`.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        values = {"what": what, "number": error.start}
        raise InvalidInput(
            Phrase("%(what)s must be Unicode text; character %(number)s is half of a pair", **values)
        ) from None
