"""KEEPS ALIVE. Supervises child processes; knows no SQL and holds no connection.

Owns: starting, watching, ending and replacing children, signals, and the exit code. Does not own: what is right to do
next (``core.plan``).
Invariant: it never waits for anything but its one ``select``; a database that hangs cannot stop it from supervising.
"""
