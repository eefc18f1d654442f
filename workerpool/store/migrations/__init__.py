"""The schema's versions; ``workerpool.store.migrate`` runs them."""
