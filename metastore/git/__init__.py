"""Git as bytes: objects and their ids, histories, packs and Git's HTTP protocol.

`objects` has Git's formats and is used as `git.blob_id(…)`. `history` finds revisions and tags in any repository,
`reachable` finds the objects that a revision needs, `pack` and `protocol` carry objects between repositories, and
`cache` keeps what was read. Nothing here touches the files of a local repository.
"""

from metastore.git.objects import (
    BLOB,
    COMMIT,
    TAG,
    TREE,
    Commit,
    Entry,
    GitObject,
    TagObject,
    blob_id,
    change_tree,
    commit_content,
    find_blob,
    find_entry,
    first_parent,
    links,
    object_id,
    parse_commit,
    parse_tag,
    parse_tree,
    tag_content,
    tree_content,
    walk_tree,
)

__all__ = [
    "BLOB",
    "COMMIT",
    "TAG",
    "TREE",
    "Commit",
    "Entry",
    "GitObject",
    "TagObject",
    "blob_id",
    "change_tree",
    "commit_content",
    "find_blob",
    "find_entry",
    "first_parent",
    "links",
    "object_id",
    "parse_commit",
    "parse_tag",
    "parse_tree",
    "tag_content",
    "tree_content",
    "walk_tree",
]
