-- queue_drafts: drafts take part from now on. Parameters: ids bigint[] (at most 128), who text. Locks: items by hash, then rows.
-- A row for each id: 'queued', 'not_a_draft' or 'missing'. Never fewer.
SELECT id, answer FROM {schema}.queue_drafts(%(ids)s::bigint[], %(who)s::text)
