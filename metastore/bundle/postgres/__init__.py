"""Bundles in PostgreSQL: `record` keeps them in tables, `migrate` brings a database to what it needs."""
