"""MetaStore's errors in CKAN's words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ckan.plugins.toolkit as tk

import metastore

log = logging.getLogger(__name__)


class Misconfigured(metastore.InvalidInput):
    """A setting of the extension makes no sense. Its message is for operators."""


class Unavailable(tk.ValidationError):
    """MetaStore cannot be reached."""


#: Errors that are not the caller's, and tell nothing that the caller should know.
_OURS = (metastore.StorageError, Misconfigured)


@contextmanager
def speaking_ckan() -> Iterator[None]:
    """Turn an error of MetaStore's into one that CKAN's API and pages can handle."""
    try:
        yield
    except metastore.NotFound as error:
        raise tk.ObjectNotFound(str(error)) from error
    except metastore.PermissionDenied as error:
        raise tk.NotAuthorized(str(error)) from error
    except metastore.MetastoreError as error:
        kind = Unavailable if isinstance(error, _OURS) else tk.ValidationError
        raise kind({"metastore": [plainly(error)]}) from error


def plainly(error: metastore.MetastoreError) -> str:
    """Return the reason of an error for a user. Where the store is, and why it fails, is for the log alone."""
    if isinstance(error, _OURS):
        log.error("%s: %s", type(error).__name__, error)
        return str(tk._("MetaStore cannot be reached just now"))
    return str(error)
