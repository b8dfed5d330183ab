"""Brings back from a backup what its store lost: a whole dataset, or the branches and tags that the backup kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metastore.errors import DatasetNotFound, InvalidInput, StorageCorrupt
from metastore.git.reachable import Needed, peeled
from metastore.git.repository import HEADS, TAGS, Repository, ancestry
from metastore.storage.local._copying import KEPT
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId, RevisionId


def recover(backup: GitStorage, storage: GitStorage, dataset_id: DatasetId, new_id: DatasetId) -> tuple[str, ...]:
    """Bring back what a backup has of a dataset, and its store lacks.

    Nothing that the store has is changed or removed. If the store has no dataset at `new_id`, it gets the whole one,
    at the branch that the backup kept if it kept one. Otherwise a branch that was set back goes forward again, and
    missing tags return.

    Args:
        backup: A backup of the store.
        storage: The store.
        dataset_id: The dataset in the backup.
        new_id: The id in the store: the same one, or a free one for a history that was kept beside a newer one. The
            journal and what else is the store's own come back at their own ids alone.

    Returns:
        What was brought back, a sentence each; nothing if the store has it all.

    Raises:
        DatasetNotFound: The backup has no such dataset.
        InvalidInput: The store has another history at `new_id`, or the two ids differ and one is the store's own.
        StorageCorrupt: The dataset is damaged, in the store or in the backup.
    """
    if dataset_id != new_id and (dataset_id.is_own or new_id.is_own):
        own = dataset_id if dataset_id.is_own else new_id
        raise InvalidInput(
            f"{own} is the store's own, so it can be brought back at this id alone, and nothing else can"
        )
    with backup.open(dataset_id) as copy:
        references = copy.references.all()
        kept = {_former_name(name): held for name, held in references.items() if name.startswith(KEPT)}
        recovered, head = _recover_branch(copy, storage, new_id, kept)
        tags = {name: held for name, held in {**references, **kept}.items() if name.startswith(TAGS)}
        return (*recovered, *_recover_tags(copy, storage, new_id, tags, head))


def _former_name(name: str) -> str:
    return f"refs/{name.removeprefix(KEPT).rpartition('/')[0]}"


def _recover_branch(
    copy: Repository, storage: GitStorage, dataset_id: DatasetId, kept: Mapping[str, str]
) -> tuple[list[str], RevisionId]:
    branch = RevisionId(kept.get(HEADS + copy.branch, copy.head()))
    try:
        current = storage.resolve(dataset_id, None).id
    except StorageCorrupt as error:
        path = storage.layout.path(dataset_id)
        raise StorageCorrupt(f"{error}. Move {path} out of the store, and recover the dataset then") from error
    except DatasetNotFound:
        storage.adopt(dataset_id, Needed(copy, branch, None), branch, parent=None)
        return [f"{dataset_id} is back, at {branch}"], branch
    with storage.objects(dataset_id) as repository:
        if repository.leads_to(branch):
            return [], current
    if not _follows(copy, branch, current):
        where = "bring that one back at an id that is free"
        if dataset_id.is_own:
            where = f"to bring that one back, move {storage.layout.path(dataset_id)} out of the store before"
        raise InvalidInput(f"{dataset_id} has another history in the store than {branch[:12]} in the backup: {where}")
    storage.adopt(dataset_id, Needed(copy, branch, current), branch, parent=current)
    return [f"{dataset_id} is at {branch} again"], branch


def _recover_tags(
    copy: Repository, storage: GitStorage, dataset_id: DatasetId, tags: Mapping[str, str], head: RevisionId
) -> Iterator[str]:
    there = {tag.name for tag in storage.tags(dataset_id)}
    for name, held in sorted(tags.items()):
        tag = name.removeprefix(TAGS)
        if tag not in there and _follows(copy, head, peeled(copy, held)):
            storage.adopt_tag(dataset_id, Needed(copy, held, head), tag, held)
            yield f"{dataset_id} has the tag {tag} again"


def _follows(repository: Repository, head: str, commit: str | None) -> bool:
    """Tell whether a commit is on the branch that ends with `head`."""
    return any(identity == commit for identity, _ in ancestry(repository, head))
