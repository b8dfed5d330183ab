"""Former names of arguments, which older programs use: each call that has the argument takes both names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

#: Former name -> name.
FORMER = {"revision_ref": "revision", "to_revision_ref": "to_revision", "tag_name": "name"}
_Class = TypeVar("_Class", bound=type)


def takes_former_names(cls: _Class) -> _Class:
    """Let the public methods that a class defines take the former names of their arguments."""
    for name, function in list(vars(cls).items()):
        if isinstance(function, FunctionType) and not name.startswith("_"):
            code = function.__code__
            known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            former = {old: new for old, new in FORMER.items() if new in known}
            if former:
                setattr(cls, name, _translating(function, former))
    return cls


def _translating(function: Callable[..., Any], former: dict[str, str]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for old in former.keys() & kwargs:
            if former[old] in kwargs:
                raise TypeError(f"{function.__name__}() has {former[old]}, and {old} is its former name: give one")
            kwargs[former[old]] = kwargs.pop(old)
        return function(*args, **kwargs)

    return call
