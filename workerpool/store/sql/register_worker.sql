-- register_worker: a worker process says who it is and what it can do.
-- Parameters: id, manager, host, slot text; generation, pid integer; handlers, halting text[]; limits JSON text. Locks: its row. One row is written.
-- (limits: of each handler that has such a limit how many may run at once; under the name that no handler can have, the empty one, how
-- often each that says so is tried. Who rescues what this worker leaves behind may have no such handler.)
INSERT INTO {schema}.workers (id, manager_id, host, slot, generation, worker_pid, handlers, halting, limits, state)
VALUES (%(id)s, %(manager)s, %(host)s, %(slot)s, %(generation)s, %(pid)s, %(handlers)s::text[], %(halting)s::text[], %(limits)s::jsonb,
        'busy')
ON CONFLICT (id) DO UPDATE SET handlers = excluded.handlers, halting = excluded.halting, limits = excluded.limits,
    worker_pid = excluded.worker_pid, state = 'busy', last_heartbeat = clock_timestamp()
