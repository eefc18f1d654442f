"""What the fault tests share: daemons, a server, a seed, and how many rounds a race gets."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.hosts import Network, laid
from tests.process.conftest import own, pool

__all__ = ["own", "pool"]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network with PostgreSQL."""
    with laid() as made:
        yield made


@pytest.fixture
def seed() -> int:
    """The seed of a run, printed so that a failure can be repeated: WORKERPOOL_TEST_SEED sets it."""
    found = int(os.environ.get("WORKERPOOL_TEST_SEED", random.randrange(2**31)))
    print(f"WORKERPOOL_TEST_SEED={found}")
    random.seed(found)
    return found


def rounds(ci: int = 20, long: int = 200) -> list[object]:
    """The numbers of rounds of a race, to parametrize with: a tenth in CI, all of them with --long."""
    return [ci, pytest.param(long, marks=pytest.mark.long)]
