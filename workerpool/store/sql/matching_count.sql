-- matching_count: how many revisions a filter asks for, by status. Parameters: as of matching, without before and how_many. No locks.
SELECT r.status::text, count(*) AS revisions
FROM {schema}.revisions r
WHERE r.status = ANY (%(statuses)s::text[])
  AND (%(items)s::text[] IS NULL OR r.item_key LIKE ANY (%(items)s::text[]))
  AND (%(handlers)s::text[] IS NULL OR r.handler = ANY (%(handlers)s::text[]))
  AND (%(kinds)s::text[] IS NULL OR r.error_kind = ANY (%(kinds)s::text[]))
  AND (%(error)s::text IS NULL OR strpos(lower(r.error_message), lower(%(error)s::text)) > 0)
  AND (%(older)s::interval IS NULL OR coalesce(r.completed_at, r.created_at) < clock_timestamp() - %(older)s::interval)
  AND (%(newer)s::interval IS NULL OR coalesce(r.completed_at, r.created_at) > clock_timestamp() - %(newer)s::interval)
GROUP BY r.status ORDER BY r.status
