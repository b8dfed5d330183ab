"""The parts of a descriptor that a revision touched, as keys for an index."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import product
from typing import Any

from metastore.descriptor.item_names import named_lists
from metastore.descriptor.matching import renamed
from metastore.history.parts import ABSENT, Part

#: A step to a value: into an object (`.`) or into a list (`=`), and the name there.
_Step = tuple[str, str]
_Path = tuple[_Step, ...]
#: The most places that are distinguished in a revision, and the deepest. Beyond them, the revision has to be read.
_MOST, _DEEPEST = 200, 8
_TOUCHED, _UNSURE = "touched", "unsure"


def keys_touched(new: Any, old: Any) -> set[int]:
    """Return keys of the parts that differ between a descriptor and the one before it.

    A part whose key is absent has not changed, and has the same name in both. If comparing names is not enough, as
    after a renaming, an `unsure` key says to read both.
    """
    touched: set[_Path] = set()
    unsure: set[_Path] = set()
    _compare(new, old, (), touched, unsure)
    return {_key(_TOUCHED, path) for path in touched} | {_key(_UNSURE, path) for path in unsure}


def is_indexable(part: Part) -> bool:
    """Tell whether keys can identify a part. They cannot if a step is only a position."""
    return len(part) <= _DEEPEST and not any(step.isdecimal() for step in part)


def keys_of(part: Part) -> tuple[set[int], set[int]]:
    """Return the keys that mean that a part was touched, and those that mean that the revision has to be read.

    A name can be a step into an object in one revision and into a list in another.
    """
    steps = [((".", step), ("=", step.removeprefix("="))) for step in part]
    paths = [list(product(*steps[:length])) for length in range(len(steps) + 1)]
    return {_key(_TOUCHED, path) for path in paths[-1]}, {_key(_UNSURE, path) for above in paths for path in above}


def _compare(new: Any, old: Any, path: _Path, touched: set[_Path], unsure: set[_Path]) -> None:
    if new == old:
        return
    touched.add(path)
    if isinstance(new, list) and isinstance(old, list) and (keyed := named_lists(old, new)):
        unsure.update((*path, ("=", name)) for name in renamed(*keyed).values())
    elif isinstance(new, (dict, list)) and isinstance(old, (dict, list)) and type(new) is not type(old):
        unsure.add(path)  # a member may have become a list item of the same name
    after, before = dict(_members(new)), dict(_members(old))
    for step in {**before, **after}:
        if len(touched) + len(unsure) >= _MOST or len(path) >= _DEEPEST:
            unsure.add(path)
            break
        _compare(after.get(step, ABSENT), before.get(step, ABSENT), (*path, step), touched, unsure)


def _members(value: Any) -> Iterator[tuple[_Step, Any]]:
    if isinstance(value, dict):
        yield from (((".", name), member) for name, member in value.items())
    elif keyed := named_lists(value):
        yield from ((("=", name), item) for name, item in keyed[0].items())


def _key(kind: str, path: _Path) -> int:
    """Return a number that identifies a place without revealing its name."""
    digest = blake2b(repr((kind, path)).encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
