-- stacked: what became of revisions, with what each says it builds on. Parameters: ids bigint[]. No locks. Rows by item and number.
SELECT id, item_key::text, status::text, revision_number::integer, payload ->> 'edit_request' AS request, worker_id, started_at, completed_at,
       error_message, result -> 'applied' AS applied, result ->> 'output' AS output
FROM {schema}.revisions WHERE id = ANY (%(ids)s::bigint[]) ORDER BY item_key, revision_number NULLS LAST, id
