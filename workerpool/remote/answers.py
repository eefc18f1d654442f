"""What the server's answers hold: the rhythm that a worker is to keep, and a claim."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from workerpool.core.revision import Claim


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds: how often to ask for work, also while paused, and to send heartbeats; how long a claim holds."""

    poll: float = 5.0
    pause_poll: float = 5.0
    heartbeat: float = 10.0
    lease: float = 60.0


def rhythm_of(intervals: Mapping[str, Any]) -> Rhythm:
    """Return the rhythm that an answer names."""
    return Rhythm(intervals["poll"], intervals["pausePoll"], intervals["heartbeat"], intervals["lease"])


def claim_of(job: Mapping[str, Any], asked: float) -> Claim:
    """Return the claim that an answer holds; it was *asked* for at that instant."""
    metadata = job.get("metadata")
    return Claim(
        revision_id=job["id"],
        item_key=job["itemKey"],
        handler=job["handler"],
        payload=json.dumps(job["payload"]),
        attempt=job["attempt"],
        max_attempts=job.get("maxAttempts"),
        crash_count=0,  # nothing here asks for it
        timeout_seconds=job.get("timeoutSeconds"),
        fence=job["fence"],
        metadata=json.dumps(metadata) if metadata is not None else None,
        token=UUID(job["claimToken"]),
        claimed_at=asked,
    )
