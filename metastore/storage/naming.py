"""Map dataset ids to repositories on a Git host, in the same way on every host.

A store on a host serves one owner: the dataset `owner/name` is that owner's repository `name`. The store's own
datasets (the journal, the bundles) live beside them, under names that no dataset may have. Hosts ignore the case of
names; ids are lower case.
"""

from __future__ import annotations

import secrets

from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.types import DatasetId

#: The owner in the ids of the store's own datasets.
OWN_OWNER = "_metastore"
#: Prefix of the repositories of the store's own datasets; GitLab wants a letter first.
OWN_PREFIX = "metastore-own."
#: Prefix of repositories that are being created or removed.
ASIDE_PREFIX = "metastore-tmp."


class Naming:
    """The names of one owner's repositories.

    Args:
        owner: The owner's name on the host, in any case; on GitLab, the last part of the group's path.

    Raises:
        InvalidInput: No dataset id can have this owner.
    """

    #: Endings that no repository may have; GitHub keeps the wiki of `x` at `x.wiki`.
    refused_endings: tuple[str, ...] = (".wiki",)

    def __init__(self, owner: str) -> None:
        self.owner = parse_dataset_id((owner.lower(), "x")).owner
        if self.owner.startswith("_"):
            raise InvalidInput(f"owners that begin with '_', such as {owner!r}, are the store's own")

    def repository(self, dataset_id: DatasetId) -> str:
        """Return the name of the repository of a dataset.

        Raises:
            InvalidInput: This store serves another owner, or the name is reserved for the store or the host.
        """
        owner, name = dataset_id.owner, dataset_id.name
        if owner == OWN_OWNER:
            return OWN_PREFIX + name
        if owner != self.owner:
            raise InvalidInput(f"this store serves the datasets of {self.owner}, not {dataset_id}")
        if name.startswith((OWN_PREFIX, ASIDE_PREFIX)):
            raise InvalidInput(f"names that begin with {OWN_PREFIX} or {ASIDE_PREFIX} are the store's own: not {name}")
        if name.endswith(self.refused_endings):
            raise InvalidInput(f"no repository can be called {name}: the host keeps that ending for itself")
        return name

    def dataset(self, repository: str) -> DatasetId | None:
        """Return the dataset that a repository of this owner holds, or None if no dataset can have its name."""
        name = repository.lower()
        if name.startswith(ASIDE_PREFIX):
            return None
        owner = self.owner
        if name.startswith(OWN_PREFIX):
            owner, name = OWN_OWNER, name.removeprefix(OWN_PREFIX)
        try:
            return parse_dataset_id((owner, name))
        except InvalidInput:
            return None

    def may_list(self, prefix: str) -> bool:
        """Return whether any id of this store can start with a prefix."""
        return any(f"{owner}/".startswith(prefix) or prefix.startswith(f"{owner}/") for owner in self.owners)

    @property
    def owners(self) -> tuple[str, str]:
        """The owners in the ids of this store."""
        return OWN_OWNER, self.owner


def aside_name() -> str:
    """Return a random name for a repository that is being created or removed."""
    return ASIDE_PREFIX + secrets.token_hex(8)
