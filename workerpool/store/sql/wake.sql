-- wake: tell the keepers that something may be there for idle workers. Parameters: channel text (the schema's name). No locks.
SELECT pg_notify(%(channel)s::text, '')
