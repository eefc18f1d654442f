"""What a handler holds: the job, its cancellation token, its log and its progress.

Owns: the objects a handler meets. Does not own: how they reach the database (the worker's desk does).
Invariant: nothing a handler calls here can write for an attempt that has lost its claim.
"""
