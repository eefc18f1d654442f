-- remove_schedule: forget a schedule; what it enqueued stays. Parameters: name text. Locks: its row. Zero rows: there is none of that name.
DELETE FROM {schema}.schedules s WHERE s.name = %(name)s RETURNING s.name
