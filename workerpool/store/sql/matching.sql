-- matching: revisions that a filter asks for, the latest first.
-- Parameters: statuses, items (LIKE patterns), handlers, kinds text[], error text (a part of the message, in any case), older, newer interval
--   (how long ago it ended, else was inserted); null: any. before bigint (null: from the end), how_many integer. No locks.
SELECT r.id, r.item_key::text, r.handler::text, r.status::text, r.attempt::integer, r.error_kind::text, r.error_message,
       extract(epoch FROM clock_timestamp() - coalesce(r.completed_at, r.created_at))::double precision AS age
FROM {schema}.revisions r
WHERE (%(before)s::bigint IS NULL OR r.id < %(before)s::bigint)
  AND r.status = ANY (%(statuses)s::text[])
  AND (%(items)s::text[] IS NULL OR r.item_key LIKE ANY (%(items)s::text[]))
  AND (%(handlers)s::text[] IS NULL OR r.handler = ANY (%(handlers)s::text[]))
  AND (%(kinds)s::text[] IS NULL OR r.error_kind = ANY (%(kinds)s::text[]))
  AND (%(error)s::text IS NULL OR strpos(lower(r.error_message), lower(%(error)s::text)) > 0)
  AND (%(older)s::interval IS NULL OR coalesce(r.completed_at, r.created_at) < clock_timestamp() - %(older)s::interval)
  AND (%(newer)s::interval IS NULL OR coalesce(r.completed_at, r.created_at) > clock_timestamp() - %(newer)s::interval)
ORDER BY r.id DESC LIMIT %(how_many)s
