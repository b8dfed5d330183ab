"""Storages of datasets: one port (`port`), and an adapter for each kind of storage."""
