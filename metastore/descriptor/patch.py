"""Changes a part of a document: merge patch (RFC 7396) and JSON Patch (RFC 6902)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metastore.descriptor.document import MAX_DEPTH, encode
from metastore.descriptor.limits import MAX_BYTES
from metastore.errors import InvalidInput

#: The longest reason why an operation does not fit, in characters.
_LONGEST = 200
#: The longest pointer in an operation, in characters.
_LONGEST_POINTER = 100_000
#: The approximate size of a value beside its text, in bytes.
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
    import jsonpatch

    if len(operations) > _MOST_OPERATIONS:
        raise InvalidInput(
            f"a patch has at most {_MOST_OPERATIONS} operations, not {len(operations)}: replace the descriptor",
            pointer="",
        )
    document, left, shifts = _copy(document), MAX_BYTES, _MOST_SHIFTS
    for index, operation in enumerate(operations):
        try:
            _limit_pointers(operation)
            left = _left_after(document, operation, left)
            shifts = _shifts_left_after(document, operation, shifts)
            document = _apply(document, operation)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, KeyError, TypeError, ValueError) as error:
            if isinstance(error, RecursionError):
                raise
            # jsonpatch quotes the whole document for a pointer that leads nowhere.
            detail = (str(error) or type(error).__name__)[:_LONGEST]
            raise InvalidInput(f"operation {index} of the patch does not fit: {detail}", pointer=f"/{index}") from None
    return document


def _limit_pointers(operation: Any) -> None:
    """Refuse pointers that are very long, of which several copies are made. Raises ValueError."""
    names = [name for name in ("path", "from") if isinstance(operation, dict)]
    if any(len(operation[name]) > _LONGEST_POINTER for name in names if isinstance(operation.get(name), str)):
        raise ValueError(f"a pointer has at most {_LONGEST_POINTER} characters: use a merge patch")


def _apply(document: Any, operation: Any) -> Any:
    import jsonpatch

    if isinstance(operation, dict) and operation.get("op") == "test":
        _test(document, operation)
        return document
    return jsonpatch.JsonPatch([operation]).apply(document, in_place=True)


def _left_after(document: Any, operation: Any, left: int) -> int:
    """Return how much later operations may copy or compare. Copying a list into itself doubles it each time.

    Raises:
        ValueError: It is too much already.
    """
    import jsonpatch

    if not isinstance(operation, dict) or operation.get("op") not in ("copy", "test"):
        return left
    pointer = jsonpatch.JsonPointer(operation["from" if operation["op"] == "copy" else "path"])
    left -= _length(pointer.resolve(document), left)
    if left < 0:
        raise ValueError(f"all in all the patch copies or compares more than {MAX_BYTES} bytes")
    return left


def _shifts_left_after(document: Any, operation: Any, left: int) -> int:
    """Return how many items later operations may shift. Adding or removing an item shifts all items after it.

    Raises:
        ValueError: It is too much already.
    """
    import jsonpatch

    if not isinstance(operation, dict) or operation.get("op") not in ("add", "remove", "move", "copy"):
        return left
    pointers = [operation[name] for name in ("from", "path") if name in operation]
    for pointer in pointers:
        holder = jsonpatch.JsonPointer(pointer).to_last(document)[0] if pointer else None
        left -= len(holder) if isinstance(holder, list) and not pointer.endswith("/-") else 0
    if left < 0:
        raise ValueError("all in all the patch shifts too many items of long lists: replace the lists")
    return left


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


def _test(document: Any, operation: Mapping[str, Any]) -> None:
    """RFC 6902, section 4.6. Compares texts, since in Python `1 == True`."""
    import jsonpatch

    found = jsonpatch.JsonPointer(operation["path"]).resolve(document)
    if encode(found, sort=True) != encode(operation["value"], sort=True) and not _equal_numbers(
        found, operation["value"]
    ):
        raise ValueError(f"the value at {operation['path']!r} is another")


def _equal_numbers(a: Any, b: Any) -> bool:
    return all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b)) and a == b


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(member) for key, member in value.items()}
    return [_copy(member) for member in value] if isinstance(value, list) else value
