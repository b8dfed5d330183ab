"""Catalogues: descriptors in files, kept in step with a store.

`exports` writes a store to a folder and keeps the folder up to date. `sources` reads descriptors from folders, JSON
Lines, CSV and dumps of CKAN, and `imports` stores them. All are built on top of a store, which knows nothing of them.
"""
