"""The calls on datasets. `metastore.connect` opens a store; command line, service and pages use its calls.

`base` declares all calls, and turns each write into a `ChangeRequest`. `store` has the reads of a store on a storage,
and `_storage_writer` its writes; `writer` is what another store, such as a client of a service, implements for its own.
`settling` finds out whether a change was made, `batch` writes many datasets, and `receiving` takes histories that were
made elsewhere. The others are parts of these calls.
"""
