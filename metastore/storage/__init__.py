"""Where datasets are kept: one port (`base`), and an adapter for each kind of storage."""
