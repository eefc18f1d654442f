-- worker_state: a worker says that it is hungry, busy again, or leaving (R11).
-- Parameters: id, state text. Locks: its row. Zero rows: the row was taken for a dead worker's; it must register again.
UPDATE {schema}.workers SET state = %(state)s, last_heartbeat = clock_timestamp() WHERE id = %(id)s AND state <> 'gone'
