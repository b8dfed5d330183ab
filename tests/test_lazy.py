"""A list that is read as it is needed behaves like a list, and reads no more than that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from metastore.lazy import LazyList


class Source:
    """Counts how many items were read of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.read = 0

    def __call__(self) -> Iterator[int]:
        for item in range(self.size):
            self.read += 1
            yield item


@pytest.mark.parametrize("index", [0, 3, 9, -1, -10])
def test_an_index_is_that_of_a_list(index: int) -> None:
    assert LazyList(Source(10))[index] == range(10)[index]


@pytest.mark.parametrize("index", [10, -11])
def test_an_index_beyond_the_list_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        LazyList(Source(10))[index]


SLICES = [
    slice(3),
    slice(2, 5),
    slice(2, 50, 2),
    slice(None),
    slice(-3, None),
    slice(None, None, -1),
    slice(5, 2),
    slice(20, 30),
]


@pytest.mark.parametrize("cut", SLICES, ids=str)
def test_a_slice_is_that_of_a_list(cut: slice) -> None:
    assert LazyList(Source(10))[cut] == list(range(10))[cut]


def test_the_first_items_are_read_alone() -> None:
    source = Source(1000)
    assert LazyList(source)[0] == 0
    assert LazyList(source).first() == 0
    assert LazyList(source)[:3] == [0, 1, 2]
    assert 1 in LazyList(source)
    assert bool(LazyList(source))
    assert source.read == 1 + 1 + 3 + 2 + 1


def test_a_loop_keeps_nothing_and_each_pass_reads_again() -> None:
    source = Source(10)
    items = LazyList(source)
    assert [item for item in items] == [item for item in items] == list(range(10))  # noqa: C416 - list() asks for len
    assert source.read == 20


def test_a_list_is_made_of_it_in_one_walk() -> None:
    source = Source(10)
    assert list(LazyList(source)) == sorted(LazyList(source)) == list(range(10))
    assert source.read == 20


def test_it_equals_a_list_of_the_same() -> None:
    assert LazyList(Source(3)) == [0, 1, 2]
    assert LazyList(Source(3)) == LazyList(Source(3))
    assert LazyList(Source(3)) != [0, 1]
    assert LazyList(Source(3)) != (0, 1, 2)


def test_a_list_that_was_counted_keeps_what_it_read() -> None:
    source = Source(10)
    items = LazyList(source)
    assert (len(items), list(items), items[-1], next(reversed(items))) == (10, list(range(10)), 9, 9)
    assert source.read == 10


def test_a_list_without_items_is_false_and_has_no_first() -> None:
    items = LazyList(Source(0))
    assert not items
    assert items.first() is None
    assert repr(items) == "<LazyList>"


def test_a_printed_list_shows_its_first_items() -> None:
    source = Source(1000)
    assert repr(LazyList(source)) == "<LazyList 0, 1, 2, 3, 4, …>"
    assert repr(LazyList(Source(2))) == "<LazyList 0, 1>"
    assert source.read == 6


def test_an_error_is_that_of_the_call_that_lists() -> None:
    def refuse() -> Iterator[int]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        LazyList(refuse)
