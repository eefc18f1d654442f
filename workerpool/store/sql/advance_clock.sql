-- advance_clock: for tests: let what waits for an instant wait so much less. Parameters: delta interval. Locks: the rows.
-- One row for each revision that was moved: its id.
UPDATE {schema}.revisions r SET run_at = r.run_at - %(delta)s::interval, updated_at = clock_timestamp()
WHERE r.status = 'scheduled' OR r.parked = 'due' OR (r.status = 'draft' AND r.run_at > clock_timestamp())
   OR (r.status = 'pending' AND r.run_at > clock_timestamp())
RETURNING r.id
