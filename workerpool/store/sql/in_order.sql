-- in_order: until the end of this transaction rows are read in the order of an index, where there is one, and not collected to be sorted.
-- For looks that stop after so many rows: with statistics from before a flood the planner would collect the whole flood first.
-- No parameters, no locks. One row of no meaning.
SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)
