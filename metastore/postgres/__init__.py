"""A PostgreSQL database that bundles and datasets share: connections, errors and migrations."""
