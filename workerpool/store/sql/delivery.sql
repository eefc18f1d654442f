-- delivery: which revision a delivery became. Parameters: source, delivery text. No locks. Zero rows: it is not known.
SELECT revision_id, received_at FROM {schema}.webhook_deliveries WHERE source = %(source)s AND delivery_id = %(delivery)s
