-- mark_gone: a worker is dead. Parameters: worker text. Locks: its row.
UPDATE {schema}.workers SET state = 'gone', current_revision_id = NULL WHERE id = %(worker)s::text AND state <> 'gone'
