"""Both counts of parameters, arms of the held-out comparison, module rates, and what the lenses see.

Revision 0002. Rows that are there keep their meaning: cells of the search, dense, of one rate for all modules.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BEFORE = "uq_runs_sweep_id_cell_learning_rate_seed"
AFTER = "uq_runs_sweep_id_cell_learning_rate_seed_module_rates"


def upgrade() -> None:
    """Bring the database forward."""
    op.add_column("cells", sa.Column("params_total", sa.Double(), nullable=True))
    op.add_column("cells", sa.Column("params_active", sa.Double(), nullable=True))
    op.add_column("cells", sa.Column("arm", sa.String(length=32), nullable=True))
    op.add_column("laws", sa.Column("sizes", sa.JSON(), nullable=True))
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("module_rates", sa.String(length=200), server_default="", nullable=False))
        runs.add_column(
            sa.Column("diverged_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )
        runs.drop_constraint(op.f(BEFORE), type_="unique")
        runs.create_unique_constraint(
            op.f(AFTER), ["sweep_id", "cell", "learning_rate", "seed", "module_rates"]
        )
    op.create_table(
        "lenses",
        sa.Column("curve", sa.String(length=32), nullable=False),
        sa.Column(
            "step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("curve", "step", name=op.f("pk_lenses")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "comparisons",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_comparisons_sweep_id")),
        sa.PrimaryKeyConstraint("sweep_id", name=op.f("pk_comparisons")),
    )


def downgrade() -> None:
    """Take the change back, with the runs and cells that the earlier shape would take for others."""
    op.drop_table("comparisons")
    op.drop_table("lenses")
    op.execute(
        "DELETE FROM runs WHERE module_rates <> '' OR EXISTS (SELECT 1 FROM cells WHERE "
        "cells.sweep_id = runs.sweep_id AND cells.number = runs.cell AND cells.arm IS NOT NULL)"
    )
    op.execute("DELETE FROM cells WHERE arm IS NOT NULL")
    with op.batch_alter_table("runs") as runs:
        runs.drop_constraint(op.f(AFTER), type_="unique")
        runs.create_unique_constraint(op.f(BEFORE), ["sweep_id", "cell", "learning_rate", "seed"])
        runs.drop_column("diverged_tokens")
        runs.drop_column("module_rates")
    op.drop_column("laws", "sizes")
    for column in ("arm", "params_active", "params_total"):
        op.drop_column("cells", column)
