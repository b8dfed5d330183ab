"""Git as bytes: objects and their ids, histories, packs and Git's HTTP protocol.

`objects` has Git's formats. `history` finds revisions and tags in any repository, `reachable` finds the objects that a
revision needs, `pack` and `protocol` carry objects between repositories, and `cache` keeps what was read. Nothing here
touches the files of a local repository.
"""
