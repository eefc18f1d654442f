-- is_empty: whether nothing is pending or processing, halted items aside (start --until-empty).
-- No parameters, no locks. One row.
SELECT NOT EXISTS (
    SELECT 1 FROM {schema}.revisions r
    WHERE r.status = 'processing'
      AND NOT EXISTS (SELECT 1 FROM {schema}.items i WHERE i.item_key = r.item_key AND i.halted_at IS NOT NULL))
   AND NOT EXISTS (
    SELECT 1 FROM {schema}.revisions r
    WHERE r.status = 'pending'
      AND NOT EXISTS (SELECT 1 FROM {schema}.items i WHERE i.item_key = r.item_key AND i.halted_at IS NOT NULL))
