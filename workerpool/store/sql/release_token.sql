-- release_token: give a token back. Parameters: id uuid. Locks: its row. One row: whether it was there.
SELECT {schema}.release_token(%(id)s::uuid) AS released
