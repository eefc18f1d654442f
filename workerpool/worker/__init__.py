"""DOES. One process for each slot: claims, runs, settles, over one database connection.

Owns: the running of handlers. Does not own: leases (the keeper renews them), time limits (the manager enforces them),
order (the claim).
Invariant: what was claimed is settled, given back, or left to the keeper; it is never forgotten and never started
twice (R23).
"""
