"""Map CKAN's datasets to ids in a store."""

from __future__ import annotations

import hashlib
import re

from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.types import DatasetId

#: The owner of a portal's datasets, unless the portal chooses another one.
OWNER = "ckan"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def dataset_id(package_id: str, *, owner: str = OWNER) -> DatasetId:
    """Return the id in a store of a CKAN dataset: the portal's owner, and CKAN's id of the dataset.

    CKAN's id is the identity of a dataset. Its name and its organisation change, and names are used again, so the id
    has neither.

    Args:
        package_id: The member `id` of the dataset, usually a UUID. Sysadmins may choose any other text; the id then
            has the SHA-224 of it, as in `ckan/x.69eeb13a…`.
        owner: The owner of the portal's datasets.

    Raises:
        InvalidInput: The package id is not text, or is empty, or the owner is malformed.
    """
    if not isinstance(package_id, str) or not package_id:
        raise InvalidInput(f"the id of a CKAN dataset is text, not {package_id!r}")
    if not _UUID.fullmatch(package_id):
        package_id = f"x.{hashlib.sha224(package_id.encode(errors='surrogatepass')).hexdigest()}"
    return parse_dataset_id((owner, package_id))
