"""A closed store or registry refuses every further call, so that a mistake opens no files again unseen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from metastore.errors import InvalidInput

_Class = TypeVar("_Class", bound=type)


def refuses_when_closed(cls: _Class) -> _Class:
    """Let the public methods that a class defines refuse an object whose `_closed` is set. `close` can be repeated."""
    for name, function in list(vars(cls).items()):
        if isinstance(function, FunctionType) and name != "close" and (name == "__enter__" or not name.startswith("_")):
            setattr(cls, name, _refusing(function))
    return cls


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._closed:
            raise InvalidInput(f"{self!r} is closed: open it again")
        return function(self, *args, **kwargs)

    return call
