"""A store that is a service: `RemoteStore`, which `metastore.connect("https://…")` opens."""
