"""A pool can be stopped from another host."""

from workerpool.store.migrations.steps import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the request to the workers."""
    run(revision, "up")


def downgrade() -> None:
    """Take it away."""
    run(revision, "down")
