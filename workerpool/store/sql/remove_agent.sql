-- remove_agent: forget an agent; revisions that name it fail. Parameters: name text. Locks: its row. Zero rows: there is none of that name.
DELETE FROM {schema}.agents a WHERE a.name = %(name)s RETURNING a.name
