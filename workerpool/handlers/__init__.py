"""The registry of handlers, and those that come with the program.

Owns: finding, importing and describing handlers. Does not own: running them (``worker``).
Invariant: one name means one handler in a process; a module that cannot be loaded is an error before any claim.
"""
