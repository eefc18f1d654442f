"""REMEMBERS. The only room that speaks to PostgreSQL.

Owns: the statements (``sql/``, one a file), the schema and its migrations, connections, and the embedded server.
Does not own: decisions (``core``), or when anything is done (``worker``, ``keeper``).
Invariant: order and single execution are decided in the functions of the schema, and nowhere in Python.
"""
