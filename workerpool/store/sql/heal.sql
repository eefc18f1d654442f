-- heal: unpark heads that foreign SQL stranded. Parameters: after text, how_many integer. Locks: items by trying, then rows.
-- One row: the last item looked at (null: the end was reached), and the revisions that were stranded.
SELECT last_key, healed FROM {schema}.heal(%(after)s::text, %(how_many)s::integer)
