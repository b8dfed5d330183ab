"""Lists that are read lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar, overload

Item = TypeVar("Item")
#: The items of a list that its repr shows.
_SHOWN = 5


class LazyList(Sequence[Item], Generic[Item]):
    """A list of a store, read during iteration.

    A loop holds one item at a time, and each loop reads again. `items[0]`, `items[:10]` and `first()` read only as far
    as necessary. `len`, `list` and an index from the end read everything once; from then on the list keeps its items.

    Args:
        read: Starts at the first item. It is called immediately, so that its errors come from the call that lists.
    """

    __slots__ = ("_begun", "_items", "_read")

    def __init__(self, read: Callable[[], Iterator[Item]]) -> None:
        self._read = read
        self._begun: Iterator[Item] | None = read()
        self._items: list[Item] | None = None

    def __iter__(self) -> Iterator[Item]:
        # A generator decides on its first item: `list` takes an iterator before it asks for the length.
        if self._items is not None:
            yield from self._items
        else:
            begun, self._begun = self._begun, None
            yield from begun if begun is not None else self._read()

    def __len__(self) -> int:
        return len(self._all())

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, list | LazyList) else NotImplemented

    def __bool__(self) -> bool:
        return bool(self[:1])

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            if all(bound is None or bound >= 0 for bound in (index.start, index.stop, index.step)):
                return list(islice(self, index.start, index.stop, index.step))
            return self._all()[index]
        if index < 0:
            return self._all()[index]
        for item in islice(self, index, None):
            return item
        raise IndexError(f"the list has no item {index}")

    def first(self) -> Item | None:
        """Return the first item, or None if there is none."""
        return next(iter(self[:1]), None)

    def __repr__(self) -> str:
        shown = self[: _SHOWN + 1]
        names = [*map(str, shown[:_SHOWN]), *("…" for _ in shown[_SHOWN:])]
        return f"<LazyList {', '.join(names)}>" if names else "<LazyList>"

    def _all(self) -> list[Item]:
        if self._items is None:
            self._items = [*iter(self)]
        return self._items
