"""Alembic's door to the extension's table; `ckan db upgrade -p metastore` opens it."""

from __future__ import annotations

from alembic import context
from sqlalchemy import engine_from_config, pool

section = context.config.get_section(context.config.config_ini_section)
engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, version_table="metastore_alembic_version")
    with context.begin_transaction():
        context.run_migrations()
