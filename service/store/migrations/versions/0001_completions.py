"""Completions and their metadata."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "stored_completions",
        sa.Column("seq", _NUMBER, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("asked_model", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("completion", sa.LargeBinary, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="stored_completions_pk"),
        sa.UniqueConstraint("id", name="stored_completions_uq"),
    )
    op.create_index(
        "stored_completions_in_order", "stored_completions", ["owner", "created", "seq"]
    )
    op.create_table(
        "stored_completion_metadata",
        sa.Column("seq", _NUMBER, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", "key", name="stored_completion_metadata_pk"),
        sa.ForeignKeyConstraint(
            ["seq"], ["stored_completions.seq"], name="of_a_completion", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "stored_completion_metadata_pairs", "stored_completion_metadata", ["key", "value"]
    )
