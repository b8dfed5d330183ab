"""Guesses the schema of a table from its first bytes, with frictionless."""

from __future__ import annotations

import codecs
import logging
from typing import Any

from metastore.errors import needs_extra

#: The formats for which a schema is guessed.
FORMATS = frozenset({"csv", "tsv"})
#: The size of the sample, in bytes and rows.
_SAMPLE_BYTES, _SAMPLE_ROWS = 256 * 1024, 1000
#: frictionless takes quadratic time in the columns: half a second for this many, minutes for twenty times as many.
_MOST_COLUMNS = 1000
_log = logging.getLogger("metastore")


def frictionless() -> Any:
    """Import frictionless, on first use.

    Raises:
        InvalidInput: It is not installed.
    """
    with needs_extra("frictionless"):
        import frictionless
        import frictionless.resources
    return frictionless


def table(path: str, format_: str) -> dict[str, Any]:
    """Return the `schema` of a CSV or TSV file, and the `dialect` if it is not the usual one.

    Args:
        path: The file; it is UTF-8, with or without a byte order mark.
        format_: One of `FORMATS`.

    Returns:
        An empty object for a file that cannot be understood; the log says why (INFO).

    Raises:
        OSError: The file cannot be read.
    """
    try:
        return _guess(_sample(path), format_)
    # frictionless and its dependencies raise a dozen kinds of errors. None of them is a reason to give up.
    except Exception as error:
        if isinstance(error, OSError):
            raise
        _log.info("%s has no schema: %s", path, error)
        return {}


def _sample(path: str) -> bytes:
    """Return the whole lines at the beginning of a file.

    Raises:
        ValueError: The file is not text, or its first line does not end within the sample.
    """
    with open(path, "rb") as file:
        start = file.read(_SAMPLE_BYTES)
    if b"\0" in start:
        raise ValueError("it is binary")
    if len(start) == _SAMPLE_BYTES:
        start = start[: start.rfind(b"\n") + 1]
        if not start:
            raise ValueError(f"its first line is longer than {_SAMPLE_BYTES} bytes")
    start.decode()  # guessing another encoding is wrong too often to be worth storing
    return start.removeprefix(codecs.BOM_UTF8)


def _guess(sample: bytes, format_: str) -> dict[str, Any]:
    library = frictionless()
    resource = library.resources.TableResource(data=sample, format=format_, encoding="utf-8", detector=_detector())
    resource.infer(stats=False)
    schema = resource.schema.to_descriptor()
    if not schema.get("fields"):
        raise ValueError("it is empty")
    dialect = resource.dialect.to_descriptor().get("csv")
    return {"dialect": dialect, "schema": schema} if dialect else {"schema": schema}


def _detector() -> Any:
    class Limited(frictionless().Detector):  # type: ignore[misc]
        def detect_schema(self, fragment: Any, *, labels: Any = None, **options: Any) -> Any:
            if len(labels or ()) > _MOST_COLUMNS:
                raise ValueError(f"it has {len(labels)} columns")
            return super().detect_schema(fragment, labels=labels, **options)

    return Limited(sample_size=_SAMPLE_ROWS)
