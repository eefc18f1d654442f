"""Which server a connection leads to, as far as a server can be told from the one that takes its place.

Owns: the comparison. Does not own: asking (``store.origin``), or remembering (``link.board``). Pure. A standby that is
promoted goes on under its cluster's identifier and a higher timeline; it knows what had reached it, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """The identifier of a cluster of PostgreSQL, and the timeline that its server writes."""

    system: int
    timeline: int

    def is_behind(self, other: Origin) -> bool:
        """Tell whether this is the same cluster on an earlier timeline: a primary that was replaced, and came back."""
        return self.system == other.system and self.timeline < other.timeline
