"""Every verb once, as functions over a session: what people and programs may ask of the pool.

Owns: what is refused and how that is said, whoever asks and by whichever way. Does not own: what a verb does to rows
(the functions
of the schema, ``store``), nor who may ask (``http``). Invariant: a verb returns when it is committed; whatever it
refuses has changed nothing.
"""
