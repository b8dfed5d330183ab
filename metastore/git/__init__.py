"""Git as bytes: objects and their ids, histories, packs and Git's HTTP protocol.

`objects` and `trees` have Git's formats, and `repository` says what a storage of objects provides. `history` finds
revisions and tags in any repository, `reachable` finds the objects that a revision needs, `verify` checks them, and
`cache` keeps what was read. `pack` and `delta` carry objects between repositories: `protocol` is a client of Git's
servers, `upload_pack` and `receive_pack` are a server's half of `git fetch` and `git push`, all three in `pkt_lines`,
and `received` checks what a push brings. Nothing here touches the files of a local repository.
"""
