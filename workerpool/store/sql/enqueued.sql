-- enqueued: for tests: what was enqueued and has not ended, in order. Parameters: item, handler text (null: any). No locks.
SELECT r.id, r.item_key::text, r.handler::text, r.status::text, r.payload, r.run_at
FROM {schema}.revisions r
WHERE r.status IN ('draft', 'scheduled', 'pending', 'processing')
  AND (%(item)s::text IS NULL OR r.item_key = %(item)s::text)
  AND (%(handler)s::text IS NULL OR r.handler = %(handler)s::text)
ORDER BY r.id
