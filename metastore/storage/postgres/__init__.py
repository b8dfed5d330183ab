"""Datasets in a PostgreSQL database: `storage` is the storage, `packing` how objects are kept."""
