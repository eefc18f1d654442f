-- settle: write outcomes, each fenced by its token.
-- Parameters: as of the function settle; only_expired for a rescue. Locks: items by hash, then rows.
-- One row with the ids that were written; an id that is missing had lost its claim.
SELECT settled FROM {schema}.settle(
    %(ids)s::bigint[], %(tokens)s::uuid[], %(verdicts)s::text[], %(results)s::text[], %(messages)s::text[], %(kinds)s::text[],
    %(delays)s::double precision[], %(crashes)s::boolean[], false, %(only_expired)s::boolean)
