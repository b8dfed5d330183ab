"""MetaStore's errors in CKAN's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ckan.plugins.toolkit as tk

import metastore


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
        raise tk.ValidationError({"metastore": [str(error)]}) from error
