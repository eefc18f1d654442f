-- carry_out_cancels: end what was stamped and has not started; what runs, on any host, is answered.
-- Parameters: how_many integer. Locks: items (trying), then rows. Zero rows: nothing that runs is to be cancelled.
SELECT id, worker_id, token FROM {schema}.carry_out_cancels(%(how_many)s::integer)
