-- prune_preview: what prune would delete. Parameters: retention interval. No locks. Rows: status, how many, the oldest end.
SELECT r.status::text, count(*) AS revisions, min(r.completed_at) AS oldest
FROM {schema}.revisions r
WHERE r.completed_at < clock_timestamp() - %(retention)s::interval * CASE r.status WHEN 'failed' THEN 3 ELSE 1 END
  AND (r.revision_number IS NULL OR EXISTS (
       SELECT 1 FROM {schema}.revisions n WHERE n.item_key = r.item_key AND n.revision_number > r.revision_number))
GROUP BY r.status ORDER BY r.status
