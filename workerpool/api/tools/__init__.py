"""Tools for agents, by the Model Context Protocol: the queue's verbs, as a language model may call them.

Owns: names, schemas, who may call what, and how content of revisions is marked. Does not own: the verbs (``service``).
Invariant: no tool runs SQL or a shell; what stands in a revision is told as data, and never as something to do.
Source: Model Context Protocol, by its official SDK.
"""
