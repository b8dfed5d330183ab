"""MetaStore's errors in CKAN's words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ckan.plugins.toolkit as tk

import metastore

log = logging.getLogger(__name__)


@contextmanager
def speaking_ckan() -> Iterator[None]:
    """Turn an error of MetaStore's into the one that CKAN's API and pages know what to do with."""
    try:
        yield
    except metastore.NotFound as error:
        raise tk.ObjectNotFound(str(error)) from error
    except metastore.PermissionDenied as error:
        raise tk.NotAuthorized(str(error)) from error
    except metastore.MetastoreError as error:
        raise tk.ValidationError({"metastore": [plainly(error)]}) from error


def plainly(error: metastore.MetastoreError) -> str:
    """Say what was wrong to whoever asks; where the store is and what ails it is for the log alone."""
    if isinstance(error, metastore.StorageError):
        log.error("%s: %s", type(error).__name__, error)
        return "MetaStore cannot be reached just now"
    return str(error)
