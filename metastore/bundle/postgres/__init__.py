"""Bundles in PostgreSQL: `record` keeps them in tables, and `migrate` creates the tables."""
