"""The calls on datasets: `metastore.connect` opens a store, and all doors (CLI, service, pages) use its calls."""
