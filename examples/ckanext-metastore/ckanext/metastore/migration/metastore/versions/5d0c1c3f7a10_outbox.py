"""The table of changes that wait to be recorded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5d0c1c3f7a10"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metastore_outbox",
        sa.Column("number", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("dataset", sa.Text, nullable=False, index=True),
        sa.Column("package", sa.Text),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("author_name", sa.Text, nullable=False),
        sa.Column("author_email", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("problem", sa.Text),
    )


def downgrade() -> None:
    op.drop_table("metastore_outbox")
