"""The calls on datasets. `metastore.connect` opens a store; command line, service and pages use its calls."""
