"""Datasets in a folder: a bare Git repository each, read and written by hand.

`storage` is the storage, `backup` and `mirror` copy a store that is in use, `layout` says where its files are.
"""
