-- base: an item's current content: the completed revision with the highest number, else the original.
-- Parameters: item_key text. No locks. One row; its value is null where the item has no content yet.
SELECT coalesce(
    (SELECT result FROM {schema}.revisions
     WHERE item_key = %(item_key)s AND revision_number IS NOT NULL ORDER BY revision_number DESC LIMIT 1),
    (SELECT original FROM {schema}.items WHERE item_key = %(item_key)s))::text AS base
