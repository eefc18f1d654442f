-- in_bulk: until the end of this transaction the rows that an index has are read in the order in which they lie in the table, all at once.
-- For looks at all of them, which in the order of an index would jump from page to page. No parameters, no locks. One row of no meaning.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true)
