"""DECIDES. Pure functions over frozen facts: no clock, no randomness, no I/O, no process, no SQL.

Owns: what may follow what (revision, outcome, retry), when a slot is given up (restart), and what the manager does
next (plan).
Invariant: whoever calls with the same facts gets the same answer; instants and random numbers are arguments.
"""
