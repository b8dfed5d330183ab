"""Applies patches to a document: merge patch (RFC 7396) and JSON Patch (RFC 6902)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metastore.descriptor._schema_errors import kind_in_words
from metastore.descriptor.document import MAX_DEPTH, encode, escape
from metastore.descriptor.limits import MAX_BYTES
from metastore.errors import InvalidInput
from metastore.wording import shortened, spelled

#: The operations, and the members that each needs besides `path` (RFC 6902, section 4).
_OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}
_ALL_OPERATIONS = "there are add, remove, replace, move, copy and test"
#: The number of a list item (RFC 6901, section 4). No list has an item whose number needs more than 18 digits.
_INDEX = re.compile("0|[1-9][0-9]{0,17}")
#: The longest pointer in an operation, in characters.
_LONGEST_POINTER = 100_000
#: The most steps in all pointers of a patch. Each is taken up to four times, and costs more than its text does.
_MOST_STEPS = 1_000_000
#: The approximate size of a value without its text, in bytes.
_EACH = 30
#: The most operations of a patch, and the most list items that they may shift in total, which takes about a second.
_MOST_OPERATIONS, _MOST_SHIFTS = 50_000, 1_000_000_000
_NEITHER = "a patch is an object (merge patch, RFC 7396) or a list (JSON Patch, RFC 6902)"


def patched(document: Any, patch: Mapping[str, Any] | Sequence[Any]) -> Any:
    """Return the document with a patch applied: an object is a merge patch, a list is a JSON Patch.

    Raises:
        InvalidInput: The patch is malformed, or does not fit the document (a failed `test` included).
    """
    if isinstance(patch, Mapping):
        return _merge(document, patch)
    if isinstance(patch, Sequence) and not isinstance(patch, (str, bytes)):
        return _apply_operations(document, patch)
    raise InvalidInput(_NEITHER)


def plain(patch: Any) -> Any:
    """Return a patch as plain dictionaries and lists.

    Raises:
        InvalidInput: It is neither an object nor a list, or nested too deeply.
    """
    if not isinstance(patch, (Mapping, list, tuple)):
        raise InvalidInput(_NEITHER)
    return _plain(patch, 0)


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"the patch is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {name: _plain(member, depth + 1) for name, member in value.items()}
    return [_plain(member, depth + 1) for member in value] if isinstance(value, (list, tuple)) else value


def _merge(target: Any, patch: Any, depth: int = 0) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    if depth > MAX_DEPTH:
        raise InvalidInput(f"the patch is nested more than {MAX_DEPTH} levels deep")
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value, depth + 1)
    return merged


def _apply_operations(document: Any, operations: Sequence[Any]) -> Any:
    if len(operations) > _MOST_OPERATIONS:
        raise InvalidInput(
            f"a patch has at most {_MOST_OPERATIONS} operations, not {len(operations)}: replace the descriptor",
            pointer="",
        )
    patching = _Patching(document)
    for index, operation in enumerate(operations):
        try:
            patching.apply(_parse(operation))
        except _Misfit as error:
            pointer, message = f"/{index}", f"operation {index} of the patch does not fit: {error}"
            misfit = InvalidInput(message, problems=((pointer, message),))
            misfit.pointer = pointer  # into the patch, so not in the message
            raise misfit from None
    return patching.document


class _Misfit(Exception):
    """An operation is malformed, or does not fit the document. The message says why."""


class _Operation(NamedTuple):
    """An operation of a patch: its places are lists of steps."""

    op: str
    path: list[str]
    source: list[str]
    value: Any


def _parse(operation: Any) -> _Operation:
    if not isinstance(operation, dict):
        raise _Misfit(f"an operation is an object, not {kind_in_words(operation)}")
    op = operation.get("op")
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise _Misfit(f"its op is {spelled(op, 80) if 'op' in operation else 'missing'}; {_ALL_OPERATIONS}")
    for name in ("path", *_OPERATIONS[op]):
        if name not in operation:
            raise _Misfit(f"{op} needs a {name}")
    source = _steps(operation["from"], "from") if "from" in _OPERATIONS[op] else []
    return _Operation(op, _steps(operation["path"], "path"), source, operation.get("value"))


def _steps(pointer: Any, name: str) -> list[str]:
    """Return the steps of a pointer. A very long one is refused, since several copies are made of it."""
    if not isinstance(pointer, str):
        raise _Misfit(f"its {name} is {kind_in_words(pointer)}, not text")
    if len(pointer) > _LONGEST_POINTER:
        raise _Misfit(f"a pointer has at most {_LONGEST_POINTER} characters: use a merge patch")
    if pointer and not pointer.startswith("/"):
        raise _Misfit(f"its {name} is {shortened(pointer)}, but a pointer begins with /")
    if re.search("~(?![01])", pointer):
        raise _Misfit(f"its {name} {shortened(pointer)} has a ~ alone: write ~0 for ~, and ~1 for / in a name")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


class _Patching:
    """A copy of a document that operations change."""

    def __init__(self, document: Any) -> None:
        self.document = _copy(document)
        self._bytes, self._shifts = MAX_BYTES, _MOST_SHIFTS  # what further operations may copy or compare, and shift
        self._steps = _MOST_STEPS  # and walk

    def apply(self, operation: _Operation) -> None:
        op, path, source, value = operation
        self._steps -= len(path) + len(source)
        if self._steps < 0:
            raise _Misfit(f"all in all the pointers of the patch have more than {_MOST_STEPS} steps: use a merge patch")
        if op == "test":
            self._test(path, value)
        elif op == "remove":
            self._remove(path)
        elif op == "move":
            self._move(source, path)
        elif op == "copy":
            self._add(path, _copy(self._counted(_found(self.document, source))))
        elif op == "add" or not path:
            self._add(path, _copy(value))
        else:
            self._replace(path, _copy(value))

    def _test(self, path: Sequence[str], value: Any) -> None:
        """RFC 6902, section 4.6. Compares texts, since in Python `1 == True`."""
        found = self._counted(_found(self.document, path))
        if encode(found, sort=True) != encode(value, sort=True) and not _equal_numbers(found, value):
            raise _Misfit(f"{_shown(path)} is {spelled(found, 80)}, not {spelled(value, 80)}")

    def _move(self, source: Sequence[str], path: Sequence[str]) -> None:
        value = _found(self.document, source)
        if path == source:
            return
        if path[: len(source)] == source:
            raise _Misfit(f"{_shown(source)} cannot be moved into itself")
        self._remove(source)
        self._add(path, value)

    def _remove(self, path: Sequence[str]) -> None:
        _found(self.document, path)
        if not path:
            raise _Misfit("the whole document cannot be removed")
        holder = _found(self.document, path[:-1])
        if isinstance(holder, list):
            self._count_shifts(holder, int(path[-1]))
        del holder[int(path[-1]) if isinstance(holder, list) else path[-1]]

    def _replace(self, path: Sequence[str], value: Any) -> None:
        _found(self.document, path)
        holder = _found(self.document, path[:-1])
        holder[int(path[-1]) if isinstance(holder, list) else path[-1]] = value

    def _add(self, path: Sequence[str], value: Any) -> None:
        if not path:
            self.document = value
            return
        *outer, last = path
        holder = _found(self.document, outer)
        if isinstance(holder, dict):
            holder[last] = value
        elif isinstance(holder, list):
            number = len(holder) if last == "-" else _number(last, outer)
            if number > len(holder):
                raise _Misfit(f"{_items(holder, outer)}, so none can be added as item {number}: write - for the end")
            self._count_shifts(holder, number)
            holder.insert(number, value)
        else:
            raise _Misfit(f"{_shown(outer)} is {kind_in_words(holder)}, so it has no member {shortened(last)}")

    def _counted(self, value: Any) -> Any:
        """Return a value to copy or compare. Copying a list into itself doubles it each time."""
        self._bytes -= _length(value, self._bytes)
        if self._bytes < 0:
            raise _Misfit(f"all in all the patch copies or compares more than {MAX_BYTES} bytes")
        return value

    def _count_shifts(self, items: list[Any], number: int) -> None:
        """Count the items that move when one is added or removed."""
        self._shifts -= len(items) - number
        if self._shifts < 0:
            raise _Misfit("all in all the patch shifts too many items of long lists: replace the lists")


def _found(document: Any, steps: Sequence[str]) -> Any:
    """Return the value at a place."""
    value = document
    for at, step in enumerate(steps):
        if isinstance(value, list):
            number = int(step) if _INDEX.fullmatch(step) else _number(step, steps[:at])
            if number >= len(value):
                raise _Misfit(f"{_items(value, steps[:at])}, and no item {number}")
            value = value[number]
        elif not isinstance(value, dict):
            raise _Misfit(f"{_shown(steps[:at])} is {kind_in_words(value)}, so it has no member {shortened(step)}")
        elif step not in value:
            raise _Misfit(f"{_shown(steps[:at])} has no member {shortened(step)}")
        else:
            value = value[step]
    return value


def _number(step: str, outer: Sequence[str]) -> int:
    if not _INDEX.fullmatch(step):
        raise _Misfit(f"{_shown(outer)} is a list, so {shortened(step)} has to be the number of an item, from 0 on")
    return int(step)


def _items(value: list[Any], outer: Sequence[str]) -> str:
    return f"the list {_shown(outer)} has {len(value)} item{'s' * (len(value) != 1)}"


def _shown(steps: Sequence[str]) -> str:
    return shortened("".join(f"/{escape(step)}" for step in steps)) if steps else "the document"


def _length(value: Any, most: int) -> int:
    """Return the approximate size of a value in bytes; the count stops beyond `most`."""
    length, left = 0, [value]
    while left and length <= most:
        each = left.pop()
        length += _EACH + (len(each) if isinstance(each, str) else 0)
        if isinstance(each, dict):
            length += sum(map(len, each))
            left += each.values()
        elif isinstance(each, list):
            left += each
    return length


def _equal_numbers(a: Any, b: Any) -> bool:
    return all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b)) and a == b


def _copy(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:  # by copies of values that contain copies
        raise InvalidInput(f"the document would be nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        return {key: _copy(member, depth + 1) for key, member in value.items()}
    return [_copy(member, depth + 1) for member in value] if isinstance(value, list) else value
