"""Webhooks: who may send them, and what becomes of them. Pure, but for the reading of one file at the start."""
