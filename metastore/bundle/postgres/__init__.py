"""Bundles in PostgreSQL: `record` keeps them in tables; `metastore.postgres` connects, and creates the tables."""
