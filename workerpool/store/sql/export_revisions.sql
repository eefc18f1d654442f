-- export_revisions: everything of an item's revisions, with their logs. Parameters: item text, after bigint, how_many integer. No locks.
-- Rows by id.
SELECT r.id, (to_jsonb(r) || jsonb_build_object('log', coalesce((
                  SELECT jsonb_agg(to_jsonb(l) - 'revision_id' ORDER BY l.id) FROM {schema}.execution_log l WHERE l.revision_id = r.id),
              '[]')))::text AS document
FROM {schema}.revisions r WHERE r.item_key = %(item)s AND r.id > %(after)s ORDER BY r.id LIMIT %(how_many)s
