-- add_event: record why somebody did something. Parameters: control, action, reason, who, target text. No locks.
INSERT INTO {schema}.control_events (control, action, reason, actor, target)
VALUES (%(control)s, %(action)s, %(reason)s, %(who)s, %(target)s)
