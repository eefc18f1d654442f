-- remote_claim: claim one revision for a worker that speaks HTTP, once for each request.
-- Parameters: holder, request, worker text, token uuid, handlers text[], lease interval. Locks: a receipt, then those of a claim. One row.
SELECT answer, id, item_key, handler, payload, attempt, max_attempts, crash_count, timeout_seconds, fence, metadata, claim_token, lease_expires_at
FROM {schema}.remote_claim(%(holder)s::text, %(request)s::text, %(worker)s::text, %(token)s::uuid, %(handlers)s::text[], %(lease)s::interval)
