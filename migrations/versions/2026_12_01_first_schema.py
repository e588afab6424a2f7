"""The first schema of the database.

Revision 2026_12_01_4: this file changes until the first release, and its revision with it.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_4"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the database forward."""
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("fence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
        sa.CheckConstraint("fence >= 0 AND (holder = '' OR fence >= 1)", name=op.f("ck_leases_fence")),
    )
    op.create_table(
        "losses",
        sa.Column("curve", sa.String(length=32), nullable=False),
        sa.Column(
            "step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("curve", "step", name=op.f("pk_losses")),
        sa.CheckConstraint("step >= 0 AND tokens >= 0", name=op.f("ck_losses_amounts")),
        sqlite_with_rowid=False,
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
        sa.CheckConstraint("step >= 0 AND tokens >= 0", name=op.f("ck_lenses_amounts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("trainer", sa.String(length=220), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.Column("law_number", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("refits_asked", sa.Integer(), nullable=False),
        sa.Column("refits_done", sa.Integer(), nullable=False),
        sa.Column("full_grid_flops", sa.Double(), nullable=False),
        sa.Column("submitted_by", sa.String(length=200), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_sweeps_idempotency_key")),
        sa.CheckConstraint(
            "state IN ('cancelled', 'completed', 'failed', 'paused', 'queued', 'running', 'stopped', 'stopping')",
            name=op.f("ck_sweeps_state"),
        ),
        sa.CheckConstraint("batches >= 0 AND law_number >= 1", name=op.f("ck_sweeps_counts")),
        sa.CheckConstraint(
            "full_grid_flops >= 0 AND full_grid_flops < 1e308",
            name=op.f("ck_sweeps_full_grid_flops"),
        ),
    )
    op.create_index(op.f("ix_sweeps_state_id"), "sweeps", ["state", "id"], unique=False)
    op.create_index(op.f("ix_sweeps_trainer_id"), "sweeps", ["trainer", "id"], unique=False)
    op.create_index(op.f("ix_sweeps_name_id"), "sweeps", ["name", "id"], unique=False)
    op.create_table(
        "tables",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("cells", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tables")),
        sa.CheckConstraint("rows >= 0 AND cells >= 0", name=op.f("ck_tables_counts")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tokens_sha256")),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_tokens_sha256")),
    )
    op.create_table(
        "cells",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("params", sa.Double(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("batch_tokens", sa.Double(), nullable=False),
        sa.Column("rates", sa.JSON(), nullable=False),
        sa.Column("trunk", sa.String(length=200), nullable=True),
        sa.Column("decay_fraction", sa.Double(), nullable=False),
        sa.Column("params_total", sa.Double(), nullable=True),
        sa.Column("params_active", sa.Double(), nullable=True),
        sa.Column("params_reported", sa.Double(), nullable=True),
        sa.Column("with_values", sa.Text(), nullable=True),
        sa.Column("arm", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_cells_sweep_id")),
        sa.PrimaryKeyConstraint("sweep_id", "number", name=op.f("pk_cells")),
        sa.CheckConstraint("number >= 0", name=op.f("ck_cells_number")),
        sa.CheckConstraint(
            "params > 0 AND params < 1e308 AND tokens > 0 AND tokens < 1e308 AND batch_tokens > 0 AND batch_tokens < 1e308",
            name=op.f("ck_cells_size"),
        ),
        sa.CheckConstraint(
            "params_total > 0 AND params_total < 1e308 AND params_active > 0 AND params_active < 1e308 AND params_reported > 0 AND params_reported < 1e308",
            name=op.f("ck_cells_params"),
        ),
        sa.CheckConstraint(
            "decay_fraction >= 0 AND decay_fraction <= 1",
            name=op.f("ck_cells_decay_fraction"),
        ),
    )
    op.create_table(
        "comparisons",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_comparisons_sweep_id")),
        sa.PrimaryKeyConstraint("sweep_id", name=op.f("pk_comparisons")),
    )
    op.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_events_sweep_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_sweep_id_id"), "events", ["sweep_id", "id"], unique=False)
    op.create_index(op.f("ix_events_sweep_id_kind_id"), "events", ["sweep_id", "kind", "id"], unique=False)
    op.create_table(
        "laws",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("prediction", sa.JSON(), nullable=False),
        sa.Column("ruled_out", sa.JSON(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("spent_flops", sa.Double(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sizes", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_laws_sweep_id")),
        sa.PrimaryKeyConstraint("sweep_id", "number", name=op.f("pk_laws")),
        sa.CheckConstraint("number >= 1 AND runs >= 0 AND batch >= 0", name=op.f("ck_laws_counts")),
        sa.CheckConstraint("spent_flops >= 0 AND spent_flops < 1e308", name=op.f("ck_laws_spent_flops")),
    )
    op.create_table(
        "trunks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("learning_rate", sa.Double(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_trunks_sweep_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trunks")),
        sa.UniqueConstraint(
            "sweep_id",
            "name",
            "learning_rate",
            "seed",
            name=op.f("uq_trunks_sweep_id_name_learning_rate_seed"),
        ),
        sa.CheckConstraint("learning_rate > 0 AND learning_rate < 1e308", name=op.f("ck_trunks_rate")),
        sa.CheckConstraint("seed >= 0", name=op.f("ck_trunks_seed")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("learning_rate", sa.Double(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("trunk_id", sa.String(length=32), nullable=True),
        sa.Column("batch", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("trunk_loss", sa.Double(), nullable=True),
        sa.Column("flops", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("module_rates", sa.String(length=200), nullable=False),
        sa.Column(
            "diverged_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("excluded", sa.Text(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id", "cell"], ["cells.sweep_id", "cells.number"], name=op.f("fk_runs_sweep_id_cell")
        ),
        sa.ForeignKeyConstraint(["trunk_id"], ["trunks.id"], name=op.f("fk_runs_trunk_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint(
            "sweep_id",
            "cell",
            "learning_rate",
            "seed",
            "module_rates",
            name=op.f("uq_runs_sweep_id_cell_learning_rate_seed_module_rates"),
        ),
        sa.CheckConstraint(
            "state IN ('cancelled', 'completed', 'diverged', 'failed', 'pending', 'pruned', 'running')",
            name=op.f("ck_runs_state"),
        ),
        sa.CheckConstraint("learning_rate > 0 AND learning_rate < 1e308", name=op.f("ck_runs_rate")),
        sa.CheckConstraint("seed >= 0 AND attempt >= 0 AND batch >= 1", name=op.f("ck_runs_counts")),
        sa.CheckConstraint(
            "flops >= 0 AND flops < 1e308 AND seconds >= 0 AND seconds < 1e308 AND diverged_tokens >= 0",
            name=op.f("ck_runs_amounts"),
        ),
        sa.CheckConstraint(
            "loss > -1e308 AND loss < 1e308 AND trunk_loss > -1e308 AND trunk_loss < 1e308",
            name=op.f("ck_runs_losses"),
        ),
        sa.CheckConstraint(
            "(state IN ('cancelled', 'completed', 'diverged', 'failed')) = (ended_at IS NOT NULL)",
            name=op.f("ck_runs_end"),
        ),
        sa.CheckConstraint("(state = 'completed') = (loss IS NOT NULL)", name=op.f("ck_runs_loss")),
        sa.CheckConstraint("state = 'diverged' OR diverged_tokens IS NULL", name=op.f("ck_runs_divergence")),
        sa.CheckConstraint("state = 'pruned' OR batch IS NOT NULL", name=op.f("ck_runs_batch")),
        sa.CheckConstraint("state <> 'running' OR fence IS NOT NULL", name=op.f("ck_runs_holder")),
        sa.CheckConstraint(
            "state NOT IN ('pending', 'pruned') OR (fence IS NULL AND started_at IS NULL)",
            name=op.f("ck_runs_waiting"),
        ),
        sa.CheckConstraint(
            "NOT (state IN ('completed', 'diverged', 'failed', 'running')) OR (started_at IS NOT NULL AND attempt >= 1)",
            name=op.f("ck_runs_start"),
        ),
    )
    op.create_index(op.f("ix_runs_sweep_id_id"), "runs", ["sweep_id", "id"], unique=False)
    op.create_index(op.f("ix_runs_sweep_id_state_id"), "runs", ["sweep_id", "state", "id"], unique=False)
    op.create_table(
        "run_logs",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("end_byte", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_logs_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_logs")),
        sa.CheckConstraint("end_byte >= 0", name=op.f("ck_run_logs_end_byte")),
    )
    op.create_table(
        "trainer_checks",
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_trainer_checks")),
    )
    op.create_table(
        "demands",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("fence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cpus", sa.Double(), nullable=False),
        sa.Column("gpus", sa.Double(), nullable=False),
        sa.Column("wants", sa.Integer(), nullable=False),
        sa.Column("holds", sa.Integer(), nullable=False),
        sa.Column("served_seconds", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waits_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_demands_sweep_id")),
        sa.PrimaryKeyConstraint("sweep_id", name=op.f("pk_demands")),
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("demands")
    op.drop_table("trainer_checks")
    op.drop_table("run_logs")
    op.drop_table("runs")
    op.drop_table("trunks")
    op.drop_table("laws")
    op.drop_table("events")
    op.drop_table("comparisons")
    op.drop_table("cells")
    op.drop_table("tokens")
    op.drop_table("tables")
    op.drop_table("sweeps")
    op.drop_table("lenses")
    op.drop_table("losses")
    op.drop_table("leases")
