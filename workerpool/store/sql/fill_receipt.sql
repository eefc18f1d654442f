-- fill_receipt: note what came of a request. Parameters: holder, purpose, key text, revisions bigint[]. Locks: its row.
UPDATE {schema}.receipts SET revision_ids = %(revisions)s::bigint[]
WHERE holder = %(holder)s AND purpose = %(purpose)s AND key = %(key)s
