-- receipt: what came of a request. Parameters: holder, purpose, key text. No locks. Zero rows: it is not known.
SELECT digest, revision_ids FROM {schema}.receipts WHERE holder = %(holder)s AND purpose = %(purpose)s AND key = %(key)s
