-- fill_delivery: note which revision a delivery became. Parameters: source, delivery text, revision bigint. Locks: its row.
UPDATE {schema}.webhook_deliveries SET revision_id = %(revision)s WHERE source = %(source)s AND delivery_id = %(delivery)s
