"""Data Package descriptors as values: no storage, no clock, no network. Only `describe` reads the files of data.

`document` reads and writes their JSON, `limits` bounds it, and `resources` refuses what is unsafe. `profiles` holds the
JSON Schemas of Data Package. `difference` (with `matching`) compares two descriptors, and `grade` says what a change
means. `patch` and `merge` compute new ones. `file_changes` brings all of it together for a write: the checked document,
and the files that change with it, with the pointers of `lfs`. `describe` makes descriptors of files.
"""
