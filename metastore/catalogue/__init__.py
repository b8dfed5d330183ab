"""A catalogue: descriptors in files, kept in step with a store.

`exports` writes a store to a folder and follows it there, `sources` reads descriptors from folders, JSON Lines, CSV and
dumps of CKAN, and `imports` stores them. These are programs on top of a store; the store knows nothing of them.
"""
