"""CKAN's names as ids of datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.types import DatasetId

#: The owner of datasets that belong to no organisation. CKAN's names are unique among all its datasets.
DEFAULT_OWNER = "unowned"
#: Stands before a name that CKAN takes and an id does not; no CKAN name has a dot in it.
_ESCAPE = "x."


def dataset_id(package: Mapping[str, Any], *, default_owner: str = DEFAULT_OWNER) -> DatasetId:
    """Return the id of a CKAN dataset: its organisation's name and its own.

    CKAN also takes names that begin with a hyphen, and organisations that begin with an underscore. These get `x.` in
    front, such as `x.-cars`: CKAN's names have no dots, so that no two datasets meet.

    Args:
        package: A dataset as `package_show` returns it: `name`, and `organization` with a `name`, or None.
        default_owner: The owner of datasets without organisation.

    Raises:
        InvalidInput: There is no name, or it is none that CKAN takes (upper case, white space, over 98 characters).
    """
    organization = package.get("organization")
    owner = organization.get("name") if isinstance(organization, Mapping) else default_owner
    name = package.get("name")
    if not isinstance(owner, str) or not isinstance(name, str):
        raise InvalidInput("a CKAN dataset has a name, and its organisation too")
    escaped_owner = _ESCAPE + owner if owner.startswith(("-", "_")) else owner
    return parse_dataset_id((escaped_owner, _ESCAPE + name if name.startswith("-") else name))


def names_of(identity: DatasetId | tuple[str, str], *, default_owner: str = DEFAULT_OWNER) -> tuple[str | None, str]:
    """Return the names that an id stands for: the organisation's (None for the default owner) and the dataset's.

    Raises:
        InvalidInput: It is no id.
    """
    owner, name = parse_dataset_id(identity)
    return (None if owner == default_owner else owner.removeprefix(_ESCAPE)), name.removeprefix(_ESCAPE)
