"""The room that shows: what people and programs see of the pool without a shell.

``service`` has every verb once; ``http``, the dashboard, the agents' tools and the webhooks are thin over it, and reach
the store through it alone. One process per pool: a child of the manager, or ``workerpool web``.
"""
