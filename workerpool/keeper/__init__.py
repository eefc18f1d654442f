"""KEEPS TIME. One process for each home: whatever must happen on the clock, or for those who cannot act themselves.

Owns: leases of living workers, settling for the dead, waking the idle, rescue, heal, prune, and the one-shot
``prepare``.
Does not own: deciding what became of an attempt (``core.outcome``), nor starting or killing (``manager``).
Invariant: it never takes a claim from a process that lives and is not stopped.
"""
