"""Find datasets by words, filters and time: now, or as they were at any moment.

`words` parses queries, `documents` extracts the searchable text of a descriptor, and `values` holds queries and
results. `scan` reads every dataset; `index` uses an SQLite file that follows the change feed. Both return the same
results.
"""
