"""Data Package descriptors, as pure values: no storage, no clock, no network.

`document` reads and checks them, `patch`, `difference` and `merge` compute new ones, `lfs` and `file_changes` compute
the files beside them, `profiles` holds the JSON Schemas of Data Package, and `describe` makes descriptors of files.
"""
