"""Find datasets by words, filters and time: now, or as they were at any moment.

`words` says what a query means, `documents` what can be found of a descriptor, `values` what is asked and answered.
`scan` finds by reading everything; `index` by an SQLite file that follows the change feed. Both find the same.
"""
