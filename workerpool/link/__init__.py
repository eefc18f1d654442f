"""How the processes of one host talk: messages, shared memory, and a bell.

Owns: the channel between the manager and each child, the board of what runs in each slot, and the waking of idle
workers.
Invariant: nothing here waits for another process, and nothing here is lost by the death of one.
"""
