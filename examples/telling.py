"""Prints each call of the examples before it is made."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click


class Told:
    """Prints every call to an object, then makes it."""

    def __init__(self, name: str, target: Any) -> None:
        self._name, self._target = name, target

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            said = [*map(shown, args), *(f"{name}={shown(value)}" for name, value in kwargs.items())]
            click.secho(f"  >>> {self._name}.{verb}({', '.join(said)})", fg="blue")
            return getattr(self._target, verb)(*args, **kwargs)

        return call


def shown(value: Any) -> str:
    text = "{…}" if isinstance(value, (dict, bytes)) and len(value) > 3 else repr(value)
    return f"{text[:13]}…'" if len(text) == 42 else text  # a full revision id


def step(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def show(lines: Iterable[object], **style: Any) -> None:
    for line in lines:
        click.secho(f"  {line}", **style)


def command() -> str:
    """Return the command line's program, as it can be called from here."""
    return shutil.which("metastore", path=str(Path(sys.executable).parent)) or "metastore"
