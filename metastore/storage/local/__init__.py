"""Datasets in a folder: a bare Git repository each, read through libgit2.

`storage` is the storage, `layout` says where its files are, and `_repository` is one dataset: `_references` beside
`_objects`. `backup` and `mirror` copy a store that is in use, and `recovery` brings back what it lost.
"""
