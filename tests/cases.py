"""Many cases in one test, where a fixture for each would take longer than all of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def cases(names: str, values: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a test go through cases one by one, on the same fixtures: none may leave a trace that another one meets.

    The arguments are those of `pytest.mark.parametrize`. A failure says which case it is of.
    """
    parameters, listed = [name.strip() for name in names.split(",")], list(values)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def all_cases(**fixtures: Any) -> None:
            for case in listed:
                arguments = case if len(parameters) > 1 else (case,)
                try:
                    test(**fixtures, **dict(zip(parameters, arguments, strict=True)))
                except (Exception, pytest.fail.Exception) as error:
                    error.add_note(f"in the case of {case!r:.1000}")
                    raise

        signature = inspect.signature(test)
        left = [each for name, each in signature.parameters.items() if name not in parameters]
        all_cases.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return all_cases

    return decorate
