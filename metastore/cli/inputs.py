"""Files, stdin and texts that arguments name, and the files that commands write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metastore import validate
from metastore.cli.base import say
from metastore.errors import InvalidInput
from metastore.os_errors import in_words


def is_file(name: str) -> bool:
    """Tell whether an argument names a file, `-` for stdin; otherwise it names a dataset."""
    return name == "-" or name.endswith(".json") or Path(name).is_file()


def read_input(source: str) -> bytes:
    """Read a file, or stdin for `-`.

    Raises:
        InvalidInput: The file cannot be read.
    """
    if source == "-":
        stdin = sys.stdin.buffer
        if stdin.isatty():
            say("Reading from the keyboard. End with Ctrl-D.")
        return stdin.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {in_words(error)}") from None


def read_json(source: str) -> bytes:
    """Read a file or stdin, whose JSON the library then reads.

    Raises:
        InvalidInput: It cannot be read, or is empty.
    """
    content = read_input(source)
    if not content.strip():
        raise InvalidInput(f"{'stdin' if source == '-' else source} is empty: JSON was expected there")
    return content


def write_output(path: Path, content: bytes) -> None:
    """Write a file, and make the folders that it needs.

    Raises:
        InvalidInput: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {in_words(error)}") from None


def patch_of(text: str) -> str | bytes:
    """Return a patch: the text itself, or what is in the file that it names."""
    if text.lstrip().startswith(("{", "[")):
        return text
    if text != "-" and not Path(text).exists():
        raise InvalidInput(f"{text!r} is neither JSON (an object or a list) nor a file")
    return read_json(text)


@contextmanager
def naming(source: str, content: bytes) -> Iterator[None]:
    """Name the file in the error of a write that refuses its content."""
    try:
        yield
    except InvalidInput:
        try:
            validate(content)
        except InvalidInput as refused:
            named = type(refused)(f"{'stdin' if source == '-' else source}: {refused}", problems=refused.problems)
            named.pointer = refused.pointer
            raise named from None
        raise
