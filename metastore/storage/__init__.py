"""Where datasets are kept: one port (`port`), and an adapter for each kind of storage."""
