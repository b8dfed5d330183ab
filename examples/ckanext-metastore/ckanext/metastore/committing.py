"""Calls functions as a part of the transactions that CKAN's actions commit by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import sqlalchemy as sa
from ckan import model

_called: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("metastore_committing", default=())


@contextmanager
def before_commits(call: Callable[[], None]) -> Iterator[None]:
    """Call a function right before each commit in the block."""
    before = _called.set((*_called.get(), call))
    try:
        yield
    finally:
        _called.reset(before)


def listen() -> None:
    """Listen for CKAN's commits."""
    if not sa.event.contains(model.Session, "before_commit", _committing):
        sa.event.listen(model.Session, "before_commit", _committing)


def _committing(session: Any) -> None:
    if not session.in_nested_transaction():  # a savepoint is no commit
        for call in _called.get():
            call()
