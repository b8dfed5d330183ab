"""Lines of one store's journal, copied to the journal of another.

A store keeps a copied line as one that it was told: with its author, time and reason, and with who copied it and when.
Nothing else of the store depends on such a line. It moves and purges nothing, withdraws no line that the store wrote,
and a backup does not believe it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from metastore.errors import DatasetNotFound, InvalidInput, PermissionDenied, TooLarge
from metastore.parse import encodable, is_full_id, make_author, make_message, make_time, parse_writable_id
from metastore.storage.lines import withdrawal
from metastore.store._journal import key_of
from metastore.types import Author, DatasetId, JournalEntry, RevisionId

if TYPE_CHECKING:
    from metastore.storage.copy import NotCopied
    from metastore.store.base import Store
    from metastore.store.store import MetaStore

#: The lines that are copied at once, which one request to a service may have.
MOST_LINES = 100
#: The details of a line, and the characters that these may have.
_MOST_DETAILS, _LONGEST = 20, 100_000
#: The characters that the lines may have that are copied in one call, and how many a line counts beside its own.
_MOST_HELD, _A_LINE = 500_000_000, 500
#: What a service shows of a move to an id that the caller may not read.
_InPart = tuple[RevisionId, DatasetId, Author, datetime]
_ACTIONS = frozenset({"move", "purge", "tag_update", "tag_delete", "adopt", "receive", "withdrawn"})


def named_by(line: JournalEntry) -> tuple[DatasetId, ...]:
    """Return the datasets that a line names: the one that it is about, and the new id of a move."""
    new_id = line.details.get("new_id")
    return (line.dataset_id,) if new_id is None else (line.dataset_id, parse_writable_id(new_id))


def checked(line: JournalEntry) -> JournalEntry:
    """Check a line that comes from elsewhere, and return it as the store that wrote it has it.

    Raises:
        InvalidInput: A part of it is malformed.
        TooLarge: It is too long.
    """
    if not isinstance(line, JournalEntry):
        raise InvalidInput(f"a line of a journal is a JournalEntry, not {type(line).__name__}")
    identity = line.original_id
    if not (isinstance(identity, str) and is_full_id(identity)):
        raise InvalidInput(f"the id of a line has 40 hex digits, unlike {str(identity)[:60]!r}")
    if line.action not in _ACTIONS:
        raise InvalidInput(f"line {identity[:12]} has an unknown action, {str(line.action)[:40]!r}")
    _check_details(identity, line.details)
    if (line.action == "move") != ("new_id" in line.details):
        raise InvalidInput(f"line {identity[:12]}: a move, and only a move, has a new_id")
    named_by(line)
    author, dataset_id = make_author((line.author.name, line.author.email)), parse_writable_id(line.dataset_id)
    # Old lines that withdraw a move repeat its message, which not all readers of a service see.
    said = withdrawal(line.details.get("entry")) if line.action == "withdrawn" else line.message
    message, created = make_message(said), make_time(line.created)
    return JournalEntry(identity, line.action, dataset_id, line.details, author, message, created)


def _check_details(identity: str, details: Mapping[str, Any]) -> None:
    if len(details) > _MOST_DETAILS or sum(len(name) + len(str(value)) for name, value in details.items()) > _LONGEST:
        raise TooLarge(f"line {identity[:12]} has more than {_MOST_DETAILS} details or {_LONGEST} characters")
    for name, value in details.items():
        encodable(name, "a detail")
        if isinstance(value, str):
            encodable(value, "a detail")
        elif not (value is None or isinstance(value, (bool, int))):
            raise InvalidInput(f"line {identity[:12]}: a detail is a text, a number or null")


def read_up(store: MetaStore, until: float) -> bool:
    """Read what `journal_import` of a store has to know of its journal.

    Args:
        store: The store.
        until: The time of the monotonic clock at which to stop; the next call continues from there.

    Returns:
        Whether all is read.
    """
    return store._journal.read_up(until)


def copy_journal(
    source: Store,
    target: Store,
    *,
    prefix: str = "",
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, tuple[NotCopied, ...]]:
    """Copy lines of a journal to the journal of another store, which keeps its own lines.

    Lines that the target has already are not copied again, so the same call continues after an interruption. A line
    that has the id of a copied one there, and says something else, is copied and marked. A line about a move whose
    other dataset the caller may not read stays out. If the target shows it without its new id, it counts as there.

    Args:
        source: Shows the lines of the datasets that the caller may read.
        target: A service takes lines of datasets on which the caller has the rights to read and to import.
        prefix: Only lines about ids that start with this text.
        dry_run: Whether to count only.
        progress: Called with the numbers of lines done and in all.

    Returns:
        The number of lines that the target lacked, and the datasets whose lines it refused.

    Raises:
        InvalidInput: The target is no service, and it is unknown who copies.
        TooLarge: There is more to copy than may be held in memory.
        StorageError: One of the stores fails. The copied lines stay.
    """
    there, in_part = set[bytes](), set[_InPart]()
    for line in target.journal():
        there.add(key_of(line))
        if not _is_whole(line):
            in_part.add(_in_part(line))
    lines = _held(line for line in source.journal() if _is_wanted(line, prefix) and key_of(line) not in there)[::-1]
    if dry_run or not lines:
        return len(lines), ()
    target.journal_import(())  # is there an author?
    sending = _Sending(target, in_part)
    for start in range(0, len(lines), MOST_LINES):
        sending.send(lines[start : start + MOST_LINES])
        progress(min(start + MOST_LINES, len(lines)), len(lines))
    return sending.copied, tuple(sending.refused.values())


def _held(lines: Iterable[JournalEntry]) -> list[JournalEntry]:
    """Return lines as a list. A hostile service can send them without end."""
    held, size = list[JournalEntry](), 0
    for line in lines:
        size += _A_LINE + len(line.message) + len(str(line.details))
        if size > _MOST_HELD:
            raise TooLarge(f"the first {len(held)} lines of the journal are all that is copied at once: give a prefix")
        held.append(line)
    return held


def _is_wanted(line: JournalEntry, prefix: str) -> bool:
    return _is_whole(line) and str(line.dataset_id).startswith(prefix) and not line.dataset_id.is_own


def _is_whole(line: JournalEntry) -> bool:
    """Tell whether a line says all. A service hides the new id of a move from those who may not read it."""
    return line.action != "move" or "new_id" in line.details


def _in_part(line: JournalEntry) -> _InPart:
    return line.original_id, line.dataset_id, line.author, line.created


def _names(line: JournalEntry) -> tuple[DatasetId, str]:
    """Return what a line names, even if the source sent what is no id."""
    return line.dataset_id, str(line.details.get("new_id", ""))


class _Sending:
    """Sends lines to a store, and notes those that it refuses, by the datasets that they name.

    A line that the target shows in part is sent too, since another may look the same. If it is refused, it is there.
    """

    def __init__(self, target: Store, in_part: Collection[_InPart]) -> None:
        self._target = target
        self._in_part = in_part
        self.copied = 0
        self.refused: dict[tuple[DatasetId, str], NotCopied] = {}

    def send(self, lines: list[JournalEntry]) -> None:
        """Send lines in one call; if it is refused, send each half, and so on."""
        lines = [line for line in lines if _names(line) not in self.refused]
        try:
            self.copied += self._target.journal_import(lines)
        except (DatasetNotFound, InvalidInput, PermissionDenied) as error:
            if len(lines) == 1:
                if _in_part(lines[0]) not in self._in_part:
                    self._refuse(lines[0], str(error))
                return
            self.send(lines[: len(lines) // 2])
            self.send(lines[len(lines) // 2 :])

    def _refuse(self, line: JournalEntry, reason: str) -> None:
        from metastore.storage.copy import NotCopied  # few programs need it

        self.refused[_names(line)] = NotCopied(line.dataset_id, None, f"lines about it in the journal: {reason}")
