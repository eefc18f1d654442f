"""The tables, the claim, the settlement and the views of the first version."""

from workerpool.store.migrations.steps import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make everything."""
    run(revision, "up")


def downgrade() -> None:
    """Drop everything."""
    run(revision, "down")
