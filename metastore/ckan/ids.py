"""Map CKAN's names to dataset ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.types import DatasetId

#: The owner of datasets without an organisation. Names are unique in a CKAN.
DEFAULT_OWNER = "unowned"
#: Prefix of a name that CKAN accepts and an id does not; names in CKAN have no dots.
_ESCAPE = "x."


def dataset_id(package: Mapping[str, Any], *, default_owner: str = DEFAULT_OWNER) -> DatasetId:
    """Return the id of a CKAN dataset: its organisation's name and its own.

    CKAN also accepts names that begin with a hyphen, and organisations that begin with an underscore. They get the
    prefix `x.`, as in `x.-cars`. Names in CKAN have no dots, so no two datasets get the same id.

    Args:
        package: A dataset as `package_show` returns it: `name`, and `organization` with a `name`, or None.
        default_owner: The owner of datasets without organisation.

    Raises:
        InvalidInput: There is no name, or CKAN does not accept it (upper case, white space, over 98 characters).
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
        InvalidInput: The id is malformed.
    """
    dataset_id = parse_dataset_id(identity)
    owner, name = dataset_id.owner, dataset_id.name
    return (None if owner == default_owner else owner.removeprefix(_ESCAPE)), name.removeprefix(_ESCAPE)
