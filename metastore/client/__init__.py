"""A store that is a service: the calls of `MetaStore` over HTTP.

`store.RemoteStore` is what `metastore.connect("https://…")` gives. `transport` sends, `answers` understands,
`settling` makes sure that a write whose answer was lost is made once.
"""
