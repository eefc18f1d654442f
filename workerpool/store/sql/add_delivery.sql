-- add_delivery: note a webhook's delivery. Parameters: source, delivery text. Locks: an entry of its key: waits for the same delivery, if that
-- is under way. Zero rows: it is known already.
INSERT INTO {schema}.webhook_deliveries (source, delivery_id) VALUES (%(source)s, %(delivery)s)
ON CONFLICT DO NOTHING RETURNING delivery_id
