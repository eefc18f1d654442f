-- restored: what must not come back from a backup with its rows, as the last statements of the transaction that restores it: attempts that
-- ran (they are given back, not counted), workers, tokens and pauses of then. No parameters. A script of several statements.
INSERT INTO {schema}.execution_log (revision_id, attempt, level, message)
SELECT r.id, r.attempt, 'warning', 'released: the backup that was restored was made while it ran'
FROM {schema}.revisions r WHERE r.status = 'processing';
UPDATE {schema}.revisions
SET status = 'pending', attempt = attempt - 1, claim_token = NULL, lease_expires_at = NULL, updated_at = clock_timestamp()
WHERE status = 'processing';
DELETE FROM {schema}.workers;
DELETE FROM {schema}.work_tokens;
SELECT set_config('workerpool.actor', 'workerpool restore', true), set_config('workerpool.reason', 'a backup was restored', true);
DELETE FROM {schema}.pauses;
