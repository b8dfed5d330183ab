"""Datasets in a folder: a bare Git repository each, read through libgit2.

`storage` is the storage, `backup` and `mirror` copy a store that is in use, `layout` says where its files are.
"""
